"""The backlog: bytes of large responses that wait until slow clients take them.

A message counts as long as ``send`` waits for it, because the application holds it so long, too. Messages without a
wait do not count: what a stream may have queued then, at most ``HIGH_WATER`` bytes, is part of what a stream costs.
Each process has one ``Backlog``, and each connection a ``ConnectionBacklog``.

Theory of operation. HTTP/2 lets a client ask for a hundred responses at once and take nothing of them; their number has
a limit, their size has none. While at most ``LARGE`` bytes wait in the whole process, nothing happens. Above that, a
backlog of more than ``ALLOWANCE`` bytes on one connection is *large*: its streams and the connection are aborted when
the client has taken nothing for ``PATIENCE`` instead of ``timeouts.write``. Its client is *slow* if it has read
too little of a large backlog: further requests on the connection wait before their application is called (``Gate``),
and get 429 after ``PATIENCE``. Nothing changes for other connections, so no request waits for another client.

Many clients share the connection of a trusted proxy, or that of a front to its worker. Such a backlog is never large;
but a stream is aborted likewise if more than ``ALLOWANCE`` bytes wait on it alone.

Alternatives: Envoy limits what waits on a connection (1 MiB) by not reading from its upstream, but an application in
this process has made its message before ``send`` could let it wait. When memory is short, Envoy resets the streams that
hold most of it (``reset_high_memory_stream``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sidegate.aio.waiters import Waiters
from sidegate.asgi import RECORD_KEY, App, Receive, Scope, Send
from sidegate.errors import Refused, SlowClient
from sidegate.observe.record import TASK, THREAD, Record

logger = logging.getLogger("sidegate.limits")

LARGE = 8 * 1024 * 1024
"""Bytes that may wait in the process whatever clients do."""

ALLOWANCE = 1024 * 1024
"""Bytes that may wait on one connection or stream whatever its client does (Envoy: 1 MiB for each connection)."""

LEAST_RATE = 1024
"""Bytes per second that a client with a backlog has to read, however slow its network is."""

LEAST_PART = 32
"""It also has to have read at least this part of what waits on its connection: one byte in so many."""

PATIENCE = 5.0
"""Seconds that a client with a large backlog may take nothing, and that its next request waits (Kestrel's grace
period: 5 s)."""

WRITE_TIMEOUT = "write_timeout"
SLOW_CLIENT = SlowClient.REASON
STALLS = (WRITE_TIMEOUT, SLOW_CLIENT)
"""Reasons to abort a stream or connection whose client takes nothing."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.5
"""Seconds between two checks whether a client is still slow; each pause is twice as long as the one before."""

_LOG_PERIOD = 10.0
"""Seconds after a line in the log in which there is no other one."""


class Backlog:
    """What waits in one process. ``waiting``: bytes of all connections."""

    __slots__ = ("_silent_until", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        self._silent_until = 0.0

    def add(self, size: int) -> None:
        """``size`` bytes more wait, or fewer."""
        self.waiting += size

    def report(self, client: str, waiting: int, now: float) -> None:
        """Log that requests of ``client`` are refused or aborted; one line in ``_LOG_PERIOD``."""
        if now >= self._silent_until:
            self._silent_until = now + _LOG_PERIOD
            logger.warning(
                "client %s reads too slowly: %d of %d bytes of responses that wait in this process are on one of its "
                "connections (at most %d while more than %d wait)",
                client, waiting, self.waiting, ALLOWANCE, LARGE,
            )  # fmt: skip


class ConnectionBacklog:
    """What waits on one connection. ``waiting``: bytes; ``senders``: calls of ``send`` that wait with them.

    ``written`` is everything that was written to the connection, in bytes.
    """

    __slots__ = ("_client", "_exempt", "_process", "_since", "_written", "senders", "waiting")

    def __init__(self, process: Backlog) -> None:
        self._process = process
        self.waiting = 0
        self.senders = Waiters()
        self._client = ""
        self._exempt = False
        self._since = 0.0  # when something began to wait
        self._written = 0  # at that time

    def set_client(self, client: str, exempt: bool) -> None:
        """``client``: its address, for the log. ``exempt``: many clients share the connection."""
        self._client, self._exempt = client, exempt

    def add(self, size: int, written: int, now: float) -> None:
        """``size`` bytes of a message wait."""
        if not self.waiting:
            self._since, self._written = now, written
        self.waiting += size
        self._process.add(size)

    def remove(self, size: int) -> None:
        """They wait no longer."""
        self.waiting -= size
        self._process.add(-size)

    def is_large(self, stream: int = 0) -> bool:
        """Whether too much waits in the process, and here or on a stream, of which ``stream`` bytes wait."""
        if self._process.waiting <= LARGE:
            return False
        return stream > ALLOWANCE or (self.waiting > ALLOWANCE and not self._exempt)

    def is_slow(self, written: int, now: float) -> bool:
        """Whether the client has read too little of a large backlog."""
        if not self.is_large():
            return False
        read = written - self._written
        return read < LEAST_RATE * max(1.0, now - self._since) or read < self.waiting // LEAST_PART

    def report(self, now: float) -> None:
        """See ``Backlog``."""
        self._process.report(self._client, self.waiting, now)


class Gate:
    """An App for one request of a slow client: it calls ``app`` when the client is slow no longer.

    ``is_slow`` asks the connection, which has the ``backlog``.
    """

    __slots__ = ("_app", "_backlog", "_is_slow")

    def __init__(self, app: App, backlog: ConnectionBacklog, is_slow: Callable[[], bool]) -> None:
        self._app = app
        self._backlog = backlog
        self._is_slow = is_slow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait, then call the application.

        :raises Refused: 429; the client is still slow after ``PATIENCE``.
        """
        record: Record = scope[RECORD_KEY]
        record.runner = THREAD  # the exchange cancels the wait if the client disconnects
        await self._wait()
        record.runner = TASK
        await self._app(scope, receive, send)

    async def _wait(self) -> None:
        pause, waited = _FIRST_PAUSE, 0.0
        while self._is_slow():
            if waited >= PATIENCE:
                self._backlog.report(asyncio.get_running_loop().time())
                raise Refused(429, SLOW_CLIENT, "Too many responses on this connection wait to be read.")
            await asyncio.sleep(pause)
            waited += pause
            pause = min(2 * pause, _LONGEST_PAUSE)
