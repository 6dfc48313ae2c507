"""PROXY headers: reads may cut them anywhere, no byte behind the header is taken, and what was read can be written."""

from __future__ import annotations

import contextlib
import ipaddress

from sidegate.wire.proxy_header import ProxyHeader, ProxyHeaderError, ProxyHeaderReader
from tests.fuzz.inputs import cuttings
from tests.support import proxy_headers as p

LIMIT = 300


def read(pieces: list[bytes]) -> tuple[ProxyHeader | None, int, str]:
    """The header, the number of bytes that it has taken, and why it was refused."""
    reader = ProxyHeaderReader(LIMIT)
    taken = 0
    for piece in pieces:
        try:
            size = reader.take(piece)
        except ProxyHeaderError as error:
            return None, 0, error.reason
        assert size == len(piece) or reader.header is not None
        assert 0 <= size <= len(piece)
        taken += size
        if reader.header is not None:
            break
    return reader.header, taken, ""


def check(data: bytes) -> None:
    outcome = header, taken, reason = read([data])
    for pieces in cuttings(data):
        assert read(pieces) == outcome
    assert taken <= len(data)
    assert reason in ("", "no_proxy_header", "bad_proxy_header")
    if header is None:
        assert reason or taken == len(data) < LIMIT
        return
    assert taken <= LIMIT
    assert read([data[:taken] + b"\r\nGET"]) == read([data[:taken]]) == outcome
    assert (header.client is None) == (header.server is None)
    if header.client is None or header.server is None:
        return
    for host, port in (header.client, header.server):
        assert str(ipaddress.ip_address(host)) == host
        assert 0 <= port <= 65535
    plain = ProxyHeader(header.client, header.server)
    if ipaddress.ip_address(header.client[0]).version == ipaddress.ip_address(header.server[0]).version:
        assert read([p.relayed(header.client, header.server)])[0] == plain
        with contextlib.suppress(UnicodeEncodeError):
            assert read([p.line(header.client, header.server)])[0] == plain
