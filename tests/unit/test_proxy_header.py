"""The PROXY header, versions 1 and 2: what it says, what is refused, and that no byte after it is taken."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidegate.wire.proxy_header import (
    LONGEST_LINE,
    ClientTls,
    ProxyHeader,
    ProxyHeaderError,
    ProxyHeaderReader,
    crc32c,
)
from tests.support import proxy_headers as sent

CLIENT, SERVER = ("192.0.2.1", 4711), ("198.51.100.7", 443)
CLIENT6, SERVER6 = ("2001:db8::1", 4711), ("2001:db8::2", 443)
REST = b"GET / HTTP/1.1\r\n\r\n"


def read(data: bytes, limit: int = 4096) -> ProxyHeader:
    """The header at the beginning of ``data``; what follows it must stay."""
    reader = ProxyHeaderReader(limit)
    assert reader.take(data + REST) == len(data)
    assert reader.header is not None
    return reader.header


def refusal(data: bytes, limit: int = 4096) -> str:
    with pytest.raises(ProxyHeaderError) as caught:
        ProxyHeaderReader(limit).take(data)
    return caught.value.reason


# Version 1.


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (sent.line(CLIENT, SERVER), ProxyHeader(CLIENT, SERVER)),
        (sent.line(CLIENT6, SERVER6), ProxyHeader(CLIENT6, SERVER6)),
        (b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n", ProxyHeader(("255.255.255.255", 65535), ("0.0.0.0", 0))),
        (b"PROXY TCP6 2001:DB8:0:0:0:0:0:1 ::2 1 2\r\n", ProxyHeader(("2001:db8::1", 1), ("::2", 2))),
        (b"PROXY UNKNOWN\r\n", ProxyHeader()),
        (b"PROXY UNKNOWN ffff::1 anything at all\r\n", ProxyHeader()),
        (b"PROXY UNKNOWN " + b"f" * (LONGEST_LINE - 16) + b"\r\n", ProxyHeader()),
    ],
)
def test_version_1(line: bytes, expected: ProxyHeader) -> None:
    assert read(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 1\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
        b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 ::1 ::2 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n",
        b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY UNKNOWN \r \r\n",
        b"PROXY \r\n",
        b"PROXY TCP4 \xff 192.0.2.2 1 2\r\n",
        b"PROXY UNKNOWN " + b"f" * (LONGEST_LINE - 15) + b"\r\n",
        b"PROXY UNKNOWN " + b"f" * LONGEST_LINE,
    ],
)
def test_a_malformed_line_is_refused(line: bytes) -> None:
    assert refusal(line) == "bad_proxy_header"


# Version 2.


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (sent.relayed(CLIENT, SERVER), ProxyHeader(CLIENT, SERVER)),
        (sent.relayed(CLIENT6, SERVER6), ProxyHeader(CLIENT6, SERVER6)),
        (
            sent.relayed(CLIENT, SERVER, sent.field(sent.ALPN, b"h2"), sent.field(0xEA, b"")),
            ProxyHeader(CLIENT, SERVER),
        ),
        (
            sent.relayed(CLIENT, SERVER, sent.field(sent.NOOP, b""), sent.field(0xEE, b"x" * 500)),
            ProxyHeader(CLIENT, SERVER),
        ),
        # the proxy speaks for itself, or does not know
        (sent.binary(sent.UNSPECIFIED, b"", command=sent.LOCAL), ProxyHeader()),
        (sent.binary(sent.TCP4, sent.ends(CLIENT, SERVER), b"\x20\xff", command=sent.LOCAL), ProxyHeader()),
        (sent.binary(sent.UNSPECIFIED, b""), ProxyHeader()),
        (sent.binary(sent.UDP4, sent.ends(CLIENT, SERVER)), ProxyHeader()),
        (sent.binary(sent.UDP6, sent.ends(CLIENT6, SERVER6)), ProxyHeader()),
        (sent.binary(sent.UNIX, b"/run/a".ljust(216, b"\0")), ProxyHeader()),
        (sent.binary(sent.UNIX, bytes(216), sent.tls_field(0, 0)), ProxyHeader(over_tls=False)),
    ],
)
def test_version_2(header: bytes, expected: ProxyHeader) -> None:
    assert read(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        sent.binary(sent.TCP4, sent.ends(CLIENT, SERVER), command=0x11),
        sent.binary(sent.TCP4, sent.ends(CLIENT, SERVER), command=0x31),
        sent.binary(sent.TCP4, sent.ends(CLIENT, SERVER), command=0x22),
        sent.binary(0x13, sent.ends(CLIENT, SERVER)),
        sent.binary(0x41, sent.ends(CLIENT, SERVER)),
        sent.binary(sent.TCP4, sent.ends(CLIENT, SERVER)[:-1]),
        sent.binary(sent.TCP6, sent.ends(CLIENT, SERVER)),
        sent.binary(sent.UNIX, bytes(215)),
        sent.relayed(CLIENT, SERVER, b"\x04"),
        sent.relayed(CLIENT, SERVER, b"\x04\0"),
        sent.relayed(CLIENT, SERVER, b"\x04\0\1"),
        sent.relayed(CLIENT, SERVER, sent.field(sent.SSL, bytes(4))),
        sent.relayed(CLIENT, SERVER, sent.tls_field(1, 0, b"\x21\0\1")),
        sent.relayed(CLIENT, SERVER, sent.tls_field(1, 0), sent.tls_field(1, 0)),
        sent.relayed(
            CLIENT, SERVER, sent.tls_field(1, 0, sent.field(sent.SSL_CN, b"a"), sent.field(sent.SSL_CN, b"b"))
        ),
        sent.relayed(CLIENT, SERVER, sent.field(sent.CRC32C, bytes(4))),
        sent.relayed(CLIENT, SERVER, sent.field(sent.CRC32C, bytes(3))),
    ],
)
def test_a_malformed_header_is_refused(header: bytes) -> None:
    assert refusal(header) == "bad_proxy_header"


def test_the_size_is_bounded_before_the_header_is_there() -> None:
    header = sent.relayed(CLIENT, SERVER, sent.field(sent.NOOP, bytes(1000)))
    assert read(header, len(header)) == ProxyHeader(CLIENT, SERVER)
    assert refusal(header[:16], len(header) - 1) == "bad_proxy_header"


def test_the_checksum() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720 B.4
    fields = (sent.field(sent.ALPN, b"h2"), sent.field(sent.CRC32C, bytes(4)), sent.field(sent.NOOP, b"x"))
    header = sent.relayed(CLIENT, SERVER, *fields)
    total = crc32c(header).to_bytes(4, "big")
    right = header.replace(sent.field(sent.CRC32C, bytes(4)), sent.field(sent.CRC32C, total))
    assert read(right) == ProxyHeader(CLIENT, SERVER)
    for place in (16, len(right) - 1):  # an address, a field that is not read
        wrong = right[:place] + bytes([right[place] ^ 1]) + right[place + 1 :]
        assert refusal(wrong) == "bad_proxy_header"


VERSION, CN = sent.field(sent.SSL_VERSION, b"TLSv1.3"), sent.field(sent.SSL_CN, "Jürgen".encode())
CIPHER, CERTIFICATE = sent.field(sent.SSL_CIPHER, b"AES128-SHA"), sent.field(sent.SSL_CERTIFICATE, b"der")


@pytest.mark.parametrize(
    ("flags", "verify", "fields", "over_tls", "tls"),
    [
        (0, 0, (), False, None),
        (2, 0, (CN,), False, None),  # a certificate without TLS is nonsense
        (1, 0, (), True, ClientTls()),
        (1, 1, (VERSION, CIPHER), True, ClientTls("TLSv1.3", "AES128-SHA")),
        (3, 0, (CN, VERSION), True, ClientTls("TLSv1.3", "", True, True, "Jürgen")),
        (5, 0, (CERTIFICATE,), True, ClientTls("", "", True, True, "", b"der")),
        (7, 19, (CN,), True, ClientTls("", "", True, False, "Jürgen")),
        (1, 0, (CN,), True, ClientTls("", "", False, False, "Jürgen")),
        (1, 0, (sent.field(0x24, b"RSA-SHA256"), VERSION), True, ClientTls("TLSv1.3")),
    ],
)
def test_tls(flags: int, verify: int, fields: tuple[bytes, ...], over_tls: bool, tls: ClientTls | None) -> None:
    header = sent.relayed(CLIENT, SERVER, sent.field(sent.AUTHORITY, b"a"), sent.tls_field(flags, verify, *fields))
    assert read(header) == ProxyHeader(CLIENT, SERVER, over_tls, tls)


@pytest.mark.parametrize(
    ("written", "version"),
    [
        (b"TLSv1.2", "TLSv1.2"), (b"TLS 1.3", "TLSv1.3"), (b"TLSv1", "TLSv1"), (b"TLS 1.0", "TLSv1"), (b"SSLv3", ""),
        (b"", ""),
    ],
)  # fmt: skip
def test_versions_of_tls(written: bytes, version: str) -> None:
    found = read(sent.relayed(CLIENT, SERVER, sent.tls_field(1, 0, sent.field(sent.SSL_VERSION, written)))).tls
    assert found is not None
    assert found.version == version


# What is no header.


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01", b"\0", b"PROXIES", b"\r\n\r\n\1"],
)
def test_what_is_no_header_is_refused_at_once(data: bytes) -> None:
    assert refusal(data) == "no_proxy_header"


# Fuzzed.

PORTS = st.integers(0, 65535)
IPV4 = st.tuples(st.ip_addresses(v=4).map(str), PORTS)
IPV6 = st.tuples(st.ip_addresses(v=6).map(str), PORTS)
FIELDS = st.lists(
    st.builds(
        sent.field, st.integers(0, 255).filter(lambda kind: kind not in (sent.CRC32C, sent.SSL)), st.binary(max_size=9)
    ),
    max_size=3,
)
SAID = st.one_of(st.tuples(IPV4, IPV4), st.tuples(IPV6, IPV6))
CUTS = st.lists(st.integers(1, 20), min_size=1)


@given(SAID, st.booleans(), FIELDS, CUTS, st.binary(max_size=30))
def test_in_pieces_as_in_one(
    said: tuple[sent.Address, sent.Address], old: bool, fields: list[bytes], cuts: list[int], rest: bytes
) -> None:
    """However the bytes arrive, and however many are looked at, the header's are taken and no other."""
    header = sent.line(*said) if old else sent.relayed(*said, *fields)
    data, taken, place = header + rest, 0, 0
    reader = ProxyHeaderReader(4096)
    while reader.header is None:
        shown = data[taken : taken + cuts[place % len(cuts)]]
        taken += reader.take(shown)
        place += 1
    assert taken == len(header)
    assert reader.header == ProxyHeader(*said)


def damaged(said: tuple[sent.Address, sent.Address], more: bytes, place: int, byte: int) -> bytes:
    """A header of version 2 with one byte that may be wrong."""
    header = sent.relayed(*said, more)
    return header[:place] + bytes([byte]) + header[place + 1 :]


@given(
    st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=120).map(lambda data: b"PROXY " + data),
        st.binary(max_size=300).map(lambda data: sent.SIGNATURE + data),
        st.builds(damaged, SAID, st.binary(max_size=60), st.integers(0, 90), st.integers(0, 255)),
        st.builds(lambda said, data: sent.relayed(*said, sent.field(sent.SSL, data)), SAID, st.binary(max_size=60)),
        st.text("PROXY TCP46UNKNOWN.:0123456789af\r\n", max_size=110).map(lambda text: b"PROXY TCP" + text.encode()),
    ),
    st.integers(232, 400),
)  # fmt: skip
def test_any_bytes_give_a_header_or_an_error(data: bytes, limit: int) -> None:
    reader = ProxyHeaderReader(limit)
    try:
        size = reader.take(data)
    except ProxyHeaderError:
        return
    assert size <= max(limit, LONGEST_LINE)
    if reader.header is None:
        assert size == len(data)
        return
    for end in (reader.header.client, reader.header.server):
        assert (end is None) == (reader.header.client is None)
        if end is not None:
            assert str(ipaddress.ip_address(end[0])) == end[0]
            assert 0 <= end[1] <= 65535
