"""Lets a coroutine wait again and again for the same source of events, without a task.

``Wakeup`` is the base class of ``ClientStream``, which the relay awaits, and of a WSGI ``Job``. ``aio/eager.py``, which
steps the exchange's coroutine, handles it.

Theory of operation. A relayed request waits for one thing, the events of its stream, and runs a few steps. A task for
the request and a future for each wait would cost a third of its time. So while an exchange is stepped without a task of
its own (``STEPPING``), the awaitable of ``wakeup`` yields the ``Wakeup`` itself instead of a future, and
``SpareTaskStarter`` tells it which coroutine to continue (``hand_to``). Within a task, ``wakeup`` returns an ordinary
future.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import Any, Protocol


class Stepping:
    """``loop``: the loop that steps a coroutine without a task of its own at this moment; None: no loop does.

    Loops in several threads share it. So it must name the loop: a task of another loop cannot yield a ``Wakeup``.
    """

    __slots__ = ("loop",)

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None


STEPPING = Stepping()


class Stepper(Protocol):
    """Continues a coroutine."""

    def step(self) -> None:
        """Run the coroutine's next step."""


class Wakeup:
    """Something that one coroutine waits for again and again."""

    __slots__ = ("_stepper", "_waiter", "_yielded", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._stepper: Stepper | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._yielded = False

    def wakeup(self) -> Awaitable[None]:
        """Return an awaitable that is done when ``wake`` is called."""
        if STEPPING.loop is self.loop:
            self._yielded = False
            return self
        self._stepper = None  # it is left from a wait that was cancelled
        self._waiter = waiter = self.loop.create_future()
        return waiter

    def wake(self) -> None:
        """Continue the coroutine that waits, in this or the next iteration of the loop."""
        stepper, waiter = self._stepper, self._waiter
        if stepper is not None:
            self._stepper = None
            self.loop.call_soon(stepper.step)
        elif waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def hand_to(self, stepper: Stepper) -> None:
        """Call ``stepper.step`` at the next ``wake``: a coroutine without a task has yielded this object."""
        self._stepper = stepper

    def hand_to_task(self) -> asyncio.Future[None]:
        """Return the future that a task is to wait for: the coroutine has yielded this object, but gets a task now."""
        self._waiter = waiter = self.loop.create_future()
        future: asyncio.Future[None] = next(waiter.__await__())  # this marks the future as being awaited
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
