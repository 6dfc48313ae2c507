"""What time does to a WebSocket: pings, the end of the process, and what is counted meanwhile.

The clock ticks twice a second, so nothing here is exact; the tests wait for what has to happen.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from websockets.frames import Opcode

from sidegate.errors import Fault
from sidegate.observe import metrics
from tests.support.apps import Receive, Scope, Send
from tests.support.running import Run, RunningServer, only_record, wait_for
from tests.support.websocket import Keeping, accept, connect, echo, upgrade
from tests.support.websocket_frames import PONG, TEXT, frame

TICKS = 1.2
"""Seconds with two ticks of the clock."""


def keep_alive(interval: str, timeout: str, **more: Any) -> dict[str, Any]:
    """A listener with these times."""
    return {"websocket": {"pingInterval": interval, "pingTimeout": timeout, **more}}


# Pings.


def test_who_answers_pings_stays(codec: str, running: Run) -> None:
    with running(echo, codec, listener=keep_alive("100ms", "400ms")) as server:
        ws = connect(server, codec)
        payloads = [ws.until(Opcode.PING) for _ in range(3)]
        assert len(set(payloads)) == 3
        assert ws.echoed("still there") == "still there"
        wait_for(lambda: sum(pings(server)) >= 2)
        ws.close()


def pings(server: RunningServer) -> list[float]:
    """How many pings were answered, by bucket of time."""
    return [
        server.count(metrics.WEBSOCKET_PING, "all", le)
        for le in server.layout.offsets(metrics.WEBSOCKET_PING, "all")
        if le != metrics.SUM
    ]


def test_who_does_not_answer_is_given_up(codec: str, running: Run) -> None:
    app = Keeping()
    with running(app, codec, listener=keep_alive("100ms", "100ms")) as server:
        ws = connect(server, codec)
        ws.answering = False
        assert ws.closed() == (1011, "ping timeout", False)
        record = only_record(server)
        wait_for(lambda: app.ends)
    assert app.ends == [(1006, "ping timeout")]
    assert record.fault is not Fault.APPLICATION


def test_another_pong_is_no_answer(codec: str, running: Run) -> None:
    app = Keeping()
    with running(app, codec, listener=keep_alive("100ms", "100ms")) as server:
        ws = connect(server, codec)
        ws.answering = False
        ws.write(frame(PONG, b"unasked"))
        ws.until(Opcode.PING)
        ws.write(frame(PONG, b"another"))
        assert ws.closed().code == 1011
        assert sum(pings(server)) == 0
        only_record(server)


def test_no_pings(codec: str, running: Run) -> None:
    with running(echo, codec, listener=keep_alive("0s", "100ms")) as server:
        ws = connect(server, codec)
        threading.Event().wait(TICKS)
        ws.send("x")
        frame = ws.frame()
        assert frame is not None
        assert frame.opcode is Opcode.TEXT


def test_pings_without_a_limit_of_time(codec: str, running: Run) -> None:
    with running(echo, codec, listener=keep_alive("100ms", "0s")) as server:
        ws = connect(server, codec)
        threading.Event().wait(TICKS)
        assert ws.echoed("x") == "x"


def test_a_pong_behind_what_nobody_reads_is_in_time(codec: str, running: Run) -> None:
    """The client has answered; that the application takes its time is not its fault."""
    took = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        while (message := await receive())["type"] == "websocket.receive":
            took.append(message["text"])
            await asyncio.sleep(TICKS)
        took.append(message["code"])

    with running(app, codec, listener=keep_alive("100ms", "100ms", maxQueue=1)) as server:
        ws = connect(server, codec)
        ws.write(frame(TEXT, b"a" * 100_000) * 3)
        ws.until(Opcode.PING)
        wait_for(lambda: len(took) == 3 or ws.frame() is None)
        ws.close(4000)
        only_record(server)
    assert took == ["a" * 100_000] * 3 + [4000]


def test_a_client_that_reads_slowly_is_not_asked_in_vain(codec: str, running: Run) -> None:
    """Its ping waits behind what it has not taken yet; ``timeouts.write`` is for those who take nothing."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        for _ in range(20):
            await send({"type": "websocket.send", "bytes": bytes(1_000_000)})

    with running(app, codec, listener=keep_alive("100ms", "100ms")) as server:
        ws = connect(server, codec)
        threading.Event().wait(TICKS)
        for _ in range(20):
            assert ws.receive() == bytes(1_000_000)
        assert ws.closed().code == 1000


# The end of the process.


@pytest.mark.front_only("test_websocket_pooled.py: a front's end does not wait for its clients' answers")
def test_a_drain_closes_with_1001(codec: str, running: Run) -> None:
    app = Keeping()
    with running(app, codec) as server:
        opened = [connect(server, codec) for _ in range(3)]
        opened[0].send("x")
        wait_for(lambda: app.messages)
        drain = threading.Thread(target=server.drain)
        drain.start()
        assert [ws.closed() for ws in opened] == [(1001, "", False)] * 3
        drain.join()
    assert app.ends == [(1001, "")] * 3


def test_a_drain_lets_the_application_finish(codec: str, running: Run) -> None:
    """What it has sent before goes out; a client that does not answer the close is not waited for for ever."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        for number in range(100):
            await send({"type": "websocket.send", "bytes": bytes([number]) * 1000})
        await receive()
        await asyncio.sleep(0.1)

    with running(app, codec, websocketDrain="0s") as server:
        ws = connect(server, codec)
        ws.answering = False
        assert ws.receive() == bytes(1000)
        drain = threading.Thread(target=server.drain, kwargs={"grace": 1.0})
        drain.start()
        assert [ws.receive() for _ in range(99)] == [bytes([number]) * 1000 for number in range(1, 100)]
        assert ws.closed().code == 1001
        drain.join()


def test_a_drain_spreads_the_closes(codec: str, running: Run) -> None:
    """So that not all clients return at one moment."""
    with running(echo, codec, websocketDrain="2s", gracePeriod="5s", shutdownDelay="0s") as server:
        opened = [connect(server, codec) for _ in range(4)]
        drain = threading.Thread(target=server.drain)
        drain.start()
        wait_for(lambda: server.count(metrics.WEBSOCKET_BYTES, "all", metrics.SENT))
        assert server.count(metrics.WEBSOCKET_BYTES, "all", metrics.SENT) < 4 * 4  # bytes of a close frame
        assert [ws.closed().code for ws in opened] == [1001] * 4
        drain.join()


def test_a_drain_during_the_handshake(codec: str, running: Run) -> None:
    """Whoever accepts after the drain has begun closes at once, with what the application says in between."""
    gate = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert await receive() == {"type": "websocket.connect"}
        inside.append(scope)
        await asyncio.to_thread(gate.wait)
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"

    inside: list[Scope] = []
    with running(app, codec, websocketDrain="0s") as server:
        client = server.client(codec)
        opening: list[Any] = []
        thread = threading.Thread(target=lambda: opening.append(upgrade(client)))
        thread.start()
        wait_for(lambda: inside)
        drain = threading.Thread(target=server.drain)
        drain.start()
        wait_for(lambda: all(listener.service.draining for listener in server.runtime._listeners))
        gate.set()
        thread.join()
        assert opening[0].closed().code == 1001
        drain.join()


@pytest.mark.front_only("test_websocket_pooled.py: a worker has a grace period of its own")
def test_what_is_left_at_the_end_of_the_grace_period_is_cut(codec: str, running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await asyncio.sleep(60)

    with running(app, codec, websocketDrain="0s") as server:
        ws = connect(server, codec)
        ws.answering = False
        server.drain(grace=0.1)
        assert ws.closed().code == 1001
        record = only_record(server)
    assert (record.fault, record.reason) == (Fault.PROXY, "shutdown")


# What is counted.


def test_messages_bytes_and_closes_are_counted_by_route(codec: str, running: Run) -> None:
    with running(echo, codec) as server:
        ws = connect(server, codec)
        wait_for(lambda: server.count(metrics.WEBSOCKETS_OPEN, "all") == 1)
        for _ in range(3):
            assert ws.echoed(b"12345") == b"12345"
        ws.close(4000)
        only_record(server)
        wait_for(lambda: server.count(metrics.WEBSOCKETS_OPEN, "all") == 0)
        sent = [server.count(metrics.WEBSOCKET_MESSAGES, "all", way) for way in (metrics.RECEIVED, metrics.SENT)]
        size = [server.count(metrics.WEBSOCKET_BYTES, "all", way) for way in (metrics.RECEIVED, metrics.SENT)]
        other = server.count(metrics.WEBSOCKET_CLOSES, "all", metrics.CLIENT, "other")
    assert sent == [3, 3]
    assert size == [3 * (6 + 5) + 6 + 2, 3 * (2 + 5) + 2 + 2]
    assert other == 1


@pytest.mark.parametrize(
    ("path", "side", "code"),
    [
        ("/app", "server", "1001"),
        ("/client", "client", "1000"),
        ("/breach", "server", "1002"),
        ("/loss", "client", "1006"),
    ],
)
def test_who_closed_is_counted(codec: str, running: Run, path: str, side: str, code: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        if scope["path"] == "/app":
            await send({"type": "websocket.close", "code": 1001})
        await receive()

    with running(app, codec) as server:
        ws = connect(server, codec, path)
        if path == "/client":
            ws.close(1000)
        elif path == "/breach":
            ws.write(frame(0x83))
        if path == "/loss":
            ws.leave()
        else:
            ws.closed()
        only_record(server)
        wait_for(lambda: server.count(metrics.WEBSOCKET_CLOSES, "all", side, code) == 1)
