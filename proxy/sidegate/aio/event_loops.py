"""The event loops that a process may run on: uvloop's or asyncio's own.

A child makes its loop by it, and ``sidegate check`` asks it. uvloop is imported only if it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Literal

from sidegate.errors import StartError

EventLoopName = Literal["auto", "uvloop", "asyncio"]


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


@contextlib.contextmanager
def new_runner(name: EventLoopName) -> Iterator[asyncio.Runner]:
    """A runner with a new event loop, which is closed at the end.

    :raises StartError: as ``loop_factory``.
    """
    with asyncio.Runner(loop_factory=loop_factory(name)) as runner:
        try:
            yield runner
        finally:
            # The runner's end takes tasks, too, and an application's task factory may not be able to make them.
            runner.get_loop().set_task_factory(None)
