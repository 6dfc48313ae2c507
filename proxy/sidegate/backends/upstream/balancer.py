"""The links of one backend: which there are, and which of them are offered to those in line.

Where it stands: between a backend, which says which endpoints there are, and the relays, which ask for a place. It
owns links, keepers and the look at silent peers; who waits, waits in its ``WaitQueue``. Errors: ``ExchangeError`` (503)
from ``wait``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

from sidegate.backends.upstream.backoff import EndpointBackoff
from sidegate.backends.upstream.connection import ConnectionOwner, UpstreamConnection
from sidegate.backends.upstream.endpoint import Endpoint
from sidegate.backends.upstream.reconnector import Reconnector
from sidegate.backends.wait_queue import WaitQueue
from sidegate.config.schema import Queue
from sidegate.observe.queue_meter import QueueMeter
from sidegate.wire.http2.client import Http2ClientCodec

COOL_DOWN = 0.02
"""Seconds without a new request for a peer that refused one within the number of streams it announced: its streams
may still be running on, as an application does that works on after its response."""

PINGS = 3
"""A silence of a third of the time that an answer may take is asked after."""


class Balancer(ConnectionOwner):
    """One for each backend whose requests go elsewhere.

    ``liveness``: seconds for the answer to a PING, 0 for none. ``fronts``: so many fronts divide a peer's places.
    """

    __slots__ = (
        "_backoff",
        "_checked",
        "_connections",
        "_fronts",
        "_liveness",
        "_load_balancer",
        "_new_codec",
        "_owners",
        "_reconnectors",
        "_silence_timer",
        "loop",
        "meter",
        "name",
        "on_failure",
        "on_silence",
        "wait_queue",
    )  # fmt: skip

    def __init__(
        self,
        meter: QueueMeter,
        queue: Queue,
        liveness: float,
        backoff: EndpointBackoff,
        new_codec: Callable[[], Http2ClientCodec],
        *,
        fronts: int,
    ) -> None:
        self.name = meter.name
        self.meter = meter
        self.wait_queue = WaitQueue(meter, queue)
        self.loop = self.wait_queue.loop
        self._load_balancer = self.wait_queue.load_balancer
        self.on_silence: Callable[[Reconnector], None] | None = None
        """Called once for a link whose peer does not answer."""
        self.on_failure: Callable[[], None] | None = None
        """Called when a connection cannot be made, or broke."""
        self._liveness = liveness
        self._fronts = fronts
        self._backoff = backoff
        self._new_codec = new_codec
        self._reconnectors: dict[Endpoint, Reconnector] = {}
        self._connections: set[UpstreamConnection] = set()  # also those that are leaving
        self._owners: dict[UpstreamConnection, Reconnector] = {}
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
        for endpoint in [known for known in self._reconnectors if known not in wanted]:
            self._reconnectors.pop(endpoint).retire()
        for endpoint in wanted:
            if endpoint not in self._reconnectors:
                reconnector = Reconnector(endpoint, self._backoff, self._new_connection, self._has_no_connection)
                self._reconnectors[endpoint] = reconnector
                reconnector.start()

    async def stop(self) -> None:
        """Close every link."""
        reconnectors = list(self._reconnectors.values())
        self.set_endpoints(())
        for connection in list(self._connections):
            connection.close()
        for reconnector in reconnectors:
            await reconnector.stopped()
        self.wait_queue.stop()
        if self._silence_timer is not None:
            self._silence_timer.cancel()

    def statistics(self) -> dict[str, Any]:
        """For ``/status``: the link to each endpoint, and how many requests wait."""
        connections = []
        for reconnector in self._reconnectors.values():
            facts: dict[str, Any] = {
                "endpoint": str(reconnector.endpoint),
                "failures": reconnector.failures,
                "ready": False,
            }
            connection = reconnector.connection
            if connection is not None:
                ready = connection.ready and not connection.leaving
                facts |= {"ready": ready, "requests": connection.in_use, "capacity": connection.capacity}
            connections.append(facts)
        return {"connections": connections, "queued": len(self._load_balancer.queue)}

    # For the relays.

    def take(self) -> UpstreamConnection | None:
        """A place for a request that has just come, if there is one."""
        return self._load_balancer.take()  # type: ignore[return-value]  # its places are links

    def give_back(self, connection: UpstreamConnection) -> None:
        """A request that had a place has ended."""
        self.wait_queue.give_back(connection)

    def cool_down(self, connection: UpstreamConnection) -> None:
        """The peer refused a request that it had announced room for."""
        if not connection.cooling_down and not connection.leaving:
            connection.cooling_down = True
            self.loop.call_later(COOL_DOWN, self._wake, connection)

    def wait(self, since: float, again: bool) -> Awaitable[UpstreamConnection]:
        """See ``WaitQueue``."""
        return cast(Awaitable[UpstreamConnection], self.wait_queue.wait(since, again))

    def _wake(self, connection: UpstreamConnection) -> None:
        connection.cooling_down = False
        self.wait_queue.assign()

    # From the keepers and the links.

    def _new_connection(self, reconnector: Reconnector) -> UpstreamConnection:
        connection = UpstreamConnection(
            self, f"backend {self.name}: {reconnector.endpoint}", self._fronts, self._new_codec(), self.loop
        )
        self._owners[connection] = reconnector
        self._connections.add(connection)
        return connection

    def _has_no_connection(self) -> bool:
        return self._load_balancer.empty

    def connection_ready(self, connection: UpstreamConnection) -> None:
        """See ``ConnectionOwner``."""
        self._owners[connection].look()
        self._load_balancer.add(connection)
        self.wait_queue.assign()

    def connection_has_room(self, connection: UpstreamConnection) -> None:
        """See ``ConnectionOwner``."""
        self.wait_queue.assign()

    def connection_unavailable(self, connection: UpstreamConnection) -> None:
        """See ``ConnectionOwner``."""
        self._load_balancer.remove(connection)
        self._owners[connection].look()
        if self._load_balancer.empty:
            for reconnector in self._reconnectors.values():
                reconnector.look()  # one that is ejected is better than none
        if self.on_failure is not None and not connection.said_goaway:
            self.on_failure()
        if connection.transport is None:
            self.connection_closed(connection)  # never connected: nobody else will tell

    def connection_closed(self, connection: UpstreamConnection) -> None:
        """See ``ConnectionOwner``."""
        self._connections.discard(connection)
        self._owners.pop(connection, None)

    def _check_silence(self) -> None:
        period = self._liveness / PINGS
        now = self.loop.time()
        # Called late, this process itself had no time: what its peers have answered is still unread.
        late = now - self._checked > 1.5 * period
        self._checked = now
        self._silence_timer = self.loop.call_later(period, self._check_silence)
        for connection in list(self._connections):
            if late:
                connection.forgive()
            elif connection.silent_for(now) >= self._liveness:
                self._on_silent(connection)
            elif connection.ready and not connection.leaving:
                self._load_balancer.add(connection)  # it may have been silent before
        self.wait_queue.assign()

    def _on_silent(self, connection: UpstreamConnection) -> None:
        if self._load_balancer.remove(connection) and self.on_silence is not None:
            self.on_silence(self._owners[connection])
