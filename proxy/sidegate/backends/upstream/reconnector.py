"""Keeps one usable link to one endpoint: connects, waits until it is over, connects again.

Where it stands: made by the balancer for each endpoint. It owns the pauses between attempts. A link that is leaving
(GOAWAY) finishes what it has without the keeper, which connects another one at once. No error leaves it: what an
endpoint does wrong is counted by ``failures``, which makes the pauses longer, and logged once until it works again.
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
"""Seconds for the peer's SETTINGS: a worker may be computing when it is connected."""

STEADY = 10.0
"""Seconds after which a link that breaks is no sign of an endpoint that always breaks."""


class Reconnector:
    """Of one endpoint; ``connection`` is the current one. ``alone``: says whether no other endpoint can be used."""

    def __init__(
        self,
        endpoint: Endpoint,
        backoff: EndpointBackoff,
        new_connection: Callable[[Reconnector], UpstreamConnection],
        alone: Callable[[], bool],
    ) -> None:
        self.endpoint = endpoint
        self.failures = 0
        """Attempts that came to nothing and links that soon broke, in a row."""
        self.connection: UpstreamConnection | None = None
        self._backoff = backoff
        self._new_connection = new_connection
        self._alone = alone
        self._task: asyncio.Task[None] | None = None
        self._changed: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Connect, and keep it so."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"link to {self.endpoint}")

    def look(self) -> None:
        """Something has changed: the state of the link, or whether others can be used."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def retire(self) -> None:
        """No further request goes there; what is under way ends first."""
        if self._task is not None:
            self._task.cancel()
        if self.connection is not None:
            self.connection.leave()

    async def stopped(self) -> None:
        """Wait until nothing connects any more."""
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
                problem = "" if connection.said_goaway else "connection lost"
            if not problem or loop.time() - began > STEADY:
                self.failures = 0
                continue
            connection.abort()
            if self.failures == 0:
                logger.warning("%s: %s", connection.name, problem)
            self.failures += 1
            await self._pause(loop.time())

    async def _pause(self, began: float) -> None:
        """Before the next attempt. It is shorter when no other endpoint is left."""
        loop = asyncio.get_running_loop()
        while (cool_down := began + self._backoff.after(self.failures, self._alone()) - loop.time()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(cool_down):
                    await self._change()

    async def _until_ready(self, connection: UpstreamConnection) -> str:
        """Connect; what went wrong, or nothing."""
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
