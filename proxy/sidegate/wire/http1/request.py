"""The sending half of a connection to an HTTP/1.1 server: it frames one request after the other.

``client.py`` calls it. It owns the output bytes and whether the current request is complete. It raises nothing.

The head comes as in HTTP/2, with pseudo-header fields (RFC 9113 8.3.1). The target is in origin-form or ``*``
(RFC 9112 3.2.1, 3.2.4), so ``:scheme`` is not sent. Framing of the body (RFC 9112 6.3), in this order:

=====================================  ================================================
``content-length`` given               as given; more data than that is dropped
complete with the head                 none; ``content-length: 0`` for a method whose
                                       requests usually have a body (RFC 9110 8.6)
otherwise                              ``transfer-encoding: chunked``
=====================================  ================================================
"""

from __future__ import annotations

from sidegate.asgi import Headers
from sidegate.wire.http1.body import CHUNKED, LENGTH, NO_BODY, BodyWriter

_COLON = ord(":")
_WITH_BODY = frozenset([b"POST", b"PUT", b"PATCH"])


class RequestWriter(BodyWriter):
    """Frames one request at a time. ``whole``: the request is complete, at least in ``output``."""

    __slots__ = ("whole",)

    def __init__(self) -> None:
        BodyWriter.__init__(self)  # `super()` costs a connection more
        self.whole = True

    def head(self, headers: Headers, end_stream: bool) -> None:
        """Queue a request head and choose the framing."""
        method = headers[0][1]
        target = host = b""
        lines: list[bytes] = []
        length = -1
        for name, value in headers:
            if name[0] == _COLON:
                if name == b":path":
                    target = value
                elif name == b":authority":
                    host = value
                continue
            if name == b"content-length":
                length = int(value)
            elif name == b"te":
                lines.append(b"connection: te\r\n")  # RFC 9110 10.1.4
            lines.append(b"%b: %b\r\n" % (name, value))
        # A message without `host` is no HTTP/1.1, and without an authority its value is empty (RFC 9112 3.2).
        self.output += (b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, target, host), *lines)
        self._frame(length, end_stream, method)
        self.whole = False
        if end_stream:
            self.end([])

    def _frame(self, length: int, end_stream: bool, method: bytes) -> None:
        self._framing = LENGTH
        self._left = length
        if length >= 0:
            self.output.append(b"\r\n")
        elif not end_stream:
            self._framing = CHUNKED
            self.output.append(b"transfer-encoding: chunked\r\n\r\n")
        else:
            self._framing = NO_BODY
            self.output.append(b"content-length: 0\r\n\r\n" if method in _WITH_BODY else b"\r\n")

    def drop(self) -> None:
        """Drop what was not taken: the connection ends."""
        self.output = []
        self.pending = 0
        self.whole = True

    def end(self, trailers: Headers) -> None:
        """End the request; only the chunked framing can carry trailers."""
        self.end_body(trailers)
        self.whole = True
