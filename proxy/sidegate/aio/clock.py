"""The periodic timer of a process's connections: at each tick it checks the timeouts of all of them.

After them it lets the heap give free memory back (``heap.py``).

A timer for each request would be created and cancelled far more often than it fires. A check of all connections at
each tick costs 0.2 µs for a connection and nothing on the request path. So timeouts are exact to one tick, which is
exact enough for every limit.
"""

from __future__ import annotations

import asyncio
import email.utils
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from sidegate.aio.heap import Heap

logger = logging.getLogger("sidegate.clock")

TICK = 0.5
"""Seconds between two ticks."""


Timed = TypeVar("Timed")


class Clock(Generic[Timed]):
    """Calls ``check`` at each tick, and keeps the ``date`` field (RFC 9110 6.6.1) that all responses use."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, check: Callable[[Timed, float], None], heap: Heap | None = None
    ) -> None:
        """``check(timed, now)`` applies the timeouts of ``timed`` that are due at ``now`` (the loop's time)."""
        self._loop = loop
        self._check = check
        self._heap = heap
        self._timed: set[Timed] = set()
        self._handle: asyncio.TimerHandle | None = None
        self.date_field = _date_field()

    def start(self) -> None:
        """Start the timer."""
        self._handle = self._loop.call_later(TICK, self._tick)

    def stop(self) -> None:
        """Stop the timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def add(self, timed: Timed) -> None:
        """Check ``timed`` from the next tick on."""
        self._timed.add(timed)

    def discard(self, timed: Timed) -> None:
        """Stop checking ``timed``."""
        self._timed.discard(timed)

    def _tick(self) -> None:
        self._handle = self._loop.call_later(TICK, self._tick)
        self.date_field = _date_field()
        now = self._loop.time()
        for timed in list(self._timed):  # a copy: a check may close its connection
            try:
                self._check(timed, now)
            except Exception:  # the others are checked nevertheless
                logger.exception("the timeouts of a connection could not be checked")
        if self._heap is not None:
            self._heap.check(now)


def _date_field() -> tuple[bytes, bytes]:
    return (b"date", email.utils.formatdate(usegmt=True).encode("ascii"))
