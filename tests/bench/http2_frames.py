"""Frames of HTTP/2 as a client writes them (RFC 9113 4.1), for the harness's own clients."""

from __future__ import annotations

from collections.abc import Iterator

DATA, HEADERS, SETTINGS, WINDOW_UPDATE = 0, 1, 4, 8
END_STREAM, END_HEADERS = 1, 4
HEAD_SIZE = 9
WINDOW = 2**30


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def preface() -> bytes:
    """What a connection begins with (RFC 9113 3.4), and room for all the answers that will ever come."""
    update = frame(WINDOW_UPDATE, 0, 0, WINDOW.to_bytes(4))
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0) + update


def get(stream: int, fields: bytes) -> bytes:
    """A request without a body; ``fields`` in HPACK."""
    return frame(HEADERS, END_STREAM | END_HEADERS, stream, fields)


def frames(data: bytes) -> Iterator[tuple[int, int]]:
    """Type and flags of each whole frame in ``data``."""
    while len(data) >= HEAD_SIZE and len(data) >= HEAD_SIZE + int.from_bytes(data[:3]):
        yield data[3], data[4]
        data = data[HEAD_SIZE + int.from_bytes(data[:3]) :]
