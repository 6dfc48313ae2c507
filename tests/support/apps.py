"""Small ASGI applications, and pieces of them, that tests of the server share."""

from __future__ import annotations

import asyncio
from typing import Any

from sidegate import asgi

Scope = asgi.Scope
Receive = asgi.Receive
Send = asgi.Send


async def respond(send: Send, body: bytes = b"", status: int = 200, headers: Any = ()) -> None:
    """One whole response."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive: Receive) -> bytes:
    """The request's body; fails if the client leaves."""
    body: bytes = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        body += message["body"]
        if not message["more_body"]:
            return body


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body of the request."""
    await respond(send, await read_body(receive))


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the path, without a look at the body."""
    await respond(send, scope["path"].encode())


async def wait_for_disconnect(receive: Receive) -> None:
    """Return when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Gate:
    """An application whose requests wait until ``open``; ``waiting`` counts them. Paths without ``/wait`` do not."""

    def __init__(self) -> None:
        self.waiting = 0
        self._opened = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("/wait"):
            self.waiting += 1
            while not self._opened:
                await asyncio.sleep(0.005)
        await respond(send, scope["path"].encode())

    def open(self) -> None:
        """Let them answer."""
        self._opened = True


async def share_a_pool(scope: Scope, receive: Receive, send: Send) -> None:
    """A lifespan that puts something into the state."""
    await receive()
    scope["state"]["pool"] = "shared"
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
