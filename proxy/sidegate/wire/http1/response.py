"""The sending half of an HTTP/1.1 connection: it frames one response after the other.

``server.py`` calls it. It owns the output bytes and the state of the current response; the codec decides whether the
connection continues afterwards. It raises nothing: a call that does not fit the state does nothing.

Framing of the body (RFC 9112 6.3), in this order:

=================================  ================================================
HEAD, 204, 304                     none; data is dropped, no framing is added
205                                ``content-length: 0``; data is dropped
``content-length`` given           as given; more data than that is dropped
complete with the head             ``content-length: 0``
HTTP/1.1                           ``transfer-encoding: chunked``
HTTP/1.0, and after 101            until the connection closes
=================================  ================================================
"""

from __future__ import annotations

from binascii import b2a_base64
from enum import IntEnum
from hashlib import sha1

from sidegate.asgi import Headers
from sidegate.caches import remember
from sidegate.wire.fields import accept_fields, reset_content
from sidegate.wire.http1.body import CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE, BodyWriter
from sidegate.wire.phrases import PHRASES

_STATUS_LINES = {status: b"HTTP/1.1 %d %b" % (status, phrase.encode()) for status, phrase in PHRASES.items()}


class Stage(IntEnum):
    """The state of the response. IDLE: there is no request to answer. AWAITED: no final head was sent yet."""

    IDLE = 0
    AWAITED = 1
    BODY = 2
    DONE = 3


# Module constants: to read a member of an Enum class costs more than the comparison that uses it.
IDLE, AWAITED, BODY, DONE = Stage

MAX_LINES = 1024
MAX_LINE = 256
"""Bounds of the cache of field lines: most fields repeat from response to response."""

_lines: dict[tuple[bytes, bytes], bytes] = {}


def _line(pair: tuple[bytes, bytes]) -> bytes:
    line = b"\r\n%b: %b" % pair
    if len(line) <= MAX_LINE:
        remember(_lines, pair, line, MAX_LINES)
    return line


_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: "
_WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Added to the key, so that only a WebSocket server gives the right answer to it (RFC 6455 1.3)."""


class ResponseWriter(BodyWriter):
    """Frames one response at a time."""

    __slots__ = ("_head_only", "stage", "version")

    def __init__(self) -> None:
        BodyWriter.__init__(self)  # `super()` costs a connection more
        self.stage: Stage = IDLE
        self._head_only = False
        self.version = "1.1"

    def begin(self, method: str, version: str) -> None:
        """Begin the response to a request that has arrived."""
        self.stage = AWAITED
        self._head_only = method == "HEAD"
        self.version = version

    def informational(self, status: int, headers: Headers) -> None:
        """Queue a 1xx head; never to an HTTP/1.0 client (RFC 9110 15.2)."""
        if self.version != "1.0":
            line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d " % status
            self.output.append(b"\r\n".join([line, *map(b": ".join, headers), b"\r\n"]))

    def head(self, status: int, headers: Headers, end_stream: bool, close: bool) -> bool:
        """Queue the head and choose the framing. Returns true if the connection ends with this response."""
        if status == 204:
            headers = [pair for pair in headers if pair[0] != b"content-length"]  # RFC 9110 8.6
        elif status == 205:
            headers = reset_content(headers)
        output = self.output
        output.append(_STATUS_LINES.get(status) or b"HTTP/1.1 %d " % status)
        length = -1
        for pair in headers:
            if pair[0] == b"content-length":
                length = int(pair[1])
            output.append(_lines.get(pair) or _line(pair))
        self._framing = LENGTH
        self._left = length
        if self._head_only or status in {204, 205, 304}:
            self._framing = NO_BODY
        elif length < 0 and end_stream:
            self._left = 0
            output.append(b"\r\ncontent-length: 0")
        elif length < 0 and self.version == "1.1":
            self._framing = CHUNKED
            output.append(b"\r\ntransfer-encoding: chunked")
        elif length < 0:
            self._framing = UNTIL_CLOSE
            close = True
        if close:
            output.append(b"\r\nconnection: close")
        elif self.version == "1.0":
            output.append(b"\r\nconnection: keep-alive")
        output.append(b"\r\n\r\n")
        self.stage = BODY
        return close

    def switch(self, key: bytes, headers: Headers) -> None:
        """Queue 101 and change to WebSocket (RFC 6455 4.2.2): later data are sent unchanged."""
        # No secret depends on SHA-1 here; the flag makes a FIPS build allow it.
        answer = b2a_base64(sha1(key + _WEBSOCKET, usedforsecurity=False).digest(), newline=False)
        self.output.append(b"\r\n".join([_SWITCH + answer, *map(b": ".join, accept_fields(headers)), b"\r\n"]))
        self._framing = UNTIL_CLOSE
        self.stage = BODY

    def sendfile(self, size: int) -> bool:
        """Count ``size`` body bytes that the connection writes itself; false if the framing does not allow as many."""
        if self._framing != LENGTH or size > self._left:
            return False
        self._left -= size
        return True

    def end(self, trailers: Headers) -> None:
        """End the body; only the chunked framing can carry trailers."""
        self.end_body(trailers)
        self.stage = DONE
