"""Bytes of WebSocket frames as a client sends them, right or wrong."""

from __future__ import annotations

import zlib

MASK = b"\x01\x02\x03\x04"

TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
CONT, RSV1 = 0x00, 0x40
FIN = 0x80


def masked(payload: bytes, mask: bytes = MASK) -> bytes:
    """XOR, byte for byte: an opinion of its own beside the library's."""
    return bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def header(first: int, size: int) -> bytes:
    """First byte and length of a masked frame, with the mask behind them."""
    if size < 126:
        return bytes((first, 0x80 | size)) + MASK
    if size < 1 << 16:
        return bytes((first, 0xFE)) + size.to_bytes(2, "big") + MASK
    return bytes((first, 0xFF)) + size.to_bytes(8, "big") + MASK


def frame(first: int, payload: bytes = b"") -> bytes:
    """A masked frame; ``first``: FIN, reserved bits and opcode."""
    return header(first, len(payload)) + masked(payload)


def deflated(payload: bytes) -> bytes:
    """A compressed message's payload (RFC 7692 7.2.1)."""
    compressor = zlib.compressobj(wbits=-12)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")
