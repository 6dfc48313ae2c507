"""The ASGI application that every server of the comparison runs: one answer for each path.

Written to cost next to nothing, so that what is measured is the server. It is imported by name from this folder, in
the environment of the server that runs it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODIES = {"/": b"Hello, world!", "/64k": b"x" * 2**16, "/1m": b"x" * 2**20}
HEADERS = {
    path: [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))] for path, body in BODIES.items()
}
TEXT = [(b"content-type", b"text/plain")]
CHUNK = b"x" * 1024
CHUNKS = 1000
WORK_SECONDS = 0.001


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    path = scope["path"]
    if path in BODIES:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS[path]})
        await send({"type": "http.response.body", "body": BODIES[path]})
    else:
        await OTHERS[path](receive, send)


async def upload(receive: Receive, send: Send) -> None:
    """Reads the whole body and answers its length."""
    length, more = 0, True
    while more:
        message = await receive()
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    await answer(send, b"%d" % length)


async def stream(_receive: Receive, send: Send) -> None:
    """Chunks of 1 KiB, one ``send`` for each."""
    await send({"type": "http.response.start", "status": 200, "headers": TEXT})
    for _ in range(CHUNKS):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def work(_receive: Receive, send: Send) -> None:
    """A millisecond of CPU time, as an application takes that does something."""
    end = time.thread_time() + WORK_SECONDS
    while time.thread_time() < end:
        pass
    await answer(send, b"done")


async def answer(send: Send, body: bytes) -> None:
    headers = [*TEXT, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


OTHERS = {"/upload": upload, "/stream": stream, "/work": work}
