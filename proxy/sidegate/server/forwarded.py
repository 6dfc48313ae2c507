"""The trusted proxies, and what their forwarding fields say about the real client.

A connection checks once whether its peer is trusted, the scope reads the fields of each request. The header policy has
already dropped the fields of any other peer.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator

from sidegate.asgi import Headers
from sidegate.wire.forwarding import HTTP_SCHEMES, Address, Hop, hops_of_forwarded, hops_of_list

X_FOR, X_PROTO, FORWARDED = b"x-forwarded-for", b"x-forwarded-proto", b"forwarded"


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

    def trusts_socket(self, sock: socket.socket) -> bool:
        """Whether the other end of a connected socket is trusted."""
        if sock.family == socket.AF_UNIX:
            return self.unix
        try:
            host, port, *_ = sock.getpeername()
        except OSError:  # it has already disconnected
            return False
        return self.trusts((host, port))

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

    def origin(self, headers: Headers, peer: Address | None, scheme: str) -> tuple[Address | None, str]:
        """Address and scheme (``http`` or ``https``) of the client; those of the connection are ``peer``, ``scheme``.

        The client is the nearest address that is no trusted proxy. Every proxy appends the address of its peer, so only
        what trusted proxies wrote can be trusted: the members from the right end to the first address that is not one
        of them. A member that is no address ends the search.

        ``Forwarded`` counts only if there is neither ``X-Forwarded-For`` nor ``X-Forwarded-Proto``: most proxies set
        these and pass on what the client itself wrote into ``Forwarded``.
        """
        found = _forwarding(headers)
        if X_FOR in found or X_PROTO in found:
            client, _ = self._walk(hops_of_list(found.get(X_FOR, "")), peer)
            word = found.get(X_PROTO, "").rpartition(",")[2].strip().lower()  # the nearest proxy's
        else:
            client, word = self._walk(hops_of_forwarded(found.get(FORWARDED, "")), peer)
        return client, HTTP_SCHEMES.get(word, scheme)

    def _walk(self, hops: Iterator[Hop], peer: Address | None) -> tuple[Address | None, str]:
        """The client, and the ``proto`` of the furthest trusted proxy that names one."""
        client, proto = peer, ""
        for address, word in hops:
            proto = word or proto
            if address is None:
                break
            client = address
            if address[0] not in self:
                break
        return client, proto


def _forwarding(headers: Headers) -> dict[bytes, str]:
    """The fields that are read, by name. Several fields of one name form one list (RFC 9110 5.3)."""
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name in (X_FOR, X_PROTO, FORWARDED):
            text = value.decode("latin-1")
            found[name] = f"{found[name]},{text}" if name in found else text
    return found
