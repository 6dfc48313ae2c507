"""Backpressure of WebSockets, both ways: nobody holds what the other side does not take."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.support.apps import Receive, Scope, Send
from tests.support.clients import Http2Client
from tests.support.running import Run, only_record, wait_for
from tests.support.websocket import WebSocket, accept, beside_echo, connect, upgrade
from tests.support.websocket_frames import CLOSE, TEXT, frame

MIB = 1 << 20
PATIENCE = 0.5
"""Seconds without progress after which a side counts as stopped."""


class Held:
    """An application that takes no message before ``open``."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.end: Any = None
        self._gate = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await asyncio.to_thread(self._gate.wait)
        while (message := await receive())["type"] == "websocket.receive":
            self.taken.append(message.get("bytes") or message.get("text"))
        self.end = message

    def open(self) -> None:
        """Let it read."""
        self._gate.set()


def push(ws: WebSocket, data: bytes) -> int:
    """How many of these bytes the server takes before it stops."""
    client = ws.client
    client.sock.settimeout(PATIENCE)
    try:
        return _push_stream(client, ws.stream, data) if isinstance(client, Http2Client) else _push(client.sock, data)
    finally:
        client.sock.settimeout(10)


def _push(sock: Any, data: bytes) -> int:
    sent = 0
    try:
        while sent < len(data):
            sent += sock.send(data[sent : sent + 65536])
    except TimeoutError:
        pass
    return sent


def _push_stream(client: Http2Client, stream: int, data: bytes) -> int:
    sent = 0
    try:
        while sent < len(data):
            room = client.state.local_flow_control_window(stream)
            if room <= 0:
                client.pump()
                continue
            piece = data[sent : sent + min(room, client.state.max_outbound_frame_size)]
            client.body(stream, piece, end=False)
            sent += len(piece)
    except TimeoutError:
        pass
    return sent


@pytest.mark.parametrize(("size", "settings"), [(100, {}), (60_000, {}), (100, {"maxQueue": 1})], ids=str)
def test_an_application_that_does_not_read_stops_its_client(
    codec: str, running: Run, size: int, settings: dict[str, Any]
) -> None:
    # What the kernel's buffers hold is lost; HTTP/2 has windows instead.
    most = 16 * MIB if codec == "http1" else 2 * MIB
    whole = _masked(bytes(size)) * (most // size + 1)
    step = len(_masked(bytes(size)))
    app = Held()
    with running(app, codec, listener={"websocket": settings}) as server:
        ws = connect(server, codec)
        taken = push(ws, whole)
        assert 0 < taken < most
        assert not app.taken
        app.open()
        ws.write(whole[taken : taken + -taken % step])
        assert ws.close().code == 1000
        only_record(server)
    assert len(app.taken) == -(-taken // step)
    assert app.end["code"] == 1000


def _masked(message: bytes) -> bytes:
    """A frame whose mask changes nothing: XOR in Python would take longer than the test."""
    size = len(message)
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return b"\x82" + length + bytes(4) + message


def test_a_message_larger_than_any_window(codec: str, running: Run) -> None:
    app = Held()
    limits = {"streamWindow": "4Ki"}
    with running(app, codec, limits=limits, listener={"websocket": {"maxMessage": "1Mi", "maxQueue": 1}}) as server:
        ws = connect(server, codec)
        app.open()
        for number in range(3):
            ws.send(bytes([number]) * MIB)
        assert ws.close().code == 1000
        only_record(server)
    assert app.taken == [bytes([number]) * MIB for number in range(3)]


def test_what_nobody_reads_does_not_stop_others(engine: str, running: Run) -> None:
    """Not even on the same connection."""
    app = Held()
    with running(beside_echo(app), engine) as server:
        client = server.client(engine)
        held = [upgrade(client) for _ in range(3)]
        other = upgrade(client, "/echo")
        for ws in held:
            push(ws, _masked(bytes(1000)) * 1000)
            assert other.echoed("x") == "x"
        app.open()
        wait_for(lambda: len(app.taken) > 500)
        assert other.echoed(b"y" * 300_000) == b"y" * 300_000


def test_a_client_that_leaves_while_nobody_reads(codec: str, running: Run) -> None:
    """The application gets what was there, then the end."""
    app = Held()
    with running(app, codec) as server:
        ws = connect(server, codec)
        push(ws, _masked(bytes(1000)) * 2000)
        ws.leave()
        app.open()
        only_record(server)
        wait_for(lambda: app.end)
    assert app.end == {"type": "websocket.disconnect", "code": 1006, "reason": ""}


def test_a_close_behind_what_nobody_reads(codec: str, running: Run) -> None:
    app = Held()
    with running(app, codec) as server:
        ws = connect(server, codec)
        ws.write(b"".join(frame(TEXT, b"%d" % number) for number in range(100)) + frame(CLOSE, b"\x0f\xa0bye"))
        app.open()
        assert ws.closed().code == 4000
        only_record(server)
    assert app.taken == [str(number) for number in range(100)]
    assert (app.end["code"], app.end["reason"]) == (4000, "bye")


# The other way.


def test_a_client_that_does_not_read_makes_send_wait(codec: str, running: Run) -> None:
    sent: list[None] = []
    finished = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        for number in range(2000):
            await send({"type": "websocket.send", "bytes": b"%04d" % number + bytes(10_000)})
            sent.append(None)
        finished.set()

    with running(app, codec) as server:
        ws = connect(server, codec)
        assert not finished.wait(PATIENCE)
        assert len(sent) < 1900  # what the kernel's buffers hold is lost, the rest waits here
        for number in range(2000):
            assert ws.receive()[:4] == b"%04d" % number
        assert finished.wait(10)
        assert ws.closed().code == 1000


class Flooding:
    """An application that sends without end; ``outcome`` is what ends it."""

    def __init__(self) -> None:
        self.outcome: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        try:
            while True:
                await send({"type": "websocket.send", "bytes": bytes(100_000)})
        except OSError as error:
            self.outcome.append(type(error).__name__)
            raise


def test_a_sender_that_waits_is_freed_when_the_client_leaves(codec: str, running: Run) -> None:
    flooding = Flooding()
    with running(flooding, codec) as server:
        ws = connect(server, codec)
        threading.Event().wait(0.2)
        ws.leave()
        only_record(server)
        wait_for(lambda: flooding.outcome)
    assert flooding.outcome == ["ClientDisconnected"]


def test_a_sender_that_waits_is_freed_when_the_client_closes(codec: str, running: Run) -> None:
    """What is queued for it goes out first, if it reads."""
    flooding = Flooding()
    with running(flooding, codec) as server:
        ws = connect(server, codec)
        threading.Event().wait(0.2)
        assert ws.close(4000).code == 4000
        only_record(server)
        wait_for(lambda: flooding.outcome)
    assert flooding.outcome == ["ClientDisconnected"]


def test_a_client_that_never_reads_again_is_given_up(codec: str, running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        while True:
            await send({"type": "websocket.send", "bytes": bytes(100_000)})

    with running(app, codec, timeouts={"write": "500ms"}) as server:
        connect(server, codec)
        assert only_record(server).reason == "write_timeout"
