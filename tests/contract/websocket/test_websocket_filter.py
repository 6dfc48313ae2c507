"""What surrounds the root App sees the start of every response, wherever the WebSocket's application runs.

Nothing that an application gets opens a WebSocket's bytes to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from sidegate.asgi import TUNNEL_KEY, App, Message
from sidegate.errors import Fault
from tests.support.apps import Receive, Scope, Send, respond
from tests.support.clients import Fields, request
from tests.support.running import Run, RunningServer, only_record
from tests.support.websocket import WebSocket, accept, connect, echo

STARTS = ("websocket.accept", "websocket.http.response.start", "http.response.start")
DENIAL = "websocket.http.response"
OLD_DATE = (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT")


def surround(server: RunningServer, wrap: Callable[[Send], Send]) -> None:
    """Put a filter around the front's root App; ``wrap`` makes its ``send`` from the outer one."""
    service: Any = server.runtime._listeners[0].service
    root: App = service.app
    service.app = lambda scope, receive, send: root(scope, receive, wrap(send))


def with_field(send: Send) -> Send:
    """Adds one field, the message's type, to whatever starts a response."""

    async def changed(message: Message) -> None:
        if message["type"] in STARTS:
            own = (b"x-filter", message["type"].encode())
            message = {**message, "headers": [*message.get("headers", ()), own]}
        await send(message)

    return changed


def denying(send: Send) -> Send:
    """Answers with 403 instead of accepting."""

    async def changed(message: Message) -> None:
        assert message["type"] == "websocket.accept"
        await send({"type": f"{DENIAL}.start", "status": 403})
        await send({"type": f"{DENIAL}.body", "body": b"not you"})

    return changed


def values(fields: Fields, name: bytes) -> list[bytes]:
    return [value for field, value in fields if field == name]


def fields_of(ws: WebSocket) -> Fields:
    return ws.response.headers


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Echoes, or denies with 401 at ``/deny``; answers HTTP."""
    if scope["type"] == "http":
        await respond(send)
    elif scope["path"] == "/deny":
        await receive()
        await send({"type": f"{DENIAL}.start", "status": 401})
        await send({"type": f"{DENIAL}.body", "body": b"no"})
    else:
        await echo(scope, receive, send)


def test_a_field_that_a_filter_adds(codec: str, running: Run) -> None:
    with running(app, codec) as server:
        surround(server, with_field)
        ws = connect(server, codec)
        assert values(fields_of(ws), b"x-filter") == [b"websocket.accept"]
        assert len(values(fields_of(ws), b"date")) == 1
        assert ws.echoed("x" * 100_000) == "x" * 100_000
        ws.close()
        denied = connect(server, codec, "/deny")
        assert (denied.status, denied.response.body) == (401, b"no")
        assert values(fields_of(denied), b"x-filter") == [b"websocket.http.response.start"]
        assert len(values(fields_of(denied), b"date")) == 1
        response = request(server.client(codec), "GET", "/")
        assert values(response.headers, b"x-filter") == [b"http.response.start"]


def test_a_filter_that_denies(codec: str, running: Run) -> None:
    """The application has accepted, and a filter answers in its place."""

    async def accepting(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)

    with running(accepting, codec) as server:
        surround(server, denying)
        ws = connect(server, codec)
    assert (ws.status, ws.response.body) == (403, b"not you")


def test_a_date_of_the_applications_own(codec: str, running: Run) -> None:
    async def dated(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send, headers=[OLD_DATE])

    with running(dated, codec) as server:
        assert values(fields_of(connect(server, codec)), b"date") == [OLD_DATE[1]]


@pytest.mark.parametrize("value", [None, True, {}, object()], ids=["none", "true", "dict", "object"])
def test_an_application_that_asks_for_the_bytes(codec: str, running: Run, value: object) -> None:
    async def asking(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send, **{TUNNEL_KEY: value})

    with running(asking, codec) as server:
        assert connect(server, codec).status == 500
        record = only_record(server)
    assert (record.fault, record.reason) == (Fault.APPLICATION, "bad_message")


def test_what_a_scope_leads_to(codec: str, running: Run) -> None:
    """No object in it, nor an attribute of one, has a WebSocket's bytes."""
    found: list[Any] = []

    async def looking(scope: Scope, receive: Receive, send: Send) -> None:
        found.extend(item for item in reachable(scope) if hasattr(item, "send_bytes") or hasattr(item, "stream"))
        found.append(TUNNEL_KEY in scope)
        await echo(scope, receive, send)

    with running(looking, codec) as server:
        assert connect(server, codec).echoed("x") == "x"
    assert found == [False]


def reachable(item: Any, depth: int = 4) -> Iterable[Any]:
    """``item``, what it holds, and their public attributes."""
    yield item
    if depth == 0 or isinstance(item, (str, bytes, int, float, type)) or callable(item):
        return
    if isinstance(item, dict):
        parts = list(item.values())
    elif isinstance(item, (list, tuple)):
        parts = list(item)
    else:
        parts = [getattr(item, name) for name in dir(item) if not name.startswith("_")]
    for part in parts:
        yield from reachable(part, depth - 1)
