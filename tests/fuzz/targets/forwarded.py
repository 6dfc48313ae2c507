"""Forwarding fields: whatever is on the left, a nearer proxy's own member is read, and read alike."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator

from sidegate.server.forwarded import FORWARDED, X_FOR, X_PROTO, TrustedProxies
from sidegate.wire.forwarding import Address, Hop, hops_of_forwarded, hops_of_list

TRUSTED = TrustedProxies(["10.0.0.0/8", "2001:db8::/32", "unix"])
PEER: Address = ("10.9.9.9", 1234)


def check_hops(read: Callable[[str], Iterator[Hop]], text: str, member: str, hop: Hop) -> None:
    hops = list(read(text))
    assert len(hops) <= len(text) // 2 + 1
    for address, proto in hops:
        assert proto == proto.lower()
        if address is not None:
            ipaddress.ip_address(address[0])
            assert 0 <= address[1] <= 65535
    assert list(read(f"{text},{member}")) == [hop, *hops]


def check(data: bytes) -> None:
    text = data.decode("latin-1")
    far: Hop = (("192.0.2.7", 81), "https")
    check_hops(hops_of_forwarded, text, 'proto=HTTPS;for="192.0.2.7:81"', far)
    check_hops(hops_of_list, text, " 192.0.2.7:81", (far[0], ""))
    client, scheme = TRUSTED.origin([(FORWARDED, data), (FORWARDED, b"for=192.0.2.7")], PEER, "http")
    assert (client, scheme) == (("192.0.2.7", 0), "http")
    client, scheme = TRUSTED.origin([(X_FOR, data), (X_FOR, b"192.0.2.7"), (X_PROTO, b"wss")], PEER, "http")
    assert (client, scheme) == (("192.0.2.7", 0), "https")
    for field in (FORWARDED, X_FOR, X_PROTO):
        client, scheme = TRUSTED.origin([(field, data)], PEER, "http")
        assert client is not None
        ipaddress.ip_address(client[0])
        assert scheme in ("http", "https")
