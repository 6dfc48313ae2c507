"""The requests of one backend that wait for a place: carries out what ``load_balancer.py`` decides.

Where it stands: between whoever has places (the links of a balancer, the threads of a WSGI application) and the
requests, which ask for one. It owns those who wait, and the timer that ends what waits too long. Errors:
``ExchangeError`` (503) from ``wait``, ``Unprocessed`` among them.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from sidegate.aio.wakeup import Wakeup
from sidegate.backends.load_balancer import LoadBalancer, Target, Ticket
from sidegate.config.schema import Queue
from sidegate.errors import ExchangeError, Fault, Unprocessed
from sidegate.observe.queue_meter import QueueMeter

PRESSURE_PERIOD = 0.1
"""Seconds between two words about a queue that lasts."""


class WaitQueue:
    """One for each backend whose requests may have to wait."""

    __slots__ = (
        "_pressure_told",
        "_queue",
        "_timer",
        "_waiting",
        "load_balancer",
        "loop",
        "meter",
        "on_pressure",
        "refusing",
    )

    def __init__(self, meter: QueueMeter, queue: Queue) -> None:
        self.meter = meter
        self.loop = asyncio.get_running_loop()
        self.load_balancer = LoadBalancer(queue.size)
        self.on_pressure: Callable[[int], None] | None = None
        """Called with the length of a queue: when it appears, while it lasts, and with 0 when it is gone."""
        self.refusing = False
        """Whoever would have to wait is sent away instead: ``Unprocessed``."""
        self._queue = queue
        self._waiting: dict[Ticket, Wakeup] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._pressure_told = False

    def stop(self) -> None:
        """No more looks at the queue."""
        if self._timer is not None:
            self._timer.cancel()

    def refuse_all(self) -> None:
        """From now on nobody waits here, until ``refusing`` is no more."""
        self.refusing = True
        self._tell(self.load_balancer.expire(math.inf))

    async def wait(self, since: float, again: bool, waiter: Wakeup | None = None) -> Target:
        """A place, as soon as there is one. ``since``: when it began to wait; ``again``: it has had a place before.

        ``waiter`` is woken then, and may be woken by others; without one, one is made. Raises ``ExchangeError`` if the
        queue is full or the wait too long, or who waits is sent away.
        """
        if self.refusing:
            raise Unprocessed("no_thread")
        ticket = self._join(since, again)
        if ticket is None:
            raise ExchangeError(Fault.PROXY, 503, "queue_full")
        self._waiting[ticket] = waiter = Wakeup(self.loop) if waiter is None else waiter
        self.meter.queued()
        self.assign()  # for one that comes again
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
        """A request that had a place has ended."""
        self.load_balancer.give_back(target)
        if self.load_balancer.queue:
            self.assign()

    def assign(self) -> None:
        """Give what places are free to those who wait."""
        self._tell(self.load_balancer.assign())

    def _not_served(self) -> ExchangeError:
        if self.refusing:
            return Unprocessed("no_thread")
        if self.load_balancer.empty:
            return ExchangeError(Fault.UPSTREAM, 503, "no_worker")
        return ExchangeError(Fault.PROXY, 503, "queue_timeout")

    def _join(self, since: float, again: bool) -> Ticket | None:
        deadline = since + self._queue.timeout
        return self.load_balancer.rejoin(since, deadline) if again else self.load_balancer.join(since, deadline)

    def _tell(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            waiter = self._waiting.pop(ticket, None)
            if waiter is not None:
                waiter.wake()

    def _on_time(self) -> None:
        """While there is a queue: tell of its length, end what has waited too long."""
        self._timer = None
        now = self.loop.time()
        self._tell(self.load_balancer.expire(now))
        # Without any place it is not for want of workers that requests wait.
        queued = 0 if self.load_balancer.empty else len(self.load_balancer.queue)
        if self.on_pressure is not None and (queued or self._pressure_told):
            self._pressure_told = bool(queued)
            self.on_pressure(queued)
        deadline = self.load_balancer.next_deadline()
        if deadline is not None:
            self._timer = self.loop.call_at(min(deadline, now + PRESSURE_PERIOD), self._on_time)
