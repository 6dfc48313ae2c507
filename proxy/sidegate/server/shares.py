"""How the clients of one process share a bound: its requests in flight, its WebSockets, its connections.

A client is an address; of IPv6 it is the network of 64 bits, because one host has as many addresses of it as it wants.
Unix sockets and trusted proxies are no client: whatever arrives through them without the address of a client counts for
the bound, but is never one client's.

Theory of operation. No client has a limit of its own unless the configuration sets one. While less than ``FREE_USE`` of
the bound is in use, every client may take what it wants. Above that, a client may hold at most four times the places
that are free (Choudhury and Hahne, "Dynamic queue length thresholds", 1998): so the client that holds most is refused
first, and however many clients take as much as they can, some places stay free for one that holds little. One such
client gets 80 % of the bound, two get 44 % each.

A client that is alone shares with nobody: it may take the whole bound (a NAT, an ingress without ``trustedProxies``).
What it holds above ``FREE_USE`` does not count when others come, so they find room at once; all clients together then
hold at most a fifth more than the bound.

Whoever has a bound calls ``refusal``, then ``take``, and ``give_back`` at the end. It raises no error.
"""

from __future__ import annotations

import logging
import math
import socket

from sidegate.asgi import Headers
from sidegate.server.peer import Peer

logger = logging.getLogger("sidegate.limits")

FREE_USE = 0.8
"""The part of a bound below which no client is refused."""

_FACTOR = 4
"""A client's largest number, in free places. It follows from ``FREE_USE``: h <= 4 (b - h) is h <= 0.8 b."""

OVERLOAD = "overload"
CLIENT_SHARE = "client_share"
CLIENT_LIMIT = "client_limit"
"""Why there is no further place: for nobody, for a client that holds most, or above the limit of each client."""

LOG_PERIOD = 10.0
"""Seconds after a line in which there is no other one for the same bound."""

_IPV4_IN_IPV6 = (bytes(10) + b"\xff\xff", bytes.fromhex("0064ff9b") + bytes(8))
"""Prefixes of 96 bits before an IPv4 address: mapped (RFC 4291 2.5.5.2), and translated by a NAT64 (RFC 6052 2.1)."""


def network_of(host: str) -> str:
    """The client that an IP address belongs to: IPv4 the address itself, IPv6 its network of 64 bits."""
    if ":" not in host:
        return host
    try:
        packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except OSError:
        return host
    if packed[:12] in _IPV4_IN_IPV6:
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return f"{socket.inet_ntop(socket.AF_INET6, packed[:8] + bytes(8))}/64"


def client_of(peer: Peer, headers: Headers) -> str:
    """The client of a request with these fields; empty if it is none: a unix socket, or a trusted proxy itself."""
    address = peer.client
    if peer.trusted is not None:
        address, _ = peer.trusted.origin(headers, address, "")
        if address is not None and address[0] in peer.trusted:
            return ""
    return "" if address is None else network_of(address[0])


class Holding:
    """A place that a client holds. ``owed`` and the others are the state of ``min_rate.py``."""

    __slots__ = ("by_connection", "client", "owed", "taken", "waited")

    def __init__(self, client: str) -> None:
        self.client = client
        self.owed = self.waited = 0.0
        self.taken = 0
        self.by_connection = False


class Shares:
    """The holders of one bound. ``bound``: for all clients together; ``limit``: for each client; 0 for none.

    ``holdings``: by what takes a place, such as the record of a request. ``what``: what a place is, in the plural, for
    the log.
    """

    __slots__ = ("_alone", "_silent_until", "_unreported", "_what", "bound", "counts", "holdings", "limit")

    def __init__(self, bound: int, limit: int, what: str) -> None:
        self.bound = bound
        self.limit = limit
        self.holdings: dict[object, Holding] = {}
        self.counts: dict[str, int] = {}
        """How many places each client holds; those that no client holds are under the empty string."""
        self._alone = ""  # the last client that took more than FREE_USE when no other held anything
        self._what = what
        self._silent_until = 0.0
        self._unreported = 0

    @property
    def free_use(self) -> int:
        """How many places may be taken before any client is refused."""
        return math.ceil(self.bound * FREE_USE)

    @property
    def pressed(self) -> bool:
        """Whether so many places are taken that the clients have to share."""
        return bool(self.bound) and len(self.holdings) > self.free_use

    def refusal(self, client: str) -> str:
        """Why ``client`` gets no further place now, or an empty string."""
        total, own = len(self.holdings) + 1, self.counts.get(client, 0) + 1
        if client and 0 < self.limit < own:
            return CLIENT_LIMIT
        if not self.bound or total <= self.free_use:
            return ""
        if own == total:
            return OVERLOAD if total > self.bound else ""
        if self._free(total) < 0:
            return OVERLOAD
        return CLIENT_SHARE if client and own > self._share(total) else ""

    def take(self, holder: object, client: str) -> None:
        """``client`` takes a place, and keeps it until ``give_back``."""
        self.holdings[holder] = Holding(client)
        self.counts[client] = own = self.counts.get(client, 0) + 1
        if own == len(self.holdings) > self.free_use:
            self._alone = client

    def give_back(self, holder: object) -> None:
        """Free the place of ``holder``, if it has one."""
        holding = self.holdings.pop(holder, None)
        if holding is None:
            return
        left = self.counts[holding.client] - 1
        if left:
            self.counts[holding.client] = left
        else:
            del self.counts[holding.client]

    def clear(self) -> None:
        """Forget all holders."""
        self.holdings.clear()
        self.counts.clear()

    def holds_much(self, client: str) -> bool:
        """Whether ``client`` holds at least as many places as clients do on average. True for what is no client's."""
        return not client or self.counts.get(client, 0) * len(self.counts) >= len(self.holdings)

    def has_too_many(self, client: str) -> bool:
        """Whether ``client`` holds more than its share: others have come since it took its places."""
        own, total = self.counts.get(client, 0), len(self.holdings)
        return self.pressed and own < total and own > self._share(total)

    def report(self, client: str, limit: str, action: str, now: float) -> None:
        """Log what a client lost (``action``) and by which ``limit``; at most one line in ``LOG_PERIOD``."""
        if now < self._silent_until:
            self._unreported += 1
            return
        more = f"; {self._unreported} more since the last such line" if self._unreported else ""
        name = f"client {client}" if client else "a client without an address"
        held, total = self.counts.get(client, 0), len(self.holdings)
        logger.warning("%s holds %d of %d %s: %s (%s)%s", name, held, total, self._what, action, limit, more)
        self._silent_until, self._unreported = now + LOG_PERIOD, 0

    def _free(self, total: int) -> int:
        """How many places are free if ``total`` are taken. What a client took because it was alone does not count."""
        taken_alone = max(0, self.counts.get(self._alone, 0) - self.free_use) if self._alone else 0
        return self.bound - total + taken_alone

    def _share(self, total: int) -> int:
        """The largest number of places for a client if ``total`` are taken."""
        return max(1, _FACTOR * self._free(total))
