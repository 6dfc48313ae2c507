"""The file descriptors of this process: how many are left, and room for one more connection.

The listeners ask before they accept a connection. It owns the reserve: descriptors that no client gets, so that
Sidegate itself can still connect to workers and servers, open files and temporary files, reopen the access log and
look up names. It raises no error.

Theory of operation. The kernel gives a process at most RLIMIT_NOFILE descriptors, and everything fails with EMFILE
after that. When fewer than twice the reserve are free, the connections that have been idle for longest are closed, some
at a time, and first those of the clients that have most, so that new ones are accepted without a pause. When only the
reserve is free, accepting pauses; the kernel keeps new connections in its backlog, and another front may accept them.
(nginx closes idle connections in advance when fewer than 1/16 of ``worker_connections`` are free; Go's net/http and
asyncio only pause after EMFILE; Envoy and HAProxy stop accepting at a number of connections that the operator sets.)

Applications in the process take descriptors, too. They cannot be kept from taking the reserve. A few connections are
accepted from it nevertheless, and for those there are ``SPARES`` that even an application cannot take: descriptors
that are open and of no use until one of them is closed. So new clients get an answer, perhaps a 500 or 503.

How many are in use is counted by the kernel (``open_descriptors``). In a quiet process one count is made for
``COUNT_EVERY`` connections, so a connection costs a comparison and a subtraction.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import sys
from collections.abc import Sized
from itertools import chain
from pathlib import Path

from sidegate.server.connection_shares import ConnectionShares
from sidegate.server.idle_connections import IDLE_AFTER, close_idle, is_closing, oldest_idle
from sidegate.server.service import ListenerService
from sidegate.server.tls.handshakes import Handshakes

logger = logging.getLogger("sidegate.listener")

RESERVED_PART = 16
"""The reserve is the limit divided by this number, ..."""

LARGEST_RESERVE = 256
"""... but not more: what Sidegate itself needs does not grow with the limit."""

SMALLEST_RESERVE = 8

COUNT_EVERY = 64
"""Connections that are accepted without another count, if enough descriptors are free."""

BATCH = 16
"""Connections that are closed at once. Finding the oldest visits all connections, so it should not happen for each."""

SPARES = 8

REPORT_PERIOD = 10.0
"""Seconds after a line about few descriptors in which there is no other one."""

LINUX_FOLDER = Path("/proc/self/fd")

FOLDER = LINUX_FOLDER if sys.platform == "linux" else Path("/dev/fd")
"""It lists the descriptors of this process."""


class Descriptors:
    """One for all listeners of a process. ``left``: connections that may be accepted before ``make_room`` is called.

    ``short``: spare descriptors were closed; if no connection came, ``keep_spares`` opens them before others take them.
    ``reserves``: whether there is a reserve; not in a worker that only fronts can connect to. Its front connects to
    send a request that is accepted already, and the descriptors belong to the application.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, reserves: bool, shares: ConnectionShares) -> None:
        self._loop = loop
        self._shares = shares
        self._reserves = reserves
        self._services: list[ListenerService] = []
        self._opening: list[Sized] = []
        self._handshakes: list[Handshakes] = []
        self._spares: list[int] = []
        self._silent_until = [0.0, 0.0]  # about idle connections that were closed; about connections that wait
        self._closed = 0  # connections, since the last line
        self.left = 0
        self.short = False

    def watch(self, service: ListenerService, opening: Sized, handshakes: Handshakes | None) -> None:
        """Close idle connections of this listener, too. ``opening``: sockets that were accepted a moment ago."""
        self._services.append(service)
        self._opening.append(opening)
        if handshakes is not None:
            self._handshakes.append(handshakes)

    def make_room(self) -> bool:
        """Count the descriptors, and close idle connections if few are left. Returns whether one may be accepted."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit == resource.RLIM_INFINITY:
            self.left = COUNT_EVERY
            return True
        used = open_descriptors(limit)
        reserve = _reserve(limit) if self._reserves else 0
        if limit - used > 2 * reserve:
            self.keep_spares()
            # An older kernel counts by listing them all, so the more there are the less often it is done.
            self.left = min(limit - used - 2 * reserve, max(COUNT_EVERY, used // 8))
            return True
        self._close_idle(BATCH)
        free = limit - used
        if free <= 0 and self._spares:
            os.close(self._spares.pop())
            self.short = True
            free = 1
        room = free if 2 * self._connections() < reserve else free - reserve
        # Half of the room, because the descriptors of closed connections may be free only after the next call.
        self.left = min((room + 1) // 2, BATCH)
        self._report(limit, used)
        return self.left > 0

    def keep_spares(self) -> None:
        """Open the spare descriptors again, as far as that is possible."""
        with contextlib.suppress(OSError):  # none is left, or there is no /dev
            while len(self._spares) < SPARES:
                self._spares.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            self.short = False

    def exhausted(self) -> None:
        """The kernel refused a descriptor (EMFILE), whatever was counted before."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.left = 0
        self._close_idle(BATCH)
        self._report(limit, limit)

    def close(self) -> None:
        """Give the spare descriptors back."""
        while self._spares:
            os.close(self._spares.pop())

    def _close_idle(self, count: int) -> None:
        """Close at most ``count`` connections."""
        if not self._reserves:
            return
        now = self._loop.time()
        closed = 0
        for handshakes in self._handshakes:
            closed += handshakes.abort_oldest(now - IDLE_AFTER, count - closed)
        connections = list(chain.from_iterable(service.connections for service in self._services))
        first = oldest_idle(self._shares.first_to_close(connections), now, count - closed)
        for connection in first or oldest_idle(connections, now, count - closed):
            was_open = not is_closing(connection)
            if close_idle(connection) and was_open:
                connection.service.meter.violation("no_descriptors")
                closed += 1
        self._closed += closed

    def _connections(self) -> int:
        of_services = sum(len(service.connections) for service in self._services)
        return of_services + sum(map(len, self._opening)) + sum(handshakes.count for handshakes in self._handshakes)

    def _report(self, limit: int, used: int) -> None:
        now = self._loop.time()
        waits = self.left <= 0 or used >= limit
        if now < self._silent_until[waits] or not (waits or self._closed):
            return
        logger.log(
            logging.ERROR if waits else logging.WARNING,
            "%d of %d file descriptors are in use, %d of them by client connections: %s; raise the limit "
            "(ulimit -n, LimitNOFILE in a systemd unit)",
            used, limit, self._connections(),
            "new connections have to wait" if waits else f"closed {self._closed} idle connections",
        )  # fmt: skip
        self._silent_until[waits] = now + REPORT_PERIOD
        self._closed = 0


def open_descriptors(limit: int) -> int:
    """The number of open descriptors of this process, of at most ``limit``; 0 if the system does not tell."""
    try:
        # Linux 6.2 and later: the size of the folder is the number of its entries.
        if FOLDER == LINUX_FOLDER and (size := FOLDER.stat().st_size):
            return size
        return sum(1 for _ in FOLDER.iterdir()) - 1  # without the one by which it is read
    except OSError as error:
        return limit if error.errno in (errno.EMFILE, errno.ENFILE) else 0


def most_connections() -> int:
    """How many connections the descriptors allow beside the reserve; 0 for any number."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if limit == resource.RLIM_INFINITY else max(limit - _reserve(limit), 1)


def _reserve(limit: int) -> int:
    return min(max(limit // RESERVED_PART, SMALLEST_RESERVE), LARGEST_RESERVE)
