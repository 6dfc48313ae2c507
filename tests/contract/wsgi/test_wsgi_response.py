"""The WSGI contract: ``start_response``, ``write``, and what an application returns (PEP 3333)."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from sidegate.errors import Fault
from tests.support.clients import Response, contains, request
from tests.support.running import Run, fetch, only_record, wait_for
from tests.support.wsgi import TEXT, App, Closing, Environ, StartResponse, hello, respond


def answered(running: Run, codec: str, app: App, method: str = "GET") -> tuple[Response, Any]:
    """The response of one request to ``app``, and its record; the one thread serves the next request too."""

    def guarded(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return (hello if environ["PATH_INFO"] == "/alive" else app)(environ, start_response)

    with running(guarded, codec, threads=1) as server:
        response = fetch(server, codec, method, "/")
        assert fetch(server, codec, "GET", "/alive").body == b"/alive"
        wait_for(lambda: len(server.observer.records) == 2)
        return response, next(record for record in server.observer.records if record.target == b"/")


# The head.


def test_status_and_header_fields(codec: str, running: Run) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        fields = [("X-Latin", "caf\xe9"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Empty", "")]
        return respond(start_response, b"hello", "404 Nothing Here", fields)

    response, record = answered(running, codec, app)
    assert (response.status, response.body, record.status) == (404, b"hello", 404)
    assert response.get(b"content-type") == b"text/plain"
    assert response.get(b"x-latin") == b"caf\xe9"
    assert response.get(b"x-empty") == b""
    assert [value for name, value in response.headers if name == b"set-cookie"] == [b"a=1", b"b=2"]
    assert response.get(b"content-length") == b"5"  # of the only block
    assert response.get(b"date") is not None


def test_fields_of_one_connection_only_do_not_leave_the_application(codec: str, running: Run) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return respond(start_response, b"x", headers=[("Connection", "upgrade"), ("Keep-Alive", "1"), ("Upgrade", "a")])

    response, _ = answered(running, codec, app)
    assert not {b"keep-alive", b"upgrade"} & {name for name, _ in response.headers}
    assert (b"connection", b"upgrade") not in response.headers


def test_an_application_may_end_the_connection(codec: str, running: Run) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return respond(start_response, b"x", headers=[("Connection", "close, X-Own"), ("X-Own", "1")])

    with running(app, codec) as server:
        client = server.client(codec)
        response = request(client, "GET", "/")
        assert (response.body, response.get(b"x-own"), response.get(b"x-sidegate-close")) == (b"x", None, None)
        assert response.get(b"connection") == (b"close" if codec == "http1" else None)
        if codec == "http1":
            assert client.sock.recv(1) == b""


def test_the_head_waits_for_the_first_block_with_bytes(codec: str, running: Run) -> None:
    go = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("500 Not Yet", [TEXT])
        yield b""
        yield b""
        try:
            raise ValueError("it goes wrong")
        except ValueError:
            start_response("418 Changed Its Mind", [("X-New", "1")], sys.exc_info())
        yield b""
        assert go.wait(60)
        yield b"first"

    with running(app, codec) as server:
        client = server.client(codec)
        stream = client.begin("GET", "/", [], end=True)
        client.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.until(stream, lambda response: response.status)
        client.sock.settimeout(10)
        go.set()
        response = client.finish(stream)
        client.close()
    assert (response.status, response.get(b"x-new"), response.get(b"content-type")) == (418, b"1", None)
    assert response.body == b"first"


def test_start_response_may_come_with_the_first_iteration(codec: str, running: Run) -> None:
    """PEP 3333: "servers must not assume that start_response() has been called before they begin iterating"."""

    class Lazy:
        def __init__(self, environ: Environ, start_response: StartResponse) -> None:
            self.start_response = start_response

        def __iter__(self) -> Iterator[bytes]:
            self.start_response("202 Accepted", [])
            yield b"lazy"

    response, _ = answered(running, codec, Lazy)
    assert (response.status, response.body) == (202, b"lazy")


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "304 Not Modified", "404 Not Found"])
def test_an_empty_iterable_has_a_head_all_the_same(codec: str, running: Run, status: str) -> None:
    """Asgiref 41 sent no head, hypercorn 331 made a 500 of it."""
    bodies: list[Iterable[bytes]] = [[], [b""], [b"", b""], (), iter([]), {}, Closing([]), Closing([b"", b""])]
    left = iter(bodies)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, [("X-Test", "value")])
        return next(left)

    with running(app, codec) as server:
        client = server.client(codec)
        for _ in bodies:
            response = request(client, "GET", "/")
            assert (response.status, response.body, response.reset) == (int(status[:3]), b"", False)
            assert response.get(b"x-test") == b"value"
        client.close()
        assert only_record(server, len(bodies)).fault is None


def test_exc_info_before_the_head_is_out_replaces_it(codec: str, running: Run) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("X-Old", "1")])
        try:
            raise ValueError("a change of mind")
        except ValueError:
            start_response("503 Sorry", [("X-New", "1")], sys.exc_info())
        return [b"sorry"]

    response, record = answered(running, codec, app)
    assert (response.status, response.body, response.reset) == (503, b"sorry", False)
    assert (response.get(b"x-old"), response.get(b"x-new")) == (None, b"1")
    assert record.fault is None


def test_exc_info_after_the_head_is_out_raises_what_it_was_given(codec: str, running: Run) -> None:
    seen = []

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        yield b"begun"
        error = ValueError("too late")
        try:
            try:
                raise error
            except ValueError:
                start_response("500 Too Late", [], sys.exc_info())
        except ValueError as raised:
            seen.append(raised is error)
            raise
        yield b"never"

    response, record = answered(running, codec, app)
    assert (response.status, response.body, response.reset) == (200, b"begun", True)
    assert seen == [True]
    assert (record.fault, record.reason) == (Fault.APPLICATION, "exception")


def test_exc_info_is_not_kept(codec: str, running: Run) -> None:
    kept = []

    class Marker(Exception):
        pass

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            raise Marker
        except Marker as error:
            kept.append(sys.getrefcount(error))
            start_response("200 OK", [TEXT], sys.exc_info())
            kept.append(sys.getrefcount(error))
        return [b"x"]

    answered(running, codec, app)
    assert kept[0] == kept[1]


def test_start_response_twice_raises_in_the_application(codec: str, running: Run) -> None:
    raised = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        try:
            start_response("202 Accepted", [])
        except Exception as error:
            raised.append(error)
            raise
        return []

    response, record = answered(running, codec, app)
    assert response.status == 500
    assert len(raised) == 1
    assert record.fault is Fault.APPLICATION


def test_fields_are_judged_while_the_application_can_still_answer(codec: str, running: Run) -> None:
    """PEP 3333: servers should check for errors in the headers at the time start_response is called."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            start_response("200 OK", [("X-Bad", "a\r\nb: c")])
        except Exception:  # noqa: BLE001 - which one is the server's business
            start_response("500 Caught", [], sys.exc_info())
            return [b"caught"]
        return [b"not caught"]

    response, _ = answered(running, codec, app)
    assert (response.status, response.body) == (500, b"caught")


def test_a_list_of_fields_is_taken_when_it_is_given(codec: str, running: Run) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        fields = [("X-One", "1")]
        start_response("200 OK", fields)
        fields.append(("X-Two", "2"))
        return [b"x"]

    response, _ = answered(running, codec, app)
    assert response.get(b"x-one") == b"1"


# The body.


def test_blocks_leave_one_by_one(codec: str, running: Run) -> None:
    """PEP 3333, "Buffering and Streaming": no block is held back while the application makes the next one."""
    steps = [threading.Event() for _ in range(3)]

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        for number, step in enumerate(steps):
            yield b"block %d" % number
            assert step.wait(60)

    with running(app, codec) as server:
        client = server.client(codec)
        stream = client.begin("GET", "/", [], end=True)
        for number, step in enumerate(steps):
            client.until(stream, contains(b"block %d" % number))
            step.set()
        assert client.finish(stream).body == b"block 0block 1block 2"
        client.close()


def test_write_and_then_the_iterable(codec: str, running: Run) -> None:
    go = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [TEXT])
        write(b"")
        write(b"written, ")
        assert go.wait(60)
        write(b"written again, ")
        return [b"returned", b"", b"."]

    with running(app, codec) as server:
        client = server.client(codec)
        stream = client.begin("GET", "/", [], end=True)
        client.until(stream, lambda response: b"written, " in response.body)
        go.set()
        assert client.finish(stream).body == b"written, written again, returned."
        client.close()


def test_write_alone_is_a_whole_response(codec: str, running: Run) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])(b"written")
        return []

    response, _ = answered(running, codec, app)
    assert (response.body, response.reset) == (b"written", False)


@pytest.mark.parametrize("blocks", [1, 3])
def test_bodies_of_any_size(codec: str, running: Run, blocks: int) -> None:
    sizes = [1, 65_535, 65_536, 65_537, 1_000_000]
    kinds: dict[str, Callable[[list[bytes]], Iterable[bytes]]] = {"list": list, "tuple": tuple, "iterator": iter}

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        _, kind, size = environ["PATH_INFO"].split("/")
        return kinds[kind](parts(int(size)))

    def parts(size: int) -> list[bytes]:
        return [bytes([number]) * size for number in range(blocks)]

    with running(app, codec) as server:
        client = server.client(codec)
        for number, size in enumerate(sizes, 1):
            for kind in kinds:
                response = request(client, "GET", f"/{kind}/{size}")
                assert (response.status, response.body) == (200, b"".join(parts(size))), (kind, size)
            assert only_record(server, 3 * number).bytes_out == size * blocks
        client.close()


def test_head_has_no_body_and_the_iterable_is_closed(codec: str, running: Run) -> None:
    bodies: list[Closing] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "10")])
        bodies.append(Closing([b"01234", b"56789"]))
        return bodies[-1]

    with running(app, codec) as server:
        client = server.client(codec)
        for method in ("HEAD", "GET", "HEAD"):
            response = request(client, method, "/")
            assert (response.status, response.reset) == (200, False)
            assert response.get(b"content-length") == b"10"
            assert response.body == (b"" if method == "HEAD" else b"0123456789")
        client.close()
        wait_for(lambda: [body.closed for body in bodies] == [1, 1, 1])


@pytest.mark.parametrize("status", ["204 No Content", "205 Reset Content", "304 Not Modified"])
def test_a_body_where_none_may_be_never_gets_out(codec: str, running: Run, status: str) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, [])
        return [b"forbidden"]

    with running(app, codec) as server:
        client = server.client(codec)
        for _ in range(2):
            response = request(client, "GET", "/")
            assert (response.status, response.body) == (int(status[:3]), b"")
        client.close()


def test_an_upgrade_that_is_required_is_named(codec: str, running: Run) -> None:
    """RFC 9110 15.5.22; HTTP/2 has no upgrade."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("426 Upgrade Required", [("Upgrade", "TLS/1.0")])
        return [b"no"]

    with running(app, codec) as server:
        response = fetch(server, codec, "GET", "/")
        assert (response.status, response.body) == (426, b"no")
        named = (b"TLS/1.0", b"upgrade") if codec == "http1" else (None, None)
        assert (response.get(b"upgrade"), response.get(b"connection")) == named


# Content-Length (PEP 3333, "Handling the Content-Length Header").


@pytest.mark.parametrize("blocks", [[b"0123"], [b"01", b"2345"], [b"01", b"23", b"45"], [b"", b"0123", b"", b"x"]])
def test_no_more_leaves_than_the_length_says(codec: str, running: Run, blocks: list[bytes]) -> None:
    """ "The server should not transmit more bytes, and should stop iterating when enough data has been sent." """
    body = Closing([*blocks, *[b"more"] * 5])
    taken: list[bytes] = []

    def counted(blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            taken.append(block)
            yield block

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "4")])
        body.blocks = counted(body.blocks)
        return body

    response, _ = answered(running, codec, app)
    assert (response.status, response.body, response.reset) == (200, b"0123", False)
    assert body.closed == 1
    assert len(taken) <= len(blocks) + 1


def test_write_beyond_the_length_raises(codec: str, running: Run) -> None:
    raised = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [("Content-Length", "4")])
        write(b"0123")
        try:
            write(b"4")
        except Exception as error:
            raised.append(error)
            raise
        return []

    response, _ = answered(running, codec, app)
    assert response.body == b"0123"
    assert len(raised) == 1


def test_less_than_the_length_says_breaks_the_response_off(codec: str, running: Run) -> None:
    body = Closing([b"01"])

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "4")])
        return body

    response, record = answered(running, codec, app)
    assert response.status == 500 or (response.body, response.reset) == (b"01", True)
    assert (record.fault, record.reason) == (Fault.APPLICATION, "content_length_mismatch")
    assert body.closed == 1
