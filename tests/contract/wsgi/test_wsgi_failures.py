"""The WSGI contract: applications that fail, before their response begins and in the middle of it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from sidegate.errors import Fault
from tests.support.clients import Response
from tests.support.running import Run, fetch, record_of, wait_equal, wait_for
from tests.support.wsgi import Closing, Environ, StartResponse, hello, respond


class Several:
    """An application that is another one for each path; ``/alive`` is one that works."""

    def __init__(self, apps: dict[str, Callable[..., Any]]) -> None:
        self._apps = {"/alive": hello, **apps}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Any:
        return self._apps[environ["PATH_INFO"]](environ, start_response)


def failing(running: Run, codec: str, app: Callable[..., Any]) -> tuple[Response, Any]:
    """The response and record of one request to ``app``; its only thread serves before and after."""
    with running(Several({"/": app}), codec, threads=1) as server:
        assert fetch(server, codec, "GET", "/alive").body == b"/alive"
        response = fetch(server, codec, "GET", "/")
        assert fetch(server, codec, "GET", "/alive").body == b"/alive"
        return response, record_of(server, "/")


def starts(*arguments: Any, body: Any = (b"x",)) -> Callable[..., Any]:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response(*arguments)
        return body

    return app


def raises(environ: Environ, start_response: StartResponse) -> Any:
    raise ValueError("no way")


def exits(environ: Environ, start_response: StartResponse) -> Any:
    sys.exit("no way")


def raises_cancelled(environ: Environ, start_response: StartResponse) -> Any:
    raise asyncio.CancelledError


def raises_after_start(environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [])
    raise ValueError("no way")


def raises_in_a_circle(environ: Environ, start_response: StartResponse) -> Any:
    first = ValueError("first")
    try:
        raise KeyError("second") from first
    except KeyError as second:
        raise first from second


def generator(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b""
    yield b""
    raise ValueError("before the first byte")


def generator_exits(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b""
    sys.exit()


def starts_twice(environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [])
    start_response("200 OK", [])
    return []


class NoIteration:
    def __iter__(self) -> Iterator[bytes]:
        raise ValueError("nothing to iterate over")


BROKEN: dict[str, dict[str, tuple[Callable[..., Any], str]]] = {
    "application": {
        "raises": (raises, "exception"),
        "exits": (exits, "exception"),
        "raises CancelledError": (raises_cancelled, "exception"),
        "raises after start_response": (raises_after_start, "exception"),
        "raises errors that cause each other": (raises_in_a_circle, "exception"),
        "starts twice": (starts_twice, "bad_message"),
        "starts without headers": (starts("200 OK"), "exception"),
        "writes text": (lambda environ, start_response: start_response("200 OK", [])("text"), "bad_message"),
    },
    "iterable": {
        "generator raises before the first byte": (generator, "exception"),
        "generator exits": (generator_exits, "exception"),
        "cannot be iterated": (starts("200 OK", [], body=NoIteration()), "exception"),
        "None": (starts("200 OK", [], body=None), "exception"),
        "a number": (starts("200 OK", [], body=1), "exception"),
        "without a head": (lambda environ, start_response: [b"x"], "bad_message"),
        "empty, without a head": (lambda environ, start_response: [], "bad_message"),
        "blocks without a head": (lambda environ, start_response: iter([b"", b"x"]), "bad_message"),
        "a list of text": (starts("200 OK", [], body=["text"]), "bad_message"),
        "text": (starts("200 OK", [], body="text"), "bad_message"),
        "bytes": (starts("200 OK", [], body=b"text"), "bad_message"),
        "bytes-like": (starts("200 OK", [], body=[bytearray(b"x")]), "bad_message"),
        "a number first": (starts("200 OK", [], body=Closing([7])), "bad_message"),
        "None first": (starts("200 OK", [], body=[None, b"x"]), "bad_message"),
        "empty text first": (starts("200 OK", [], body=Closing(["", b"x"])), "bad_message"),
    },
    "status": {
        repr(status): (starts(status, []), "bad_message")
        for status in (
            200, b"200 OK", None, "", "OK", "\N{SUPERSCRIPT TWO}00 OK", "99 Low", "099 Low", "100 Continue", "2000 OK",
            "600 High", "200 OK\r\nx: y",
        )
    },
    "fields": {
        repr(found): (starts("200 OK", list(found)), "bad_message")
        for found in (
            [(b"a", "b")], [("a", b"b")], [("a", 1)], [("Content-Length", 1)], [("a", None)], [("a", "b\r\nc: d")],
            [("a", "b\0")], [("a", "\N{SNOWMAN}")], [("a b", "c")], [("a:", "c")], [("\N{SNOWMAN}", "c")], [("", "c")],
            [("a", "b", "c")], [("a",)], ["a", "b"], [("Content-Length", "1"), ("content-length", "2")],
            [("Content-Length", "many")],
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_wsgi_failure_before_the_head_is_a_500_with_a_request_id(
    codec: str, running: Run, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    cases = {f"/{number}": (case, *BROKEN[what][case]) for number, case in enumerate(BROKEN[what])}
    wrong = []
    with running(Several({path: app for path, (_, app, _) in cases.items()}), codec, threads=1) as server:
        for path, (case, _, reason) in cases.items():
            response = fetch(server, codec, "GET", path)
            record = record_of(server, path)
            if (response.status, record.fault, record.reason) != (500, Fault.APPLICATION, reason):
                wrong.append((case, response.status, record.reason))
                continue
            assert response.get(b"x-request-id") == record.request_id.encode()
            assert record.request_id.encode() in response.body
            assert b"no way" not in response.body
            lines = [line for line in caplog.records if record.request_id in line.getMessage()]
            assert [bool(line.exc_info) for line in lines] == [True], case
        assert fetch(server, codec, "GET", "/alive").body == b"/alive"
    assert not wrong


def after(*blocks: Any, error: BaseException | None = None, length: str = "") -> Callable[..., Any]:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[Any]:
        start_response("200 OK", [("Content-Length", length)] if length else [])
        yield b"begun"
        yield from blocks
        if error is not None:
            raise error

    return app


def raises_after_write(environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [])(b"begun")
    raise ValueError("half-way")


BROKEN_LATER: dict[str, Callable[..., Any]] = {
    "raises half-way": after(error=ValueError("half-way")),
    "exits half-way": after(b"x", error=SystemExit(1)),
    "text half-way": after("text"),
    "number half-way": after(1),
    "None half-way": after(None),
    "raises after write": raises_after_write,
}


@pytest.mark.parametrize("case", BROKEN_LATER)
def test_a_wsgi_failure_half_way_breaks_the_response_off(
    codec: str, running: Run, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    response, record = failing(running, codec, BROKEN_LATER[case])
    assert (response.status, response.reset) == (200, True)
    assert response.body.startswith(b"begun")
    assert (record.fault, record.status) == (Fault.APPLICATION, 200)
    assert any(record.request_id in line.getMessage() and line.exc_info for line in caplog.records)


# Whatever happens, the iterable is closed, and on one thread.


def raising(after: int) -> Iterator[bytes]:
    yield from [b"x"] * after
    raise ValueError("while it was iterated over")


BODIES: dict[str, tuple[Callable[[], Iterable[Any]], str]] = {
    "whole": (lambda: [b"a", b"b"], "200 OK"),
    "empty": (list, "200 OK"),
    "304": (list, "304 Not Modified"),
    "204 with a forbidden body": (lambda: [b"a", b"b"], "204 No Content"),
    "raises at once": (lambda: raising(0), "200 OK"),
    "raises half-way": (lambda: raising(3), "200 OK"),
    "wrong block": (lambda: ["text"], "200 OK"),
    "wrong block half-way": (lambda: [b"a", 1], "200 OK"),
    "bad status": (lambda: [b"a"], "999 Number"),
    "start_response is not called": (lambda: [b"a"], ""),
}


@pytest.mark.parametrize("case", BODIES)
def test_the_iterable_is_closed_in_every_path(codec: str, running: Run, case: str) -> None:
    """Hypercorn 154, a2wsgi 42, asgiref 587: it never was, so that frameworks never gave back what they held."""
    blocks, status = BODIES[case]
    bodies: list[Closing] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[Any]:
        bodies.append(Closing(blocks()))
        bodies[-1].threads.add(threading.get_ident())
        if status:
            start_response(status, [])
        return bodies[-1]

    with running(app, codec) as server:
        for number, method in enumerate(("GET", "HEAD"), 1):
            fetch(server, codec, method, "/")
            wait_equal(lambda: [body.closed for body in bodies], [1] * number)
    assert [len(body.threads) for body in bodies] == [1, 1]


def test_a_generator_is_run_and_closed_on_one_thread(codec: str, running: Run) -> None:
    """Asgiref, a2wsgi and others: what is local to a thread (a database connection) is lost when it changes."""
    threads: list[int] = []
    closed = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        try:
            threads.append(threading.get_ident())
            start_response("200 OK", [])
            for _ in range(20):
                threads.append(threading.get_ident())
                yield b"x" * 10_000
        finally:
            threads.append(threading.get_ident())
            closed.set()

    with running(app, codec) as server:
        assert len(fetch(server, codec, "GET", "/").body) == 200_000
        assert closed.wait(10)
        assert len(set(threads)) == 1
        assert threads[0] != threading.get_ident()


def test_an_iterator_that_is_not_its_iterable_is_closed_by_the_iterable(codec: str, running: Run) -> None:
    """PEP 3333 gives ``close`` to what the application returned, whatever that makes of ``__iter__``."""
    body = Closing([b"a", b"b"])

    class Returned:
        def __iter__(self) -> Iterator[bytes]:
            return iter(body)

        def close(self) -> None:
            body.close()

    with running(starts("200 OK", [], body=Returned()), codec) as server:
        assert fetch(server, codec, "GET", "/").body == b"ab"
        wait_for(lambda: body.closed)
    assert body.closed == 1


class BadClose(Closing):
    """Fails when it is closed."""

    def close(self) -> None:
        super().close()
        raise ValueError("while it was closed")


@pytest.mark.parametrize("blocks", [[b"whole"], [b"who", b"le"]])
def test_a_close_that_fails_after_a_whole_response_is_only_logged(
    codec: str, running: Run, blocks: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    body = BadClose(blocks)
    response, record = failing(running, codec, starts("200 OK", [], body=body))
    assert (response.status, response.body, response.reset) == (200, b"whole", False)
    assert (record.status, record.fault) == (200, None)
    assert "while it was closed" in caplog.text
    assert body.closed == 1


def test_a_close_that_fails_after_another_error_does_not_hide_it(
    codec: str, running: Run, caplog: pytest.LogCaptureFixture
) -> None:
    body = BadClose(raising(0))
    response, _ = failing(running, codec, starts("200 OK", [], body=body))
    assert response.status == 500
    assert "while it was iterated over" in caplog.text
    assert "while it was closed" in caplog.text


def test_the_error_page_of_a_wsgi_application_is_html_for_browsers(codec: str, running: Run) -> None:
    with running(raises, codec) as server:
        response = fetch(server, codec, "GET", "/", headers=[(b"accept", b"text/html,*/*")])
        assert response.get(b"content-type") == b"text/html; charset=utf-8"
        assert b"no way" not in response.body


def test_a_failure_of_one_request_is_none_of_another(codec: str, running: Run) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/fails":
            raise ValueError("this one only")
        return respond(start_response, b"fine")

    with running(app, codec, threads=2) as server:
        client = server.client(codec)
        for _ in range(3):
            stream = client.begin("GET", "/fails", [], end=True)
            assert client.finish(stream).status == 500
            stream = client.begin("GET", "/", [], end=True)
            assert client.finish(stream).body == b"fine"
        client.close()
