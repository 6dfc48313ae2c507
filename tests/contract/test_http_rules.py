"""Rules of RFC 9110, 9112 and 9113 for whole exchanges: in the front and through a pool, in every version of HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from sidegate.errors import Fault
from sidegate.observe import metrics
from tests.support.apps import Receive, Scope, Send, hello, read_body, respond, wait_for_disconnect
from tests.support.clients import Fields, Http2Client, Response, contains, request
from tests.support.raw_client import CHUNKED, NEXT, POST, check_refusal, exchange, fields_of
from tests.support.running import Run, RunningServer, fetch, record_of, wait_for


async def only_waits(scope: Scope, receive: Receive, send: Send) -> None:
    """Never answers."""
    await wait_for_disconnect(receive)


# Responses without a body.


def test_a_204_has_no_length_and_others_keep_it(codec: str, running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, b"", int(scope["path"][1:]), [(b"content-length", b"0"), (b"x", b"y")])

    with running(app, codec) as server:
        client = server.client(codec)
        for status, length in ((204, None), (304, b"0"), (205, b"0")):
            response = request(client, "GET", f"/{status}")
            assert (response.status, response.get(b"content-length"), response.get(b"x")) == (status, length, b"y")
            assert not response.reset
        assert request(client, "HEAD", "/200").get(b"content-length") == b"0"
        assert request(client, "HEAD", "/204").get(b"content-length") is None


@pytest.mark.front_only
@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"HEAD /" + b"a" * 10_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", 414),
        (b"HEAD / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"HEAD / HTTP/1.1\r\n\r\n", 400),
        (b"HEAD /\0", 400),
        (b"HEAD /a b HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"HEAD / HTTP/3.0\r\nhost: a\r\n\r\n", 505),
    ],
)
def test_a_refusal_of_a_head_request_has_no_body(running: Run, head: bytes, status: int) -> None:
    with running(hello) as server:
        response = exchange(server, head)
        assert response.startswith(b"HTTP/1.1 %d " % status)
        assert int(fields_of(response)[b"content-length"]) > 0
        assert response.endswith(b"\r\n\r\n")


@pytest.mark.front_only
@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [("/" + "a" * 10_000, [], 414), ("/", [(b"x", b"a" * 40_000)], 431), ("/a#b", [], 400)],
)
def test_a_refusal_of_a_head_request_has_no_body_in_http2(
    engine: str, running: Run, path: str, fields: Fields, status: int
) -> None:
    with running(hello, engine) as server:
        response = fetch(server, engine, "HEAD", path, headers=fields)
        assert (response.status, response.body, response.reset) == (status, b"", False)


@pytest.mark.front_only
def test_a_refused_request_of_http2_whose_method_was_not_kept_has_no_body(engine: str, running: Run) -> None:
    """Fields above the limit are not kept, and the method may be one of them."""
    with running(hello, engine) as server:
        client = server.client(engine)
        assert isinstance(client, Http2Client)
        large = (b":path", b"/" + b"a" * 40_000)
        stream = client.open([large, (b":method", b"HEAD"), (b":scheme", b"http"), (b":authority", b"a")], end=True)
        response = client.finish(stream)
        assert (response.status, response.body) == (431, b"")


# Refusals inside a body.

BROKEN = {
    "no size": (b"zz\r\n", 400, "bad_chunk"),
    "no CRLF after the data": (b"1\r\nabc", 400, "bad_chunk"),
    "a trailer without a colon": (b"0\r\nx\r\n\r\n", 400, "bad_field_name"),
    "a control byte in a trailer": (b"0\r\nx: \x01\r\n\r\n", 400, "bad_field_value"),
    "many trailers": (b"0\r\n" + b"x: y\r\n" * 200, 431, "too_many_fields"),
    "large trailers": (b"0\r\nx: " + b"y" * 40_000, 431, "trailers_too_large"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_request_that_breaks_in_its_body_is_refused_like_any_other(running: Run, case: str) -> None:
    data, status, reason = BROKEN[case]
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(AssertionError):
            await read_body(receive)
        await wait_for_disconnect(receive)
        seen.append("disconnect")

    with running(app) as server:
        check_refusal(exchange(server, CHUNKED + b"3\r\nabc\r\n" + data + NEXT), status)
        wait_for(lambda: server.observer.records)
        record = server.observer.records[0]
        assert (record.status, record.fault, record.reason) == (status, Fault.CLIENT, reason)
        assert server.count(metrics.REFUSED, "test", reason) == 1
        assert len(seen) <= 1  # a pool buffers a body before it asks for a worker


@pytest.mark.front_only
def test_the_application_learns_that_its_request_was_refused(running: Run) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())
        seen.append(await receive())
        await respond(send)

    with running(app) as server:
        sock = server.connect()
        sock.sendall(CHUNKED + b"3\r\nabc\r\n")
        wait_for(lambda: seen)
        sock.sendall(b"zz\r\n")
        wait_for(lambda: server.observer.records)
        assert [message["type"] for message in seen] == ["http.request", "http.disconnect"]


@pytest.mark.parametrize("trailers", [[(b"a", b"b")] * 101, [(b"a", b"b" * 40_000)]])
def test_trailers_above_a_limit_are_refused_in_http2(engine: str, running: Run, trailers: Fields) -> None:
    with running(only_waits, engine) as server:
        client = server.client(engine)
        assert isinstance(client, Http2Client)
        stream = client.begin("POST", "/", [], end=False)
        client.body(stream, b"abc", end=False)
        client.state.send_headers(stream, trailers, end_stream=True)
        client.flush()
        response = client.finish(stream)
        assert (response.status, response.reset) == (431, False)
        assert response.get(b"date")
        assert (response.get(b"x-request-id") or b"none") in response.body
        wait_for(lambda: server.observer.records)
        assert server.observer.records[0].fault is Fault.CLIENT


@pytest.mark.front_only
def test_trailers_above_a_limit_after_a_whole_response_change_nothing(engine: str, running: Run) -> None:
    free: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, scope["path"].encode())
        while scope["path"] == "/held" and not free:
            await asyncio.sleep(0.005)

    with running(app, engine) as server:
        client = server.client(engine)
        assert isinstance(client, Http2Client)
        stream = client.begin("POST", "/held", [], end=False)
        response = client.finish(stream)
        client.state.send_headers(stream, [(b"a", b"b")] * 101, end_stream=True)
        client.flush()
        assert request(client, "GET", "/next").body == b"/next"
        assert (response.status, response.body, response.reset) == (200, b"/held", False)
        free.append(True)
        assert record_of(server, "/held").fault is None
        assert server.count(metrics.REFUSED, "test", "too_many_fields") == 1


def test_a_response_that_has_begun_breaks_off(running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await wait_for_disconnect(receive)

    with running(app) as server:
        client = server.client("http1")
        stream = client.begin("POST", "/", [], end=False)
        client.body(stream, b"abc", end=False)
        client.until(stream, contains(b"begun"))
        client.sock.sendall(b"zz\r\n")
        assert client.finish(stream).reset
        client.close()


# The end of a connection is announced (RFC 9112 9.6).


async def early(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers without a look at the body."""
    await respond(send, b"early", 401)


@pytest.mark.front_only
def test_an_early_answer_announces_that_the_rest_is_not_read(running: Run) -> None:
    with running(early) as server:
        response = exchange(server, POST + b"content-length: 100000\r\n\r\nabc")
        assert response.startswith(b"HTTP/1.1 401 ")
        assert fields_of(response)[b"connection"] == b"close"


def test_a_body_that_is_too_large_is_refused_and_the_end_announced(running: Run) -> None:
    with running(only_waits, limits={"requestBody": "100Ki"}) as server:
        for body in (
            POST + b"content-length: 200000\r\n\r\nabc",
            CHUNKED + b"20000\r\n" + b"x" * 0x20000 + b"\r\n",
        ):
            check_refusal(exchange(server, body), 413)


def test_a_small_body_that_is_refused_keeps_the_connection(running: Run) -> None:
    with running(hello, limits={"requestBody": 10}) as server:
        response = exchange(server, POST + b"content-length: 20\r\n\r\n" + b"x" * 20 + NEXT)
        assert b"HTTP/1.1 413 " in response
        assert b"HTTP/1.1 200 " in response


@pytest.mark.parametrize(
    "framing", [b"content-length: 10\r\n\r\nabc", b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"]
)
def test_a_body_that_stops_is_answered_and_the_end_announced(running: Run, framing: bytes) -> None:
    with running(only_waits, timeouts={"bodyIdle": "100ms"}) as server:
        check_refusal(exchange(server, POST + framing), 408)


# The target.


def test_options_of_the_server_itself(codec: str, running: Run) -> None:
    """Whatever the routes; no application is asked."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("it was called")

    routes = [{"name": "one", "path": "/one", "hostnames": ["one.example"], "backend": "app"}]
    with running(app, codec, routes=routes) as server:
        response = options(server, codec)
        assert (response.status, response.body, response.get(b"content-length")) == (204, b"", None)
        assert response.get(b"allow") == b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
        assert fetch(server, codec, "OPTIONS", "/").status == 404


def options(server: RunningServer, codec: str) -> Response:
    """OPTIONS of the target ``*``."""
    client = server.client(codec)
    response = client.finish(client.begin("OPTIONS", "*", [], end=True))
    client.close()
    return response


@pytest.mark.parametrize(
    ("target", "host", "found"),
    [
        (b"http://one.example/x", b"one.example", b"route one, host one.example"),
        (b"http://one.example:80/x", b"one.example", b"route one, host one.example:80"),
        (b"http://ONE.example/x", b"other.example", b"route one, host ONE.example"),
        (b"http://other.example/x", b"one.example", b"route all, host other.example"),
        (b"/x", b"one.example:80", b"route one, host one.example:80"),
    ],
)
def test_the_authority_of_the_target_replaces_the_host(running: Run, target: bytes, host: bytes, found: bytes) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        await respond(send, b"host " + b", ".join(hosts))

    routes = [
        {"name": "one", "path": "/", "hostnames": ["one.example"], "backend": "app"},
        {"name": "all", "path": "/", "backend": "app"},
    ]
    with running(app, routes=routes) as server:
        response = exchange(server, b"GET %b HTTP/1.1\r\nhost: %b\r\nconnection: close\r\n\r\n" % (target, host))
        front: Any = getattr(server, "front", server)
        wait_for(lambda: front.observer.records)
        route = front.observer.records[0].route.name.encode()
        assert b"route " + route + b", " + response.partition(b"\r\n\r\n")[2] == found


@pytest.mark.parametrize(
    ("host", "status"), [(b"localhost", 200), (b"LOCALHOST:80", 200), (b"localhost:81", 400), (b"other", 400)]
)
def test_host_and_authority_agree_in_http2(engine: str, running: Run, host: bytes, status: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        await respond(send, b", ".join(hosts))

    with running(app, engine) as server:
        client = server.client(engine)
        assert isinstance(client, Http2Client)
        client.state.config.validate_outbound_headers = False
        response = request(client, "GET", "/", headers=[(b"host", host)])
        assert response.status == status
        assert status == 400 or response.body == b"localhost"


# Framing (RFC 9112 6.3).


@pytest.mark.front_only
@pytest.mark.parametrize(
    ("coding", "status"),
    [
        (b"chunked, gzip", 400),
        (b"gzip", 400),
        (b"identity", 400),
        (b"chunked, chunked", 400),
        (b"chunked, gzip, chunked", 400),
        (b"gzip, chunked", 501),
        (b"Chunked", 200),
    ],
)
def test_transfer_codings(running: Run, coding: bytes, status: int) -> None:
    with running(hello) as server:
        response = exchange(server, POST + b"transfer-encoding: " + coding + b"\r\n\r\n0\r\n\r\n" + NEXT)
        assert response.startswith(b"HTTP/1.1 %d " % status)
        if status != 200:
            check_refusal(response, status)
