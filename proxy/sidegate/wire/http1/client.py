"""The HTTP/1.1 codec, client role: requests to bytes, one connection's bytes to the events of responses.

It implements ``client_codec.ClientCodec`` with three independent parts: ``request.py`` frames a request,
``response_head.py`` reads a response's head, ``chunked.py`` reads a chunked body. It owns what connects them: where a
response ends, and whether the connection can take another request. It never waits, reads a clock or calls the
connection. It raises nothing; every fault of a server is an event.

Streams come one at a time and have the numbers 1, 2, 3, …. A request may follow when the response before it has been
read and its own request has been sent whole. The connection ends (``closed``) after a response that announced it or
whose body ends with the connection, after ``goaway``, when a stream is reset, and at once if framing is lost: no
response may be read whose beginning is in doubt. So bytes that no request asked for end the connection, too.

Framing of a response's body (RFC 9112 6.3): none for HEAD, 204 and 304; chunked; ``content-length``; else until the
connection's end.

WebSockets are not implemented: ``connect_protocol`` stays false.
"""

from __future__ import annotations

from sidegate.asgi import Headers
from sidegate.errors import Refused
from sidegate.wire.client_codec import CONNECTION_LOST, MOST_INFORMATIONAL, RESPONSE_TOO_LARGE, ClientCodec
from sidegate.wire.codes import NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM
from sidegate.wire.events import Body, End, Event, GoAway, Informational, Reset, ResponseHead, Violation
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http1.chunked import ChunkedReader
from sidegate.wire.http1.request import RequestWriter
from sidegate.wire.http1.response_head import BAD_GATEWAY, ResponseHeadReader, checked_trailers

_TIMED_OUT = b"HTTP/1.1 408", b"HTTP/1.0 408"
"""Some servers announce with this status that they close an idle connection (RFC 9110 15.5.9)."""

_IDLE, _HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE, _DEAD = range(6)

_TOO_LARGE = frozenset(["header_block_too_large", "too_many_fields", "trailers_too_large"])


class Http1ClientCodec(ClientCodec):
    """``client_codec.ClientCodec`` for HTTP/1.1. ``policy``: bounds of a head and of trailers.

    ``window``: bytes of body that may be unread before reading pauses.
    """

    __slots__ = (
        "_asked", "_buffer", "_chunks", "_head_only", "_informational", "_left", "_policy", "_reader", "_reading",
        "_stream", "_unread", "_window", "_writer",
    )  # fmt: skip

    def __init__(self, policy: FieldPolicy, window: int) -> None:
        super().__init__()
        self.ready = True  # the server need not say anything first
        self.max_streams = 1
        self._policy = policy
        self._window = window
        self._reader = ResponseHeadReader(policy)
        self._chunks = ChunkedReader(policy, checked_trailers)
        self._writer = RequestWriter()
        self._reading = _IDLE
        self._asked = False  # the request's head has been taken as output
        self._buffer = b""
        self._left = 0  # body bytes of content-length that have not arrived
        self._stream = 0
        self._head_only = False  # the request is HEAD
        self._informational = 0
        self._unread = 0

    # State

    @property
    def version(self) -> str:
        """See ``ClientCodec``."""
        return "HTTP/1.1"

    @property
    def closed(self) -> bool:
        """See ``ClientCodec``."""
        return self._reading == _DEAD or (self.draining and not self._is_open())

    @property
    def capacity(self) -> int:
        """See ``ClientCodec``."""
        return 0 if self.draining or self._is_open() or self._buffer else 1

    def _is_open(self) -> bool:
        """Whether the last stream is open: the response has not been read, or the request not been taken, to its end.

        A server that has answered need not read the rest of the request, so no other request may wait behind it.
        """
        return self._reading not in (_IDLE, _DEAD) or not self._writer.whole or len(self._writer.output) > 0

    def read_paused(self) -> bool:
        """See ``ClientCodec``."""
        return self.more or self._unread > self._window

    # Receiving

    def receive(self, data: bytes) -> list[Event]:
        """See ``ClientCodec``."""
        found: list[Event] = []
        self.more = False
        if not self.closed:
            self._buffer = self._buffer + data if self._buffer else data
            while self._buffer and not self.more and self._advance(found):
                pass
        return found

    def _advance(self, found: list[Event]) -> bool:
        """Read the next part of the response. False if it needs more bytes."""
        try:
            if self._reading == _HEAD and self._asked:
                return self._read_head(found)
            if self._reading == _LENGTH:
                self._read_length(found)
            elif self._reading == _CHUNKED:
                self._read_chunked(found)
            elif self._reading == _UNTIL_CLOSE:
                data, self._buffer = self._buffer, b""
                self._take_body(data, found)
            else:
                return self._take_unrequested(found)
        except Refused as refused:
            self._lose_framing(refused, found)
        return True

    def _read_head(self, found: list[Event]) -> bool:
        head = self._reader.read(self._buffer)
        if head is None:
            return False
        status, fields, self._buffer = head
        if status < 200:
            self._take_informational(status, fields, found)
        else:
            self._begin_body(status, fields, found)
        return True

    def _take_informational(self, status: int, fields: Headers, found: list[Event]) -> None:
        self._informational += 1
        if status == 101:
            raise Refused(BAD_GATEWAY, "unrequested", "101 without a request for another protocol")
        if self._informational > MOST_INFORMATIONAL:
            raise Refused(BAD_GATEWAY, "informational_flood", f"more than {MOST_INFORMATIONAL} informational responses")
        found.append(Informational(self._stream, status, fields))

    def _begin_body(self, status: int, fields: Headers, found: list[Event]) -> None:
        reader = self._reader
        self.answered = True
        keep = reader.keep_alive
        if self._head_only or status in (204, 304) or (reader.content_length == 0 and not reader.chunked):
            self._reading = _IDLE
        elif reader.chunked:
            self._reading = _CHUNKED
            self._chunks = ChunkedReader(self._policy, checked_trailers)
        elif reader.content_length is None:
            self._reading = _UNTIL_CLOSE
            keep = False
        else:
            self._reading = _LENGTH
            self._left = reader.content_length
        found.append(ResponseHead(self._stream, status, fields, self._reading == _IDLE))
        if not keep and not self.draining:
            self.draining = True
            found.append(GoAway(NO_ERROR, self._stream))

    def _read_length(self, found: list[Event]) -> None:
        data = self._buffer
        if len(data) > self._left:
            data, self._buffer = data[: self._left], data[self._left :]
        else:
            self._buffer = b""
        self._left -= len(data)
        self._take_body(data, found)
        if not self._left:
            self._take_end([], found)

    def _read_chunked(self, found: list[Event]) -> None:
        data, self._buffer = self._buffer, b""
        pieces: list[bytes] = []
        try:
            rest = self._chunks.feed(data, pieces)
        finally:
            self._take_body(b"".join(pieces), found)
        if rest is not None:
            self._buffer = rest
            self._take_end(self._chunks.trailers, found)
        elif self._chunks.kept:
            self._buffer = self._chunks.kept
            self.more = True

    def _take_body(self, data: bytes, found: list[Event]) -> None:
        if data:
            self._unread += len(data)
            found.append(Body(self._stream, data))

    def _take_end(self, trailers: Headers, found: list[Event]) -> None:
        self._reading = _IDLE
        found.append(End(self._stream, trailers))

    def _take_unrequested(self, found: list[Event]) -> bool:
        """Handle bytes after a response, or before any request. False if it needs more bytes.

        They end the connection, whatever they are. Until they are known they are kept, and no request is sent.
        """
        if self._reading == _HEAD:
            found.append(Reset(self._stream, REFUSED_STREAM))
            self._reading = _IDLE
            self._writer.drop()
        if self.draining:  # the connection ends anyway
            self._die()
        elif self._buffer.startswith(_TIMED_OUT):
            self._die()
            found.append(GoAway(NO_ERROR, self._stream))
        elif _TIMED_OUT[0].startswith(self._buffer) or _TIMED_OUT[1].startswith(self._buffer):
            return False
        else:
            raise Refused(BAD_GATEWAY, "unrequested", "bytes that no request asked for")
        return True

    def _lose_framing(self, refused: Refused, found: list[Event]) -> None:
        """End the connection after a malformed response; the server has processed the request."""
        if self._is_open():
            found.append(Reset(self._stream, RESPONSE_TOO_LARGE if refused.reason in _TOO_LARGE else PROTOCOL_ERROR))
        found.append(Violation(refused.reason, refused.detail))
        self._die()

    def _die(self) -> None:
        self._reading = _DEAD
        self.draining = True
        self._buffer = b""
        self.more = False
        self._unread = 0
        self._writer.drop()

    def receive_eof(self) -> list[Event]:
        """See ``ClientCodec``. It ends a body that has no other end."""
        found: list[Event] = []
        if self._reading == _UNTIL_CLOSE:
            self._take_end([], found)
        return found + self.connection_lost()

    def connection_lost(self) -> list[Event]:
        """See ``ClientCodec``. The end after a response is no failure: a server may end an idle connection at any time.

        A request that was sent at that moment is lost, and so it may have been processed (RFC 9112 9.3.1).
        """
        found: list[Event] = []
        if not self.draining and self._is_between_responses():
            found.append(GoAway(NO_ERROR, self._stream))
        if self._is_open():
            found.append(Reset(self._stream, CONNECTION_LOST))
        self._die()
        return found

    def _is_between_responses(self) -> bool:
        """Whether a response has been read, and nothing of the next one."""
        if self._reading == _HEAD:
            return self._stream > 1 and not self._buffer and not self._informational
        return self._reading == _IDLE and self._stream > 0

    # Sending

    def request(self, headers: Headers, end_stream: bool) -> int:
        """See ``ClientCodec``. ``:scheme`` is not sent."""
        if self.draining or self._is_open():
            return 0
        if self._buffer:
            self.draining = True  # what the server has begun to send answers no request
            return 0
        self._stream += 1
        self._head_only = headers[0][1] == b"HEAD"
        self._informational = self._unread = 0
        self._reading = _HEAD
        self._asked = False
        self._writer.head(headers, end_stream)
        self.draining = self._writer.broken
        return self._stream

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        """See ``ClientCodec``. A body that does not fit its content-length ends the connection after the response."""
        writer = self._writer
        if stream_id != self._stream or writer.whole:
            return
        writer.data(data)
        if end_stream:
            self._end([])

    def send_trailers(self, stream_id: int, trailers: Headers) -> None:
        """See ``ClientCodec``. Only the chunked framing can carry them."""
        if stream_id == self._stream and not self._writer.whole:
            self._end(trailers)

    def _end(self, trailers: Headers) -> None:
        self._writer.end(trailers)
        if self._writer.broken:
            self.draining = True

    def reset(self, stream_id: int, code: int) -> bool:
        """See ``ClientCodec``. Output that was not taken is dropped."""
        if stream_id != self._stream or not self._is_open():
            return False
        self._die()
        return True

    def acknowledge(self, stream_id: int, size: int) -> None:
        """See ``ClientCodec``."""
        if stream_id == self._stream:
            self._unread = max(0, self._unread - size)

    def pending(self, stream_id: int) -> int:
        """See ``ClientCodec``."""
        return self._writer.pending if stream_id == self._stream else 0

    def take_output(self) -> bytes:
        """See ``ClientCodec``."""
        self._asked = True
        return self._writer.take() if self._writer.output else b""

    def ping(self, data: bytes) -> bool:
        """Return False: HTTP/1.1 has no question that a server answers at any time."""
        return False

    def goaway(self) -> None:
        """See ``ClientCodec``. The server is not told."""
        self.draining = True
