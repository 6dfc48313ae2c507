"""PROXY headers as load balancers send them (https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt)."""

from __future__ import annotations

import ipaddress
import struct

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
UNSPECIFIED, TCP4, UDP4, TCP6, UDP6, UNIX = 0x00, 0x11, 0x12, 0x21, 0x22, 0x31
ALPN, AUTHORITY, CRC32C, NOOP, SSL = 0x01, 0x02, 0x03, 0x04, 0x20
SSL_VERSION, SSL_CN, SSL_CIPHER, SSL_CERTIFICATE = 0x21, 0x22, 0x23, 0x28
OVER_TLS, CERTIFICATE_NOW, CERTIFICATE_EARLIER = 1, 2, 4

Address = tuple[str, int]


def line(client: Address, server: Address) -> bytes:
    """Version 1."""
    family = "TCP6" if ":" in client[0] else "TCP4"
    return f"PROXY {family} {client[0]} {server[0]} {client[1]} {server[1]}\r\n".encode()


def field(kind: int, value: bytes) -> bytes:
    """One additional field (TLV)."""
    return struct.pack("!BH", kind, len(value)) + value


def tls_field(flags: int, verify: int, *fields: bytes) -> bytes:
    """The field about TLS; ``fields``: those within it."""
    return field(SSL, struct.pack("!BI", flags, verify) + b"".join(fields))


def ends(client: Address, server: Address) -> bytes:
    """The addresses of version 2."""
    hosts = b"".join(ipaddress.ip_address(host).packed for host, _ in (client, server))
    return hosts + struct.pack("!HH", client[1], server[1])


def binary(family: int, addresses: bytes, *fields: bytes, command: int = PROXY) -> bytes:
    """Version 2."""
    rest = addresses + b"".join(fields)
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest)) + rest


def relayed(client: Address, server: Address, *fields: bytes) -> bytes:
    """Version 2 of a TCP connection."""
    return binary(TCP6 if ":" in client[0] else TCP4, ends(client, server), *fields)
