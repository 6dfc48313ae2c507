"""The links of one backend: which there are, and which of them are offered to those in line.

Where it stands: between a backend, which says which endpoints there are, and the relays, which ask for a place. It
owns links, keepers and the look at silent peers; who waits, waits in its ``Line``. Errors: ``ExchangeError`` (503)
from ``wait``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

from sidegate.backends.upstream.backoff import Pauses
from sidegate.backends.upstream.connection import Link, Owner
from sidegate.backends.upstream.endpoint import Endpoint
from sidegate.backends.upstream.reconnector import Keeper
from sidegate.backends.wait_queue import Line
from sidegate.config.schema import Queue
from sidegate.observe.queue_meter import PoolMeter
from sidegate.wire.http2.client import Http2ClientCodec

REST = 0.02
"""Seconds without a new request for a peer that refused one within the number of streams it announced: its streams
may still be running on, as an application does that works on after its response."""

PINGS = 3
"""A silence of a third of the time that an answer may take is asked after."""


class Balancer(Owner):
    """One for each backend whose requests go elsewhere.

    ``liveness``: seconds for the answer to a PING, 0 for none. ``share``: so many fronts divide a peer's places.
    """

    __slots__ = (
        "_checked", "_choice", "_keepers", "_links", "_liveness", "_new_codec", "_owners", "_pauses", "_share",
        "_silence_timer", "line", "loop", "meter", "name", "on_failure", "on_silence",
    )  # fmt: skip

    def __init__(
        self,
        meter: PoolMeter,
        queue: Queue,
        liveness: float,
        pauses: Pauses,
        new_codec: Callable[[], Http2ClientCodec],
        *,
        share: int,
    ) -> None:
        self.name = meter.name
        self.meter = meter
        self.line = Line(meter, queue)
        self.loop = self.line.loop
        self._choice = self.line.choice
        self.on_silence: Callable[[Keeper], None] | None = None
        """Called once for a link whose peer does not answer."""
        self.on_failure: Callable[[], None] | None = None
        """Called when a connection cannot be made, or broke."""
        self._liveness = liveness
        self._share = share
        self._pauses = pauses
        self._new_codec = new_codec
        self._keepers: dict[Endpoint, Keeper] = {}
        self._links: set[Link] = set()  # also those that are leaving
        self._owners: dict[Link, Keeper] = {}
        self._silence_timer: asyncio.TimerHandle | None = None
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
        self.line.stop()
        if self._silence_timer is not None:
            self._silence_timer.cancel()

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
        return {"links": links, "queued": len(self._choice.queue)}

    # For the relays.

    def take(self) -> Link | None:
        """A place for a request that has just come, if there is one."""
        return self._choice.take()  # type: ignore[return-value]  # its places are links

    def give_back(self, link: Link) -> None:
        """A request that had a place has ended."""
        self.line.give_back(link)

    def rest(self, link: Link) -> None:
        """The peer refused a request that it had announced room for."""
        if not link.resting and not link.leaving:
            link.resting = True
            self.loop.call_later(REST, self._wake, link)

    def wait(self, since: float, again: bool) -> Awaitable[Link]:
        """See ``Line``."""
        return cast(Awaitable[Link], self.line.wait(since, again))

    def _wake(self, link: Link) -> None:
        link.resting = False
        self.line.assign()

    # From the keepers and the links.

    def _new_link(self, keeper: Keeper) -> Link:
        link = Link(self, f"{self.name}: {keeper.endpoint}", self._share, self._new_codec(), self.loop)
        self._owners[link] = keeper
        self._links.add(link)
        return link

    def _is_without_links(self) -> bool:
        return self._choice.empty

    def link_ready(self, link: Link) -> None:
        """See ``Owner``."""
        self._owners[link].look()
        self._choice.add(link)
        self.line.assign()

    def link_has_room(self, link: Link) -> None:
        """See ``Owner``."""
        self.line.assign()

    def link_over(self, link: Link) -> None:
        """See ``Owner``."""
        self._choice.remove(link)
        self._owners[link].look()
        if self._choice.empty:
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
                self._choice.add(link)  # it may have been silent before
        self.line.assign()

    def _on_silent(self, link: Link) -> None:
        if self._choice.remove(link) and self.on_silence is not None:
            self.on_silence(self._owners[link])
