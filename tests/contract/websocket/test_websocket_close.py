"""How a WebSocket ends (RFC 6455 7, ASGI): who closes, with what code, and who is told of it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from sidegate.errors import Fault
from tests.support.apps import Receive, Scope, Send
from tests.support.clients import Http2Client, request
from tests.support.running import Run, only_record, wait_for
from tests.support.websocket import Asgi, Closed, Keeping, accept, connect, echo, upgrade
from tests.support.websocket_frames import CLOSE, TEXT, frame

# The client closes.


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "tab closed"), (1011, "é"), (3000, "x" * 123), (4999, "")]
)
def test_the_application_is_told_the_peers_code_and_reason(codec: str, running: Run, code: int, reason: str) -> None:
    app = Keeping()
    with running(app, codec) as server:
        ws = connect(server, codec)
        assert ws.close(code, reason).code == code
        record = only_record(server)
    assert app.messages == [{"type": "websocket.disconnect", "code": code, "reason": reason}]
    assert (record.fault, record.reason) == (None, "")


def test_a_close_without_a_code_is_1005(codec: str, running: Run) -> None:
    app = Keeping()
    with running(app, codec) as server:
        assert connect(server, codec).close(None).code == 1005
        only_record(server)
    assert app.ends == [(1005, "")]


def test_messages_before_the_close_are_received_first(codec: str, running: Run) -> None:
    gate = threading.Event()
    app = Keeping()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        async def after_the_gate() -> Any:
            message = await receive()
            if message["type"] == "websocket.receive":
                await asyncio.to_thread(gate.wait)
            return message

        await app(scope, after_the_gate, send)

    with running(slow, codec) as server:
        ws = connect(server, codec)
        ws.write(b"".join(frame(TEXT, b"%d" % number) for number in range(100)) + frame(CLOSE, b"\x03\xe9"))
        gate.set()
        assert ws.closed().code == 1001
        only_record(server)
    assert [message.get("text") for message in app.messages[:-1]] == [str(number) for number in range(100)]
    assert app.ends == [(1001, "")]


def test_receive_goes_on_to_tell_the_end(codec: str, running: Run) -> None:
    told = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        told.extend([await receive() for _ in range(3)])

    with running(app, codec) as server:
        connect(server, codec).close(1000, "bye")
        only_record(server)
    assert told == [{"type": "websocket.disconnect", "code": 1000, "reason": "bye"}] * 3


@pytest.mark.parametrize("kind", ["websocket.send", "websocket.close"])
@pytest.mark.parametrize("caught", [False, True])
def test_send_after_the_peer_has_closed_raises(codec: str, running: Run, kind: str, caught: bool) -> None:
    raised: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await receive()
        try:
            await send({"type": kind, **({"text": "x"} if kind == "websocket.send" else {})})
        except OSError as error:
            raised.append(error)
            if not caught:
                raise RuntimeError("what a framework makes of it") from error

    with running(app, codec) as server:
        assert connect(server, codec).close(1001).code == 1001
        record = only_record(server)
    assert len(raised) == 1
    assert (record.fault, record.reason) == (None, "")


# The client goes away without closing.


def test_a_lost_connection_is_1006(codec: str, running: Run) -> None:
    app = Keeping()
    with running(app, codec) as server:
        ws = connect(server, codec)
        ws.send("x")
        wait_for(lambda: app.messages)
        ws.leave()
        record = only_record(server)
        wait_for(lambda: app.ends)
    assert app.ends == [(1006, "")]
    assert record.fault is not Fault.APPLICATION


@pytest.mark.front_only("test_websocket_pooled.py: a worker answers the end of its front with 1001")
def test_an_end_without_a_close_frame_is_1006(codec: str, running: Run) -> None:
    """The end of input on HTTP/1.1, END_STREAM on HTTP/2 (RFC 8441 5)."""
    app = Keeping()
    with running(app, codec) as server:
        ws = connect(server, codec)
        ws.send("x")
        ws.line.end()
        assert ws.closed().code == 1006
        record = only_record(server)
        wait_for(lambda: app.ends)
    assert app.ends == [(1006, "")]
    assert app.messages[0] == {"type": "websocket.receive", "text": "x"}
    assert record.fault is not Fault.APPLICATION


def test_send_after_a_loss_raises(codec: str, running: Run) -> None:
    raised: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        assert (await receive())["code"] == 1006
        try:
            await send({"type": "websocket.send", "text": "x"})
        except OSError as error:
            raised.append(error)
            raise

    with running(app, codec) as server:
        connect(server, codec).leave()
        wait_for(lambda: raised)
        assert only_record(server).fault is not Fault.APPLICATION


def test_a_reset_of_one_stream_ends_that_one_only(engine: str, running: Run) -> None:
    with running(echo, engine) as server:
        client = server.client(engine)
        first, second = upgrade(client), upgrade(client)
        first.leave()
        only_record(server)
        assert second.echoed("x") == "x"


# The application closes.


@pytest.mark.parametrize(
    ("message", "closed"),
    [
        ({}, (1000, "")),
        ({"code": None, "reason": None}, (1000, "")),
        ({"code": 1001}, (1001, "")),
        ({"code": 4000, "reason": "so long"}, (4000, "so long")),
        ({"code": 3999, "reason": "é" * 61}, (3999, "é" * 61)),
    ],
    ids=str,
)
def test_the_application_closes(codec: str, running: Run, message: dict[str, Any], closed: tuple[int, str]) -> None:
    told: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await send({"type": "websocket.send", "text": "last"})
        await send({"type": "websocket.close", **message})
        for kind in ("websocket.send", "websocket.close"):
            try:
                await send({"type": kind, "text": "x"})
            except OSError as error:
                told.append(type(error).__name__)
        told.append(await receive())

    with running(app, codec) as server:
        ws = connect(server, codec)
        assert ws.receive() == "last"
        assert ws.closed() == (*closed, False)
        record = only_record(server)
    assert told[:2] == ["ClientDisconnected"] * 2
    assert told[2]["type"] == "websocket.disconnect"
    assert told[2]["code"] == closed[0]  # which the client has answered with
    assert record.fault is None


def closing_at_once(told: list[Any]) -> Asgi:
    """An application that closes with 4000; what it is told then is in ``told``."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await send({"type": "websocket.close", "code": 4000})
        told.append(await receive())

    return app


def test_messages_that_the_client_sends_while_it_is_closed_are_dropped(codec: str, running: Run) -> None:
    told: list[Any] = []
    with running(closing_at_once(told), codec) as server:
        ws = connect(server, codec)
        ws.answering = False
        ws.write(b"".join(frame(TEXT, bytes(1000)) for _ in range(1000)))  # more than a window
        ws.write(frame(CLOSE, b"\x0f\xa0"))
        assert ws.closed().code == 4000
        only_record(server)
    assert [message["type"] for message in told] == ["websocket.disconnect"]


async def returning(receive: Receive, send: Send) -> None:
    """Returns without closing."""


async def raising(receive: Receive, send: Send) -> None:
    raise RuntimeError("after it was accepted")


async def exiting(receive: Receive, send: Send) -> None:
    raise SystemExit


async def disconnecting(receive: Receive, send: Send) -> None:
    """Its own trouble with some other connection, not its client's."""
    raise ConnectionResetError


async def cancelling(receive: Receive, send: Send) -> None:
    """Awaits a task that it has cancelled itself."""
    task = asyncio.ensure_future(asyncio.sleep(60))
    asyncio.get_running_loop().call_soon(task.cancel)
    await task


ENDS: dict[Any, tuple[int, Fault | None, str]] = {
    returning: (1000, None, ""),
    raising: (1011, Fault.APPLICATION, "exception"),
    exiting: (1011, Fault.APPLICATION, "exception"),
    cancelling: (1011, Fault.APPLICATION, "exception"),
    disconnecting: (1011, Fault.APPLICATION, "exception"),
}


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_the_application_ends(codec: str, running: Run, end: Any) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await send({"type": "websocket.send", "text": "last"})
        await end(receive, send)

    code, fault, reason = ENDS[end]
    with running(app, codec) as server:
        ws = connect(server, codec)
        assert ws.receive() == "last"
        assert ws.closed() == (code, "", False)
        record = only_record(server)
        assert (record.fault, record.reason) == (fault, reason)
        assert connect(server, codec).receive() == "last"


def test_the_departure_of_another_client_is_no_excuse(codec: str, running: Run) -> None:
    """A broadcast in the handler of a client that is there, to one that has left (FastAPI's connection manager)."""
    sends: list[Send] = []
    left = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        sends.append(send)
        while (message := await receive())["type"] == "websocket.receive":
            for each in sends:
                await each({"type": "websocket.send", "text": message["text"]})
        left.set()

    with running(app, codec) as server:
        leaving = connect(server, codec)
        wait_for(lambda: sends)
        leaving.close(1000)
        assert left.wait(10)
        staying = connect(server, codec)
        staying.send("to all")
        assert staying.closed().code == 1011
        record = only_record(server, 2)
        assert (record.fault, record.reason) == (Fault.APPLICATION, "exception")


def test_a_failure_after_the_end_is_only_logged(codec: str, running: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await receive()
        raise RuntimeError("while it cleans up")

    with running(app, codec) as server:
        assert connect(server, codec).close(1000).code == 1000
        only_record(server)
    assert "while it cleans up" in caplog.text


# A peer that does not answer.


def test_a_close_frame_that_is_never_answered(codec: str, running: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidegate.server.websocket.CLOSE_TIMEOUT", 0.1)
    told: list[Any] = []
    with running(closing_at_once(told), codec) as server:
        ws = connect(server, codec)
        ws.answering = False
        assert ws.closed() == (4000, "", False)
        only_record(server)
    assert told == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


def test_a_client_that_only_sends_on_after_the_close(codec: str, running: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidegate.server.websocket.CLOSE_TIMEOUT", 0.1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)

    with running(app, codec) as server:
        ws = connect(server, codec)
        ws.answering = False
        ws.write(frame(TEXT, b"x"))
        assert ws.closed() == Closed(1000, "", False)
        only_record(server)


# The connection.


def test_the_connection_ends_with_it(running: Run) -> None:
    with running(echo) as server:
        assert connect(server, "http1").close().code == 1000
        wait_for(lambda: not server.connections)


def test_the_connection_outlives_it(engine: str, running: Run) -> None:
    with running(echo, engine) as server:
        client = server.client(engine)
        for number in range(3):
            ws = upgrade(client)
            assert ws.echoed(str(number)) == str(number)
            assert ws.close() == (1000, "", False)
            ws.line.end()
        wait_for(lambda: len(server.observer.records) == 3)
        assert isinstance(client, Http2Client)
        assert not client.goaways
        assert request(client, "GET", "/").status == 500  # which is this application's answer
