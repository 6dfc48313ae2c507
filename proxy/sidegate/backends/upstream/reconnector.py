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

from sidegate.backends.upstream.backoff import Pauses
from sidegate.backends.upstream.connection import Link
from sidegate.backends.upstream.endpoint import Endpoint

logger = logging.getLogger("sidegate.backend")

READY_TIMEOUT = 30.0
"""Seconds for the peer's SETTINGS: a worker may be computing when it is connected."""

STEADY = 10.0
"""Seconds after which a link that breaks is no sign of an endpoint that always breaks."""


class Keeper:
    """Of one endpoint; ``link`` is the current one. ``alone``: says whether no other endpoint can be used."""

    def __init__(
        self, endpoint: Endpoint, pauses: Pauses, new_link: Callable[[Keeper], Link], alone: Callable[[], bool]
    ) -> None:
        self.endpoint = endpoint
        self.failures = 0
        """Attempts that came to nothing and links that soon broke, in a row."""
        self.link: Link | None = None
        self._pauses = pauses
        self._new_link = new_link
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
        if self.link is not None:
            self.link.leave()

    async def stopped(self) -> None:
        """Wait until nothing connects any more."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self.link = link = self._new_link(self)
            problem = await self._until_ready(link)
            began = loop.time()
            if not problem:
                while not link.leaving:
                    await self._change()
                problem = "" if link.parted else "the connection broke"
            if not problem or loop.time() - began > STEADY:
                self.failures = 0
                continue
            link.abort()
            if self.failures == 0:
                logger.warning("%s: %s", link.name, problem)
            self.failures += 1
            await self._pause(loop.time())

    async def _pause(self, began: float) -> None:
        """Before the next attempt. It is shorter when no other endpoint is left."""
        loop = asyncio.get_running_loop()
        while (rest := began + self._pauses.after(self.failures, self._alone()) - loop.time()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self._change()

    async def _until_ready(self, link: Link) -> str:
        """Connect; what went wrong, or nothing."""
        try:
            await self.endpoint.connect(link)
            async with asyncio.timeout(READY_TIMEOUT):
                while not link.ready and not link.leaving:
                    await self._change()
        except (OSError, TimeoutError) as error:
            return str(error) or "timeout"
        except asyncio.CancelledError:
            if not link.ready:
                link.abort()
            raise
        return "" if link.ready else "the connection ended before it was ready"

    async def _change(self) -> None:
        self._changed = asyncio.get_running_loop().create_future()
        await self._changed
