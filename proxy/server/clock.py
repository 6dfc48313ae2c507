"""The one driver of time in a process: a coarse tick that carries out every timeout policy.

Where it stands: beside the listeners. It owns the loop's only periodic timer. A timer for each request would
be created and cancelled far more often than it fires; one walk a second over the connections costs 0.2 µs
each and nothing on the request path. So timeouts are exact to one tick, which every limit can bear.
"""

from __future__ import annotations

import asyncio
import email.utils
from typing import Protocol

TICK = 0.5
"""Seconds between two walks."""


class Timed(Protocol):
    """Whatever has deadlines: it is asked at every tick."""

    def check(self, now: float) -> None:
        """Carry out what is due at ``now`` (the loop's time)."""


class Clock:
    """Ticks, and keeps the ``date`` field (RFC 9110 6.6.1) that every response of this second shares."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timed: set[Timed] = set()
        self._handle: asyncio.TimerHandle | None = None
        self.date_field = _date_field()

    def start(self) -> None:
        """Begin to tick."""
        self._handle = self._loop.call_later(TICK, self._tick)

    def stop(self) -> None:
        """Tick no more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def add(self, timed: Timed) -> None:
        """Ask ``timed`` from the next tick on."""
        self._timed.add(timed)

    def discard(self, timed: Timed) -> None:
        """Ask ``timed`` no more."""
        self._timed.discard(timed)

    def _tick(self) -> None:
        self._handle = self._loop.call_later(TICK, self._tick)
        self.date_field = _date_field()
        now = self._loop.time()
        for timed in list(self._timed):  # a copy: a check may close its connection
            timed.check(now)


def _date_field() -> tuple[bytes, bytes]:
    return (b"date", email.utils.formatdate(usegmt=True).encode("ascii"))
