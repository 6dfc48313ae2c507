"""Makes tasks: Sidegate's own, and those that run an application.

An application may set a task factory (``loop.set_task_factory``). Factories wrap coroutines (Sentry's), attach
attributes to tasks (aiotask-context's), and many take no ``context``, with which uvloop always calls them. So a task
factory gets the tasks that run an application, as it does under other servers, and none of Sidegate's own.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger("sidegate.tasks")


def internal_task(
    coroutine: Coroutine[Any, Any, Any], name: str | None = None, loop: asyncio.AbstractEventLoop | None = None
) -> asyncio.Task[Any]:
    """Run a coroutine of Sidegate's in a task, in the running loop or in ``loop``."""
    return asyncio.Task(coroutine, name=name, loop=asyncio.get_running_loop() if loop is None else loop)


def application_task(
    coroutine: Coroutine[Any, Any, None],
    context: contextvars.Context,
    loop: asyncio.AbstractEventLoop,
    name: str | None = None,
) -> asyncio.Task[None]:
    """Run a coroutine that calls an application in a task, made by the application's task factory if it has set one.

    The factory is called within ``context`` and not by ``create_task``, because many take no ``context``.
    """
    factory: Any = loop.get_task_factory()
    if factory is not None:
        try:
            made: asyncio.Task[None] = context.run(factory, loop, coroutine)
        except Exception:
            logger.exception("the application's task factory failed; an ordinary task is used instead")
        else:
            return made
    return asyncio.Task(coroutine, loop=loop, name=name, context=context)
