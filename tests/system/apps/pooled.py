"""An ASGI application for worker processes: what ``plain`` does, and ways for a worker to go wrong."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
import time
from pathlib import Path

from plain import PATHS, Receive, Scope, Send, answer, answer_json, chunk, echo, lifespan, met, pieces, query, start

_kept: list[bytearray] = []
_crowd: list[int] = []

LOADED_IN = os.getpid()
"""Another process than the one that answers, if this one was forked from a preloader."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    path = scope["path"].removeprefix(scope["root_path"])
    await WAYS.get(path, PATHS.get(path, echo))(scope, receive, send)


async def pid(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, b"%d" % os.getpid())


async def about(scope: Scope, receive: Receive, send: Send) -> None:
    """Facts of the process."""
    await answer_json(
        send,
        {
            "pid": os.getpid(),
            "loadedIn": LOADED_IN,
            "directory": str(Path.cwd()),
            "environment": {key: value for key, value in os.environ.items() if key.startswith("POOLED_")},
            "executable": sys.executable,
            "nice": os.nice(0),
            "prefix": sys.prefix,
        },
    )


async def crash(scope: Scope, receive: Receive, send: Send) -> None:
    """Dies before it answers; ``after=head`` dies behind the head and a piece of body."""
    async for _ in pieces(receive):
        pass
    if query(scope).get("after") == "head":
        await start(send)
        await send(chunk(b"a piece", more=True))
        await asyncio.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)


async def stuck(scope: Scope, receive: Receive, send: Send) -> None:
    """Blocks the event loop for ``seconds``."""
    time.sleep(float(query(scope).get("seconds", 3600)))
    await answer(send, b"moved on\n")


async def grow(scope: Scope, receive: Receive, send: Send) -> None:
    """Keeps ``size`` more bytes with every request."""
    _kept.append(bytearray(os.urandom(1) * int(query(scope).get("size", 1 << 16))))
    await answer(send, b"grown\n")


async def digest(scope: Scope, receive: Receive, send: Send) -> None:
    """Size and SHA-256 of the body."""
    size, known = 0, hashlib.sha256()
    async for piece in pieces(receive):
        size += len(piece)
        known.update(piece)
    await answer_json(send, {"size": size, "sha256": known.hexdigest(), "pid": os.getpid()})


async def crowd(scope: Scope, receive: Receive, send: Send) -> None:
    """How many requests of this path were under way when this one had begun, itself included."""
    _crowd.append(1)
    number = len(_crowd)
    await asyncio.sleep(0.1)
    _crowd.pop()
    await answer(send, b"%d" % number)


async def abandoned(scope: Scope, receive: Receive, send: Send) -> None:
    """Waits for the client to leave."""
    met["begun"] += 1
    while (await receive())["type"] != "http.disconnect":
        pass
    met["abandoned"] += 1


WAYS = {f"/{function.__name__}": function for function in (pid, about, crash, stuck, grow, digest, crowd, abandoned)}
