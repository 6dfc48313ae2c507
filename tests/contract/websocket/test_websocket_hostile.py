"""Clients that break RFC 6455 or a limit: their WebSocket ends with the right code, and everything else goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sidegate.errors import Fault
from sidegate.wire.events import FRAMES_A_TURN
from tests.support.apps import Receive, Scope, Send
from tests.support.running import Run, only_record, wait_equal, wait_for
from tests.support.websocket import Keeping, WebSocket, beside_echo, connect, echo, upgrade
from tests.support.websocket_frames import BINARY, CLOSE, CONT, FIN, PING, RSV1, TEXT, deflated, frame, header

MIB = 1 << 20
GIB = 1 << 30

BREACHES: dict[str, tuple[bytes, int]] = {
    "an HTTP request": (b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", 1002),
    "zeros": (bytes(100), 1002),
    "ones": (b"\xff" * 100, 1002),
    "no mask": (b"\x81\x01a", 1002),
    "a reserved bit": (frame(TEXT | 0x20, b"a"), 1002),
    "compressed, which was not agreed on": (frame(TEXT | RSV1, b"a"), 1002),
    "a reserved opcode": (frame(0x83, b"a"), 1002),
    "a reserved control opcode": (frame(0x8B), 1002),
    "a ping in fragments": (frame(PING & ~FIN), 1002),
    "a ping of 126 bytes": (frame(PING, bytes(126)), 1002),
    "a continuation of nothing": (frame(CONT | FIN, b"a"), 1002),
    "a message within another": (frame(TEXT & ~FIN, b"a") + frame(TEXT, b"b"), 1002),
    "a length in a longer form": (b"\x82\xfe\x00\x01\0\0\0\0a", 1002),
    "a close with one byte": (frame(CLOSE, b"\x03"), 1002),
    "a close with a code that is none": (frame(CLOSE, b"\x03\xec"), 1002),
    "a reason that is no UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), 1007),
    "text that is no UTF-8": (frame(TEXT, b"a\xff"), 1007),
    "text that ends within a character": (frame(TEXT, b"\xc3"), 1007),
    "a fragment that is no UTF-8": (frame(TEXT & ~FIN, b"\xff"), 1007),
    "a message of 1 MiB and a byte": (frame(BINARY, bytes(MIB + 1)), 1009),
    "fragments of 1 MiB and a byte": (frame(BINARY & ~FIN, bytes(MIB)) + frame(CONT | FIN, b"x"), 1009),
    "a length of 2 GiB": (header(BINARY, 2 * GIB), 1009),
    "the largest length": (header(BINARY, (1 << 63) - 1), 1009),
    "a flood of pings": (frame(PING) * 500, 1008),
}


def broken_off(ws: WebSocket, sent: bytes) -> tuple[int, str]:
    """Send; the code and reason that the server closes with, and it ends its side by itself."""
    ws.answering = False
    ws.write(sent)
    code, reason, reset = ws.closed()
    assert not reset
    return code, reason


def test_a_breach_ends_that_websocket_only(codec: str, running: Run) -> None:
    app = Keeping()
    with running(beside_echo(app), codec) as server:
        client = server.client(codec)
        other = upgrade(client, "/echo")
        for count, (breach, (sent, expected)) in enumerate(BREACHES.items(), 1):
            code, reason = broken_off(upgrade(server.client(codec) if codec == "http1" else client), sent)
            assert (breach, code) == (breach, expected)
            assert reason
            record = only_record(server, count)
            wait_equal(lambda: len(app.messages), count)
            assert app.ends[-1] == (code, reason)
            assert record.fault is not Fault.APPLICATION
            assert record.bytes_in <= len(sent)
            assert other.echoed(breach) == breach


@pytest.mark.front_only  # a front that learns that its client has left does not forward the rest
def test_a_message_of_many_fragments_takes_several_turns(codec: str, running: Run) -> None:
    """It is received whole, and so is what follows, although the client leaves at once."""
    many = frame(TEXT & ~FIN, b"a") + frame(CONT, b"b") * (20 * FRAMES_A_TURN) + frame(CONT | FIN, b"c")
    app = Keeping()
    with running(app, codec) as server:
        ws = connect(server, codec)
        ws.write(many + frame(TEXT, b"next") + many + frame(TEXT, b"last"))
        ws.leave()
        only_record(server)
        wait_for(lambda: app.ends)
    long = f"a{'b' * 20 * FRAMES_A_TURN}c"
    assert [message.get("text") for message in app.messages] == [long, "next", long, "last", None]


def test_fragments_beyond_the_turns_of_a_closing_websocket(codec: str, running: Run) -> None:
    """They are dropped, and the client's close frame behind them is found."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})

    with running(app, codec) as server:
        ws = connect(server, codec)
        ws.answering = False
        ws.write(frame(TEXT & ~FIN, b"a") + frame(CONT, b"b") * (20 * FRAMES_A_TURN) + frame(CLOSE, b"\x03\xe8"))
        assert ws.closed()[0] == 1000
        assert only_record(server).fault is None


def test_what_came_before_a_breach_is_received(codec: str, running: Run) -> None:
    app = Keeping()
    with running(app, codec) as server:
        assert broken_off(connect(server, codec), frame(TEXT, b"a") + frame(0x83) + frame(TEXT, b"b"))[0] == 1002
        only_record(server)
        wait_for(lambda: app.ends)
    assert [message.get("text") for message in app.messages] == ["a", None]


@pytest.mark.parametrize("sent", [b"\x81", header(TEXT, 5), frame(TEXT, b"whole")[:-1], frame(TEXT & ~FIN, b"a")])
def test_half_a_message_then_the_end(codec: str, running: Run, sent: bytes) -> None:
    app = Keeping()
    with running(app, codec) as server:
        ws = connect(server, codec)
        ws.write(sent)
        ws.leave()
        only_record(server)
        wait_for(lambda: app.ends)
    assert app.messages == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


@pytest.mark.parametrize("sent", [b"\x81", header(TEXT, 5), frame(TEXT, b"whole")[:-1], frame(TEXT & ~FIN, b"a")])
def test_half_a_message_then_silence(codec: str, running: Run, sent: bytes) -> None:
    """A peer that does not answer pings is given up."""
    app = Keeping()
    keep_alive = {"pingInterval": "100ms", "pingTimeout": "100ms"}
    with running(app, codec, listener={"websocket": keep_alive}) as server:
        ws = connect(server, codec)
        assert broken_off(ws, sent) == (1011, "ping timeout")
        only_record(server)
        wait_for(lambda: app.ends)
    assert len(app.messages) == 1


def test_the_limit_is_the_routes(codec: str, running: Run) -> None:
    routes = {
        "routes": [
            {"name": "small", "path": "/small", "backend": "app", "websocket": {"maxMessage": "100"}},
            {"name": "all", "path": "/", "backend": "app"},
        ]
    }
    with running(echo, codec, listener={"websocket": {"maxMessage": "200"}}, **routes) as server:
        small, large = connect(server, codec, "/small"), connect(server, codec, "/")
        assert small.echoed(bytes(100)) == bytes(100)
        assert broken_off(small, frame(BINARY, bytes(101))) == (1009, "a message of more than 100 bytes")
        assert large.echoed(bytes(200)) == bytes(200)
        assert broken_off(large, frame(BINARY, bytes(201)))[0] == 1009


# Compressed.


def test_a_bomb_is_not_inflated(codec: str, running: Run) -> None:
    """64 MiB in 64 KiB, of which 1 MiB at most is ever made."""
    app = Keeping()
    with running(app, codec) as server:
        ws = connect(server, codec, deflate=True)
        assert broken_off(ws, frame(BINARY | RSV1, deflated(bytes(64 * MIB))))[0] == 1009
        only_record(server)
        wait_for(lambda: app.ends)
    assert len(app.messages) == 1


def test_a_bomb_in_fragments(codec: str, running: Run) -> None:
    bomb = deflated(bytes(64 * MIB))
    with running(Keeping(), codec) as server:
        ws = connect(server, codec, deflate=True)
        pieces = [bomb[at : at + 1000] for at in range(0, len(bomb), 1000)]
        sent = frame(BINARY & ~FIN | RSV1, pieces[0]) + b"".join(frame(CONT, piece) for piece in pieces[1:])
        sent += frame(CONT | FIN)
        assert broken_off(ws, sent)[0] == 1009


def test_many_bombs_at_once(codec: str, running: Run) -> None:
    """Each below the limit: what they become waits for the application, a few at a time."""
    bomb = frame(BINARY | RSV1, deflated(bytes(MIB)))
    app = Keeping()
    settings = {"websocket": {"compression": {"mode": "deflate", "contextTakeover": False}}}
    with running(app, codec, listener=settings) as server:
        ws = connect(server, codec, deflate=True)
        ws.write(bomb * 50)
        assert ws.close().code == 1000
        only_record(server)
    assert [len(message.get("bytes", b"")) for message in app.messages] == [MIB] * 50 + [0]


def test_what_cannot_be_inflated(codec: str, running: Run) -> None:
    with running(echo, codec) as server:
        ws = connect(server, codec, deflate=True)
        assert broken_off(ws, frame(BINARY | RSV1, b"\xff" * 20))[0] in (1002, 1007)


def test_compressed_text_that_is_no_utf_8(codec: str, running: Run) -> None:
    with running(echo, codec) as server:
        ws = connect(server, codec, deflate=True)
        assert broken_off(ws, frame(TEXT | RSV1, deflated(b"a\xff")))[0] == 1007


# Those that do not go.


def test_a_client_that_goes_on_after_its_breach(codec: str, running: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets its close frame and the end; what it sends is not kept."""
    monkeypatch.setattr("sidegate.server.timeouts.LINGER", 0.1)
    with running(Keeping(), codec) as server:
        ws = connect(server, codec)
        ws.answering = False
        ws.write(frame(0x83))
        sent = 0
        try:
            while sent < 64 * MIB:
                ws.write(bytes(65536))
                sent += 65536
        except OSError:  # HTTP/1.1: the connection is closed
            pass
        only_record(server)
        wait_for(lambda: codec != "http1" or not server.connections)


def test_an_application_that_outlives_its_client(codec: str, running: Run) -> None:
    told: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        while not told or len(told) < 3:
            await asyncio.sleep(0.01)
            try:
                await send({"type": "websocket.send", "text": "x"})
            except OSError as error:
                told.append(error)

    with running(app, codec) as server:
        ws = connect(server, codec)
        assert broken_off(ws, frame(0x83))[0] == 1002
        record = only_record(server)
        assert len(told) == 3
        assert record.fault is None
