"""WebSockets that an application does not accept: by closing, by a response of its own, by failing (ASGI)."""

from __future__ import annotations

from typing import Any

import pytest

from sidegate.errors import Fault
from tests.support.apps import Receive, Scope, Send, respond
from tests.support.clients import request
from tests.support.running import Run, only_record, record_of, wait_for
from tests.support.websocket import WebSocket, accept, begin, connect, required, upgrade

START = "websocket.http.response.start"
BODY = "websocket.http.response.body"


def answered(running: Run, codec: str, app: Any) -> tuple[WebSocket, Any]:
    """The answer to a handshake and its record; the connection serves another request behind it."""

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await respond(send, b"lives")
        else:
            await app(scope, receive, send)

    with running(either, codec) as server:
        client = server.client(codec)
        denied = upgrade(client)
        record = only_record(server)
        assert request(client, "GET", "/").body == b"lives"
    return denied, record


def test_a_denial_names_another_protocol(codec: str, running: Run) -> None:
    """RFC 9110 15.5.22."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 426, "headers": [(b"upgrade", b"chat/2")]})
        await send({"type": BODY, "body": b"no"})

    denied, _ = answered(running, codec, app)
    assert (denied.status, denied.response.body) == (426, b"no")
    assert denied.response.get(b"upgrade") == (b"chat/2" if codec == "http1" else None)


@pytest.mark.parametrize("close", [{}, {"code": 4000, "reason": "no"}], ids=str)
def test_closed_before_it_was_accepted(codec: str, running: Run, close: dict[str, Any]) -> None:
    told: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close", **close})
        told.append(await receive())
        try:
            await send({"type": "websocket.send", "text": "x"})
        except OSError as error:
            told.append(error)

    denied, record = answered(running, codec, app)
    assert denied.status == record.status == 403
    assert denied.response.body
    assert told[0]["type"] == "websocket.disconnect"
    assert isinstance(told[1], OSError)
    assert record.fault is not Fault.APPLICATION


def test_closed_without_a_look_at_connect(codec: str, running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close"})

    assert answered(running, codec, app)[0].status == 403


def test_a_response_of_its_own(codec: str, running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        headers = [(b"www-authenticate", b"Basic"), (b"x-own", b"1")]
        await send({"type": START, "status": 401, "headers": headers})
        await send({"type": BODY, "body": b"who ", "more_body": True})
        await send({"type": BODY, "body": b"are you?"})

    denied, record = answered(running, codec, app)
    assert denied.status == record.status == 401
    assert denied.response.body == b"who are you?"
    assert (denied.get(b"www-authenticate"), denied.get(b"x-own")) == (b"Basic", b"1")
    assert denied.get(b"date")
    assert (record.fault, record.bytes_out) == (None, 12)


def test_a_response_without_a_body(codec: str, running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 302, "headers": [(b"location", b"/login")]})
        await send({"type": BODY})

    denied, _ = answered(running, codec, app)
    assert (denied.status, denied.get(b"location"), denied.response.body) == (302, b"/login", b"")


def test_a_response_that_never_ends(codec: str, running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 400})
        await send({"type": BODY, "body": b"begun", "more_body": True})

    with running(app, codec) as server:
        denied = connect(server, codec)
        record = only_record(server)
    assert (denied.status, denied.response.body, denied.response.reset) == (400, b"begun", True)
    assert record.reason == "no_response"


async def nothing(receive: Receive, send: Send) -> None:
    """Returns without an answer."""


async def raising(receive: Receive, send: Send) -> None:
    raise RuntimeError("before it was accepted")


async def exiting(receive: Receive, send: Send) -> None:
    raise SystemExit


async def success(receive: Receive, send: Send) -> None:
    """Over HTTP/2 a client would take it for a yes."""
    await send({"type": START, "status": 200})


async def no_status(receive: Receive, send: Send) -> None:
    await send({"type": START, "status": "401"})


async def bad_header(receive: Receive, send: Send) -> None:
    await send({"type": START, "status": 401, "headers": [(b"a b", b"")]})


async def body_first(receive: Receive, send: Send) -> None:
    await send({"type": BODY, "body": b"x"})


async def message_first(receive: Receive, send: Send) -> None:
    await send({"type": "websocket.send", "text": "x"})


async def of_http(receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 401})


async def close_within(receive: Receive, send: Send) -> None:
    await send({"type": START, "status": 401})
    await send({"type": "websocket.close"})


async def accept_within(receive: Receive, send: Send) -> None:
    await send({"type": START, "status": 401})
    await send({"type": "websocket.accept"})


FAILURES: dict[Any, str] = {
    nothing: "no_response",
    raising: "exception",
    exiting: "exception",
    success: "bad_message",
    no_status: "bad_message",
    bad_header: "bad_message",
    body_first: "bad_message",
    message_first: "bad_message",
    of_http: "bad_message",
    close_within: "bad_message",
    accept_within: "bad_message",
}


def test_a_failure_before_it_was_accepted(codec: str, running: Run) -> None:
    failures = {failure.__name__: failure for failure in FAILURES}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await respond(send, b"lives")
            return
        await receive()
        await failures[scope["path"][1:]](receive, send)

    with running(app, codec) as server:
        client = server.client(codec)
        for name, failure in failures.items():
            denied = upgrade(client, f"/{name}")
            assert (name, denied.status) == (name, 500)
            record = record_of(server, f"/{name}")
            assert (record.status, record.fault, record.reason) == (500, Fault.APPLICATION, FAILURES[failure])
            assert record.request_id.encode() in denied.response.body
            assert request(client, "GET", "/").body == b"lives"


@pytest.mark.parametrize("kind", [START, BODY])
def test_a_response_after_it_was_accepted(codec: str, running: Run, kind: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await send({"type": kind, "status": 401})

    with running(app, codec) as server:
        assert connect(server, codec).closed().code == 1011
        assert only_record(server).reason == "bad_message"


def test_a_client_that_leaves_before_the_answer(codec: str, running: Run) -> None:
    """The application is told by ``receive``, and by ``send`` if it does not ask."""
    told: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        told.append("ready")
        told.append(await receive())
        try:
            await send({"type": "websocket.accept"})
        except OSError as error:
            told.append(error)
            raise

    with running(app, codec) as server:
        client = server.client(codec)
        begin(client, "/", required(client))
        wait_for(lambda: told)
        client.close()
        record = only_record(server)
        wait_for(lambda: len(told) == 3)
    assert told[1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    assert isinstance(told[2], OSError)
    assert (record.status, record.fault, record.reason) == (0, Fault.CLIENT, "client_disconnected")
