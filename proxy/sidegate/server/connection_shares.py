"""The connections of a process by client: when it has nearly as many as it may have, no client keeps most of them.

Connections report to it when they open and close. It closes idle connections of the client that has most, and refuses
new ones of that client if none is idle. It owns the count. ``descriptors.py`` closes idle connections of any client
when the kernel's descriptors run out; it asks here whose come first.

Theory of operation. The bound is ``limits.connections``, or what the descriptors allow, and ``shares.py`` says who has
more than a share. A connection whose TLS handshake is under way is not counted: ``timeouts.tlsHandshake`` bounds it.
To find idle connections costs a visit to all, so with a large bound several are closed at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import cast

from sidegate.config.schema import Limits
from sidegate.server.connection import Connection
from sidegate.server.idle_connections import close_idle, oldest_idle
from sidegate.server.service import ServedConnection
from sidegate.server.shares import CLIENT_LIMIT, CLIENT_SHARE, OVERLOAD, Shares, client_of

LARGEST_BATCH = 16
"""At most so many connections are closed at once, ..."""

BATCH_PART = 64
"""... and at most the bound divided by this number, but one."""


class ConnectionShares:
    """One for all listeners of a process. ``most``: connections that its descriptors allow, 0 for any number."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits, most: int) -> None:
        self._loop = loop
        self._bounded = limits.connections > 0  # else the kernel is the one that refuses
        self._opened = 0  # since the last look
        self.shares = Shares(limits.connections or most, limits.connections_per_client, "connections")
        self._batch = min(max(self.shares.bound // BATCH_PART, 1), LARGEST_BATCH)

    def opened(self, connection: Connection) -> bool:
        """Count a connection. Returns whether it may stay; otherwise the caller closes it."""
        shares, client = self.shares, client_of(connection.peer, [])
        reason = shares.refusal(client)
        if reason == CLIENT_LIMIT or (reason and not self._has_room(client, reason)):
            connection.service.meter.violation(reason)
            self._report(client, reason, "closed a new one")
            return False
        shares.take(connection, client)
        self._opened += 1
        if self._opened >= self._batch and shares.pressed:
            self._opened = 0
            self._close_excess()
        return True

    def closed(self, connection: Connection) -> None:
        """A connection is lost."""
        self.shares.give_back(connection)

    def first_to_close(self, connections: Iterable[ServedConnection]) -> Sequence[ServedConnection]:
        """Those of ``connections`` whose clients have at least as many as clients have on average."""
        holdings, holds_much = self.shares.holdings, self.shares.holds_much
        held = ((one, holdings.get(one)) for one in connections)
        return [one for one, holding in held if holding is None or holds_much(holding.client)]

    def _has_room(self, client: str, reason: str) -> bool:
        """Whether a connection of ``client`` may open although there is a ``reason`` against it."""
        if reason == CLIENT_SHARE:
            return self._close_idle(client, client.__eq__, reason)
        return not self._bounded or self._close_idle(client, self.shares.holds_much, OVERLOAD)

    def _close_excess(self) -> None:
        """Close idle connections of the client that has most, if it has more than its share."""
        counts = self.shares.counts
        client = max(filter(None, counts), key=counts.__getitem__, default="")
        if client and self.shares.has_too_many(client):
            self._close_idle(client, client.__eq__, CLIENT_SHARE)

    def _close_idle(self, client: str, of_client: Callable[[str], bool], reason: str) -> bool:
        """Close some idle connections of such clients, because of ``client``. Returns whether there were any."""
        found = [one for one, holding in self.shares.holdings.items() if of_client(holding.client)]
        closed = False
        for connection in oldest_idle(cast(list[Connection], found), self._loop.time(), self._batch):
            if close_idle(connection):
                closed = True
                connection.service.meter.violation(reason)
                self.shares.give_back(connection)  # it is closed in one of the next turns
        if closed:
            self._report(client, reason, "closed idle ones")
        return closed

    def _report(self, client: str, reason: str, action: str) -> None:
        shares = self.shares
        limit = f"limits.connections: {shares.bound}"
        if reason == CLIENT_LIMIT:
            limit = f"limits.connectionsPerClient: {shares.limit}"
        elif not self._bounded:
            limit = f"file descriptors allow {shares.bound}"
        shares.report(client, limit, action, self._loop.time())
