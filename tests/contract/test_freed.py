"""What an exchange used is freed by reference counting when it has ended, whatever has ended it.

A cycle would keep its messages and bodies until the collector finds it, and the collector runs by the number of
objects, not by their size. So the collector is off, and each end happens often enough to be seen in the counts of
objects.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.protocol import Protocol, Side

from tests.support import wsgi
from tests.support.apps import Receive, Scope, Send, read_body, respond, wait_for_disconnect
from tests.support.clients import Client, Http2Client, request
from tests.support.relaying import Both, behind_a_front
from tests.support.running import Run, RunningServer, wait_for
from tests.support.websocket import WebSocket, accept, connect
from tests.support.websocket_frames import BINARY, CLOSE, CONT, FIN, RSV1, TEXT, deflated, frame

ROUNDS = 8
ONE = {"frame": 2}
"""How many objects a round has to leave. The last exception of a thread may stay, and has a dozen frames."""
PATIENCE = 60.0

UNCOUNTED = {"Record", "PeerFacts"}
"""A test keeps the first, and a bounded cache the second."""


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Log records, which pytest keeps, refer to nothing: Sidegate's loggers may be ones that cannot be switched off."""
    factory = logging.getLogRecordFactory()
    logging.setLogRecordFactory(lambda *args, **more: _bare(factory(*args, **more)))
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    logging.setLogRecordFactory(factory)


def _bare(record: logging.LogRecord) -> logging.LogRecord:
    record.msg, record.args, record.exc_info = record.getMessage(), None, None
    return record


def alive() -> Counter[str]:
    """The numbers of objects by type: Sidegate's, and what may refer to them. The clients' are others."""
    found: Counter[str] = Counter()
    for one in gc.get_objects():
        kind = type(one)
        if kind is Protocol:
            found["websockets.Protocol"] += one.side is Side.SERVER
        elif _is_counted(kind):
            found[kind.__name__] += 1
    return found


def _is_counted(kind: type) -> bool:
    if kind.__name__ in ("Task", "coroutine", "frame", "traceback", "async_generator"):
        return True
    return str(kind.__module__).startswith("sidegate.") and kind.__name__ not in UNCOUNTED


def assert_freed(server: RunningServer, act: Callable[[], None]) -> None:
    """``act`` leaves nothing behind, however often it is done."""
    for _ in range(2):
        act()
    _settle(server)
    before = alive()
    for _ in range(ROUNDS):
        act()
    _settle(server)
    end = time.monotonic() + PATIENCE
    while left := {name: more for name, more in (alive() - before).items() if more >= ROUNDS * ONE.get(name, 1)}:
        assert time.monotonic() < end, str(left)
        threading.Event().wait(0.05)


def _settle(server: RunningServer) -> None:
    """Wait until every exchange and every connection has ended, and forget the records."""
    sides = [server.front, server.worker] if isinstance(server, Both) else [server]
    wait_for(lambda: not server.observer.open and not server.connections)
    for side in sides:
        side.observer.records.clear()


class Inside:
    """Counts the requests that an application has got."""

    def __init__(self) -> None:
        self.count = 0


def http_app(inside: Inside, file: Path) -> Callable[[Scope, Receive, Send], Any]:
    """Each path is another end."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        inside.count += 1
        if path == "/echo":
            await respond(send, await read_body(receive))
        elif path == "/early":
            await respond(send, b"early")
        elif path == "/raise":
            raise ValueError(path)
        elif path == "/broken":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            raise ValueError(path)
        elif path == "/invalid":
            await send({"type": "http.nonsense"})
        elif path == "/mismatch":
            await respond(send, b"x", headers=[(b"content-length", b"2")])
        elif path == "/file":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.pathsend", "path": str(file)})
        elif path == "/missing":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.pathsend", "path": f"{file}.missing"})
        elif path == "/wait":
            await wait_for_disconnect(receive)
            await respond(send)
        elif path == "/sleep":
            await asyncio.sleep(0.3)
            await respond(send)
        elif path == "/flood":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})

    return app


def get(path: str) -> Callable[[RunningServer, str, Inside], None]:
    """A whole exchange."""

    def act(server: RunningServer, codec: str, inside: Inside) -> None:
        client = server.client(codec)
        request(client, "GET", path)
        client.close()

    return act


def post(path: str, size: int) -> Callable[[RunningServer, str, Inside], None]:
    """A whole exchange with a body."""

    def act(server: RunningServer, codec: str, inside: Inside) -> None:
        client = server.client(codec)
        request(client, "POST", path, bytes(size))
        client.close()

    return act


def unfinished(path: str) -> Callable[[RunningServer, str, Inside], None]:
    """A body that does not end."""

    def act(server: RunningServer, codec: str, inside: Inside) -> None:
        client = server.client(codec)
        stream = client.begin("POST", path, [(b"content-length", b"200000")], end=False)
        client.body(stream, bytes(100_000), end=False)
        wait_for(lambda: server.observer.open)
        client.close()

    return act


def leave(path: str) -> Callable[[RunningServer, str, Inside], None]:
    """A client that leaves while the application has its request."""

    def act(server: RunningServer, codec: str, inside: Inside) -> None:
        client, _ = _begun(server, codec, path, inside)
        client.close()

    return act


def reset(path: str) -> Callable[[RunningServer, str, Inside], None]:
    """A stream that is reset; with HTTP/1.1 as ``leave``."""

    def act(server: RunningServer, codec: str, inside: Inside) -> None:
        client, stream = _begun(server, codec, path, inside)
        if isinstance(client, Http2Client):
            client.reset(stream)
            wait_for(lambda: not server.observer.open)
        client.close()

    return act


def _begun(server: RunningServer, codec: str, path: str, inside: Inside) -> tuple[Client, int]:
    before = inside.count
    client = server.client(codec, credit=False)
    stream = client.begin("GET", path, [], end=True)
    wait_for(lambda: inside.count > before)
    return client, stream


HTTP: dict[str, Callable[[RunningServer, str, Inside], None]] = {
    "normal": get("/echo"),
    "body": post("/echo", 100_000),
    "small body": post("/echo", 10),
    "unread body": post("/early", 100_000),
    "too large": post("/echo", 300_000),
    "unfinished body": unfinished("/echo"),
    "error": get("/raise"),
    "error after the head": get("/broken"),
    "no response": get("/silent"),
    "invalid message": get("/invalid"),
    "too short": get("/mismatch"),
    "file": get("/file"),
    "no file": get("/missing"),
    "timeout": get("/sleep"),
    "client left": leave("/wait"),
    "client left a flood": leave("/flood"),
    "reset": reset("/wait"),
    "reset of a flood": reset("/flood"),
}


@pytest.mark.parametrize("end", HTTP)
def test_requests(codec: str, running: Run, tmp_path: Path, end: str) -> None:
    inside = Inside()
    file = tmp_path / "file"
    file.write_bytes(bytes(200_000))
    settings: dict[str, Any] = {"limits": {"requestBody": 200_000}}
    if end == "timeout":
        settings["routes"] = [{"name": "all", "path": "/", "backend": "app", "timeouts": {"request": "100ms"}}]
    with running(http_app(inside, file), codec, **settings) as server:
        assert_freed(server, lambda: HTTP[end](server, codec, inside))


def test_requests_whose_worker_is_lost(codec: str, tmp_path: Path) -> None:
    inside = Inside()
    with behind_a_front(tmp_path, http_app(inside, tmp_path), codec) as server:

        def lose() -> None:
            before = inside.count
            client = server.client(codec)
            stream = client.begin("POST", "/wait", [(b"content-length", b"0")], end=True)
            wait_for(lambda: inside.count > before)
            server.front.lose_connections()
            assert client.finish(stream).status == 502
            client.close()
            wait_for(lambda: not server.observer.open)
            wait_for(lambda: any(link["ready"] for link in server.front.upstream_connections()))

        assert_freed(server, lose)


# WSGI.


def wsgi_app(inside: Inside) -> wsgi.App:
    """Each path is another end."""

    def blocks(count: int) -> Iterator[bytes]:
        for _ in range(count):
            yield bytes(100_000)
        raise ValueError("no more")

    def app(environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Any:
        path = environ["PATH_INFO"]
        inside.count += 1
        if path == "/raise":
            raise ValueError(path)
        if path in ("/broken", "/flood"):
            start_response("200 OK", [wsgi.TEXT])
            return blocks(1 if path == "/broken" else 1000)
        if path == "/sleep":
            time.sleep(0.3)
        return wsgi.respond(start_response, b"" if path == "/early" else environ["wsgi.input"].read())

    return app


WSGI = [
    *("normal", "body", "unread body", "unfinished body"),
    *("error", "error after the head", "timeout", "client left a flood", "reset of a flood"),
]


@pytest.mark.parametrize("buffering", ["auto", "off"])
@pytest.mark.parametrize("end", WSGI)
def test_wsgi_requests(codec: str, place: str, tmp_path: Path, end: str, buffering: str) -> None:
    inside = Inside()
    backend = {"bodyBuffering": buffering, "responseBuffering": buffering}
    settings: dict[str, Any] = {"backend": backend}
    if end == "timeout":
        settings["routes"] = [{"name": "all", "path": "/", "backend": "app", "timeouts": {"request": "100ms"}}]
    app = wsgi_app(inside)
    serving = (
        wsgi.running(app, codec, threads=2, **settings)
        if place == "front"
        else wsgi.behind_a_front(tmp_path, app, codec, threads=2, **settings)
    )
    with serving as server:
        assert_freed(server, lambda: HTTP[end](server, codec, inside))


# WebSockets.


class WebSocketInside(Inside):
    """``left``: applications that do not receive may return."""

    left = False


def websocket_app(inside: WebSocketInside) -> Callable[[Scope, Receive, Send], Any]:
    """Each path is another end."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == "/denied":
            await receive()
            await send({"type": "websocket.close"})
            return
        if path == "/refuse":
            raise ValueError(path)
        await accept(receive, send)
        inside.count += 1
        if path == "/raise":
            await receive()
            raise ValueError(path)
        if path == "/close":
            await send({"type": "websocket.close"})
        if path == "/deaf":
            while not inside.left:
                await asyncio.sleep(0.005)
            return
        if path == "/flood":
            while True:
                await send({"type": "websocket.send", "bytes": NOISE})
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})

    return app


SocketAct = Callable[[WebSocket, WebSocketInside], None]


def _closed(ws: WebSocket, inside: WebSocketInside) -> None:
    ws.send("x" * 1000)
    ws.receive()
    ws.close()


def _answers(ws: WebSocket, inside: WebSocketInside) -> None:
    ws.closed()


def _left(ws: WebSocket, inside: WebSocketInside) -> None:
    ws.send("x" * 1000)
    ws.leave()


def _writes(data: bytes) -> SocketAct:
    def act(ws: WebSocket, inside: WebSocketInside) -> None:
        ws.write(data)
        ws.closed()

    return act


def _writes_and_leaves(data: bytes) -> SocketAct:
    def act(ws: WebSocket, inside: WebSocketInside) -> None:
        ws.write(data)
        ws.leave()

    return act


def _refused(ws: WebSocket, inside: WebSocketInside) -> None:
    assert ws.status >= 400


NOISE = os.urandom(100_000)
"""It fills the queue soon, also when it is compressed."""

BIG = frame(BINARY | RSV1, deflated(bytes(500_000)))

SOCKETS: dict[str, tuple[str, SocketAct]] = {
    "closed by the client": ("/", _closed),
    "closed by the application": ("/close", _answers),
    "application error": ("/raise", _writes(frame(TEXT, b"x"))),
    "denied": ("/denied", _refused),
    "refused": ("/refuse", _refused),
    "client left": ("/", _left),
    "client left a flood": ("/flood", lambda ws, inside: ws.leave()),
    "violation": ("/", _writes(frame(0x83))),
    "not UTF-8": ("/", _writes(frame(TEXT, b"\xff"))),
    "cannot be inflated": ("/", _writes(frame(TEXT | RSV1, b"\xff" * 8))),
    "closed between fragments": ("/", _writes(frame(TEXT & ~FIN, b"x") + frame(CLOSE, b"\x03\xe8"))),
    "left between fragments": ("/", _writes_and_leaves(frame(TEXT & ~FIN, b"x") + frame(CONT, b"x"))),
    "left within a frame": ("/", _writes_and_leaves(BIG[:-1])),
    "messages wait": ("/deaf", _writes_and_leaves(BIG * 8)),
    "messages wait, closed": ("/deaf", _writes_and_leaves(frame(TEXT, b"") * 100 + frame(CLOSE, b"\x03\xe8"))),
}


@pytest.mark.parametrize("end", SOCKETS)
def test_websockets(codec: str, running: Run, end: str) -> None:
    inside = WebSocketInside()
    path, act = SOCKETS[end]

    def once() -> None:
        inside.left = False
        ws = connect(server, codec, path, deflate=True)
        act(ws, inside)
        inside.left = True
        ws.client.close()
        wait_for(lambda: not server.observer.open)

    with running(websocket_app(inside), codec) as server:
        assert_freed(server, once)
