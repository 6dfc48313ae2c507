"""Frames the body of an HTTP/1.1 message that is sent: the part that requests and responses have in common.

``request.py`` and ``response.py`` extend it by the heads. It owns the output bytes of one connection's half. It raises
nothing: a body that does not fit its ``content-length`` marks the message as ``broken`` and never affects the next one.
"""

from __future__ import annotations

from typing import Any

from sidegate.asgi import Headers
from sidegate.wire.events import PIECE

NO_BODY, LENGTH, CHUNKED, UNTIL_CLOSE = range(4)
"""How a body is framed (RFC 9112 6.3). A body without framing is dropped."""


class BodyWriter:
    """Frames one body at a time. ``pending``: body bytes queued; ``broken``: the body has another length."""

    __slots__ = ("_framing", "_left", "broken", "output", "pending")

    def __init__(self) -> None:
        self.pending = 0
        self.broken = False
        self.output: list[bytes | memoryview] = []
        self._framing = NO_BODY
        self._left = 0

    def data(self, data: bytes) -> None:
        """Queue a piece of body. Empty data writes nothing: an empty chunk would end the body."""
        framing = self._framing
        if framing == NO_BODY or not data:
            return
        size = len(data)
        if framing == CHUNKED:
            self.output += (b"%x\r\n" % size, data, b"\r\n")
        else:
            if framing == LENGTH:
                if size > self._left:
                    self.broken = True
                    size = self._left
                    data = data[:size]
                self._left -= size
            self.output.append(data)
        self.pending += size

    def end_body(self, trailers: Headers) -> None:
        """End the body; only the chunked framing can carry trailers."""
        if self._framing == CHUNKED:
            self.output.append(b"0\r\n")
            for name, value in trailers:
                self.output += (name, b": ", value, b"\r\n")
            self.output.append(b"\r\n")
        elif self._framing == LENGTH and self._left:
            self.broken = True

    def take(self) -> bytes:
        """Take everything queued, joined once; if that is more than ``PIECE`` bytes of body, take ``PIECE`` bytes.

        A copy of a large body would stay in memory until the peer has read all of it.
        """
        output: list[Any] = self.output
        if self.pending > PIECE:
            return self._take_piece(output)
        data: bytes = output[0] if len(output) == 1 else b"".join(output)
        self.output = []
        self.pending = 0
        return data

    def _take_piece(self, output: list[Any]) -> bytes:
        taken: list[Any] = []
        room, at = PIECE, 0
        while room >= len(output[at]):
            taken.append(output[at])
            room -= len(output[at])
            at += 1
        self.pending -= PIECE  # this counts heads and framing as body, so it is never too much
        if room:
            rest = memoryview(output[at])
            taken.append(rest[:room])
            rest = rest[room:]
            output[at] = rest if self.pending > PIECE else bytes(rest)  # the last `take` may return it as it is
        self.output = output[at:]
        return b"".join(taken)
