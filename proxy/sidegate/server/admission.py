"""The decision whether there is room for one more request: not too many in flight, none that has waited too long.

Each process has one; every exchange calls it when it is created. It counts nothing itself.

Theory of operation. ``limits.concurrentRequests`` bounds the requests that wait within applications. If an application
computes on the event loop, only one request is in progress; the others wait unread in their sockets and are not
counted. Only time shows them. All requests that one turn of the loop reads were there when the turn began, so a request
has waited at least since the first request of its turn began. A request that arrived during the turn before has also
waited for an unknown part of that turn; but no turn gets longer than its limit, except by about one request. So each
turn gets half of ``limits.queueDelay``, and two turns together are the whole delay.

One slow request is no queue: the requests read with it are not the cause, and the loop is free after them. So the
longest time from one request of the turn to the next does not count. This also excludes any other single delay of the
loop. Nothing is remembered between turns: whatever happened before, the first request of a turn is served, and then all
that fit into half of the delay.

A callback is needed to notice the end of a turn, and costs a microsecond. So after a short turn the next turns are not
measured for a sixteenth of the limit; the beginning of a long turn may be missed by that time.

Alternatives: controlled delay (CoDel, RFC 8289; for requests: folly's ``Codel``) needs the arrival time of each
request, which a socket does not report; the lag of a periodic timer (Node's under-pressure) is known only after the
turn.
"""

from __future__ import annotations

import asyncio

from sidegate.config.schema import Limits


class Admission:
    """Decides by ``limits.concurrentRequests`` and ``limits.queueDelay``."""

    __slots__ = ("_began", "_concurrent", "_in_turn", "_last", "_longest", "_longest_wait", "_loop", "_resume", "_skip")

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self._loop = loop
        self._concurrent = limits.concurrent_requests
        self._longest_wait = limits.queue_delay / 2
        self._skip = self._longest_wait / 8
        self._in_turn = False
        self._began = self._last = self._longest = self._resume = 0.0

    def refusal(self, started: float, in_flight: int) -> str:
        """The reason to refuse a request, or an empty string.

        ``started``: when it was read, in seconds of one clock for all. ``in_flight``: requests in flight, with this
        one.
        """
        if self._longest_wait and self._waited(started) > self._longest_wait:
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
                self._loop.call_soon(self._end_turn)  # runs before the loop polls its sockets again
            return 0.0
        step = now - self._last
        self._last = now
        self._longest = max(self._longest, step)
        return now - self._began - self._longest

    def _end_turn(self) -> None:
        self._in_turn = False
        if self._last - self._began < self._skip:
            self._resume = self._last + self._skip
