"""The links of one backend and the queue before them: carries out what ``choice.py`` decides.

Where it stands: between a backend, which says which endpoints there are, and the relays, which ask for a place. It
owns links, keepers, timers and the futures of those who wait. Errors: ``ExchangeError`` (503) from ``wait``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

from proxy.backends.choice import Choice, Ticket
from proxy.backends.endpoint import Endpoint
from proxy.backends.keeper import Keeper
from proxy.backends.link import Link, Owner
from proxy.backends.pauses import Pauses
from proxy.config.schema import Queue
from proxy.errors import ExchangeError, Fault
from proxy.observe.pool_meter import PoolMeter
from proxy.wire.http2.client import Http2ClientCodec

REST = 0.02
"""Seconds without a new request for a peer that refused one within the number of streams it announced: its streams
may still be running on, as an application does that works on after its response."""

PRESSURE_PERIOD = 0.1
"""Seconds between two words about a queue that lasts."""

PINGS = 3
"""A silence of a third of the time that an answer may take is asked after."""


class Balancer(Owner):
    """One for each backend whose requests go elsewhere. ``liveness``: seconds for the answer to a PING, 0 for none."""

    __slots__ = (
        "_checked", "_keepers", "_links", "_liveness", "_new_codec", "_owners", "_pauses", "_pressure_told",
        "_queue_timer", "_silence_timer", "_waiting", "choice", "loop", "meter", "name", "on_failure", "on_pressure",
        "on_silence", "queue",
    )  # fmt: skip

    def __init__(
        self,
        meter: PoolMeter,
        queue: Queue,
        liveness: float,
        pauses: Pauses,
        new_codec: Callable[[], Http2ClientCodec],
    ) -> None:
        self.name = meter.name
        self.meter = meter
        self.queue = queue
        self.loop = asyncio.get_running_loop()
        self.choice = Choice(queue.size)
        self.on_pressure: Callable[[int], None] | None = None
        """Called with the length of a queue: when it appears, while it lasts, and with 0 when it is gone."""
        self.on_silence: Callable[[Keeper], None] | None = None
        """Called once for a link whose peer does not answer."""
        self.on_failure: Callable[[], None] | None = None
        """Called when a connection cannot be made, or broke."""
        self._liveness = liveness
        self._pauses = pauses
        self._new_codec = new_codec
        self._keepers: dict[Endpoint, Keeper] = {}
        self._links: set[Link] = set()  # also those that are leaving
        self._owners: dict[Link, Keeper] = {}
        self._waiting: dict[Ticket, asyncio.Future[None]] = {}
        self._queue_timer: asyncio.TimerHandle | None = None
        self._silence_timer: asyncio.TimerHandle | None = None
        self._pressure_told = False
        self._checked = 0.0

    # For the backend.

    def start(self) -> None:
        """Begin to look after links."""
        if self._liveness:
            self._checked = self.loop.time()
            self._silence_timer = self.loop.call_later(self._liveness / PINGS, self._check_silence)

    def set_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        """These are all there are: connect those that are new; those that are missing get no further request."""
        wanted = dict.fromkeys(endpoints)
        for endpoint in [known for known in self._keepers if known not in wanted]:
            self._keepers.pop(endpoint).retire()
        for endpoint in wanted:
            if endpoint not in self._keepers:
                keeper = Keeper(endpoint, self._pauses, self._new_link, self._is_without_links)
                self._keepers[endpoint] = keeper
                keeper.start()

    async def stop(self) -> None:
        """Close every link."""
        keepers = list(self._keepers.values())
        self.set_endpoints(())
        for link in list(self._links):
            link.close()
        for keeper in keepers:
            await keeper.stopped()
        for timer in (self._silence_timer, self._queue_timer):
            if timer is not None:
                timer.cancel()

    def statistics(self) -> dict[str, Any]:
        """For ``/status``: the link to each endpoint, and how many requests wait."""
        links = []
        for keeper in self._keepers.values():
            facts: dict[str, Any] = {"endpoint": str(keeper.endpoint), "failures": keeper.failures, "ready": False}
            link = keeper.link
            if link is not None:
                ready = link.ready and not link.leaving
                facts |= {"ready": ready, "requests": link.busy, "places": link.places}
            links.append(facts)
        return {"links": links, "queued": len(self.choice.queue)}

    # For the relays.

    def take(self) -> Link | None:
        """A place for a request that has just come, if there is one."""
        return self.choice.take()  # type: ignore[return-value]  # its places are links

    def give_back(self, link: Link) -> None:
        """A request that had a place has ended."""
        self.choice.give_back(link)
        if self.choice.queue:
            self._assign()

    def rest(self, link: Link) -> None:
        """The peer refused a request that it had announced room for."""
        if not link.resting and not link.leaving:
            link.resting = True
            self.loop.call_later(REST, self._wake, link)

    async def wait(self, since: float, again: bool) -> Link:
        """A place, as soon as there is one. ``since``: when it began to wait; ``again``: it has had a place before.

        Raises ``ExchangeError`` if the queue is full or the wait too long.
        """
        ticket = self._join(since, again)
        if ticket is None:
            raise ExchangeError(Fault.PROXY, 503, "queue_full")
        waiter = self._waiting[ticket] = self.loop.create_future()
        self.meter.queued()
        self._assign()  # for one that comes again
        if self._queue_timer is None and self.choice.queue:
            self._on_queue_time()
        try:
            await waiter
        except BaseException:
            self.choice.leave(ticket)
            self._assign()
            raise
        finally:
            del self._waiting[ticket]
            self.meter.unqueued()
        if ticket.place is None:
            if self.choice.empty:
                raise ExchangeError(Fault.UPSTREAM, 503, "no_worker")
            raise ExchangeError(Fault.PROXY, 503, "queue_timeout")
        self.meter.waited(self.loop.time() - since)
        return cast(Link, ticket.place)

    def _join(self, since: float, again: bool) -> Ticket | None:
        deadline = since + self.queue.timeout
        return self.choice.rejoin(since, deadline) if again else self.choice.join(since, deadline)

    def _assign(self) -> None:
        self._told(self.choice.assign())

    def _told(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            waiter = self._waiting.get(ticket)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    def _wake(self, link: Link) -> None:
        link.resting = False
        self._assign()

    # The queue's time.

    def _on_queue_time(self) -> None:
        """While there is a queue: tell of its length, end what has waited too long."""
        self._queue_timer = None
        now = self.loop.time()
        self._told(self.choice.expire(now))
        # Without any link it is not for want of workers that requests wait.
        queued = 0 if self.choice.empty else len(self.choice.queue)
        if self.on_pressure is not None and (queued or self._pressure_told):
            self._pressure_told = bool(queued)
            self.on_pressure(queued)
        deadline = self.choice.next_deadline()
        if deadline is not None:
            self._queue_timer = self.loop.call_at(min(deadline, now + PRESSURE_PERIOD), self._on_queue_time)

    # From the keepers and the links.

    def _new_link(self, keeper: Keeper) -> Link:
        link = Link(self, f"{self.name}: {keeper.endpoint}", self._new_codec(), self.loop)
        self._owners[link] = keeper
        self._links.add(link)
        return link

    def _is_without_links(self) -> bool:
        return self.choice.empty

    def link_ready(self, link: Link) -> None:
        """See ``Owner``."""
        self._owners[link].look()
        self.choice.add(link)
        self._assign()

    def link_has_room(self, link: Link) -> None:
        """See ``Owner``."""
        self._assign()

    def link_over(self, link: Link) -> None:
        """See ``Owner``."""
        self.choice.remove(link)
        self._owners[link].look()
        if self.choice.empty:
            for keeper in self._keepers.values():
                keeper.look()  # one that is ejected is better than none
        if self.on_failure is not None and not link.parted:
            self.on_failure()
        if link.transport is None:
            self.link_lost(link)  # never connected: nobody else will tell

    def link_lost(self, link: Link) -> None:
        """See ``Owner``."""
        self._links.discard(link)
        self._owners.pop(link, None)

    def _check_silence(self) -> None:
        period = self._liveness / PINGS
        now = self.loop.time()
        # Called late, this process itself had no time: what its peers have answered is still unread.
        late = now - self._checked > 1.5 * period
        self._checked = now
        self._silence_timer = self.loop.call_later(period, self._check_silence)
        for link in list(self._links):
            if late:
                link.forgive()
            elif link.silent_for(now) >= self._liveness:
                self._on_silent(link)
            elif link.ready and not link.leaving:
                self.choice.add(link)  # it may have been silent before
        self._assign()

    def _on_silent(self, link: Link) -> None:
        if self.choice.remove(link) and self.on_silence is not None:
            self.on_silence(self._owners[link])
