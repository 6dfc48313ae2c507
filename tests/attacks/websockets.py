"""WebSockets: messages that grow when they are inflated, that are many and empty, and that never end.

The application accepts and then receives nothing for longer than the attack takes, except in one case.
"""

from __future__ import annotations

import zlib
from typing import Literal

from tests.attacks import h2
from tests.attacks.attack import Attack
from tests.attacks.script import ANSWER, READY, Credit, MakeScript, Script, repeated
from tests.bench import websocket_frames as ws
from tests.bench.http2_frames import DATA, frame

SOCKETS, CONNECTIONS = 100, 8
ROUNDS = 4
MESSAGES = 2
LARGEST = 2**20 - 64
"""Bytes of a message: what Sidegate accepts, and less than others do."""

TEXT = "a" * (LARGEST - 4) + "\N{GRINNING FACE}"
"""One character beyond the 16 bits makes Python store each of them in four bytes."""

CONTINUATION, PING = 0, 9
DATA_FRAME = 16 * 1024
WINDOW_FRAMES = 16
"""The window of Sidegate's streams in frames; what is more waits for credit."""

FRAME_HEAD = 8


def masked(opcode: int, payload: bytes, bits: int = ws.FIN) -> bytes:
    """A frame of a client under a mask of zeros."""
    size = len(payload)
    length = bytes([ws.MASKED | size]) if size <= ws.SHORT else bytes([ws.MASKED | 126]) + size.to_bytes(2)
    return bytes([bits | opcode]) + length + bytes(4) + payload


def deflated(payload: bytes) -> bytes:
    """As permessage-deflate has it, with a window that every server accepts."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -12)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


INFLATING = masked(ws.TEXT, deflated(TEXT.encode()), ws.FIN | ws.COMPRESSED) * MESSAGES
UNFINISHED = masked(ws.TEXT, deflated(TEXT.encode()), ws.COMPRESSED)
PLAIN = masked(ws.BINARY, b"x" * (DATA_FRAME - FRAME_HEAD))
EMPTY = masked(ws.TEXT, b"")
PINGS = masked(PING, b"")
BEGINNING, FRAGMENT = masked(ws.BINARY, b"x", 0), masked(CONTINUATION, b"x", 0)
NOTHING = masked(CONTINUATION, b"", 0)


def over_h1(beginning: bytes, unit: bytes = b"", *, deflate: bool = False) -> MakeScript:
    """One WebSocket on each connection: ``beginning``, then ``unit`` for ever."""

    def script(_secure: bool) -> Script:
        yield ws.upgrade(deflate)
        yield ANSWER
        yield READY
        yield beginning
        if unit:
            yield from repeated(unit)

    return script


def received(_secure: bool) -> Script:
    """Empty messages to an application that receives them."""
    yield ws.upgrade(deflate=False).replace(b"GET / ", b"GET /received ", 1)
    yield ANSWER
    yield READY
    yield from repeated(EMPTY)


def over_h2(payload: bytes, frames: int, *, deflate: bool = False) -> MakeScript:
    """Many WebSockets on each connection: as many DATA frames of the same payload on each of them."""

    def script(secure: bool) -> Script:
        yield from _opened(SOCKETS, secure, deflate)
        for number in range(1, 2 * SOCKETS, 2):
            for _ in range(frames):
                yield Credit(number, len(payload))
                yield frame(DATA, 0, number, payload)

    return script


def pings_over_h2(secure: bool) -> Script:
    """One WebSocket on each connection."""
    yield from _opened(1, secure, deflate=False)
    yield from h2.data(1, PINGS * (DATA_FRAME // len(PINGS)))


def _opened(sockets: int, secure: bool, deflate: bool) -> Script:
    opening = h2.opening()
    yield next(opening)
    yield next(opening)
    yield next(opening)
    yield b"".join(ws.extended_connect(number, secure, deflate) for number in range(1, 2 * sockets, 2))
    yield ANSWER
    yield READY


def _attack(name: str, title: str, connections: int, script: MakeScript, *, rounds: int = 1) -> Attack:
    """Its name ends with the version of HTTP."""
    protocol: Literal["h1", "h2"] = "h2" if name.endswith("h2") else "h1"
    return Attack(f"websocket-{name}", title, protocol, connections, script, websocket=True, rounds=rounds)


INFLATED = f"{MESSAGES} deflated texts of 1 MiB on each of {SOCKETS} WebSockets"

ATTACKS = (
    _attack("inflation-h2", f"{INFLATED} on one connection", 1,
            over_h2(INFLATING, 1, deflate=True), rounds=ROUNDS),
    _attack("inflation-h1", INFLATED, SOCKETS, over_h1(INFLATING, deflate=True), rounds=ROUNDS),
    _attack("unfinished-h2", f"a deflated fragment of 1 MiB, not the last, on each of {SOCKETS} WebSockets", 1,
            over_h2(UNFINISHED, 1, deflate=True), rounds=ROUNDS),
    _attack("plain-h2", f"messages of 16 KiB on each of {SOCKETS} WebSockets on one connection", 1,
            over_h2(PLAIN, WINDOW_FRAMES), rounds=ROUNDS),
    _attack("plain-h1", f"messages of 16 KiB on each of {SOCKETS} WebSockets", SOCKETS, over_h1(b"", PLAIN),
            rounds=ROUNDS),
    _attack("empty-h2", f"empty messages on each of {SOCKETS} WebSockets on one connection", 1,
            over_h2(EMPTY * (DATA_FRAME // len(EMPTY)), WINDOW_FRAMES)),
    _attack("empty-h1", "empty messages", CONNECTIONS, over_h1(b"", EMPTY)),
    _attack("received-h1", "empty messages that the application receives", CONNECTIONS, received),
    _attack("ping-h2", "pings", CONNECTIONS, pings_over_h2),
    _attack("ping-h1", "pings", CONNECTIONS, over_h1(b"", PINGS)),
    _attack("fragments-h1", "a message of fragments of one byte", CONNECTIONS, over_h1(BEGINNING, FRAGMENT)),
    _attack("no-fragments-h1", "a message of empty fragments", CONNECTIONS, over_h1(BEGINNING, NOTHING)),
)  # fmt: skip
