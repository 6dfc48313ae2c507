"""Whether there is room for one more request: not too many under way, and none that has waited too long.

Where it stands: one for each process, asked by every exchange as it is made. It counts nothing itself.

Theory of operation. ``limits.concurrentRequests`` bounds the requests that wait within applications. An application
that computes on the event loop has only one of them in progress; the rest wait unread in their sockets, uncounted.
There only time tells. All that one turn of the loop reads was there when the turn began, so a request has waited at
least since the first of its turn began. What arrived while the turn before ran has waited for a part of that one, too,
and nobody knows for how long; but no turn gets longer than the limit for it, give or take one request. So each turn
is given half of ``limits.queueDelay``, and the two halves are the whole.

One slow request is no queue: those that were read with it are not to blame, and the loop is free after them. So the
longest time from one request of the turn to the next does not count. This also forgives what else held the loop up
once. Nothing is remembered from turn to turn: whatever happened before, the first of a turn is served, and all that
half of the delay has room for.

To learn when a turn ends costs a callback, a microsecond. So after a short turn the next are not watched for a
sixteenth of the limit, by which the beginning of a long one may be missed.

The other ways: controlled delay (CoDel, RFC 8289; for requests: folly's ``Codel``) wants to know when each one came,
which a socket does not tell; the lag of a periodic timer (Node's under-pressure) is known only when the turn is over.
"""

from __future__ import annotations

import asyncio

from sidegate.config.schema import Limits


class Admission:
    """Judges by ``limits.concurrentRequests`` and ``limits.queueDelay``."""

    __slots__ = ("_began", "_concurrent", "_in_turn", "_last", "_longest", "_loop", "_patience", "_rest", "_resume")

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self._loop = loop
        self._concurrent = limits.concurrent_requests
        self._patience = limits.queue_delay / 2
        self._rest = self._patience / 8
        self._in_turn = False
        self._began = self._last = self._longest = self._resume = 0.0

    def refusal(self, started: float, in_flight: int) -> str:
        """The reason to refuse a request, or nothing.

        ``started``: when it was read, in seconds of one clock for all. ``in_flight``: requests under way with this one.
        """
        if self._patience and self._waited(started) > self._patience:
            return "queue_delay"
        if 0 < self._concurrent < in_flight:
            return "overload"
        return ""

    def _waited(self, now: float) -> float:
        """Seconds since the turn's first request, without the longest from one request to the next."""
        if not self._in_turn:
            if now >= self._resume:
                self._in_turn = True
                self._began = self._last = now
                self._longest = 0.0
                self._loop.call_soon(self._end_turn)  # which runs before the loop looks at its sockets again
            return 0.0
        step = now - self._last
        self._last = now
        self._longest = max(self._longest, step)
        return now - self._began - self._longest

    def _end_turn(self) -> None:
        self._in_turn = False
        if self._last - self._began < self._rest:
            self._resume = self._last + self._rest
