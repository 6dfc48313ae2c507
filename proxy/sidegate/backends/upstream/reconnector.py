"""Keeps one usable connection to one endpoint: connects, waits for the connection's end, connects again.

The balancer makes one for each endpoint. It owns the back-off between attempts. A connection that is leaving (GOAWAY)
finishes its streams by itself, while the reconnector at once opens another one. It raises no error: ``failures`` counts
the failures of an endpoint, which lengthens the back-off. The first failure of a row is logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from sidegate.backends.upstream.backoff import EndpointBackoff
from sidegate.backends.upstream.connection import UpstreamConnection
from sidegate.backends.upstream.endpoint import Endpoint

logger = logging.getLogger("sidegate.backend")

READY_TIMEOUT = 30.0
"""Seconds to wait for the peer's SETTINGS: the application may block a worker's event loop at that time."""

STABLE_AFTER = 10.0
"""Seconds after which the loss of a connection does not count as one more failure in a row."""


class Reconnector:
    """One for each endpoint; ``connection`` is the current one. ``alone()``: whether no other endpoint can be used."""

    def __init__(
        self,
        endpoint: Endpoint,
        backoff: EndpointBackoff,
        new_connection: Callable[[Reconnector], UpstreamConnection],
        alone: Callable[[], bool],
    ) -> None:
        self.endpoint = endpoint
        self.failures = 0
        """Failed attempts and connections that were soon lost, in a row."""
        self.connection: UpstreamConnection | None = None
        self._backoff = backoff
        self._new_connection = new_connection
        self._alone = alone
        self._task: asyncio.Task[None] | None = None
        self._changed: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Start the task that connects, and connects again."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"link to {self.endpoint}")

    def recheck(self) -> None:
        """Check again: the state of the connection has changed, or whether other endpoints can be used."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def retire(self) -> None:
        """Send no further request to the endpoint; the streams in flight are finished."""
        if self._task is not None:
            self._task.cancel()
        if self.connection is not None:
            self.connection.leave()

    async def stopped(self) -> None:
        """Wait for the end of the task."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self.connection = connection = self._new_connection(self)
            problem = await self._until_ready(connection)
            began = loop.time()
            if not problem:
                while not connection.leaving:
                    await self._change()
                problem = "" if connection.goaway_exchanged else "connection lost"
            if not problem or loop.time() - began > STABLE_AFTER:
                self.failures = 0
                continue
            connection.abort()
            if self.failures == 0:
                logger.warning("%s: %s", connection.name, problem)
            self.failures += 1
            await self._wait_to_retry(loop.time())

    async def _wait_to_retry(self, began: float) -> None:
        """Wait before the next attempt. The wait becomes shorter when no other endpoint can be used."""
        loop = asyncio.get_running_loop()
        while (remaining := began + self._backoff.after(self.failures, self._alone()) - loop.time()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(remaining):
                    await self._change()

    async def _until_ready(self, connection: UpstreamConnection) -> str:
        """Connect and wait for the peer's SETTINGS. Return a description of the failure; empty if there was none."""
        try:
            await self.endpoint.connect(connection)
            async with asyncio.timeout(READY_TIMEOUT):
                while not connection.ready and not connection.leaving:
                    await self._change()
        except (OSError, TimeoutError) as error:
            return str(error) or "timeout"
        except asyncio.CancelledError:
            if not connection.ready:
                connection.abort()
            raise
        return "" if connection.ready else "connection closed before it was ready"

    async def _change(self) -> None:
        self._changed = asyncio.get_running_loop().create_future()
        await self._changed
