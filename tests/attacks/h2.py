"""What the scripts over HTTP/2 have in common: the opening, and requests in HPACK of static entries and literals."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from tests.attacks.script import ANSWER, PIECE, READY, Credit, Script
from tests.bench.http2_frames import DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, frame, preface

ACK = 1
PADDED, PRIORITY_FLAG = 8, 32
RST_STREAM, PING, CONTINUATION, PRIORITY = 3, 6, 9, 2
HEADER_TABLE_SIZE = 1

NO_TABLE = {HEADER_TABLE_SIZE: 0}
"""The server's header blocks then stand for themselves, and the attacker need not decode what it does not read."""

ERRORS = (
    *("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED"),
    *("FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM"),
    *("INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"),
)
"""Names of the error codes (RFC 9113 7)."""


def opening(settings: Mapping[int, int] | None = None) -> Script:
    """Preface and SETTINGS of both sides."""
    yield preface({**NO_TABLE, **(settings or {})})
    yield ANSWER
    yield frame(SETTINGS, ACK, 0)
    yield READY


def fields(secure: bool, path: str = "/", method: str = "GET") -> bytes:
    """The header block of a request."""
    scheme = b"\x87" if secure else b"\x86"
    verb = {"GET": b"\x82", "POST": b"\x83"}[method]
    target = b"\x84" if path == "/" else b"\x04" + bytes([len(path)]) + path.encode()
    return verb + scheme + target + b"\x01\x09localhost"


def request(stream: int, block: bytes, *, end: bool = True) -> bytes:
    """HEADERS in one frame; without ``end`` the body is still to come."""
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)


def integer(value: int, bits: int, first: int = 0) -> bytes:
    """An integer of HPACK (RFC 7541 5.1) behind the bits that ``first`` has set."""
    most = 2**bits - 1
    if value < most:
        return bytes([first | value])
    rest, encoded = value - most, bytearray([first | most])
    while rest >= 128:
        encoded.append(rest % 128 + 128)
        rest //= 128
    return bytes([*encoded, rest])


def literal(name: bytes, value: bytes, *, indexed: bool = False) -> bytes:
    """A field with its name; ``indexed`` adds it to the dynamic table, where it then is entry 62."""
    return (b"\x40" if indexed else b"\x00") + integer(len(name), 7) + name + integer(len(value), 7) + value


NEWEST = b"\xbe"
"""Entry 62: the field that was added to the dynamic table last."""


def streams(unit: Callable[[int], bytes]) -> Script:
    """What ``unit`` makes of each stream's number, for all streams of a connection, in pieces."""
    count = max(1, PIECE // len(unit(1)))
    for first in range(1, 2**31 - 2 * count, 2 * count):
        yield _piece(unit, first, count)


@functools.lru_cache(maxsize=64)
def _piece(unit: Callable[[int], bytes], first: int, count: int) -> bytes:
    """The connections that follow send the same again."""
    return b"".join(unit(first + 2 * number) for number in range(count))


def data(stream: int, payload: bytes, count: int = 1, flags: int = 0) -> Script:
    """The same DATA frame for ever, ``count`` of them in a piece, and never more than the windows let."""
    piece = frame(DATA, flags, stream, payload) * count
    while True:
        yield Credit(stream, len(payload) * count)
        yield piece
