"""The chunked transfer coding: cuts change nothing, h11 reads the same, and what was read can be written."""

from __future__ import annotations

from dataclasses import dataclass, field

import h11

from sidegate.asgi import Headers
from sidegate.errors import Refused
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http1.chunked import ChunkedReader
from tests.fuzz.inputs import cuttings

POLICY = FieldPolicy(4, 120)


@dataclass
class Reading:
    """``rest``: the bytes after the message, None if it is incomplete. ``fault``: status and reason of a refusal."""

    body: bytes = b""
    rest: bytes | None = None
    trailers: Headers = field(default_factory=list)
    fault: tuple[int, str] | None = None


def read(pieces: list[bytes]) -> Reading:
    reader = ChunkedReader(POLICY)
    reading = Reading()
    body: list[bytes] = []
    for number, piece in enumerate(pieces):
        try:
            rest = reader.feed(piece, body)
            while reader.kept:
                rest = reader.feed(reader.kept, body)
        except Refused as refused:
            reading.fault = refused.status, refused.reason
            break
        if rest is not None:
            reading.rest = rest + b"".join(pieces[number + 1 :])
            reading.trailers = reader.trailers
            break
    reading.body = b"".join(body)
    return reading


def read_by_h11(data: bytes) -> tuple[bytes, bytes] | None:
    """Body and the bytes after it; None if h11 refuses it or waits for more."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    body = b""
    try:
        while not isinstance(event := server.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                body += event.data
            elif not isinstance(event, h11.Request):
                return None
    except h11.RemoteProtocolError:
        return None
    return body, server.trailing_data[0]


def check(data: bytes) -> None:
    reading = read([data])
    for pieces in cuttings(data):
        assert read(pieces) == reading
    assert len(reading.body) + len(reading.rest or b"") <= len(data)
    if reading.rest is None:
        return
    assert data.endswith(reading.rest)
    assert len(reading.trailers) <= POLICY.max_fields
    assert sum(len(name) + len(value) for name, value in reading.trailers) <= POLICY.max_block
    other = read_by_h11(data)
    assert other is None or other == (reading.body, reading.rest)
    trailers = b"".join(b"%b: %b\r\n" % pair for pair in reading.trailers)
    chunk = b"%x\r\n%b\r\n" % (len(reading.body), reading.body) if reading.body else b""
    assert read([chunk + b"0\r\n" + trailers + b"\r\n"]) == Reading(reading.body, b"", reading.trailers)
