"""The ASGI contract: what an application may rely on, the same over every codec.

Each test runs a small application in a real runtime and talks to it by h11 or h2 on a real socket.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidegate.errors import Fault
from sidegate.route import NO_ROUTE
from sidegate.wire.fields import RESPONSE_BLOCK, RESPONSE_FIELDS
from tests.support.apps import Receive, Scope, Send, echo, respond, share_a_pool, wait_for_disconnect
from tests.support.clients import Fields, Http2Client, Response, request
from tests.support.running import Run, RunningServer, fetch, only_record, record_of, wait_for

# The scope.


def test_the_scope_is_exact(codec: str, running: Run) -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await share_a_pool(scope, receive, send)
            return
        seen.append(scope)
        await respond(send)

    with running(app, codec, lifespan="on") as server:
        client = server.client(codec)
        local = client.sock.getsockname()
        request(client, "GET", "/a%20b/%C3%A9?x=%201&y", headers=[(b"X-Two", b"1"), (b"x-two", b"2")]
                if codec == "http1" else [(b"x-two", b"1"), (b"x-two", b"2")])  # fmt: skip
        client.close()
    scope = seen[0]
    assert scope["type"] == "http"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}
    assert scope["http_version"] == ("1.1" if codec == "http1" else "2")
    assert (scope["method"], scope["scheme"]) == ("GET", "http")
    assert scope["path"] == "/a b/é"
    assert scope["raw_path"] == b"/a%20b/%C3%A9"
    assert scope["query_string"] == b"x=%201&y"
    assert scope["root_path"] == ""
    assert scope["headers"] == [(b"host", b"localhost"), (b"x-two", b"1"), (b"x-two", b"2")]
    assert tuple(scope["client"]) == local
    assert tuple(scope["server"]) == server.address
    assert scope["state"] == {"pool": "shared"}
    assert set(scope["extensions"]) == {
        "http.response.early_hint",
        "http.response.pathsend",
        "http.response.trailers",
        "http.response.zerocopysend",
    }


@pytest.mark.parametrize("method", ["PROPFIND", "BREW"])
def test_every_method_reaches_the_application(codec: str, running: Run, method: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, scope["method"].encode())

    with running(app, codec) as server:
        response = fetch(server, codec, method, "/")
        assert (response.status, response.body) == (200, method.encode())
        assert fetch(server, codec, method.lower(), "/").status == 501


def fetch_of_scheme(server: RunningServer, codec: str, scheme: str, headers: Fields | None = None) -> Response:
    """A request whose target, or ``:scheme``, names a scheme, whatever the connection's is."""
    client = server.client(codec)
    if isinstance(client, Http2Client):
        client.scheme = scheme.encode()
    response = request(client, "GET", "/x" if codec != "http1" else f"{scheme}://localhost/x", headers=headers)
    client.close()
    return response


async def tell_the_scheme(scope: Scope, receive: Receive, send: Send) -> None:
    assert not any(name.startswith(b"x-sidegate") for name, _ in scope["headers"])
    await respond(send, f"{scope['scheme']} {scope['path']}".encode())


def test_the_scheme_of_a_trusted_proxys_request_counts(codec: str, running: Run) -> None:
    with running(tell_the_scheme, codec, trustedProxies=["127.0.0.0/8"]) as server:
        for scheme in ("http", "https"):
            response = fetch_of_scheme(server, codec, scheme)
            assert (response.status, response.body) == (200, f"{scheme} /x".encode())
        said = [(b"x-forwarded-proto", b"http")]  # the more explicit word
        assert fetch_of_scheme(server, codec, "https", said).body == b"http /x"


def test_another_scheme_than_the_connections_is_misdirected(codec: str, running: Run) -> None:
    """RFC 9110 7.4."""
    with running(tell_the_scheme, codec) as server:
        assert fetch_of_scheme(server, codec, "http").body == b"http /x"
        assert fetch_of_scheme(server, codec, "https").status == 421
        assert only_record(server, 2).reason == "bad_scheme"


def test_state_is_a_copy_for_each_request(codec: str, running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["count"] = 0
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        scope["state"]["count"] += 1
        await respond(send, b"%d" % scope["state"]["count"])

    with running(app, codec, lifespan="on") as server:
        client = server.client(codec)
        assert [request(client, "GET", "/").body for _ in range(2)] == [b"1", b"1"]
        client.close()


def test_dot_segments_are_gone_before_anyone_judges_the_path(codec: str, running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, scope["path"].encode() + b" " + scope["raw_path"])

    with running(app, codec) as server:
        assert fetch(server, codec, "GET", "/public/%2e%2e/admin").body == b"/admin /admin"
        assert fetch(server, codec, "GET", "/../x").status == 400


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="fresh")


def test_every_exchange_has_a_task_and_a_context_of_its_own(codec: str, running: Run) -> None:
    tasks = set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        tasks.add(id(asyncio.current_task()))
        before = VARIABLE.get()
        VARIABLE.set("used")
        await respond(send, before.encode())

    with running(app, codec) as server:
        client = server.client(codec)
        assert [request(client, "GET", "/").body for _ in range(3)] == [b"fresh"] * 3
        client.close()
    assert tasks


# The request body.


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 1_000_000])
def test_a_body_arrives_whole(codec: str, running: Run, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    with running(echo, codec) as server:
        response = fetch(server, codec, "POST", "/", body[:size])
        assert (response.status, response.body) == (200, body[:size])
        record = only_record(server)
        assert (record.bytes_in, record.bytes_out) == (size, size)


def test_a_body_of_unknown_length_arrives_whole(codec: str, running: Run) -> None:
    with running(echo, codec) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/", [], end=False)
        for piece in (b"one ", b"two ", b"three"):
            client.body(stream, piece, end=False)
        client.body(stream, b"", end=True)
        assert client.finish(stream).body == b"one two three"
        client.close()


def test_a_body_over_the_limit_is_a_413(codec: str, running: Run) -> None:
    with running(echo, codec, limits={"requestBody": "1Ki"}) as server:
        assert fetch(server, codec, "POST", "/", b"x" * 1024).status == 200
        assert fetch(server, codec, "POST", "/", b"x" * 1025).status == 413
        client = server.client(codec)
        stream = client.begin("POST", "/", [], end=False)
        client.body(stream, b"x" * 1025, end=False)
        assert client.finish(stream).status == 413
        client.close()
        assert only_record(server, 3).reason == "body_too_large"


def test_continue_is_sent_only_when_the_application_reads(codec: str, running: Run) -> None:
    read = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/reads":
            await echo(scope, receive, send)
        else:
            await respond(send, b"no need", 401)
        read.set()

    expect = [(b"expect", b"100-continue"), (b"content-length", b"4")]
    with running(app, codec) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/reads", expect, end=False)
        assert not read.wait(0.05)
        client.body(stream, b"body", end=True)
        response = client.finish(stream)
        assert response.body == b"body"
        assert [status for status, _ in response.informational] == [100]
        client.close()
        client = server.client(codec)
        response = client.finish(client.begin("POST", "/refuses", expect, end=False))
        assert (response.status, response.informational) == (401, [])
        client.close()


def test_after_the_body_receive_waits_for_the_end(codec: str, running: Run) -> None:
    messages: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        later = asyncio.ensure_future(receive())
        await asyncio.sleep(0.02)
        assert not later.done()
        await respond(send, b"x")
        messages.append((await later)["type"])
        messages.append((await receive())["type"])

    with running(app, codec) as server:
        assert fetch(server, codec, "GET", "/").body == b"x"
        only_record(server)
    assert messages == ["http.disconnect", "http.disconnect"]


# The response.


def test_a_whole_body_gets_a_length_and_every_response_a_date(codec: str, running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, b"hello", headers=[(b"X-Name", b"v")])

    with running(app, codec) as server:
        response = fetch(server, codec, "GET", "/")
        assert response.body == b"hello"
        assert response.get(b"content-length") == b"5"
        assert response.get(b"x-name") == b"v"
        assert response.get(b"date") is not None


def test_an_application_may_set_its_own_date(codec: str, running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, headers=[(b"date", b"Sun, 22 Nov 2026 00:00:00 GMT"), (b"connection", b"upgrade")])

    with running(app, codec) as server:
        headers = fetch(server, codec, "GET", "/").headers
        assert [value for name, value in headers if name == b"date"] == [b"Sun, 22 Nov 2026 00:00:00 GMT"]
        assert (b"connection", b"upgrade") not in headers


MOST_FIELDS = [(b"x-%d" % number, b"y") for number in range(RESPONSE_FIELDS)]
LARGEST_BLOCK = [(b"x-%d" % number, b"y" * (RESPONSE_BLOCK // 4 - 3)) for number in range(4)]


@pytest.mark.parametrize("fields", [MOST_FIELDS, LARGEST_BLOCK], ids=["fields", "bytes"])
def test_the_largest_head(codec: str, running: Run, fields: Fields) -> None:
    """It passes with what Sidegate adds, through a pool too; a larger one is an error (``BROKEN``)."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, b"hello", headers=fields)

    with running(app, codec) as server:
        response = fetch(server, codec, "GET", "/")
        assert (response.status, response.body) == (200, b"hello")
        assert [pair for pair in response.headers if pair[0].startswith(b"x-")] == fields
        assert response.get(b"date") is not None


CLOSING: list[Fields] = [
    [(b"connection", b"close, x-own"), (b"x-own", b"1")],
    [(b"Connection", b"X-Own"), (b"x-own", b"1"), (b"Connection", b"Close")],
]


@pytest.mark.parametrize("fields", CLOSING, ids=["one", "two"])
@pytest.mark.parametrize("size", [0, 5])
def test_an_application_may_end_the_connection(codec: str, running: Run, fields: Fields, size: int) -> None:
    """By ``Connection: close``, in HTTP/1.1 only. The fields that ``connection`` names are removed (RFC 9110 7.6.1)."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        own = fields if scope["path"] == "/last" else []
        await respond(send, b"x" * size, headers=own)

    with running(app, codec) as server:
        client = server.client(codec)
        assert request(client, "GET", "/").get(b"connection") is None
        last = request(client, "GET", "/last")
        assert (last.body, last.get(b"x-own"), last.get(b"x-sidegate-close")) == (b"x" * size, None, None)
        if codec == "http1":
            assert last.get(b"connection") == b"close"
            assert client.sock.recv(1) == b""
        else:
            assert last.get(b"connection") is None
            assert request(client, "GET", "/").body == b"x" * size


@pytest.mark.parametrize("pieces", [1, 2])
def test_a_205_has_no_content(codec: str, running: Run, pieces: int) -> None:
    """RFC 9110 15.3.6: neither the body of an application nor its length leaves."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 205, "headers": [(b"content-length", b"4")]})
        for left in reversed(range(pieces)):
            await send({"type": "http.response.body", "body": b"body"[: 4 // pieces], "more_body": bool(left)})

    with running(app, codec) as server:
        client = server.client(codec)
        for _ in range(2):
            response = request(client, "GET", "/")
            assert (response.status, response.body, response.reset) == (205, b"", False)
            assert response.get(b"content-length") == b"0"
            assert response.get(b"transfer-encoding") is None
        client.close()


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_responses_without_a_body(codec: str, running: Run, method: str, status: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"10")] if status != 204 else []
        await respond(send, b"0123456789" if scope["method"] == "HEAD" else b"", status, headers)

    with running(app, codec) as server:
        client = server.client(codec)
        for _ in range(2):
            response = request(client, method, "/")
            assert (response.status, response.body, response.reset) == (status, b"", False)
            assert response.get(b"content-length") == (None if status == 204 else b"10")
        client.close()


@pytest.mark.parametrize("trailers", [False, True])
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_a_response_without_body_needs_no_body_message(
    codec: str, running: Run, method: str, status: int, trailers: bool
) -> None:
    """Also if the application promised trailers. The connection goes on with the next request."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [], "trailers": trailers})

    with running(app, codec) as server:
        client = server.client(codec)
        for _ in range(2):
            assert request(client, method, "/").status == status


def test_trailers(codec: str, running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"x"})
        await send({"type": "http.response.trailers", "headers": [(b"one", b"1")], "more_trailers": True})
        await send({"type": "http.response.trailers", "headers": [(b"two", b"2")]})

    with running(app, codec) as server:
        response = fetch(server, codec, "GET", "/", headers=[(b"te", b"trailers")])
        assert (response.body, response.trailers) == (b"x", [(b"one", b"1"), (b"two", b"2")])


def test_an_upgrade_that_is_required_is_named(codec: str, running: Run) -> None:
    """RFC 9110 15.5.22; over HTTP/2, and in other responses, the field may not be."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = iter([(b"Upgrade", b"TLS/1.0"), (b"connection", b"Upgrade"), (b"upgrade", b"HTTP/3")])
        await respond(send, b"no", 200 if scope["path"] == "/fine" else 426, headers)

    with running(app, codec) as server:
        client = server.client(codec)
        for path in ("/", "/fine", "/"):
            response = request(client, "GET", path)
            assert (response.status, response.body) == (200 if path == "/fine" else 426, b"no")
            assert not any(name.startswith(b"x-sidegate") for name, _ in response.headers)
            found = [value for name, value in response.headers if name in (b"upgrade", b"connection")]
            named = codec == "http1" and path == "/"
            assert found == ([b"TLS/1.0", b"upgrade", b"HTTP/3", b"upgrade"] if named else [])
        client.close()


@pytest.mark.parametrize("te", [True, False])
@pytest.mark.parametrize("case", ["trailers", "none", "HEAD", "length"])
def test_trailers_are_announced_only_where_they_are_sent(codec: str, running: Run, case: str, te: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"Trailer", b"sum"), *([(b"content-length", b"1")] if case == "length" else [])]
        promised = case != "none"
        await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": promised})
        await send({"type": "http.response.body", "body": b"x"})
        if promised:
            await send({"type": "http.response.trailers", "headers": [(b"sum", b"1")]})

    with running(app, codec) as server:
        method = "HEAD" if case == "HEAD" else "GET"
        response = fetch(server, codec, method, "/", headers=[(b"te", b"trailers")] if te else [])
        assert (response.status, response.reset) == (200, False)
        assert response.get(b"trailer") == (b"sum" if response.trailers else None)
        if case == "trailers" and (te or codec != "http1"):
            assert response.trailers == [(b"sum", b"1")]


def test_http_1_0_is_told_of_no_trailers(running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"trailer", b"sum")]
        await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
        await send({"type": "http.response.body", "body": b"x"})
        await send({"type": "http.response.trailers", "headers": [(b"sum", b"1")]})

    with running(app, "http1") as server, server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.0\r\nTE: trailers\r\nConnection: te\r\n\r\n")
        received = b"".join(iter(lambda: sock.recv(4096), b""))
        assert received.endswith(b"\r\n\r\nx")
        assert b"trailer" not in received
        assert b"sum" not in received


def test_fields_that_may_be_no_trailers_are_dropped(codec: str, running: Run) -> None:
    """RFC 9110 6.5.1. A client of HTTP/2 takes content-length there for a malformed response."""
    names = (b"Content-Length", b"transfer-encoding", b"Host", b"trailer", b"content-encoding", b"set-cookie", b"te")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"x"})
        kept = [(b"Sum", b"1")] if scope["path"] == "/some" else []
        await send({"type": "http.response.trailers", "headers": [*[(name, b"0") for name in names], *kept]})

    with running(app, codec) as server:
        for path, trailers in (("/some", [(b"sum", b"1")]), ("/none", [])):
            response = fetch(server, codec, "GET", path, headers=[(b"te", b"trailers")])
            assert (response.body, response.trailers, response.reset) == (b"x", trailers, False)


def test_promised_trailers_that_never_come_break_the_response_off(codec: str, running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"x"})

    with running(app, codec) as server:
        assert fetch(server, codec, "GET", "/").reset
        assert only_record(server).reason == "no_response"


def test_early_hints(codec: str, running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>; rel=preload"]})
        await respond(send, b"x")

    with running(app, codec) as server:
        response = fetch(server, codec, "GET", "/")
        links = [(b"link", b"</a.css>; rel=preload"), (b"link", b"</b.js>; rel=preload")]
        assert response.informational == [(103, links)]
        assert response.body == b"x"


def test_files_by_path_and_by_descriptor(codec: str, running: Run, tmp_path: Any) -> None:
    content = bytes(range(256)) * 8192  # 2 MiB: more than any buffer on the way
    path = tmp_path / "file"
    path.write_bytes(content)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", scope["query_string"])] if scope["query_string"] else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["path"] == "/path":
            await send({"type": "http.response.pathsend", "path": str(path)})
            return
        with path.open("rb") as file:
            message = {"type": "http.response.zerocopysend", "file": file}
            await send({**message, "offset": 10, "count": 100_000, "more_body": True})
            file.seek(100_010)
            await send(message)

    with running(app, codec) as server:
        for _ in range(2):  # the connection goes on after a file
            client = server.client(codec)
            response = request(client, "GET", "/path")
            assert response.body == content
            assert response.get(b"content-length") == b"%d" % len(content)
            response = request(client, "GET", f"/range?{len(content) - 10}")
            assert response.body == content[10:]
            assert request(client, "GET", "/range").body == content[10:]
            assert request(client, "HEAD", "/path").body == b""
            client.close()
        assert only_record(server, 8).fault is None
        assert server.observer.records[0].bytes_out == len(content)


def test_a_client_that_does_not_read_makes_send_wait(codec: str, running: Run) -> None:
    sent: list[None] = []
    finished = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(2000):
            await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
            sent.append(None)
        await send({"type": "http.response.body"})
        finished.set()

    with running(app, codec) as server:
        client = server.client(codec)
        stream = client.begin("GET", "/", [], end=True)
        assert not finished.wait(0.5)
        assert len(sent) < 1900  # what the kernel's buffers hold is lost, the rest waits here
        assert len(client.finish(stream).body) == 20_000_000
        assert finished.wait(10)
        client.close()


# The client goes away.


def test_an_application_is_told_that_its_client_left(codec: str, running: Run) -> None:
    outcome: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"it began", "more_body": True})
        await wait_for_disconnect(receive)
        try:
            await send({"type": "http.response.body", "body": b"y", "more_body": True})
        except OSError as error:
            outcome.append(type(error).__name__)
            raise

    with running(app, codec) as server:
        client = server.client(codec)
        client.begin("GET", "/", [], end=True)
        received = b""
        while b"it began" not in received:  # it has passed all that stands between the two
            received += client.sock.recv(65536)
        client.close()
        record = only_record(server)
        wait_for(lambda: outcome)
        assert outcome == ["ClientDisconnected"]
        assert (record.fault, record.reason, record.status) == (Fault.CLIENT, "client_disconnected", 200)


def test_a_sender_that_waits_is_freed_when_the_client_leaves(codec: str, running: Run) -> None:
    outcome: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        except OSError as error:
            outcome.append(type(error).__name__)
            raise

    with running(app, codec) as server:
        client = server.client(codec)
        client.begin("GET", "/", [], end=True)
        threading.Event().wait(0.2)
        client.close()
        assert only_record(server).reason == "client_disconnected"
        wait_for(lambda: outcome)
        assert outcome == ["ClientDisconnected"]


def test_an_applications_generator_ends_with_its_listener(codec: str, running: Run) -> None:
    """By reference counting, as its author expects: no cycle of the server's keeps it until the next collection."""
    begun, ended = threading.Event(), threading.Event()

    async def events() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"tick"
                begun.set()
                await asyncio.sleep(0.01)
        finally:
            ended.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = events()  # held by this frame, and so by the traceback of what `send` raises
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async for event in body:
            await send({"type": "http.response.body", "body": event, "more_body": True})

    with running(app, codec) as server:
        client = server.client(codec)
        client.begin("GET", "/", [], end=True)
        assert begun.wait(10)
        gc.disable()
        try:
            client.close()
            assert ended.wait(10)
        finally:
            gc.enable()


def test_a_reset_of_one_stream_is_a_disconnect_of_that_exchange_only(engine: str, running: Run) -> None:
    gone = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/wait":
            await wait_for_disconnect(receive)
            gone.set()
        else:
            await respond(send, b"alive")

    with running(app, engine) as server:
        client = server.client(engine)
        assert isinstance(client, Http2Client)
        stream = client.begin("GET", "/wait", [], end=True)
        assert request(client, "GET", "/").body == b"alive"
        client.reset(stream)
        assert gone.wait(10)
        assert request(client, "GET", "/").body == b"alive"
        client.close()


def test_frames_that_nobody_reads_do_not_stop_other_streams(engine: str, running: Run) -> None:
    """Hypercorn's read loop awaits the application's queue: 11 unread frames on one stream freeze all others."""
    release = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/hold":
            while not release.is_set():
                await asyncio.sleep(0.01)
            await echo(scope, receive, send)
        else:
            await respond(send, b"at once")

    with running(app, engine) as server:
        client = server.client(engine)
        stream = client.begin("POST", "/hold", [], end=False)
        for _ in range(200):
            client.body(stream, b"frame", end=False)
        assert request(client, "GET", "/").body == b"at once"
        release.set()
        client.body(stream, b"", end=True)
        assert client.finish(stream).body == b"frame" * 200
        client.close()


# Applications that fail.


def failing(running: Run, codec: str, app: Any) -> tuple[Response, Any]:
    """The response and record of one request to ``app``; another connection is served before and after."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/alive":
            await respond(send, b"alive")
        else:
            await app(scope, receive, send)

    with running(guarded, codec) as server:
        response = fetch(server, codec, "GET", "/")
        assert fetch(server, codec, "GET", "/alive").body == b"alive"
        wait_for(lambda: len(server.observer.records) == 2)
        return response, next(record for record in server.observer.records if record.target == b"/")


async def raises(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("no way")


async def exits(scope: Scope, receive: Receive, send: Send) -> None:
    raise SystemExit(1)


async def cancels(scope: Scope, receive: Receive, send: Send) -> None:
    """Awaits a task that it has cancelled itself."""
    task = asyncio.ensure_future(asyncio.sleep(60))
    asyncio.get_running_loop().call_soon(task.cancel)
    await task


async def returns(scope: Scope, receive: Receive, send: Send) -> None:
    pass


def sends(*messages: Any) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


START = {"type": "http.response.start", "status": 200, "headers": []}


def start(**fields: Any) -> dict[str, Any]:
    return {**START, **fields}


BROKEN = {
    "raises": (raises, "exception"),
    "exits": (exits, "exception"),
    "awaits a cancelled task": (cancels, "exception"),
    "returns": (returns, "no_response"),
    "only starts": (sends(START), "no_response"),
    "starts twice": (sends(START, START), "bad_message"),
    "no start": (sends({"type": "http.response.body", "body": b""}), "bad_message"),
    "unknown message": (sends({"type": "http.response.push"}), "bad_message"),
    "no type": (sends({}), "exception"),
    "status is text": (sends(start(status="200")), "bad_message"),
    "status is 99": (sends(start(status=99)), "bad_message"),
    "status is 100": (sends(start(status=100)), "bad_message"),
    "name is text": (sends(start(headers=[("a", b"b")])), "bad_message"),
    "value is text": (sends(start(headers=[(b"a", "b")])), "bad_message"),
    "value has CR LF": (sends(start(headers=[(b"a", b"b\r\nc: d")])), "bad_message"),
    "name has a space": (sends(start(headers=[(b"a b", b"c")])), "bad_message"),
    "headers are None": (sends(start(headers=None)), "bad_message"),
    "two lengths": (
        sends(start(headers=[(b"content-length", b"1"), (b"content-length", b"2")])),
        "bad_message",
    ),
    "body is text": (sends(START, {"type": "http.response.body", "body": "text"}), "bad_message"),
    "longer than its length": (
        sends(start(headers=[(b"content-length", b"1")]), {"type": "http.response.body", "body": b"ab"}),
        "content_length_mismatch",
    ),
    "shorter than its length": (
        sends(start(headers=[(b"content-length", b"3")]), {"type": "http.response.body", "body": b"ab"}),
        "content_length_mismatch",
    ),
    "early hint of no bytes": (sends({"type": "http.response.early_hint", "links": None}), "bad_message"),
    "early hint with CR": (sends({"type": "http.response.early_hint", "links": [b"a\rb"]}), "bad_message"),
    "early hint too late": (sends(START, {"type": "http.response.early_hint", "links": []}), "bad_message"),
    "trailers without promise": (sends(START, {"type": "http.response.trailers", "headers": []}), "bad_message"),
    "path that is not there": (sends(START, {"type": "http.response.pathsend", "path": "/no/file"}), "file_failed"),
    "path of a folder": (sends(START, {"type": "http.response.pathsend", "path": "/"}), "bad_message"),
    "file that is none": (sends(START, {"type": "http.response.zerocopysend", "file": None}), "bad_message"),
    "file before the start": (sends({"type": "http.response.pathsend", "path": __file__}), "bad_message"),
    "too many fields": (sends(start(headers=[*MOST_FIELDS, (b"x", b"y")])), "response_head_too_large"),
    "too many bytes of fields": (sends(start(headers=[*LARGEST_BLOCK, (b"x", b"")])), "response_head_too_large"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_failure_before_the_head_is_a_500_with_a_request_id(
    codec: str, running: Run, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    app, reason = BROKEN[case]
    response, record = failing(running, codec, app)
    assert response.status == 500
    assert response.get(b"x-request-id") == record.request_id.encode()
    assert record.request_id.encode() in response.body
    assert (record.fault, record.reason, record.status) == (Fault.APPLICATION, reason, 500)
    assert any(record.request_id in line.getMessage() and line.exc_info for line in caplog.records)


BODY = {"type": "http.response.body", "body": b"ab", "more_body": True}

BROKEN_LATER = {
    "body is a number": sends(START, BODY, {"type": "http.response.body", "body": 1}),
    "start again": sends(START, BODY, START),
    "never ends": sends(START, BODY),
    "longer than its length": sends(start(headers=[(b"content-length", b"3")]), BODY, BODY),
    "trailers in the middle": sends(start(trailers=True), BODY, {"type": "http.response.trailers", "headers": []}),
}


@pytest.mark.parametrize("case", BROKEN_LATER)
def test_a_failure_after_the_head_breaks_the_response_off(codec: str, running: Run, case: str) -> None:
    response, record = failing(running, codec, BROKEN_LATER[case])
    assert (response.status, response.reset) == (200, True)
    assert record.fault is Fault.APPLICATION


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_departure_of_another_client_is_no_excuse(codec: str, running: Run, begun: bool, wrapped: bool) -> None:
    others: list[Send] = []
    left = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/leaves":
            others.append(send)
            await wait_for_disconnect(receive)
            left.set()
            return
        if begun:
            await send(START)
            await send(BODY)
        try:
            await others[0](START)
        except OSError as error:
            if wrapped:
                raise RuntimeError("broadcast failed") from error
            raise

    with running(app, codec) as server:
        client = server.client(codec)
        client.begin("GET", "/leaves", [], end=True)
        wait_for(lambda: others)
        client.close()
        assert left.wait(10)
        response = fetch(server, codec, "GET", "/")
        assert (response.status, response.reset) == ((200, True) if begun else (500, False))
        record = record_of(server, "/")
        assert (record.fault, record.reason) == (Fault.APPLICATION, "exception")


def test_a_failure_after_the_end_is_only_logged(codec: str, running: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, b"whole")
        raise ValueError("too late to matter")

    response, record = failing(running, codec, app)
    assert (response.body, response.reset) == (b"whole", False)
    assert (record.status, record.fault) == (200, None)
    assert "application failed" in caplog.text


def test_the_error_page_is_html_for_browsers(codec: str, running: Run) -> None:
    with running(raises, codec) as server:
        response = fetch(server, codec, "GET", "/", headers=[(b"accept", b"text/html,*/*")])
        assert response.get(b"content-type") == b"text/html; charset=utf-8"
        assert b"<h1>500 Internal Server Error</h1>" in response.body
        assert b"no way" not in response.body


def test_no_route_is_a_404(codec: str, running: Run) -> None:
    routes = [{"name": "other", "hostnames": ["other.example"], "path": "/", "backend": "app"}]
    with running(raises, codec, routes=routes) as server:
        assert fetch(server, codec, "GET", "/").status == 404
        record = only_record(server)
        assert (record.reason, record.route, record.backend) == ("no_route", NO_ROUTE, "")


# Other applications.


def test_asgi2_applications_run(codec: str, running: Run) -> None:
    class DoubleCallable:
        def __init__(self, scope: Scope) -> None:
            self.scope = scope

        async def __call__(self, receive: Receive, send: Send) -> None:
            await respond(send, self.scope["path"].encode())

    with running(DoubleCallable, codec) as server:
        assert fetch(server, codec, "GET", "/two").body == b"/two"


def test_pipelined_requests_are_answered_in_order(running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            await asyncio.sleep(0.1)
        await respond(send, scope["path"].encode())

    with running(app) as server:
        sock = server.connect()
        sock.sendall(b"".join(b"GET %s HTTP/1.1\r\nhost: a\r\n\r\n" % path for path in (b"/slow", b"/2", b"/3")))
        received = b""
        while b"/3" not in received:
            received += sock.recv(65536)
        sock.close()
        assert received.index(b"/slow") < received.index(b"/2") < received.index(b"/3")
        assert received.count(b"HTTP/1.1 200 OK") == 3


def test_the_standard_loop_serves_too(codec: str, running: Run) -> None:
    with running(echo, codec, loop_factory=asyncio.new_event_loop) as server:
        assert fetch(server, codec, "POST", "/", b"x" * 100_000).body == b"x" * 100_000


def test_errors_that_cause_each_other_do_not_stop_the_process(codec: str, running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        first = ValueError("first")
        try:
            raise KeyError("second") from first
        except KeyError as second:
            raise first from second

    response, record = failing(running, codec, app)
    assert (response.status, record.reason) == (500, "exception")


def test_a_bad_request_behind_a_good_one_is_answered_too(running: Run) -> None:
    with running(echo) as server:
        sock = server.connect()
        sock.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nBAD REQUEST\r\n\r\n")
        received = b""
        while data := sock.recv(65536):
            received += data
        assert received.startswith(b"HTTP/1.1 200 OK")
        assert b"HTTP/1.1 400 Bad Request" in received


def test_a_pipelined_request_does_not_wait_for_work_after_the_response(running: Run) -> None:
    release = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, scope["path"].encode())
        while scope["path"] == "/first" and not release.is_set():
            await asyncio.sleep(0.01)

    with running(app) as server:
        sock = server.connect()
        sock.sendall(b"".join(b"GET %s HTTP/1.1\r\nhost: a\r\n\r\n" % path for path in (b"/first", b"/second")))
        received = b""
        while b"/second" not in received:
            received += sock.recv(65536)
        release.set()


def test_trailers_of_other_buffers_than_bytes(codec: str, running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "trailers": True})
        await send({"type": "http.response.body", "body": b"x"})
        await send({"type": "http.response.trailers", "headers": [(bytearray(b"one"), memoryview(b"1"))]})

    with running(app, codec) as server:
        response = fetch(server, codec, "GET", "/", headers=[(b"te", b"trailers")])
        assert response.trailers == [(b"one", b"1")]


def test_many_small_pieces_of_a_body_are_one_message(codec: str, running: Run) -> None:
    release = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while not release.is_set():
            await asyncio.sleep(0.01)
        await echo(scope, receive, send)

    with running(app, codec) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/", [], end=False)
        for _ in range(3000):
            client.body(stream, b"ab", end=False)
        release.set()
        client.body(stream, b"", end=True)
        assert client.finish(stream).body == b"ab" * 3000
        client.close()
