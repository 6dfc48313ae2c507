"""Applications in a process whose lifespan sets the task factory that TASK_FACTORY names.

``/wait`` answers after a pause whether a task of the factory runs it, and ``/size`` with the length of the body. A
WebSocket echoes one message.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

NAME = os.environ["TASK_FACTORY"]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        FACTORIES[NAME]()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": (await receive())["text"]})
        await receive()
    elif scope["path"].endswith("/wait"):
        await asyncio.sleep(0.01)
        await answer(send, b"made" if IS_MADE[NAME](asyncio.current_task()) else b"not made")
    else:
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message["body"])
            more = message["more_body"]
        await answer(send, b"%d" % size)


async def answer(send: Any, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def wsgi(environ: Any, start_response: Any) -> Iterable[bytes]:
    """``/size`` only."""
    size = len(environ["wsgi.input"].read())
    start_response("200 OK", [])
    return [b"%d" % size]


def make_wsgi() -> Any:
    """The same in a process whose loop gets the factory before it runs."""
    FACTORIES[NAME]()
    return wsgi


# The factories.


def set_factory(factory: Callable[..., Any]) -> None:
    asyncio.get_event_loop().set_task_factory(factory)


def wrapping(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **kwargs: Any) -> asyncio.Task[Any]:
    """As Sentry's and OpenTelemetry's."""

    async def wrapper() -> Any:
        return await coro

    return asyncio.Task(wrapper(), loop=loop, **kwargs)


class Marked(asyncio.Task[Any]):
    """A task with attributes."""


def without_context(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """As they were before Python 3.11. Under uvloop it fails for whoever calls ``create_task``."""
    return Marked(coro, loop=loop)


def failing(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **kwargs: Any) -> asyncio.Task[Any]:
    raise RuntimeError("no task today")


def sentry() -> None:
    import sentry_sdk  # noqa: PLC0415 - only where it is installed
    from sentry_sdk.integrations.asyncio import AsyncioIntegration  # noqa: PLC0415

    dsn = "http://key@127.0.0.1:1/1"
    sentry_sdk.init(dsn, transport=lambda event: None, integrations=[AsyncioIntegration()], traces_sample_rate=1.0)


def aiotask_context() -> None:
    import aiotask_context as library  # noqa: PLC0415 - only where it is installed

    set_factory(library.task_factory)


def eager() -> None:
    library: Any = asyncio  # mypy knows only that of Python 3.11
    set_factory(library.eager_task_factory)


FACTORIES: dict[str, Callable[[], None]] = {
    "wrapping": lambda: set_factory(wrapping),
    "without_context": lambda: set_factory(without_context),
    "failing": lambda: set_factory(failing),
    "eager": eager,
    "sentry": sentry,
    "aiotask_context": aiotask_context,
}
"""By name; each sets its factory in the loop that runs or will run (Sentry's only in one that runs)."""

IS_MADE: dict[str, Callable[[Any], bool]] = {
    "wrapping": lambda task: task.get_coro().__name__ == "wrapper",
    "without_context": lambda task: isinstance(task, Marked),
    "failing": lambda task: isinstance(task, asyncio.Task),
    "eager": lambda task: isinstance(task, asyncio.Task),
    "sentry": lambda task: "Sentry-wrapped" in task.get_name(),
    "aiotask_context": lambda task: task.context == {},
}
"""Whether the factory has made a task."""
