"""The ASGI application that every server of the comparison runs: a fixed answer for each path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]

BODIES = {"/": b"Hello, world!", "/64k": b"x" * 65536}
HEADERS = {
    path: [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))] for path, body in BODIES.items()
}


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    path = scope["path"]
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS[path]})
    await send({"type": "http.response.body", "body": BODIES[path]})
