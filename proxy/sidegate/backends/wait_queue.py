"""The requests of one backend that wait for a target. It carries out the decisions of ``load_balancer.py``.

Its targets are the connections of a balancer, or the threads of a WSGI application. It owns the waiting requests, and
the timer that ends the wait of those whose deadline has passed. Only ``wait`` raises: ``ExchangeError``.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from sidegate.aio.wakeup import Wakeup
from sidegate.backends.load_balancer import LoadBalancer, Target, Ticket
from sidegate.config.schema import Queue
from sidegate.errors import ExchangeError, Fault
from sidegate.observe.queue_meter import QueueMeter

PRESSURE_PERIOD = 0.1
"""Seconds between two reports about a queue that is not empty."""


class WaitQueue:
    """One for each backend whose requests may have to wait."""

    __slots__ = (
        "_pressure_reported",
        "_queue",
        "_timer",
        "_waiting",
        "load_balancer",
        "loop",
        "meter",
        "on_pressure",
        "on_wait",
        "refusal",
    )

    def __init__(self, meter: QueueMeter, queue: Queue) -> None:
        self.meter = meter
        self.loop = asyncio.get_running_loop()
        self.load_balancer = LoadBalancer(queue.size)
        self.on_wait: Callable[[], None] | None = None
        """Called when a request has to wait."""
        self.on_pressure: Callable[[int], None] | None = None
        """Called with the length of the queue: when it begins to fill, while it is not empty, and with 0 at its end."""
        self.refusal: Callable[[], ExchangeError] | None = None
        """If set: a request that would have to wait is refused instead, with the error that it makes."""
        self._queue = queue
        self._waiting: dict[Ticket, Wakeup] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._pressure_reported = False

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def refuse_all(self, refusal: Callable[[], ExchangeError]) -> None:
        """Refuse the waiting requests, and later ones until ``refusal`` is reset."""
        self.refusal = refusal
        self._wake(self.load_balancer.expire(math.inf))

    async def wait(self, since: float, again: bool, waiter: Wakeup | None = None) -> Target:
        """Wait for a target. ``since``: loop time when the wait began; ``again``: the request had a target before.

        ``waiter`` is woken when there is a target; other code may wake it, too. Without it, one is made.

        :raises ExchangeError: 503; the queue is full, the wait was too long, or no worker is connected.
        :raises ExchangeError: the one of ``refusal``; waiting requests are refused now.
        """
        if self.refusal is not None:
            raise self.refusal()
        ticket = self._join(since, again)
        if ticket is None:
            raise ExchangeError(Fault.PROXY, 503, "queue_full")
        self._waiting[ticket] = waiter = Wakeup(self.loop) if waiter is None else waiter
        self.meter.queued()
        self.assign()  # a request that waits again may get a target at once
        if self.on_wait is not None and self.load_balancer.queue:
            self.on_wait()
        if self._timer is None and self.load_balancer.queue:
            self._on_time()
        try:
            while ticket in self._waiting:
                await waiter.wakeup()
        except BaseException:
            self._waiting.pop(ticket, None)
            self.load_balancer.leave(ticket)
            self.assign()
            raise
        finally:
            self.meter.unqueued()
        if ticket.target is None:
            raise self._not_served()
        self.meter.waited(self.loop.time() - since)
        return ticket.target

    def give_back(self, target: Target) -> None:
        """A request that had ``target`` has ended."""
        self.load_balancer.give_back(target)
        if self.load_balancer.queue:
            self.assign()

    def assign(self) -> None:
        """Assign free targets to the waiting requests."""
        self._wake(self.load_balancer.assign())

    def _not_served(self) -> ExchangeError:
        if self.refusal is not None:
            return self.refusal()
        if self.load_balancer.empty:
            return ExchangeError(Fault.UPSTREAM, 503, "no_worker")
        return ExchangeError(Fault.PROXY, 503, "queue_timeout")

    def _join(self, since: float, again: bool) -> Ticket | None:
        deadline = since + self._queue.timeout
        return self.load_balancer.rejoin(since, deadline) if again else self.load_balancer.join(since, deadline)

    def _wake(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            waiter = self._waiting.pop(ticket, None)
            if waiter is not None:
                waiter.wake()

    def _on_time(self) -> None:
        """Report the queue's length and end the waits whose deadline has passed, as long as there is a queue."""
        self._timer = None
        now = self.loop.time()
        self._wake(self.load_balancer.expire(now))
        # Without any target, more workers would not shorten the queue: report none.
        queued = 0 if self.load_balancer.empty else len(self.load_balancer.queue)
        if self.on_pressure is not None and (queued or self._pressure_reported):
            self._pressure_reported = bool(queued)
            self.on_pressure(queued)
        deadline = self.load_balancer.next_deadline()
        if deadline is not None:
            self._timer = self.loop.call_at(min(deadline, now + PRESSURE_PERIOD), self._on_time)
