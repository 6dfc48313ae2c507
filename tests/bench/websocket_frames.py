"""A WebSocket as a client opens it and reads it (RFC 6455), for the harness's own clients."""

from __future__ import annotations

import base64
import os

from tests.bench.http2_frames import END_HEADERS, HEADERS, frame

TEXT, BINARY = 1, 2
FIN, COMPRESSED, MASKED = 0x80, 0x40, 0x80
SHORT = 125
DEFLATE = b"permessage-deflate; client_no_context_takeover; client_max_window_bits"
"""Without takeover the same message is the same bytes each time, so that it is compressed once for a whole run."""


def upgrade(deflate: bool) -> bytes:
    """The request over HTTP/1.1 (RFC 6455 4.1)."""
    lines = [b"GET / HTTP/1.1", b"Host: localhost", b"Upgrade: websocket", b"Connection: Upgrade"]
    lines += [b"Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)), b"Sec-WebSocket-Version: 13"]
    if deflate:
        lines.append(b"Sec-WebSocket-Extensions: " + DEFLATE)
    return b"\r\n".join([*lines, b"", b""])


def extended_connect(stream: int, tls: bool, deflate: bool) -> bytes:
    """The request over HTTP/2 (RFC 8441 4), in HPACK without a table of one's own."""
    scheme = b"\x87" if tls else b"\x86"
    fields = b"\x02\x07CONNECT" + scheme + b"\x84" + literal(b":protocol", b"websocket") + b"\x01\x09localhost"
    fields += literal(b"sec-websocket-version", b"13")
    if deflate:
        fields += literal(b"sec-websocket-extensions", DEFLATE)
    return frame(HEADERS, END_HEADERS, stream, fields)


def literal(name: bytes, value: bytes) -> bytes:
    """A field without indexing (RFC 7541 6.2.2)."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def message(payload: bytes, compressed: bool = False) -> bytes:
    """One frame of at most 125 bytes, under a mask of zeros."""
    assert len(payload) <= SHORT
    first = FIN | BINARY | (COMPRESSED if compressed else 0)
    return bytes([first, MASKED | len(payload)]) + bytes(4) + payload


class Messages:
    """Counts them in what a server sends, however that is cut; none is longer than 125 bytes, none in pieces."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> int:
        """How many messages are whole now that were not before; a server's PING is none."""
        data = self._held + data
        begin = count = 0
        while len(data) - begin >= 2:
            length = data[begin + 1]
            if length > SHORT:
                raise ValueError("a longer message than was sent")
            if begin + 2 + length > len(data):
                break
            count += data[begin] & 0x0F in (TEXT, BINARY)
            begin += 2 + length
        self._held = data[begin:]
        return count
