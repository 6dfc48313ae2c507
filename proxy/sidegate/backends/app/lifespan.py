"""The ASGI lifespan protocol of one application (https://asgi.readthedocs.io/en/latest/specs/lifespan.html).

Where it stands: beside the in-process backend. It owns the task in which the application's lifespan runs; the
application's ``state`` is what it left there at startup. Errors: ``StartError`` if startup fails.

``auto`` has to tell "knows no lifespan" from "failed": an application that raises before it has taken the startup
message, or answers it with messages of another protocol, knows none; one that raises afterwards has failed.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import Any, Literal

from sidegate.asgi import App, Message
from sidegate.errors import StartError

logger = logging.getLogger("sidegate.lifespan")

FAREWELL = 5.0
"""Seconds from an application's last answer to the end of its lifespan."""

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
        self._taken = False
        self._foreign = False

    async def startup(self) -> None:
        """Returns when the application is ready, or at once if it knows no lifespan."""
        if self._mode == "off":
            return
        self._task = asyncio.create_task(self._run(), name=f"lifespan {self._name}")
        answer = await self._ask("startup", self._task)
        if answer is not None and answer["type"] == "lifespan.startup.complete":
            return
        error = await _outcome(self._task)
        self._task = None
        if answer is None and self._mode == "auto" and (not self._taken or self._foreign or error is None):
            return
        hint = "" if answer is not None else "\nIf it has no lifespan, set `lifespan: off`."
        raise StartError(f"backend {self._name!r}: the application's startup failed: {_told(answer, error)}{hint}")

    async def shutdown(self) -> None:
        """Tell the application; a failure is logged, for nothing can be done about it any more."""
        if self._task is None:
            return
        answer = None if self._task.done() else await self._ask("shutdown", self._task)
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            logger.error("backend %r: the application's shutdown failed: %s", self._name, answer.get("message", ""))
        error = await _outcome(self._task)
        if error is not None:
            logger.error("backend %r: the application's lifespan failed", self._name, exc_info=error)

    async def _ask(self, phase: str, task: asyncio.Task[None]) -> Message | None:
        """The application's answer, or None if its lifespan ended without one."""
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
            # Out of a task these would end the process behind our back.
            raise RuntimeError(f"the application raised {error!r}") from error

    async def _receive(self) -> Message:
        message = await self._inbox.get()
        self._taken = True
        return message

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if not kind.startswith("lifespan."):
            self._foreign = True
            raise RuntimeError(f"{kind!r} is not a lifespan message")
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(message)


async def _outcome(task: asyncio.Task[None]) -> BaseException | None:
    """What the lifespan raised. One that does not end after its last word is cancelled."""
    await asyncio.wait([task], timeout=FAREWELL)
    task.cancel()
    return (await asyncio.gather(task, return_exceptions=True))[0]


def _told(answer: Message | None, error: BaseException | None) -> str:
    if answer is not None:
        return str(answer.get("message", "")).strip() or "it sent no message"
    if error is None:
        return "it returned without answering."
    return "".join(traceback.format_exception(error)).strip()
