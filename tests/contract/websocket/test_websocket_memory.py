"""What a client can make a process hold: the bytes that it has sent, and few decoded messages."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import pytest

from sidegate.observe import metrics
from sidegate.server.waiting_messages import MOST
from tests.contract.websocket.test_websocket_flow import Held
from tests.support.apps import Receive, Scope, Send
from tests.support.relaying import Both
from tests.support.running import Run, RunningServer, only_record, wait_for
from tests.support.websocket import accept, beside_echo, connect, upgrade
from tests.support.websocket_frames import BINARY, CLOSE, RSV1, TEXT, deflated, frame

MIB = 1 << 20
LARGE = "x" * (MIB - 4) + "\N{PILE OF POO}"
"""1 MiB on the wire before compression, 4 MiB in memory."""


def received(server: RunningServer) -> int:
    """The number of messages that were decoded."""
    return int(server.count(metrics.WEBSOCKET_MESSAGES, "all", metrics.RECEIVED))


def arrived(server: RunningServer) -> int:
    """Bytes of frames that have come from clients."""
    return int(server.count(metrics.WEBSOCKET_BYTES, "all", metrics.RECEIVED))


def held(server: RunningServer) -> int:
    """Bytes that count for the process that runs the application."""
    runtime = server.worker.runtime if isinstance(server, Both) else server.runtime
    return runtime._listeners[0].service.bounds.waiting_messages.held


@pytest.mark.parametrize("most", [1, 32])
def test_one_read_decodes_no_more_than_the_queue_may_hold(codec: str, running: Run, most: int) -> None:
    app = Held()
    data = frame(TEXT) * 10_000
    with running(app, codec, listener={"websocket": {"maxQueue": most}}) as server:
        ws = connect(server, codec)
        ws.write(data)
        wait_for(lambda: arrived(server) == len(data) and received(server) >= most)
        assert received(server) == most
        app.open()
        assert ws.close().code == 1000
        only_record(server)
    assert app.taken == [""] * 10_000


class Counting:
    """Accepts, receives all that comes, and counts the messages of each turn of the loop."""

    def __init__(self) -> None:
        self.turns: Counter[int] = Counter()
        self._turn = 0
        self._received = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        self._tick()
        while (await receive())["type"] == "websocket.receive":
            self.turns[self._turn] += 1
        self._received = True

    def _tick(self) -> None:
        self._turn += 1
        if not self._received:
            asyncio.get_running_loop().call_soon(self._tick)


@pytest.mark.parametrize("most", [1, 32])
def test_an_application_that_always_receives_leaves_turns_to_others(codec: str, running: Run, most: int) -> None:
    app = Counting()
    with running(app, codec, listener={"websocket": {"maxQueue": most}}) as server:
        ws = connect(server, codec)
        ws.write(frame(TEXT) * 5_000)
        assert ws.close().code == 1000
        only_record(server)
    assert app.turns.total() == 5_000
    assert max(app.turns.values()) <= 2 * most


def test_all_websockets_of_a_process_decode_few_messages_ahead(codec: str, running: Run) -> None:
    """The others wait as they came; all of them arrive when the applications receive."""
    app = Held()
    data = frame(TEXT | RSV1, deflated(LARGE.encode()))
    with running(beside_echo(app), codec) as server:
        quick = connect(server, codec, "/echo", deflate=True)
        sockets = [connect(server, codec, deflate=True) for _ in range(12)]
        for ws in sockets:
            ws.write(data)
        wait_for(lambda: held(server) >= MOST)
        # An application that waits gets its messages.
        assert quick.echoed("x") == "x"
        assert received(server) <= MOST // (4 * MIB) + 2
        assert held(server) < MOST + 5 * MIB
        assert quick.echoed(LARGE) == LARGE
        app.open()
        for ws in sockets:
            assert ws.close().code == 1000
        quick.close()
        only_record(server, len(sockets) + 1)
        assert held(server) == 0
    assert app.taken == [LARGE] * len(sockets)


class Deaf:
    """An application that never receives, and returns when the test lets it."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.accepted = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        self.accepted += 1
        await asyncio.to_thread(self.gate.wait)


@pytest.mark.parametrize("data", [frame(BINARY | RSV1, deflated(bytes(MIB))) * 100, frame(BINARY, bytes(1000)) * 100])
def test_what_clients_have_left_behind_is_bounded_and_ends_with_the_exchanges(
    codec: str, running: Run, data: bytes
) -> None:
    app = Deaf()
    with running(app, codec) as server:
        for _ in range(3):
            opened = [connect(server, codec, deflate=True) for _ in range(4)]
            before = arrived(server)
            for ws in opened:
                ws.write(data)
            wait_for(lambda before=before: arrived(server) == before + len(data) * 4)  # type: ignore[misc]
            for ws in opened:
                ws.leave()
            assert held(server) < MOST + 2 * MIB
        app.gate.set()
        only_record(server, app.accepted)
        assert held(server) == 0


@pytest.mark.front_only("a front resets the stream of a client that has left, and what was under way is lost")
def test_what_a_client_sent_before_it_left_arrives(codec: str, running: Run) -> None:
    """Also what was not decoded, and its close frame."""
    app = Held()
    data = b"".join(frame(TEXT, b"%d" % number) for number in range(100)) + frame(CLOSE, b"\x0f\xa0bye")
    with running(beside_echo(app), codec) as server:
        ws = connect(server, codec)
        ws.write(data)
        wait_for(lambda: arrived(server) == len(data))
        ws.leave()
        if codec == "http1":
            wait_for(lambda: server.count(metrics.OPEN_CONNECTIONS, "test", "1.1") == 0)
        else:
            assert upgrade(ws.client, "/echo").echoed("x") == "x"  # so the reset before it was read
        app.open()
        wait_for(lambda: server.observer.records)
        wait_for(lambda: app.end)
        assert server.count(metrics.WEBSOCKET_CLOSES, "all", metrics.CLIENT, "other") == 1
    assert app.taken == [str(number) for number in range(100)]
    assert (app.end["code"], app.end["reason"]) == (4000, "bye")


def test_a_close_behind_messages_is_found_when_there_is_room(codec: str, running: Run) -> None:
    """An application that only sends is told by ``send``, although it never receives."""
    ended = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        if scope["path"] == "/full":
            await asyncio.to_thread(gate.wait)
            return
        try:
            while True:
                await send({"type": "websocket.send", "text": "x"})
                await asyncio.sleep(0.01)
        except OSError:
            ended.set()
            raise

    gate = threading.Event()
    with running(app, codec) as server:
        full = [connect(server, codec, "/full", deflate=True) for _ in range(MOST // (4 * MIB) + 1)]
        for ws in full:
            ws.write(frame(TEXT | RSV1, deflated(LARGE.encode())))
        wait_for(lambda: held(server) >= MOST)
        ws = connect(server, codec, "/")
        before = arrived(server)
        ws.write(frame(CLOSE, b"\x03\xe8"))
        wait_for(lambda: arrived(server) > before)
        assert not ended.is_set()
        gate.set()
        assert ended.wait(60)
        assert ws.closed().code == 1000
