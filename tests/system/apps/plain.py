"""An ASGI application without a framework: behaviours that a server has to get right, one path each.

A path's parameters come from the query (``/body?size=10``). ``/state`` tells what other requests met, because
an application that lost its client cannot tell it.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

met: Counter[str] = Counter()
"""What happened inside requests: ``held``, ``disconnected``, ``send_failed``, ``cancelled``, ``finished``."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    else:
        # A first path element that names nothing here is a mount point of a test's route map.
        await PATHS.get(scope["path"].removeprefix(scope["root_path"]), echo)(scope, receive, send)


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            scope["state"]["started_in"] = os.getpid()
            print("plain: started", flush=True)
            await send({"type": "lifespan.startup.complete"})
        else:
            print("plain: shut down", flush=True)
            await send({"type": "lifespan.shutdown.complete"})
            return


# --- Plain answers --------------------------------------------------------------------------------------------------


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """The scope as JSON; bytes as Latin-1 text, ``pid`` and the request body added."""
    body = b"".join([piece async for piece in pieces(receive)])
    shown = {key: plain(value) for key, value in scope.items() if not key.startswith("sidegate.")}
    await answer_json(send, {**shown, "pid": os.getpid(), "body": body.decode("latin-1")})


async def body(scope: Scope, receive: Receive, send: Send) -> None:
    """``size`` bytes in pieces of ``piece``; with content-length unless ``chunked=1``."""
    options = query(scope)
    size, piece = int(options.get("size", 0)), int(options.get("piece", 65536))
    headers = [] if "chunked" in options else [(b"content-length", b"%d" % size)]
    await start(send, headers=headers)
    try:
        for sent in range(0, size, piece):
            await send(chunk(b"x" * min(piece, size - sent), more=True))
    except OSError:
        met["send_failed"] += 1
        raise
    await send(chunk(b""))
    met["finished"] += 1


async def status(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with ``code`` and a body, also where the status allows none."""
    await start(send, int(query(scope)["code"]))
    await send(chunk(b"body"))


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers after ``seconds``, or once the file ``until`` exists."""
    options = query(scope)
    try:
        if "until" in options:
            while not Path(options["until"]).exists():
                await asyncio.sleep(0.02)
        else:
            await asyncio.sleep(float(options.get("seconds", 1)))
    except asyncio.CancelledError:
        met["cancelled"] += 1
        raise
    await answer(send, b"slow\n")
    met["finished"] += 1


async def upload(scope: Scope, receive: Receive, send: Send) -> None:
    """The number of body bytes and messages; waits ``pause`` seconds after each message."""
    size = count = 0
    async for piece in pieces(receive):
        size += len(piece)
        count += 1
        await asyncio.sleep(float(query(scope).get("pause", 0)))
    await answer_json(send, {"size": size, "messages": count})


async def state(scope: Scope, receive: Receive, send: Send) -> None:
    await answer_json(send, {**met, "pid": os.getpid(), "lifespan": plain(scope.get("state", {}))})


# --- Clients that leave, bodies that nobody reads -------------------------------------------------------------------


async def hold(scope: Scope, receive: Receive, send: Send) -> None:
    """Never reads its body and answers only after ``seconds``."""
    met["held"] += 1
    await asyncio.sleep(float(query(scope).get("seconds", 3600)))
    await answer(send, b"held\n")


async def disconnect(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends a head and a piece, then waits for ``http.disconnect`` and tries to send after it."""
    async for _ in pieces(receive):
        pass
    await start(send)
    await send(chunk(b"waiting\n", more=True))
    met["waiting"] += 1
    message = await receive()
    if message["type"] == "http.disconnect":
        met["disconnected"] += 1
    try:
        await send(chunk(b"too late"))
    except OSError:
        met["send_failed"] += 1


async def early(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers before it reads a byte of the body."""
    await answer(send, b"early\n")


# --- Errors ---------------------------------------------------------------------------------------------------------


async def raise_before(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("raised before the start")


async def raise_after(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send)
    await send(chunk(b"half", more=True))
    raise RuntimeError("raised after the start")


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Returns without a response."""


async def unfinished(scope: Scope, receive: Receive, send: Send) -> None:
    """Returns in the middle of a response."""
    await start(send)
    await send(chunk(b"half", more=True))


async def start_twice(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send)
    await start(send)


async def body_first(scope: Scope, receive: Receive, send: Send) -> None:
    await send(chunk(b"no start"))


async def send_after_end(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, b"whole\n")
    await send(chunk(b"more"))


async def too_long(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, headers=[(b"content-length", b"4")])
    await send(chunk(b"12345"))


async def too_short(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, headers=[(b"content-length", b"10")])
    await send(chunk(b"12345"))


async def wrong(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends the ``kind`` of nonsense that the table holds."""
    await send(WRONG[query(scope)["kind"]])


WRONG: dict[str, Any] = {
    "message": "not a dict",
    "no_type": {"status": 200},
    "type": {"type": "http.response.unknown"},
    "status_type": {"type": "http.response.start", "status": "200", "headers": []},
    "status_range": {"type": "http.response.start", "status": 99, "headers": []},
    "header_str": {"type": "http.response.start", "status": 200, "headers": [("name", "value")]},
    "header_shape": {"type": "http.response.start", "status": 200, "headers": [b"name"]},
    "header_crlf": {"type": "http.response.start", "status": 200, "headers": [(b"name", b"a\r\nset-cookie: b")]},
    "header_name": {"type": "http.response.start", "status": 200, "headers": [(b"na me", b"value")]},
}


# --- Extensions -----------------------------------------------------------------------------------------------------


async def trailers(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
    await send(chunk(b"body"))
    await send({"type": "http.response.trailers", "headers": [(b"x-checksum", b"42")], "more_trailers": False})


async def early_hint(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload; as=style"]})
    await answer(send, b"hinted\n")


async def pathsend(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends the file at ``path``."""
    path = query(scope)["path"]
    length = os.stat(path).st_size if os.path.exists(path) else 4  # noqa: PTH110, PTH116
    await start(send, headers=[(b"content-length", b"%d" % length)])
    await send({"type": "http.response.pathsend", "path": path})


async def zerocopysend(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends ``count`` bytes from ``offset`` of the file at ``path``, both optional."""
    options = query(scope)
    parts: dict[str, int] = {name: int(options[name]) for name in ("offset", "count") if name in options}
    with open(options["path"], "rb") as file:  # noqa: PTH123
        await start(send)
        await send({"type": "http.response.zerocopysend", "file": file.fileno(), **parts, "more_body": True})
        await send(chunk(b"|end"))


# --- Vocabulary -----------------------------------------------------------------------------------------------------


async def pieces(receive: Receive) -> AsyncIterator[bytes]:
    """The request body; ends early when the client leaves."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            met["disconnected"] += 1
            return
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def start(send: Send, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers or []})


def chunk(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def answer(send: Send, data: bytes, media_type: bytes = b"text/plain") -> None:
    await start(send, headers=[(b"content-type", media_type), (b"content-length", b"%d" % len(data))])
    await send(chunk(data))


async def answer_json(send: Send, value: object) -> None:
    await answer(send, json.dumps(value).encode(), b"application/json")


def query(scope: Scope) -> dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode()))


def plain(value: Any) -> Any:
    """As JSON can show it."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, MutableMapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


PATHS = {
    f"/{function.__name__.replace('_', '-')}": function
    for function in (
        body, status, slow, upload, state, hold, disconnect, early, raise_before, raise_after, silent, unfinished,
        start_twice, body_first, send_after_end, too_long, too_short, wrong, trailers, early_hint, pathsend,
        zerocopysend,
    )
}  # fmt: skip


class Double:
    """The same as an ASGI 2 application: called with the scope first, with the channels then."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def __call__(self, receive: Receive, send: Send) -> None:
        await app(self._scope, receive, send)


async def without_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Knows nothing but HTTP, as many small applications do."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await app(scope, receive, send)


async def failing_startup(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "the database is not there"})
