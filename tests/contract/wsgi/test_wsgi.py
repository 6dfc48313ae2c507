"""The WSGI contract as other servers failed it, by the numbers of their issues, and as ``wsgiref.validate`` holds it.

What every test of ``test_wsgi_*.py`` runs: a small application in a real runtime, and h11 or h2 on a real socket.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest

from sidegate.errors import Fault
from tests.support.clients import request
from tests.support.running import Run, fetch, only_record, wait_equal, wait_for
from tests.support.wsgi import TEXT, Closing, Environ, Gate, StartResponse, begin, echo, hello, hold, line_up, respond

# wsgiref.validate holds both sides to PEP 3333, and a mistake of ours is its AssertionError and so a 500.


def writes(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])(b"written")
    return [b"x"]


def reads_lines(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"]
    return respond(start_response, body.readline() + b"".join(body.readlines()) + b"".join(body))


def reads_sizes(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])
    while block := environ["wsgi.input"].read(3):
        yield block


def complains(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    errors = environ["wsgi.errors"]
    errors.write("a line\n")
    errors.writelines(["and another\n"])
    errors.flush()
    return respond(start_response, b"x")


def changes_its_mind(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])
    try:
        raise ValueError("never mind")
    except ValueError:
        start_response("404 Not Found", [TEXT], sys.exc_info())
    return [b"x"]


def not_modified(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("304 Not Modified", [("ETag", '"a"')])
    return []


VALID: dict[str, tuple[Any, int]] = {
    "hello": (hello, 200),
    "writes": (writes, 200),
    "reads lines": (reads_lines, 200),
    "reads sizes": (reads_sizes, 200),
    "complains": (complains, 200),
    "changes its mind": (changes_its_mind, 404),
    "not modified": (not_modified, 304),
}


@pytest.mark.parametrize("case", VALID)
def test_wsgiref_finds_nothing_wrong(codec: str, running: Run, case: str) -> None:
    app, status = VALID[case]
    failures: list[BaseException] = []
    valid = validator(app)

    def checked(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return valid(environ, start_response)
        except AssertionError as error:
            failures.append(error)
            raise

    with running(checked, codec, backend={"rootPath": "/mount"}) as server:
        client = server.client(codec)
        paths = ("/mount", "/mount/", "/mount/a%20b/%E2%82%AC?c=d")
        for method, path in itertools.product(("GET", "POST", "HEAD"), paths):
            response = request(client, method, path, b"one\ntwo\nthree" if method == "POST" else b"")
            assert not failures, failures
            assert (response.status, response.reset) == (status, False)
        client.close()
        assert only_record(server, 9).fault is None


# Asgiref.


def test_asgiref_41_an_empty_iterable(codec: str, running: Run) -> None:
    """The response had a body message and no start."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return []

    with running(app, codec) as server:
        response = fetch(server, codec, "GET", "/")
        assert (response.status, response.body, response.reset) == (200, b"", False)


def test_asgiref_115_a_body_in_several_messages(codec: str, running: Run) -> None:
    """Only the first piece of a request's body reached the application."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return respond(start_response, b"%d" % len(environ["wsgi.input"].read()))

    with running(app, codec) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/", [], end=False)
        for _ in range(100):
            client.body(stream, b"x" * 10_000, end=False)
        client.body(stream, b"", end=True)
        assert client.finish(stream).body == b"1000000"
        client.close()


def test_asgiref_347_a_request_that_blocks_and_all_others(codec: str, running: Run) -> None:
    """There was one thread for the whole process, whatever it was told."""
    gate = Gate()
    with running(gate, codec, threads=2) as server, gate:
        held = begin(server, codec, "/wait")
        wait_for(lambda: gate.inside == 1)
        for _ in range(3):
            assert fetch(server, codec, "GET", "/x").body == b"/x"
        gate.open()
        assert held[0][0].finish(held[0][1]).status == 200


def generated(closed: list[str]) -> Iterator[bytes]:
    try:
        yield b"hello"
        yield b"world"
    finally:
        closed.append("finally")


@pytest.mark.parametrize("length", [None, "10", "5"])
def test_asgiref_587_close_is_called_whatever_the_length(codec: str, running: Run, length: str | None) -> None:
    """It was never called; where the length was reached early, the generator stayed at its ``yield``."""
    closed: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", length)] if length else [])
        return generated(closed)

    with running(app, codec) as server:
        response = fetch(server, codec, "GET", "/")
        assert (response.body, response.reset) == (b"helloworld"[: int(length or 10)], False)
        wait_for(lambda: closed)
    assert closed == ["finally"]


# Hypercorn.


def test_hypercorn_154_close_gives_back_what_the_application_holds(codec: str, running: Run) -> None:
    """Django closes its database connections there; they were closed by chance, in the middle of later requests."""
    bodies: list[Closing] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        bodies.append(Closing([b"a", b"b"]))
        return bodies[-1]

    with running(app, codec, threads=1) as server:
        for number in range(1, 4):
            assert fetch(server, codec, "GET", "/").body == b"ab"
            wait_equal(lambda: [body.closed for body in bodies], [1] * number)


def test_hypercorn_176_a_large_request_is_not_collected(codec: str, running: Run) -> None:
    """The application began when the last byte had come, and all of them were in memory."""
    first = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"]
        assert len(body.read(1000)) == 1000
        first.set()
        return respond(start_response, b"%d" % (1000 + len(body.read())))

    with running(app, codec, backend={"bodyBuffering": "off"}) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/", [(b"content-length", b"200000")], end=False)
        client.body(stream, b"x" * 100_000, end=False)
        assert first.wait(10)
        client.body(stream, b"x" * 100_000, end=True)
        assert client.finish(stream).body == b"200000"
        client.close()


def no_body(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """It yields nothing at all, as for a HEAD."""
    start_response("200 OK", [("X-Test-Header", "value")])
    return []


def late_start(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """A generator function: nothing happens before the first block is asked for."""
    start_response("200 OK", [("X-Test-Header", "value")])
    yield b"body"


def error_before_bytes(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """Its first head must not have left with the empty block."""
    start_response("500 Error", [])
    yield b""
    try:
        raise ValueError("replaced")
    except ValueError:
        start_response("200 OK", [("X-Test-Header", "value")], sys.exc_info())
    yield b"body"


@pytest.mark.parametrize("app", [no_body, late_start, error_before_bytes])
def test_hypercorn_331_when_the_head_is_sent(codec: str, running: Run, app: Any) -> None:
    with running(app, codec) as server:
        response = fetch(server, codec, "GET", "/")
        assert (response.status, response.reset) == (200, False)
        assert response.get(b"x-test-header") == b"value"
        assert response.body == (b"" if app is no_body else b"body")


@pytest.mark.parametrize("begun", [False, True])
def test_hypercorn_331_start_response_without_exc_info_again(codec: str, running: Run, begun: bool) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        if begun:
            yield b"begun"
        start_response("202 Accepted", [])
        yield b"never"

    with running(app, codec) as server:
        response = fetch(server, codec, "GET", "/")
        assert (response.status, response.reset) == ((200, True) if begun else (500, False))
        assert b"never" not in response.body
        assert only_record(server).fault is Fault.APPLICATION


# A2wsgi. Its 46 is in test_wsgi_clients.py: a client that does not read.


def too_long(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "3")])
    return iter([b"1234567890"] * 1000)


def not_bytes(environ: Environ, start_response: StartResponse) -> Iterable[Any]:
    start_response("200 OK", [])
    return iter([b"x" * 100_000, "text", b"x" * 100_000])


@pytest.mark.parametrize("app", [too_long, not_bytes])
def test_a2wsgi_48_a_block_that_cannot_be_sent(codec: str, running: Run, app: Any) -> None:
    """What took blocks from the thread died of the error; the thread waited for it for ever, and soon every thread."""

    def either(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return (hello if environ["PATH_INFO"] == "/alive" else app)(environ, start_response)

    with running(either, codec, threads=1) as server:
        for _ in range(3):
            fetch(server, codec, "GET", "/")
            assert fetch(server, codec, "GET", "/alive").body == b"/alive"


def test_a2wsgi_48_a_client_that_left(codec: str, running: Run) -> None:
    """The same by ``send`` raising what it raises when the client is gone."""
    blocks = threading.Semaphore(0)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/alive":
            return hello(environ, start_response)
        start_response("200 OK", [])
        return large()

    def large() -> Iterator[bytes]:
        for _ in range(10_000):
            blocks.release()
            yield b"x" * 100_000

    with running(app, codec, threads=1) as server:
        for _ in range(3):
            client = server.client(codec, False)
            client.begin("GET", "/", [], end=True)
            assert blocks.acquire(timeout=10)
            client.close()
            assert fetch(server, codec, "GET", "/alive").body == b"/alive"


def test_a_file_wrapper_of_somebody_else_is_an_iterable(codec: str, running: Run) -> None:
    """Frameworks bring wsgiref's along for servers that have none."""
    file = io.BytesIO(b"content" * 10_000)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return FileWrapper(file)

    with running(app, codec) as server:
        assert fetch(server, codec, "GET", "/").body == b"content" * 10_000
        wait_for(lambda: file.closed)


def test_the_standard_loop_serves_wsgi_too(codec: str, running: Run) -> None:
    with running(echo, codec, loop_factory=asyncio.new_event_loop) as server:
        assert fetch(server, codec, "POST", "/", b"x" * 200_000).body == b"x" * 200_000


def test_many_requests_do_not_mix(codec: str, running: Run) -> None:
    """Bodies of many sizes at once, both ways, on few threads."""
    with running(echo, codec, threads=3) as server:
        for turn in range(4):
            asked = []
            for number in range(12):
                body = bytes([number]) * (1 + turn * 40_000 + number * 7_000)
                client = server.client(codec)
                stream = client.begin("POST", "/", [], end=False)
                client.body(stream, body, end=True)
                asked.append((client, stream, body))
            for client, stream, body in asked:
                response = client.finish(stream)
                assert (response.status, response.body) == (200, body)
                client.close()


def test_what_is_under_way_when_the_server_stops_is_finished(codec: str, running: Run) -> None:
    gate = Gate()
    with running(gate, codec, threads=1) as server, gate:
        hold(server, codec, gate, 1)
        line_up(server, codec, "/queued")
        stopping = threading.Thread(target=server.drain, kwargs={"grace": 30.0})
        stopping.start()
        wait_for(lambda: server.runtime._listeners[0].service.draining)
        gate.open()
        stopping.join()  # h2 as a client takes nothing after a GOAWAY, so the records have to tell
        assert only_record(server, 2).fault is None
        assert [record.status for record in server.observer.records] == [200, 200]
