"""Waiting for what a link brings, without a task.

Where it stands: the base of a call, below the relay, which awaits it; known to ``aio/eager.py``, which steps
the exchange's coroutine. No error leaves it.

Theory of operation. A relayed request waits for one thing, the events of its stream, and runs a few steps. To make a
task for it, a future for the wait, and to forget both is a third of its time. So while an exchange is stepped without
a task of its own (``STEPPING.now``), ``wakeup`` yields the arrival itself instead of a future, and whoever steps the
coroutine says how to go on (``hand_to``). Within a task it is a future like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import Any, Protocol


class Stepping:
    """``now``: the coroutine that runs is stepped without a task of its own."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = False


STEPPING = Stepping()


class Stepper(Protocol):
    """Goes on with a coroutine."""

    def step(self) -> None:
        """From where it waits."""


class Wakeup:
    """Something that may be waited for again and again, by one coroutine."""

    __slots__ = ("_stepper", "_waiter", "_yielded", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._stepper: Stepper | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._yielded = False

    def wakeup(self) -> Awaitable[None]:
        """Done when ``wake`` was called."""
        if STEPPING.now:
            self._yielded = False
            return self
        self._stepper = None  # of a step that was cancelled: who waits now is somebody else
        self._waiter = waiter = self.loop.create_future()
        return waiter

    def wake(self) -> None:
        """Whoever waits goes on, in this or the next turn of the loop."""
        stepper, waiter = self._stepper, self._waiter
        if stepper is not None:
            self._stepper = None
            self.loop.call_soon(stepper.step)
        elif waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def hand_to(self, stepper: Stepper) -> None:
        """It was yielded to who steps the coroutine: ``stepper`` goes on when it is woken."""
        self._stepper = stepper

    def hand_to_task(self) -> asyncio.Future[None]:
        """It was yielded, but a task is to go on after all: what the task is to wait for."""
        self._waiter = waiter = self.loop.create_future()
        future: asyncio.Future[None] = next(waiter.__await__())  # marked as being awaited
        return future

    def __await__(self) -> Generator[Any, None, None]:
        return self  # type: ignore[return-value]  # an iterator is enough

    def __iter__(self) -> Wakeup:
        return self

    def __next__(self) -> Wakeup:
        if self._yielded:
            raise StopIteration
        self._yielded = True
        return self
