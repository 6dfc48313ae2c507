"""The header of the PROXY protocol, versions 1 and 2: a load balancer names the client of the connection that follows.

https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt. The listener reads it before TLS and HTTP, from peers that
it trusts. This module is sans-I/O: bytes in, a ``ProxyHeader`` out. It takes no byte that follows the header, because
those belong to somebody else: to OpenSSL on a TLS listener.

It is strict, as the specification wants: what does not match exactly is an error, for a client that reaches the parser
by the balancer's mistake could otherwise name itself. Of the additional fields (TLV) it reads the checksum and the
facts of TLS; a header with one of them twice is an error, because two readers might choose differently.

It raises ``ProxyHeaderError``.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from dataclasses import dataclass

from sidegate.errors import SidegateError

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
"""The first 12 bytes of version 2; no HTTP request and no TLS handshake begins like this."""

LONGEST_LINE = 107
"""Largest header of version 1, with its CRLF."""

_FIXED = 16  # the part of version 2 that has always the same size
_LINE = re.compile(r"PROXY TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n")
_UNKNOWN_LINE = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")

_LOCAL, _PROXY = 0x20, 0x21  # version and command
_STREAM_OVER = {0x11: 4, 0x21: 16}
"""TCP over IPv4 and IPv6: the size of one address."""
_OTHERS = {0x00: 0, 0x10: 0, 0x20: 0, 0x30: 0, 0x01: 0, 0x02: 0, 0x12: 12, 0x22: 36, 0x31: 216, 0x32: 216}
"""Datagrams, unix sockets and unspecified ones: the size of both ends. Their addresses are not used."""

_CRC32C, _SSL = 0x03, 0x20
_VERSION, _CN, _CIPHER, _CERTIFICATE = 0x21, 0x22, 0x23, 0x28
_READ = frozenset([_CRC32C, _SSL])
_READ_OF_TLS = frozenset([_VERSION, _CN, _CIPHER, _CERTIFICATE])
_OVER_TLS, _SENT_CERTIFICATE = 0x01, 0x02 | 0x04  # on this connection, or earlier in its TLS session

Address = tuple[str, int]


class ProxyHeaderError(SidegateError):
    """A header cannot be used. ``reason``: one word for the metric."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ClientTls:
    """The TLS connection between the client and the proxy. ``version`` and ``cipher`` are empty if it did not say.

    ``version``: as OpenSSL writes it (``TLSv1.3``). ``cipher``: OpenSSL's name. ``sent_certificate``: the client sent
    a certificate; ``verified``: it did, and the proxy has verified it. ``common_name``: its CN, empty if unknown.
    ``certificate``: the certificate in DER, empty if the proxy did not pass it on.
    """

    version: str = ""
    cipher: str = ""
    sent_certificate: bool = False
    verified: bool = False
    common_name: str = ""
    certificate: bytes = b""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a header says. ``client`` and ``server``: the ends of the client's connection to the proxy.

    Both are None if the proxy does not know them, or speaks for itself (a health check): then those of this connection
    count. ``over_tls``: whether the client's connection uses TLS; None if the proxy did not say. ``tls``: its facts.
    """

    client: Address | None = None
    server: Address | None = None
    over_tls: bool | None = None
    tls: ClientTls | None = None


class ProxyHeaderReader:
    """Reads one header. ``limit``: its largest size in bytes."""

    def __init__(self, limit: int) -> None:
        self.header: ProxyHeader | None = None
        """None until the whole header was taken."""
        self._limit = limit
        self._taken = bytearray()

    def take(self, data: bytes) -> int:
        """Return how many of these bytes, the next of the connection, belong to the header: all until it is complete.

        Do not call it again once ``header`` is there. Raises ``ProxyHeaderError``.
        """
        before = len(self._taken)
        self._taken += data
        taken = bytes(self._taken)
        if SIGNATURE.startswith(taken[: len(SIGNATURE)]):
            size = self._take_binary(taken)
        elif b"PROXY ".startswith(taken[:6]):
            size = self._take_line(taken)
        else:
            raise ProxyHeaderError("no_proxy_header", "the connection does not begin with a PROXY header")
        del self._taken[size:]
        return size - before

    def _take_line(self, taken: bytes) -> int:
        end = taken.find(b"\n", 0, LONGEST_LINE)
        if end >= 0:
            self.header = _read_line(taken[: end + 1])
            return end + 1
        if len(taken) >= LONGEST_LINE:
            raise _bad("the line of version 1 is too long")
        return len(taken)

    def _take_binary(self, taken: bytes) -> int:
        if len(taken) < _FIXED:
            return len(taken)
        size = _FIXED + int.from_bytes(taken[14:16], "big")
        if taken[12] not in (_LOCAL, _PROXY):
            raise _bad("unknown version or command")
        if taken[13] not in _STREAM_OVER and taken[13] not in _OTHERS:
            raise _bad("unknown address family or protocol")
        if size > self._limit:
            raise _bad(f"it has {size} bytes, more than limits.proxyHeaderSize")
        if len(taken) < size:
            return len(taken)
        self.header = ProxyHeader() if taken[12] == _LOCAL else _read_binary(taken[:size])
        return size


def _bad(detail: str) -> ProxyHeaderError:
    return ProxyHeaderError("bad_proxy_header", f"malformed PROXY header: {detail}")


def _read_line(line: bytes) -> ProxyHeader:
    if _UNKNOWN_LINE.fullmatch(line):
        return ProxyHeader()
    match = _LINE.fullmatch(line.decode("latin-1"))
    if match is None:
        raise _bad("the line of version 1")
    family, source, destination, *ports = match.groups()
    client_port, server_port = map(int, ports)
    if client_port > 65535 or server_port > 65535:
        raise _bad("a port")
    kind = ipaddress.IPv4Address if family == "4" else ipaddress.IPv6Address
    try:
        client, server = str(kind(source)), str(kind(destination))
    except ValueError as error:
        raise _bad(str(error)) from None
    return ProxyHeader((client, client_port), (server, server_port))


def _read_binary(header: bytes) -> ProxyHeader:
    size = _STREAM_OVER.get(header[13], 0)
    end = _FIXED + (2 * size + 4 if size else _OTHERS[header[13]])
    if len(header) < end:
        raise _bad("it ends within the addresses")
    client = server = None
    if size:
        ends = header[_FIXED:end]
        ports = 2 * size
        client = _address(ends[:size], ends[ports : ports + 2])
        server = _address(ends[size:ports], ends[ports + 2 :])
    fields = _fields(header, end, _READ)
    if _CRC32C in fields:
        _check_sum(header, *fields[_CRC32C])
    if _SSL not in fields:
        return ProxyHeader(client, server)
    over_tls, tls = _read_tls(header[slice(*fields[_SSL])])
    return ProxyHeader(client, server, over_tls, tls)


def _address(host: bytes, port: bytes) -> Address:
    return str(ipaddress.ip_address(host)), int.from_bytes(port, "big")


def _fields(data: bytes, place: int, read: frozenset[int]) -> dict[int, tuple[int, int]]:
    """Begin and end of the value of each field whose type is in ``read``; the fields begin at ``place``."""
    found: dict[int, tuple[int, int]] = {}
    while place < len(data):
        begin = place + 3
        end = begin + int.from_bytes(data[place + 1 : begin], "big")
        if begin > len(data) or end > len(data):
            raise _bad("it ends within an additional field")
        kind = data[place]
        if kind in found:
            raise _bad("an additional field is there twice")
        if kind in read:
            found[kind] = (begin, end)
        place = end
    return found


def _check_sum(header: bytes, begin: int, end: int) -> None:
    """The checksum is that of the header with zeros in its place."""
    sent = header[begin:end]
    if len(sent) != 4 or crc32c(header[:begin] + bytes(4) + header[end:]) != int.from_bytes(sent, "big"):
        raise _bad("wrong checksum")


def _read_tls(value: bytes) -> tuple[bool, ClientTls | None]:
    if len(value) < 5:
        raise _bad("the field about TLS is too short")
    if not value[0] & _OVER_TLS:
        return False, None
    parts = {kind: value[begin:end] for kind, (begin, end) in _fields(value, 5, _READ_OF_TLS).items()}
    sent = bool(value[0] & _SENT_CERTIFICATE)
    return True, ClientTls(
        version=_version(parts.get(_VERSION, b"")),
        cipher=parts.get(_CIPHER, b"").decode("ascii", "replace"),
        sent_certificate=sent,
        verified=sent and value[1:5] == bytes(4),
        common_name=parts.get(_CN, b"").decode("utf-8", "replace"),
        certificate=parts.get(_CERTIFICATE, b""),
    )


def _version(name: bytes) -> str:
    """HAProxy writes ``TLSv1.3``, as OpenSSL does, and programs in Go write ``TLS 1.3``."""
    match = re.fullmatch(rb"TLS ?v?(1(?:\.[0-3])?)", name)
    return f"TLSv{match[1].decode().removesuffix('.0')}" if match else ""


def crc32c(data: bytes) -> int:
    """The checksum of RFC 9260, appendix A (CRC-32C)."""
    table = _crc_table()
    value = 0xFFFFFFFF
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


@functools.cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901 - one byte, shifted out bit by bit
        table.append(value)
    return tuple(table)
