"""The connections of one upstream backend: it offers those that are ready to the load balancer.

The backend sets the endpoints, and each relay asks for a connection. It owns the connections, the
``EndpointConnections`` that open them, the ``WaitQueue`` of the requests without a connection, and the timer that
checks for peers that do not answer and for idle connections. Only ``wait`` raises: ``ExchangeError`` (503).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

from sidegate.backends.upstream.connection import EXPECTED, ConnectionOwner, UpstreamConnection
from sidegate.backends.upstream.endpoint import Endpoint
from sidegate.backends.upstream.endpoint_connections import ConnectionPolicy, EndpointConnections, Reconnector
from sidegate.backends.wait_queue import WaitQueue
from sidegate.config.schema import Queue
from sidegate.observe.queue_meter import QueueMeter
from sidegate.wire.client_codec import ClientCodec

COOL_DOWN = 0.02
"""Seconds without a new request for a peer that refused a stream although it had announced room for it. Its earlier
streams may still count, because an application may run on after its response."""

CHECKS_PER_LIMIT = 3
"""A PING is sent after a third of ``liveness`` without input; an idle connection is found after a third of its time."""


class Balancer(ConnectionOwner):
    """One for each upstream backend.

    ``liveness``: seconds in which a peer must answer a PING; 0 sends none. ``fronts``: number of front processes that
    share the peer's stream limit.
    """

    __slots__ = (
        "_checked",
        "_connections",
        "_endpoints",
        "_fronts",
        "_liveness",
        "_load_balancer",
        "_new_codec",
        "_owners",
        "_policy",
        "_silent",
        "_timer",
        "loop",
        "meter",
        "name",
        "on_failure",
        "on_silence",
        "on_threads",
        "wait_queue",
    )  # fmt: skip

    def __init__(
        self,
        meter: QueueMeter,
        queue: Queue,
        liveness: float,
        policy: ConnectionPolicy,
        new_codec: Callable[[], ClientCodec],
        *,
        fronts: int,
    ) -> None:
        self.name = meter.name
        self.meter = meter
        self.wait_queue = WaitQueue(meter, queue)
        self.loop = self.wait_queue.loop
        self._load_balancer = self.wait_queue.load_balancer
        if policy.grows:
            self.wait_queue.on_wait = self.grow
        self.on_silence: Callable[[Endpoint, UpstreamConnection], None] | None = None
        """Called once for a connection whose peer does not answer, also if it is leaving."""
        self.on_failure: Callable[[], None] | None = None
        """Called when a connection cannot be opened, or is lost."""
        self.on_threads = False
        """Whether the newest connection's peer is a worker that runs its application on threads."""
        self._liveness = liveness
        self._fronts = fronts
        self._policy = policy
        self._new_codec = new_codec
        self._endpoints: dict[Endpoint, EndpointConnections] = {}
        self._connections: set[UpstreamConnection] = set()  # those that are leaving, too
        self._silent: set[UpstreamConnection] = set()  # those of which `on_silence` was told
        self._owners: dict[UpstreamConnection, Reconnector] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._checked = 0.0

    # For the backend.

    def start(self) -> None:
        """Start to check for peers that do not answer, and for idle connections."""
        if self._liveness or self._policy.grows:
            self._checked = self.loop.time()
            self._timer = self.loop.call_later(self._period(), self._on_timer)

    def set_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        """Replace the set of endpoints: connect to new ones; send no further request to those that are missing."""
        wanted = dict.fromkeys(endpoints)
        for endpoint in [known for known in self._endpoints if known not in wanted]:
            self._endpoints.pop(endpoint).retire()
        for endpoint in wanted:
            if endpoint not in self._endpoints:
                self._endpoints[endpoint] = made = EndpointConnections(endpoint, self._policy, self)
                made.start()
        self.check_refusal()
        self.grow()

    async def stop(self) -> None:
        """Close every connection, and wait until no reconnector runs."""
        endpoints = list(self._endpoints.values())
        self.set_endpoints(())
        for connection in list(self._connections):
            connection.close()
        for endpoint in endpoints:
            await endpoint.stopped()
        self.wait_queue.stop()
        if self._timer is not None:
            self._timer.cancel()

    def statistics(self) -> dict[str, Any]:
        """For ``/status``: the connections to each endpoint, and how many requests wait.

        ``sinceConnected``: seconds since any endpoint had a connection that was ready; None: never.
        """
        endpoints, now = self._endpoints.values(), self.loop.time()
        since = min((endpoint.since_connected(now) for endpoint in endpoints), default=math.inf)
        return {
            "connections": [endpoint.statistics() for endpoint in endpoints],
            "queued": len(self._load_balancer.queue),
            "sinceConnected": None if since == math.inf else round(since, 3),
        }

    # For the relays.

    def take(self) -> UpstreamConnection | None:
        """Select a connection for a new request; None if none is free or other requests wait."""
        return self._load_balancer.take()  # type: ignore[return-value]  # its targets are connections

    def give_back(self, connection: UpstreamConnection) -> None:
        """A request on ``connection`` has ended."""
        self.wait_queue.give_back(connection)

    def cool_down(self, connection: UpstreamConnection) -> None:
        """Send no new request for ``COOL_DOWN``: the peer refused one that it had announced room for."""
        if not connection.cooling_down and not connection.leaving:
            connection.cooling_down = True
            self.loop.call_later(COOL_DOWN, self._end_cool_down, connection)

    def wait(self, since: float, again: bool) -> Awaitable[UpstreamConnection]:
        """See ``WaitQueue.wait``."""
        return cast(Awaitable[UpstreamConnection], self.wait_queue.wait(since, again))

    def _end_cool_down(self, connection: UpstreamConnection) -> None:
        connection.cooling_down = False
        self.wait_queue.assign()

    # For the connections of the endpoints.

    def new_connection(self, reconnector: Reconnector) -> UpstreamConnection:
        """See ``ConnectionsOwner``."""
        connection = UpstreamConnection(
            self, f"backend {self.name}: {reconnector.endpoint}", self._fronts, self._new_codec(), self.loop
        )
        self._owners[connection] = reconnector
        self._connections.add(connection)
        return connection

    def has_connection(self) -> bool:
        """See ``ConnectionsOwner``."""
        return not self._load_balancer.empty

    def has_waiting(self) -> bool:
        """See ``ConnectionsOwner``."""
        return bool(self._load_balancer.queue)

    def grow(self) -> None:
        """Open a connection if more requests wait than connections are being opened.

        It is opened to the endpoint with the fewest connections among those that may be tried now.
        """
        endpoints = self._endpoints.values()
        if sum(endpoint.connecting for endpoint in endpoints) >= len(self._load_balancer.queue):
            return
        now = self.loop.time()
        able = [endpoint for endpoint in endpoints if endpoint.can_grow]
        if able:
            min(able, key=lambda endpoint: (max(endpoint.retry_at() - now, 0.0), endpoint.size)).grow()

    def check_refusal(self) -> None:
        """Refuse requests that would have to wait while every endpoint has a failure that lasts."""
        failures = [endpoint.refusal for endpoint in self._endpoints.values()]
        first = failures[0] if failures else None
        if first is not None and all(failures) and self._load_balancer.empty:
            self.wait_queue.refuse_all(first.error)
        else:
            self.wait_queue.refusal = None

    # For the connections.

    def connection_ready(self, connection: UpstreamConnection) -> None:
        """See ``ConnectionOwner``."""
        self._owners[connection].recheck()
        self.on_threads = connection.codec.threads
        self._load_balancer.add(connection)
        self.wait_queue.refusal = None
        self.wait_queue.assign()

    def connection_has_room(self, connection: UpstreamConnection) -> None:
        """See ``ConnectionOwner``."""
        self.wait_queue.assign()

    def connection_unavailable(self, connection: UpstreamConnection) -> None:
        """See ``ConnectionOwner``."""
        self._load_balancer.remove(connection)
        self._owners[connection].recheck()
        if self._load_balancer.empty:
            for endpoint in self._endpoints.values():
                endpoint.recheck()  # an ejected endpoint is better than none
        if self.on_failure is not None and connection.ending != EXPECTED:
            self.on_failure()
        if connection.transport is None:
            self.connection_closed(connection)  # it was never connected, so the event loop will not report its end

    def connection_closed(self, connection: UpstreamConnection) -> None:
        """See ``ConnectionOwner``."""
        self._connections.discard(connection)
        self._silent.discard(connection)
        self._owners.pop(connection, None)

    # Checks.

    def _period(self) -> float:
        """Seconds between two checks."""
        return (self._liveness or self._policy.idle) / CHECKS_PER_LIMIT

    def _on_timer(self) -> None:
        self._timer = self.loop.call_later(self._period(), self._on_timer)
        self.check_connections(self.loop.time())

    def check_connections(self, now: float) -> None:
        """Report the peers that do not answer, and close idle connections. To be called once in a period.

        A connection that is leaving is checked, too: without an answer, its streams would never end.
        """
        # If this call is late, this process was blocked, and the answers of its peers may still be unread.
        late = now - self._checked > 1.5 * self._period()
        self._checked = now
        for connection in list(self._connections):
            if late:
                connection.restart_silence_check()
                continue
            if self._liveness and connection.silent_for(now) >= self._liveness:
                self._on_silent(connection)
                continue
            self._silent.discard(connection)
            if connection.ready and not connection.leaving:
                self._load_balancer.add(connection)  # it was removed if its peer did not answer
                reconnector = self._owners[connection]
                if not reconnector.kept and reconnector.idle_for(now) >= self._policy.idle:
                    connection.leave()
        self.wait_queue.assign()

    def _on_silent(self, connection: UpstreamConnection) -> None:
        self._load_balancer.remove(connection)
        if connection not in self._silent and self.on_silence is not None:
            self._silent.add(connection)
            self.on_silence(self._owners[connection].endpoint, connection)
