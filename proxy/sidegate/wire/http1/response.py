"""The sending half of an HTTP/1.1 connection: it frames one response after the other.

``server.py`` calls it. It owns the output bytes and the state of the current response; the codec decides whether the
connection continues afterwards. It raises nothing: a call that does not fit the state does nothing, and a body that
does not fit its ``content-length`` marks this response as ``broken`` and never affects the next one.

Framing of the body (RFC 9112 6.3), in this order:

=================================  ================================================
HEAD, 204, 304                     none; data is dropped, no framing is added
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
from http import HTTPStatus

from sidegate.asgi import Headers
from sidegate.wire.fields import accept_fields

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %b" % (status, status.phrase.encode()) for status in HTTPStatus}


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
        if len(_lines) >= MAX_LINES:
            _lines.clear()
        _lines[pair] = line
    return line


_NONE, _LENGTH, _CHUNKED, _UNTIL_CLOSE = range(4)

_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: "
_WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Added to the key, so that only a WebSocket server gives the right answer to it (RFC 6455 1.3)."""


class ResponseWriter:
    """Frames one response at a time. ``pending``: body bytes queued; ``broken``: the body has another length."""

    __slots__ = ("_framing", "_head_only", "_left", "_version", "broken", "output", "pending", "stage")

    def __init__(self) -> None:
        self.stage: Stage = IDLE
        self.pending = 0
        self.broken = False
        self.output: list[bytes] = []
        self._head_only = False
        self._version = "1.1"
        self._framing = _NONE
        self._left = 0

    def begin(self, method: str, version: str) -> None:
        """Begin the response to a request that has arrived."""
        self.stage = AWAITED
        self._head_only = method == "HEAD"
        self._version = version

    def informational(self, status: int, headers: Headers) -> None:
        """Queue a 1xx head; never to an HTTP/1.0 client (RFC 9110 15.2)."""
        if self._version != "1.0":
            line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d " % status
            self.output.append(b"\r\n".join([line, *map(b": ".join, headers), b"\r\n"]))

    def head(self, status: int, headers: Headers, end_stream: bool, close: bool) -> bool:
        """Queue the head and choose the framing. Returns true if the connection ends with this response."""
        if status == 204:
            headers = [pair for pair in headers if pair[0] != b"content-length"]  # RFC 9110 8.6
        output = self.output
        output.append(_STATUS_LINES.get(status) or b"HTTP/1.1 %d " % status)
        length = -1
        for pair in headers:
            if pair[0] == b"content-length":
                length = int(pair[1])
            output.append(_lines.get(pair) or _line(pair))
        self._framing = _LENGTH
        self._left = length
        if self._head_only or status in {204, 304}:
            self._framing = _NONE
        elif length < 0 and end_stream:
            self._left = 0
            output.append(b"\r\ncontent-length: 0")
        elif length < 0 and self._version == "1.1":
            self._framing = _CHUNKED
            output.append(b"\r\ntransfer-encoding: chunked")
        elif length < 0:
            self._framing = _UNTIL_CLOSE
            close = True
        if close:
            output.append(b"\r\nconnection: close")
        elif self._version == "1.0":
            output.append(b"\r\nconnection: keep-alive")
        output.append(b"\r\n\r\n")
        self.stage = BODY
        return close

    def switch(self, key: bytes, headers: Headers) -> None:
        """Queue 101 and change to WebSocket (RFC 6455 4.2.2): later data are sent unchanged."""
        # No secret depends on SHA-1 here; the flag makes a FIPS build allow it.
        answer = b2a_base64(sha1(key + _WEBSOCKET, usedforsecurity=False).digest(), newline=False)
        self.output.append(b"\r\n".join([_SWITCH + answer, *map(b": ".join, accept_fields(headers)), b"\r\n"]))
        self._framing = _UNTIL_CLOSE
        self.stage = BODY

    def data(self, data: bytes) -> None:
        """Queue a piece of body. Empty data writes nothing: an empty chunk would end the body."""
        framing = self._framing
        if framing == _NONE or not data:
            return
        size = len(data)
        if framing == _CHUNKED:
            self.output += (b"%x\r\n" % size, data, b"\r\n")
        else:
            if framing == _LENGTH:
                if size > self._left:
                    self.broken = True
                    size = self._left
                    data = data[:size]
                self._left -= size
            self.output.append(data)
        self.pending += size

    def sendfile(self, size: int) -> bool:
        """Count ``size`` body bytes that the connection writes itself; false if the framing does not allow as many."""
        if self._framing != _LENGTH or size > self._left:
            return False
        self._left -= size
        return True

    def end(self, trailers: Headers) -> None:
        """End the body; only the chunked framing can carry trailers."""
        if self._framing == _CHUNKED:
            self.output.append(b"0\r\n")
            for name, value in trailers:
                self.output += (name, b": ", value, b"\r\n")
            self.output.append(b"\r\n")
        elif self._framing == _LENGTH and self._left:
            self.broken = True
        self.stage = DONE

    def farewell(self, status: int) -> None:
        """Answer a request whose framing broke before the application answered it, with an empty error response."""
        self.head(status, [], end_stream=True, close=True)
        self.stage = DONE

    def take(self) -> bytes:
        """Take everything queued, joined once."""
        output = self.output
        data = output[0] if len(output) == 1 else b"".join(output)
        self.output = []
        self.pending = 0
        return data
