"""The ASGI application that `make attacks` attacks: a small answer, large ones, uploads, and WebSockets not received.

It is imported by name from this folder, in the environment of the server that runs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SMALL = b"Hello, world!"
LARGE = b"x" * (10 * 2**20)
FRESH_SIZE = 2**20
HOLD_SECONDS = 12.0


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await hold(receive, send, 0.0 if scope["path"] == "/received" else HOLD_SECONDS)
    elif scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    elif scope["path"] == "/large":
        await answer(send, LARGE)
    elif scope["path"] == "/fresh":
        await answer(send, b"x" * FRESH_SIZE)  # zeros would take no memory
    elif scope["path"] == "/upload":
        await upload(receive, send)
    else:
        await answer(send, SMALL)


async def hold(receive: Receive, send: Send, seconds: float) -> None:
    """Accepts a WebSocket and receives nothing for so long, then all."""
    await receive()
    await send({"type": "websocket.accept"})
    await asyncio.sleep(seconds)
    while (await receive())["type"] != "websocket.disconnect":
        continue


async def upload(receive: Receive, send: Send) -> None:
    """Reads the whole body and answers its length."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    await answer(send, b"%d" % length)


async def answer(send: Send, body: bytes) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})
