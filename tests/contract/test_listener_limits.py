"""A listener's own limits and timeouts count before those of the top level, whichever of them is stricter.

Every test has two listeners, ``strict`` and ``loose``. What sets them apart stands once at the strict one, below a
loose top level, and once at the loose one, below a strict top level.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from tests.support import http2 as frames
from tests.support.apps import Gate, Receive, Scope, Send, echo, hello, respond
from tests.support.clients import Client, Fields, Http2Client, request
from tests.support.relaying import pooled
from tests.support.running import Running, running, wait_for
from tests.support.websocket import accept, connect

Part = Literal["limits", "timeouts"]

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
SHORT = "200ms"


class Setting(NamedTuple):
    """One key, and its values at the strict and at the loose listener."""

    part: Part
    key: str
    strict: Any
    loose: Any


@pytest.fixture(params=["strict", "loose"])
def set_at(request: pytest.FixtureRequest) -> str:
    """The listener that sets the key; the other one has it from the top level."""
    return str(request.param)


@contextlib.contextmanager
def serving(app: Any, codec: str, set_at: str, setting: Setting, **of_both: Any) -> Iterator[Running]:
    own = setting.strict if set_at == "strict" else setting.loose
    top = setting.loose if set_at == "strict" else setting.strict
    listeners = {name: {"name": name, "address": "127.0.0.1:0", **of_both} for name in ("strict", "loose")}
    listeners[set_at][setting.part] = {setting.key: own}
    top_level: dict[str, Any] = {setting.part: {setting.key: top}}
    with running(app, codec, listeners=list(listeners.values()), **top_level) as server:
        yield server


def client_at(server: Running, codec: str, listener: str, credit: bool = True) -> Client:
    return server.client(codec, credit, server.connect(listener))


def statuses(server: Running, codec: str, *args: Any, **kwargs: Any) -> list[int]:
    """What the strict and the loose listener answer to one request."""
    clients = [client_at(server, codec, listener) for listener in ("strict", "loose")]
    found = [request(client, *args, **kwargs).status for client in clients]
    for client in clients:
        client.close()
    return found


def is_open(sock: socket.socket) -> bool:
    """Whether the server has neither closed nor said anything for a moment."""
    sock.settimeout(0.05)
    try:
        return bool(sock.recv(65536))
    except TimeoutError:
        return True
    except ConnectionResetError:
        return False


def wait_closed(sock: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(65536):
            received += data
    return received


# Limits.


@pytest.mark.parametrize(("size", "loose"), [(2000, 200), (100_000, 413)])
def test_request_body(codec: str, set_at: str, size: int, loose: int) -> None:
    with serving(echo, codec, set_at, Setting("limits", "requestBody", "1Ki", "64Ki")) as server:
        assert statuses(server, codec, "POST", "/", bytes(size)) == [413, loose]


def test_request_body_without_a_limit(codec: str) -> None:
    """0 is a value like any other: it counts before the top level's."""
    with serving(echo, codec, "loose", Setting("limits", "requestBody", "1Ki", 0)) as server:
        assert statuses(server, codec, "POST", "/", bytes(100_000)) == [413, 200]


def test_a_body_without_a_length(codec: str, set_at: str) -> None:
    with serving(echo, codec, set_at, Setting("limits", "requestBody", "1Ki", "64Ki")) as server:
        found = []
        for listener in ("strict", "loose"):
            client = client_at(server, codec, listener)
            stream = client.begin("POST", "/", [], end=False)
            client.body(stream, bytes(2000), end=True)
            found.append(client.finish(stream).status)
            client.close()
        assert found == [413, 200]


@pytest.mark.parametrize(
    ("setting", "fields"),
    [
        (Setting("limits", "headerFields", 8, 50), [(b"x-%d" % n, b"") for n in range(20)]),
        (Setting("limits", "headerBlock", 1024, "8Ki"), [(b"x-large", b"x" * 1500)]),
    ],
    ids=lambda value: getattr(value, "key", ""),
)
def test_heads(codec: str, set_at: str, setting: Setting, fields: Fields) -> None:
    with serving(hello, codec, set_at, setting) as server:
        assert statuses(server, codec, "GET", "/", headers=fields) == [431, 200]


def test_request_line(codec: str, set_at: str) -> None:
    with serving(hello, codec, set_at, Setting("limits", "requestLine", 100, 1000)) as server:
        assert statuses(server, codec, "GET", "/" + "x" * 200) == [414, 200]


def test_keep_underscores(codec: str, set_at: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, status=200 if b"x_id" in dict(scope["headers"]) else 204)

    with serving(app, codec, set_at, Setting("limits", "keepUnderscores", [], ["x_id"])) as server:
        assert statuses(server, codec, "GET", "/", headers=[(b"x_id", b"1")]) == [204, 200]


def test_proxy_fields(codec: str, set_at: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, status=200 if b"x-id" in dict(scope["headers"]) else 204)

    with serving(app, codec, set_at, Setting("limits", "proxyFields", ["X-I*"], [])) as server:
        assert statuses(server, codec, "GET", "/", headers=[(b"x-id", b"1")]) == [204, 200]


def test_connection_requests(codec: str, set_at: str) -> None:
    with serving(hello, codec, set_at, Setting("limits", "connectionRequests", 2, 100)) as server:
        strict, loose = (client_at(server, codec, listener) for listener in ("strict", "loose"))
        for client in (strict, loose):
            for _ in range(2):
                assert request(client, "GET", "/").status == 200
        wait_closed(strict.sock)
        assert request(loose, "GET", "/").status == 200


def test_what_http2_announces(engine: str, set_at: str) -> None:
    announced = {}
    for key, values in (("concurrentStreams", (3, 30)), ("streamWindow", (2048, 4096))):
        with serving(hello, engine, set_at, Setting("limits", key, *values)) as server:
            for listener in ("strict", "loose"):
                client = client_at(server, engine, listener)
                assert isinstance(client, Http2Client)
                request(client, "GET", "/")
                settings = client.state.remote_settings
                announced[key, listener] = (
                    settings.max_concurrent_streams if key == "concurrentStreams" else settings.initial_window_size
                )
    assert announced == {
        ("concurrentStreams", "strict"): 3,
        ("concurrentStreams", "loose"): 30,
        ("streamWindow", "strict"): 2048,
        ("streamWindow", "loose"): 4096,
    }


def control_flood(_: frames.Speaker) -> list[bytes]:
    return [frames.frame(frames.PING, 0, 0, bytes(8))] * 50


def continuation_flood(speaker: frames.Speaker) -> list[bytes]:
    block = speaker.block(frames.GET)
    pieces = [(0, block[1:2]), (0, block[2:3]), (frames.END_HEADERS, block[3:])]
    more = [frames.frame(frames.CONTINUATION, flags, 1, piece) for flags, piece in pieces]
    return [frames.frame(frames.HEADERS, frames.END_STREAM, 1, block[:1]), *more]


def empty_data_flood(speaker: frames.Speaker) -> list[bytes]:
    return [speaker.headers(1, frames.POST, end=False), *[frames.data(1)] * 20, frames.data(1, end=True)]


def stream_resets(speaker: frames.Speaker) -> list[bytes]:
    return [speaker.headers(stream) + frames.rst_stream(stream) for stream in range(1, 41, 2)]


@pytest.mark.parametrize(
    ("setting", "flood"),
    [
        (Setting("limits", "controlFrames", 20, 1000), control_flood),
        (Setting("limits", "continuationFrames", 1, 8), continuation_flood),
        (Setting("limits", "emptyDataFrames", 5, 100), empty_data_flood),
        (Setting("limits", "streamResetBurst", 5, 100), stream_resets),
    ],
    ids=lambda value: getattr(value, "key", ""),
)
def test_floods(engine: str, set_at: str, setting: Setting, flood: Any) -> None:
    speaker = frames.Speaker()
    sent = frames.START + b"".join(flood(speaker))
    with serving(echo, engine, set_at, setting) as server:
        kept, cut = server.connect("loose"), server.connect("strict")
        kept.sendall(sent + speaker.headers(101))
        cut.sendall(sent)
        wait_closed(cut)
        assert server.violations(flood.__name__) == 1
        kept.shutdown(socket.SHUT_WR)  # what has been answered is written first
        answers = frames.listen(wait_closed(kept)).streams
        assert dict(answers[101].heads[0])[b":status"] == b"200"


# Timeouts.


def test_keep_alive(codec: str, set_at: str) -> None:
    with serving(hello, codec, set_at, Setting("timeouts", "keepAlive", SHORT, "1m")) as server:
        strict, loose = (client_at(server, codec, listener) for listener in ("strict", "loose"))
        for client in (strict, loose):
            assert request(client, "GET", "/").status == 200
        wait_closed(strict.sock)
        assert request(loose, "GET", "/").status == 200


def test_connection_life(codec: str, set_at: str) -> None:
    with serving(hello, codec, set_at, Setting("timeouts", "connectionLife", SHORT, "1m")) as server:
        strict, loose = (client_at(server, codec, listener) for listener in ("strict", "loose"))
        for client in (strict, loose):
            assert request(client, "GET", "/").status == 200
        wait_closed(strict.sock)
        assert request(loose, "GET", "/").status == 200


@pytest.mark.parametrize(
    ("key", "codec", "begin", "reason"),
    [
        ("requestHead", "http1", b"GET / HT", "head_timeout"),
        ("requestHead", "http1", b"PRI", "head_timeout"),  # not yet known which version it speaks
        ("http2Preface", "http2-h2", frames.PREFACE[:16], "preface_timeout"),
        ("http2Preface", "http2-nghttp2", frames.PREFACE[:16], "preface_timeout"),
        ("continuation", "http2-h2", frames.START + frames.frame(frames.HEADERS, 0, 1, b""), "continuation_timeout"),
        (
            "continuation",
            "http2-nghttp2",
            frames.START + frames.frame(frames.HEADERS, 0, 1, b""),
            "continuation_timeout",
        ),
    ],
)
def test_heads_that_do_not_end(key: str, codec: str, begin: bytes, reason: str, set_at: str) -> None:
    if codec == "http2-nghttp2":
        pytest.importorskip("sidegate.wire.http2.nghttp2", reason="the nghttp2 binding was not built")
    protocols = ["h2"] if key == "http2Preface" else ["h2", "http/1.1"]
    with serving(hello, codec, set_at, Setting("timeouts", key, SHORT, "1m"), protocols=protocols) as server:
        strict, loose = server.connect("strict"), server.connect("loose")
        for sock in (loose, strict):
            sock.sendall(begin)
        wait_closed(strict)
        wait_for(lambda: server.violations(reason) or server.observer.records)
        assert server.violations(reason) or server.observer.records[0].reason == reason
        assert is_open(loose)


def test_body_idle(codec: str, set_at: str) -> None:
    with serving(echo, codec, set_at, Setting("timeouts", "bodyIdle", SHORT, "1m")) as server:
        strict, loose = (client_at(server, codec, listener) for listener in ("strict", "loose"))
        streams = [client.begin("POST", "/", [], end=False) for client in (strict, loose)]
        assert strict.finish(streams[0]).status == 408
        loose.body(streams[1], b"late", end=True)
        response = loose.finish(streams[1])
        assert (response.status, bytes(response.body)) == (200, b"late")


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})


def test_write(codec: str, set_at: str) -> None:
    with serving(endless, codec, set_at, Setting("timeouts", "write", SHORT, "1m")) as server:
        clients = [client_at(server, codec, listener, credit=False) for listener in ("strict", "loose")]
        for client in clients:
            client.begin("GET", "/", [], end=True)
        wait_for(lambda: server.observer.records)
        threading.Event().wait(0.6)  # a tick more: the loose one would have been cut by now
        assert [(record.reason, record.listener) for record in server.observer.records] == [
            ("write_timeout", server.runtime._listeners[0].service.meter)
        ]


# WebSockets.


def test_the_head_of_a_websocket(codec: str, set_at: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await receive()

    fields = [(b"x-%d" % n, b"") for n in range(20)]
    with serving(app, codec, set_at, Setting("limits", "headerFields", 12, 50)) as server:
        strict, loose = (
            connect(server, codec, headers=fields, sock=server.connect(listener)) for listener in ("strict", "loose")
        )
        assert strict.status == 431
        assert loose.status == (101 if codec == "http1" else 200)


def test_a_websocket_whose_client_does_not_read(codec: str, set_at: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        while True:
            await send({"type": "websocket.send", "bytes": bytes(65536)})

    with serving(app, codec, set_at, Setting("timeouts", "write", SHORT, "1m")) as server:
        for listener in ("loose", "strict"):
            connect(server, codec, sock=server.connect(listener))
        wait_for(lambda: server.observer.records)
        threading.Event().wait(0.6)
        (record,) = server.observer.records
        assert (record.reason, record.listener) == ("write_timeout", server.runtime._listeners[0].service.meter)


# Behind a front.


def test_a_worker_accepts_what_the_widest_listener_accepts(codec: str, tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        names = [name for name, _ in scope["headers"]]
        sizes = [names.count(b"x-many"), names.count(b"x_id"), len(scope["raw_path"])]
        await respond(send, " ".join(map(str, sizes)).encode())

    limits = {"headerFields": 300, "headerBlock": "128Ki", "requestLine": "16Ki", "keepUnderscores": ["x_id"]}
    fields = [*[(b"x-many", b"y" * 300)] * 200, (b"x_id", b"1")]
    path = "/" + "z" * 12_000
    with pooled(app, tmp_path, codec, listener={"limits": limits}) as (front, _):
        client = front.client(codec)
        response = request(client, "GET", path, headers=fields)
        assert (response.status, bytes(response.body)) == (200, b"200 1 12001")
        client.close()


# Both levels.


def test_keys_are_merged_one_by_one(codec: str) -> None:
    """A listener that sets one key has all others from the top level."""
    listeners = [
        {"name": "body", "address": "127.0.0.1:0", "limits": {"requestBody": "1Ki"}},
        {"name": "fields", "address": "127.0.0.1:0", "limits": {"headerFields": 30}},
    ]
    with running(echo, codec, listeners=listeners, limits={"headerFields": 10, "requestBody": "64Ki"}) as server:
        many = [(b"x-%d" % n, b"") for n in range(20)]
        found = {}
        for listener in ("body", "fields"):
            for what, body, headers in (("body", bytes(2000), []), ("fields", b"", many)):
                client = client_at(server, codec, listener)
                found[listener, what] = request(client, "POST", "/", body, headers).status
                client.close()
    assert found == {
        ("body", "body"): 413, ("body", "fields"): 431,
        ("fields", "body"): 200, ("fields", "fields"): 200,
    }  # fmt: skip


def test_requests_of_all_listeners_are_counted_together(codec: str) -> None:
    """``concurrentRequests`` is for the process, so it stands at the top level only."""
    gate = Gate()
    listeners = [{"name": name, "address": "127.0.0.1:0"} for name in ("strict", "loose")]
    with running(gate, codec, listeners=listeners, limits={"concurrentRequests": 1}) as server:
        first, second = (client_at(server, codec, listener) for listener in ("strict", "loose"))
        stream = first.begin("GET", "/wait", [], end=True)
        wait_for(lambda: gate.waiting)
        assert request(second, "GET", "/").status == 503
        gate.open()
        assert first.finish(stream).status == 200
