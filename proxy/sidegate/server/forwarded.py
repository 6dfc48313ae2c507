"""The trusted proxies, and what their forwarding fields say about the real client.

A connection checks once whether its peer is trusted, the scope reads the fields of each request. The header policy has
already dropped the fields of any other peer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from sidegate.asgi import Headers

Address = tuple[str, int]


class TrustedProxies:
    """The CIDR blocks of ``trustedProxies``. Unix-socket peers count as trusted if ``unix`` is listed.

    ``any_peer``: every peer that gets a connection is trusted, as with client certificates; the addresses that it names
    are still compared with the blocks.
    """

    def __init__(self, blocks: Iterable[str], any_peer: bool = False) -> None:
        listed = set(blocks)
        self._any_peer = any_peer
        self.unix = any_peer or "unix" in listed
        self._networks = [ipaddress.ip_network(block) for block in listed - {"unix"}]

    def trusts(self, peer: Address | None) -> bool:
        """Whether the other end of a TCP connection is trusted. ``peer`` is None if it has already disconnected."""
        return peer is not None and (self._any_peer or peer[0] in self)

    def __contains__(self, host: str) -> bool:
        if not self._networks:
            return False
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    def client(self, headers: Headers, peer: Address | None) -> Address | None:
        """The nearest address that is no trusted proxy, read from the right of ``x-forwarded-for``.

        Every proxy appends the address of its peer, so only the part that trusted proxies wrote can be trusted: from
        the right end to the first address that is not one of them. A member that is no address ends the search.
        """
        client = peer
        members = [member.strip() for member in _joined(headers, b"x-forwarded-for").split(",") if member.strip()]
        for member in reversed(members):
            host = member.removeprefix("[").removesuffix("]")
            try:
                ipaddress.ip_address(host)
            except ValueError:
                return client
            client = (host, 0)
            if host not in self:
                break
        return client


def forwarded_scheme(headers: Headers, scheme: str) -> str:
    """``x-forwarded-proto`` of a trusted peer (the last member: the nearest proxy's), else ``scheme``."""
    word = _joined(headers, b"x-forwarded-proto").rpartition(",")[2].strip().lower()
    return word if word in ("http", "https") else scheme


def _joined(headers: Headers, name: bytes) -> str:
    return ",".join(value.decode("latin-1") for key, value in headers if key == name)
