"""The connections to one endpoint: some are always open, others are opened while requests wait.

The balancer makes one ``EndpointConnections`` for each endpoint, and calls ``grow`` when a request has to wait. It owns
the reconnectors, each of which keeps one connection: it connects, waits for the connection's end, and connects again.
It counts the failures of the endpoint, which lengthen the back-off; a row of failures is logged once. It raises no
error.

Theory of operation. How many connections an endpoint has depends on how many streams one connection takes. One
connection of HTTP/2 is enough; it is always open. HTTP/1.1 takes one request at a time, so a request that has to wait
opens another connection, and a connection that is idle for long is closed. An endpoint that has failed and has no
usable connection is tried by one attempt at a time. A connection that is leaving (GOAWAY) finishes its streams by
itself, while its reconnector at once opens another one; after a back-off, if the connection was of no use. A server
with one request per connection has not failed, and one that ends every connection at once has.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from dataclasses import dataclass
from typing import Any, Protocol

from sidegate.aio.tasks import internal_task
from sidegate.backends.upstream.backoff import LONGEST, EndpointBackoff
from sidegate.backends.upstream.connect_failure import ConnectFailure, WrongProtocolError, connect_failure
from sidegate.backends.upstream.connection import LOST, UNUSED, UpstreamConnection
from sidegate.backends.upstream.endpoint import Endpoint, UnixEndpoint

logger = logging.getLogger("sidegate.backend")

READY_TIMEOUT = 30.0
"""Seconds to wait for the peer's SETTINGS: the application may block a worker's event loop at that time."""

STABLE_AFTER = 10.0
"""Seconds after which a connection ends a row of failures, and its own loss begins none."""

UNUSED_BEFORE = LONGEST
"""Seconds before which the announced end of a connection without any response is a failure. Later it is none: the
server may close idle connections, and is not tried more often than one that fails."""


@dataclass(frozen=True, slots=True)
class ConnectionPolicy:
    """How many connections an endpoint has: always ``least``; up to ``most`` while requests wait.

    ``idle``: seconds after which a connection beyond ``least`` that has nothing to do is closed. ``refuses``: no
    request waits for an endpoint whose failure lasts; a worker of a pool has a successor, so requests wait.
    """

    backoff: EndpointBackoff
    least: int = 1
    most: int = 1
    idle: float = 60.0
    refuses: bool = False

    @property
    def grows(self) -> bool:
        """Whether connections are opened for requests that wait."""
        return self.most > self.least


_UNUSED = ConnectFailure("the server ended the connection before it answered a request")


class ConnectionsOwner(Protocol):
    """What the connections of an endpoint need of the balancer."""

    def new_connection(self, reconnector: Reconnector) -> UpstreamConnection:
        """Make a connection, which is not connected yet."""

    def has_connection(self) -> bool:
        """Whether any endpoint has a connection that can be used."""

    def has_waiting(self) -> bool:
        """Whether requests wait for a connection."""

    def grow(self) -> None:
        """Open more connections, to any endpoint, if requests wait for them."""

    def check_refusal(self) -> None:
        """An endpoint has failed or has recovered: refuse waiting requests, or let them wait."""


class EndpointConnections:
    """One for each endpoint."""

    def __init__(self, endpoint: Endpoint, policy: ConnectionPolicy, owner: ConnectionsOwner) -> None:
        self.endpoint = endpoint
        self.owner = owner
        self.failures = 0
        """Failed attempts and connections that were soon lost, in a row."""
        self._policy = policy
        self.connected_at = -math.inf
        """Loop time when there was a connection that was ready."""
        self._failure: ConnectFailure | None = None
        self._failed_at = 0.0
        self._logged: set[str] = set()
        """The problems of this row of failures that were logged."""
        self._flaps = False
        """Whether a connection has failed in this row after it was ready: then the next one may fail as well."""
        self._reconnectors: list[Reconnector] = []

    @property
    def size(self) -> int:
        """Number of connections, those that are not ready included."""
        return len(self._reconnectors)

    @property
    def connecting(self) -> int:
        """Number of attempts to connect that are under way."""
        return sum(reconnector.connecting for reconnector in self._reconnectors)

    @property
    def can_grow(self) -> bool:
        """Whether one more connection may be opened."""
        if self.failures and self._reconnectors and not any(made.ready for made in self._reconnectors):
            return False
        return self.size < self._policy.most

    def since_connected(self, now: float) -> float:
        """Seconds since there was a connection that was ready; infinity if there was none."""
        return 0.0 if any(reconnector.ready for reconnector in self._reconnectors) else now - self.connected_at

    @property
    def refusal(self) -> ConnectFailure | None:
        """The failure because of which no request should wait for this endpoint; None if requests may wait.

        Without a reconnector nobody would find out that the endpoint can be used again.
        """
        failure = self._failure
        if failure is None or not self._policy.refuses or not self._reconnectors:
            return None
        return failure if failure.lasts(self.since_connected(asyncio.get_running_loop().time())) else None

    def start(self) -> None:
        """Open the connections that are always open."""
        for _ in range(self._policy.least):
            self._add(True)

    def grow(self) -> None:
        """Open one more connection; it is not opened again when no request waits."""
        self._add(False)

    def remove(self, reconnector: Reconnector) -> None:
        """A reconnector has ended."""
        self._reconnectors.remove(reconnector)
        self.owner.check_refusal()

    def recheck(self) -> None:
        """Check again whether other endpoints can be used."""
        for reconnector in self._reconnectors:
            reconnector.recheck()

    def retire(self) -> None:
        """Send no further request to the endpoint; the streams in flight are finished."""
        for reconnector in self._reconnectors:
            reconnector.retire()

    async def stopped(self) -> None:
        """Wait for the end of every task."""
        for reconnector in self._reconnectors.copy():
            await reconnector.stopped()

    def statistics(self) -> dict[str, Any]:
        """For ``/status``: the sums over the connections, and whether requests can be sent."""
        connections = [made.connection for made in self._reconnectors if made.connection is not None]
        facts: dict[str, Any] = {"endpoint": str(self.endpoint), "failures": self.failures, "ready": False}
        if self._failure is not None:
            facts["problem"] = self._failure.problem
        if connections:
            facts["ready"] = any(reconnector.ready for reconnector in self._reconnectors)
            facts["requests"] = sum(connection.in_use for connection in connections)
            facts["capacity"] = sum(connection.capacity for connection in connections)
        return facts

    # For the reconnectors.

    def connected(self, connection: UpstreamConnection) -> None:
        """A connection is ready."""
        if not self._flaps:
            self._recover(connection)

    def succeeded(self, connection: UpstreamConnection) -> None:
        """A connection is stable, or has ended as it had to: the end of a row of failures."""
        self.failures = 0
        self._flaps = False
        self._logged.clear()
        self._recover(connection)

    def failed(self, began: float, connection: UpstreamConnection, failure: ConnectFailure) -> None:
        """An attempt has failed that began at loop time ``began``, or its connection has soon ended.

        Several connections that break together are one failure. A row of failures is logged once for each reason.
        """
        if failure.problem not in self._logged:
            self._logged.add(failure.problem)
            logger.warning("%s: %s", connection.name, failure.problem)
        self._failure = failure
        self._flaps = self._flaps or connection.ready or connection.ending == UNUSED
        if began >= self._failed_at:
            self.failures += 1
            self._failed_at = asyncio.get_running_loop().time()
        self.owner.grow()
        self.owner.check_refusal()

    def retry_at(self) -> float:
        """Loop time from which the next attempt may be made."""
        if not self.failures:
            return 0.0
        return self._failed_at + self._policy.backoff.after(self.failures, not self.owner.has_connection())

    def _recover(self, connection: UpstreamConnection) -> None:
        if self._failure is not None:
            logger.info("%s: connected", connection.name)
            self._failure = None
            self.owner.check_refusal()

    def _add(self, kept: bool) -> None:
        reconnector = Reconnector(self, kept)
        self._reconnectors.append(reconnector)
        reconnector.start()


class Reconnector:
    """Keeps one connection; ``connection`` is the current one. ``kept``: it connects again even if no request waits."""

    def __init__(self, owner: EndpointConnections, kept: bool) -> None:
        self.endpoint = owner.endpoint
        self.kept = kept
        self.connecting = False
        """Whether an attempt to connect is under way."""
        self.connection: UpstreamConnection | None = None
        self._owner = owner
        self._idle_batch = -1  # `connection.batch` when the connection was found idle, at loop time `_idle_since`
        self._idle_since = 0.0
        self._task: asyncio.Task[None] | None = None
        self._changed: asyncio.Future[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether requests may be sent."""
        return self.connection is not None and self.connection.ready and not self.connection.leaving

    def idle_for(self, now: float) -> float:
        """Seconds since a call found the connection with nothing to do; 0 if it was used since the last call."""
        connection = self.connection
        if connection is not None and (connection.streams or connection.batch != self._idle_batch):
            self._idle_batch = connection.batch
            self._idle_since = now
        return now - self._idle_since

    def start(self) -> None:
        """Start the task that connects, and connects again."""
        self._task = internal_task(self._run(), f"connection to {self.endpoint}")

    def recheck(self) -> None:
        """Check again: the state of the connection has changed, or whether other endpoints can be used."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def retire(self) -> None:
        """See ``EndpointConnections``."""
        if self._task is not None:
            self._task.cancel()
        if self.connection is not None:
            self.connection.leave()

    async def stopped(self) -> None:
        """Wait for the end of the task."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while self.kept or self._owner.owner.has_waiting():
            await self._wait_to_retry()
            await self._connect()
        self._owner.remove(self)

    async def _connect(self) -> None:
        """Connect, and wait until the connection is leaving."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        self.connection = connection = self._owner.owner.new_connection(self)
        self.connecting = True
        self._idle_batch = -1
        failure = await self._until_ready(connection)
        self.connecting = False
        if failure is None:
            self._owner.connected(connection)
            failure = await self._until_leaving(connection)
            self._owner.connected_at = loop.time()
        if failure is None:
            self._owner.succeeded(connection)
            return
        if not connection.ready:
            connection.abort()
        self._owner.failed(started, connection, failure)

    async def _wait_to_retry(self) -> None:
        """Wait until the next attempt may be made. The wait becomes shorter when no other endpoint can be used."""
        loop = asyncio.get_running_loop()
        while (remaining := self._owner.retry_at() - loop.time()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(remaining):
                    await self._change()

    async def _until_ready(self, connection: UpstreamConnection) -> ConnectFailure | None:
        """Connect, and wait until requests may be sent. Return the failure; None if it succeeded."""
        try:
            await self.endpoint.connect(connection)
            async with asyncio.timeout(READY_TIMEOUT):
                while not connection.ready and not connection.leaving:
                    await self._change()
        except OSError as error:
            return connect_failure(error, self.endpoint.path if isinstance(self.endpoint, UnixEndpoint) else "")
        except asyncio.CancelledError:
            if not connection.ready:
                connection.abort()
            raise
        except Exception as error:  # no error ends the attempts
            logger.exception("%s: cannot connect", connection.name)
            return ConnectFailure(str(error) or type(error).__name__)
        if connection.ready:
            return None
        if connection.violation:
            return connect_failure(WrongProtocolError(connection.violation))
        return _UNUSED if connection.ending == UNUSED else ConnectFailure("connection closed before it was ready")

    async def _until_leaving(self, connection: UpstreamConnection) -> ConnectFailure | None:
        """Wait until no further request may be sent. Return the failure; None if it is none."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STABLE_AFTER):
                while not connection.leaving:
                    await self._change()
        if not connection.leaving:
            self._owner.succeeded(connection)
            while not connection.leaving:
                await self._change()
            return None
        if connection.ending == LOST:
            return ConnectFailure("connection lost")
        return _UNUSED if connection.ending == UNUSED and loop.time() - began < UNUSED_BEFORE else None

    async def _change(self) -> None:
        self._changed = asyncio.get_running_loop().create_future()
        await self._changed
