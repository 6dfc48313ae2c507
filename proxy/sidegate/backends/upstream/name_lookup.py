"""Looks up the name of an upstream server again and again, and keeps its IP addresses.

``RemoteBackend`` makes one for each ``tcp`` address, and makes endpoints of the IP addresses. It owns the task that
looks the name up, and the last answer. It raises no error: if a look-up fails, the last answer stays in use.

Theory of operation. A name is looked up every ``LOOKUP_PERIOD`` seconds, and soon after a connection has failed. A
look-up that fails is repeated soon, then less and less often: a resolver may start later than this service, and a name
without any answer leaves its backend without servers. A row of failures is logged once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

from sidegate.aio.tasks import internal_task
from sidegate.config.address import Address, upstream_text

logger = logging.getLogger("sidegate.backend")

LOOKUP_PERIOD = 30.0
"""Seconds: the usual DNS time to live of a service's name within a cluster."""

LOOKUP_PAUSE = 1.0
"""Shortest time in seconds between two look-ups, however many connections fail."""

FIRST_RETRY = 0.25
"""Seconds from the first failed look-up to the next one, doubled with every failure in a row."""


def next_lookup(failures: int) -> float:
    """Seconds to the next look-up after ``failures`` in a row."""
    return min(LOOKUP_PERIOD, FIRST_RETRY * (1 << min(failures - 1, 10))) if failures else LOOKUP_PERIOD


async def resolve(host: str, port: int) -> list[str]:
    """Return the IP addresses of a name.

    :raises OSError: the name is not known, or no resolver answers.
    :raises UnicodeError: no name may be written like this.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class NameLookup:
    """One name. ``backend``: its name, for the log. ``on_answer`` is called after every successful look-up."""

    def __init__(self, backend: str, address: Address, on_answer: Callable[[], None]) -> None:
        self.address = address
        self.hosts: list[str] = []
        """The IP addresses of the last successful look-up."""
        self._backend = backend
        self._on_answer = on_answer
        self._failures = 0
        self._began = asyncio.Event()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look the name up again and again, until ``stop``."""
        self._task = internal_task(self._run(), f"addresses of {self.address}")

    async def began(self) -> None:
        """Wait for the end of the first look-up."""
        await self._began.wait()

    async def stop(self) -> None:
        """Stop the look-ups."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def repeat_soon(self) -> None:
        """Look the name up again soon: a connection has failed."""
        self._wanted.set()

    async def _run(self) -> None:
        try:
            await self._look_up()
        finally:
            self._began.set()
        while True:
            period = next_lookup(self._failures)
            pause = min(period, LOOKUP_PAUSE)
            await asyncio.sleep(pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(period - pause):
                    await self._wanted.wait()
            self._wanted.clear()
            await self._look_up()

    async def _look_up(self) -> None:
        try:
            self.hosts = await resolve(self.address.host, self.address.port)
        except (OSError, UnicodeError) as error:
            self._failures += 1
            if self._failures == 1:
                logger.warning("backend %r: cannot resolve %s: %s", self._backend, upstream_text(self.address), error)
            return
        if self._failures:
            logger.info("backend %r: resolved %s", self._backend, upstream_text(self.address))
        self._failures = 0
        self._on_answer()
