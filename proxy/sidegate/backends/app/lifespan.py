"""The ASGI lifespan protocol of one application (https://asgi.readthedocs.io/en/latest/specs/lifespan.html).

The in-process backend owns it. It owns the task in which the application's lifespan runs, and ``state``, which the
application fills at startup. Only ``startup`` raises: ``StartError``.

``auto`` has to distinguish "does not support lifespan" from "failed": an application that raises before it has received
the startup message, or answers it with messages of another protocol, does not support lifespan; one that raises
afterwards has failed.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import traceback
from typing import Any, Literal

from sidegate.aio.tasks import application_task
from sidegate.asgi import App, Message
from sidegate.errors import StartError

logger = logging.getLogger("sidegate.lifespan")

FAREWELL = 5.0
"""Seconds that the lifespan may run on after the application's last answer; then it is cancelled."""

_VERSIONS = {"version": "3.0", "spec_version": "2.0"}


class Lifespan:
    """One run of an application's lifespan: ``startup``, then ``shutdown``."""

    def __init__(self, name: str, app: App, mode: Literal["auto", "on", "off"]) -> None:
        self.state: dict[str, Any] = {}
        self._name = name
        self._app = app
        self._mode = mode
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._answer: asyncio.Future[Message | None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._received = False
        self._other_protocol = False

    async def startup(self) -> None:
        """Wait until the application is ready, or, with ``auto``, until it turns out not to support lifespan.

        :raises StartError: startup failed; the message has the application's traceback or its own message.
        """
        if self._mode == "off":
            return
        self._task = application_task(
            self._run(), contextvars.copy_context(), asyncio.get_running_loop(), f"lifespan {self._name}"
        )
        answer = await self._ask("startup", self._task)
        if answer is not None and answer["type"] == "lifespan.startup.complete":
            return
        error = await _outcome(self._task)
        self._task = None
        if answer is None and self._mode == "auto" and (not self._received or self._other_protocol or error is None):
            return
        hint = "" if answer is not None else "\nIf it has no lifespan, set `lifespan: off`."
        raise StartError(f"backend {self._name!r}: the application's startup failed: {_describe(answer, error)}{hint}")

    async def shutdown(self) -> None:
        """Send the application the shutdown message and wait for its end. A failure is only logged."""
        if self._task is None:
            return
        answer = None if self._task.done() else await self._ask("shutdown", self._task)
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            logger.error("backend %r: the application's shutdown failed: %s", self._name, answer.get("message", ""))
        error = await _outcome(self._task)
        if error is not None:
            logger.error("backend %r: the application's lifespan failed", self._name, exc_info=error)

    async def _ask(self, phase: str, task: asyncio.Task[None]) -> Message | None:
        """Return the application's answer, or None if its lifespan ended without one."""
        self._answer = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait({"type": f"lifespan.{phase}"})
        waiting: list[asyncio.Future[Any]] = [self._answer, task]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return self._answer.result() if self._answer.done() else None

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": _VERSIONS.copy(), "state": self.state}
        try:
            await self._app(scope, self._receive, self._send)
        except (SystemExit, KeyboardInterrupt) as error:
            # If a task raised one of these, the event loop would end the process.
            raise RuntimeError(f"the application raised {error!r}") from error

    async def _receive(self) -> Message:
        message = await self._inbox.get()
        self._received = True
        return message

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if not kind.startswith("lifespan."):
            self._other_protocol = True
            raise RuntimeError(f"{kind!r} is not a lifespan message")
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(message)


async def _outcome(task: asyncio.Task[None]) -> BaseException | None:
    """Wait for the lifespan's end and return the error that it raised. If it does not end in time, it is cancelled."""
    await asyncio.wait([task], timeout=FAREWELL)
    task.cancel()
    return (await asyncio.gather(task, return_exceptions=True))[0]


def _describe(answer: Message | None, error: BaseException | None) -> str:
    if answer is not None:
        return str(answer.get("message", "")).strip() or "it sent no message"
    if error is None:
        return "it returned without answering."
    return "".join(traceback.format_exception(error)).strip()
