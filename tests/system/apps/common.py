"""What the applications of all frameworks answer, so that one test can ask each of them.

====================  ==========================================================================
GET /hello?name=x     JSON: framework, method, path, query
POST /upload          JSON: size and SHA-256 of the body, read as a stream
GET /download?size=n  n bytes of ``pattern``, sent as a stream
GET /events           server-sent events without end
GET /listeners        JSON: how many /events are open, and how many have been closed
GET /error            raises
====================  ==========================================================================
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator

CHUNK = 64 * 1024
_BLOCK = bytes(range(256)) * (CHUNK // 256)
EVENT_INTERVAL = 0.05

COOKIES = {"first": "one", "second": "two-2"}
"""What a WSGI application's /cookies sets."""


class ApplicationFailed(Exception):
    """What /error raises."""


class Listeners:
    """Counts who listens to /events; ``stream`` notices when its client leaves."""

    def __init__(self) -> None:
        self.open = 0
        self.closed = 0

    async def stream(self) -> AsyncIterator[bytes]:
        self.open += 1
        try:
            number = 0
            while True:
                number += 1
                yield b"data: %d\n\n" % number
                await asyncio.sleep(EVENT_INTERVAL)
        finally:
            self.open -= 1
            self.closed += 1

    def as_json(self) -> dict[str, int]:
        return {"open": self.open, "closed": self.closed}


class Digest:
    """Size and SHA-256 of what it is fed."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._size = 0

    def feed(self, data: bytes) -> None:
        self._sha256.update(data)
        self._size += len(data)

    def as_json(self) -> dict[str, int | str]:
        return {"size": self._size, "sha256": self._sha256.hexdigest()}


def pattern(size: int) -> Iterator[bytes]:
    """``size`` bytes in pieces of ``CHUNK``, each piece beginning with its number."""
    for number, start in enumerate(range(0, size, CHUNK)):
        piece = number.to_bytes(8, "big") + _BLOCK[8:]
        yield piece[: size - start]


async def apattern(size: int) -> AsyncIterator[bytes]:
    for piece in pattern(size):
        yield piece
        await asyncio.sleep(0)
