"""Messages of an accepted WebSocket, both ways (RFC 6455 5, ASGI): whole, in order, and only what ASGI allows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.frames import Opcode

from sidegate.errors import Fault
from tests.support.apps import Receive, Scope, Send
from tests.support.running import Run, only_record, wait_for
from tests.support.websocket import Keeping, accept, connect, echo
from tests.support.websocket_frames import BINARY, CONT, FIN, PING, TEXT, frame

SIZES = [0, 1, 125, 126, 65_535, 65_536, 1_048_576]
"""Where the length's form changes (RFC 6455 5.2), and the default of ``maxMessage``."""


@pytest.mark.parametrize("size", SIZES)
def test_binary_messages_arrive_whole(codec: str, running: Run, size: int) -> None:
    assert_whole(running, codec, "bytes", (bytes(range(256)) * (size // 256 + 1))[:size])


@pytest.mark.parametrize("text", ["", "x", "héllo", "\N{PILE OF POO}" * 20_000, "\0"], ids=lambda text: str(len(text)))
def test_text_messages_arrive_whole(codec: str, running: Run, text: str) -> None:
    assert_whole(running, codec, "text", text)


def assert_whole(running: Run, codec: str, kind: str, data: str | bytes) -> None:
    """The application gets it as it was sent, and so does the client."""
    app = Keeping(lambda send, message: send({"type": "websocket.send", kind: message[kind]}))
    with running(app, codec) as server:
        ws = connect(server, codec)
        assert ws.echoed(data) == data
        ws.close()
    assert app.messages[0] == {"type": "websocket.receive", kind: data}


def test_many_messages_stay_in_order(codec: str, running: Run) -> None:
    """More than ``maxQueue``, in as few reads as they come."""
    with running(echo, codec) as server:
        ws = connect(server, codec)
        ws.write(b"".join(frame(TEXT, b"%d" % number) for number in range(1000)))
        assert [ws.receive() for _ in range(1000)] == [str(number) for number in range(1000)]
        assert ws.close().code == 1000


def test_a_message_byte_by_byte(codec: str, running: Run) -> None:
    with running(echo, codec) as server:
        ws = connect(server, codec)
        for byte in frame(BINARY, b"slow"):
            ws.write(bytes([byte]))
        assert ws.receive() == b"slow"


def test_fragments_are_one_message(codec: str, running: Run) -> None:
    with running(echo, codec) as server:
        ws = connect(server, codec)
        ws.send_fragments(b"one ", b"", b"message")
        assert ws.receive() == b"one message"
        ws.write(frame(TEXT & ~FIN, "é".encode()[:1]) + frame(PING, b"?") + frame(CONT | FIN, "é".encode()[1:]))
        assert ws.until(Opcode.PONG) == b"?"
        assert ws.receive() == "é"


def test_pings_are_answered(codec: str, running: Run) -> None:
    app = Keeping()
    with running(app, codec) as server:
        ws = connect(server, codec)
        ws.ping(b"")
        assert ws.until(Opcode.PONG) == b""
        ws.ping(bytes(125))
        assert ws.until(Opcode.PONG) == bytes(125)
        ws.close()
    assert len(app.messages) == 1  # nobody else is told


def test_the_application_may_speak_first_and_out_of_turn(codec: str, running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "first"})
        await asyncio.gather(*(send({"type": "websocket.send", "text": str(number)}) for number in range(100)))
        await receive()
        await receive()

    with running(app, codec) as server:
        ws = connect(server, codec)
        assert ws.receive() == "first"
        assert {ws.receive() for _ in range(100)} == {str(number) for number in range(100)}
        assert ws.close().code == 1000


@pytest.mark.parametrize(
    ("message", "received"),
    [
        ({"text": "a", "bytes": None}, "a"),
        ({"bytes": b"a", "text": None}, b"a"),
        ({"bytes": bytearray(b"a")}, b"a"),
        ({"bytes": memoryview(b"a")}, b"a"),
        ({"text": ""}, ""),
        ({"bytes": b""}, b""),
    ],
    ids=["text", "bytes", "a bytearray", "a memoryview", "no text", "no bytes"],
)
def test_what_an_application_may_send(codec: str, running: Run, message: dict[str, Any], received: str | bytes) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await send({"type": "websocket.send", **message})

    with running(app, codec) as server:
        ws = connect(server, codec)
        assert ws.receive() == received
        assert ws.closed().code == 1000
        assert only_record(server).fault is None


BAD: list[dict[str, Any]] = [
    {"type": "websocket.send"},
    {"type": "websocket.send", "text": "a", "bytes": b"a"},
    {"type": "websocket.send", "bytes": "a"},
    {"type": "websocket.send", "text": b"a"},
    {"type": "websocket.send", "text": 1},
    {"type": "websocket.send", "text": "\ud800"},
    {"type": "websocket.close", "code": 999},
    {"type": "websocket.close", "code": 1006},
    {"type": "websocket.close", "code": 5000},
    {"type": "websocket.close", "code": "1000"},
    {"type": "websocket.close", "reason": "x" * 124},
    {"type": "websocket.close", "reason": b"x"},
    {"type": "websocket.receive", "text": "a"},
    {"type": "http.response.start", "status": 200},
    {"type": "nothing"},
]


def test_what_an_application_may_not_send(codec: str, running: Run) -> None:
    """It is told by an error, and may go on; if it does not, the client is told 1011."""
    raised: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        message = BAD[int(scope["path"][1:])]
        await accept(receive, send)
        try:
            await send(message)
        except Exception as error:  # noqa: BLE001 - any but an OSError will do
            raised.append(error)
        await send({"type": "websocket.send", "text": "goes on"})
        await send(message)

    with running(app, codec) as server:
        for number, message in enumerate(BAD):
            ws = connect(server, codec, f"/{number}")
            assert ws.receive() == "goes on"
            assert (message, ws.closed()) == (message, (1011, "", False))
            record = only_record(server, number + 1)
            assert (message, record.fault, record.reason) == (message, Fault.APPLICATION, "bad_message")
            assert len(raised) == number + 1
            assert not isinstance(raised[-1], OSError)


def test_many_at_once(codec: str, running: Run) -> None:
    with running(echo, codec) as server:
        opened = [connect(server, codec) for _ in range(20)]
        for number, ws in enumerate(opened):
            ws.send(str(number))
        assert [ws.receive() for ws in opened] == [str(number) for number in range(20)]
        for ws in opened:
            ws.close()
        wait_for(lambda: len(server.observer.records) == 20)
