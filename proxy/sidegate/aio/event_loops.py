"""The event loop of a process that runs applications: uvloop's or asyncio's own.

``sidegate check`` uses it as well. uvloop is imported only if it is used.

Applications are imported before the loop runs: code that has an event loop of its own (``asyncio.run``, asgiref's
``async_to_sync``) or must not run in one (Django's ORM) fails within a running loop.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

from sidegate.aio.tasks import internal_task
from sidegate.errors import StartError

T = TypeVar("T")

EventLoopName = Literal["auto", "uvloop", "asyncio"]

REFERENCES = 2
"""Those to a closed loop that nobody keeps: a local variable and the argument of ``getrefcount``."""


def loop_factory(name: EventLoopName) -> Callable[[], asyncio.AbstractEventLoop]:
    """The function that makes an event loop. ``auto`` is uvloop if it is installed.

    :raises StartError: uvloop is required and cannot be imported.
    """
    if name == "asyncio":
        return asyncio.new_event_loop
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 - it costs memory
    except ImportError as error:
        if name == "uvloop":
            raise StartError(f"uvloop cannot be imported ({error}): install it, or set eventLoop: auto") from error
        return asyncio.new_event_loop
    return new_event_loop


class ProcessLoop:
    """The event loop of a process. It is made first, offered to the applications that are imported, and then runs.

    As a context manager it closes the loop at the end.
    """

    def __init__(self, name: EventLoopName) -> None:
        """Make the loop.

        :raises StartError: as ``loop_factory``.
        """
        self._make = loop_factory(name)
        self._runner = asyncio.Runner(loop_factory=self._make)

    def offer(self) -> None:
        """Make it the loop that ``asyncio.get_event_loop()`` returns while no loop runs.

        Call it before each import: an earlier one may have set another (``asyncio.run`` does) or closed this one.
        """
        if self._runner.get_loop().is_closed():
            self._runner = asyncio.Runner(loop_factory=self._make)
        asyncio.set_event_loop(self._runner.get_loop())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` to its end, in the context of the caller, and return its result."""
        self.offer()
        loop = self._runner.get_loop()
        result: T = loop.run_until_complete(internal_task(coroutine, loop=loop))
        return result

    def close(self) -> bool:
        """Cancel all tasks and close the loop. Return whether an application keeps it."""
        self.offer()
        loop = self._runner.get_loop()
        # The end takes tasks, too, and an application's task factory may not be able to make them.
        loop.set_task_factory(None)
        self._runner.close()
        del self._runner
        asyncio.set_event_loop(None)
        return sys.getrefcount(loop) > REFERENCES

    def __enter__(self) -> ProcessLoop:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
