"""The HTTP/1.1 codec, server role: one connection's bytes to events, one response after the other to bytes.

It implements ``events.Codec`` with three independent parts: ``head.py`` reads a head, ``chunked.py`` reads a chunked
body, ``response.py`` frames a response. It owns what connects them: where a message ends, the state of each half, and
whether the connection continues. It never waits, reads a clock or calls the connection. It raises nothing; refusals are
events.

The two halves have two states:

* reading: ``HEAD`` → (``LENGTH`` | ``CHUNKED`` | ``ASKED``) → ``HELD`` → ``HEAD`` …, finally ``DEAF``;
* writing (``Stage``): IDLE → AWAITED → BODY → DONE → IDLE …

Streams come one at a time. In ``HELD`` a pipelined request waits: the current request is complete, its response is not,
and what the client sends meanwhile is held unparsed in ``_buffer``. Only ``_turn`` starts the next stream: when the
request is read, the response complete *and its bytes taken*, so a client that does not read cannot make us answer.

In ``ASKED`` a WebSocket's handshake waits for its answer. The client's bytes are held as those of a pipelined request,
and they are one if the answer is a denial. After ``accept`` (``TUNNEL``) the bytes of both sides pass unchanged; the
peer's end of input is its ``End``, and the end of our side ends the connection. Any other ``Upgrade`` is ignored.

The connection ends (``closed``) after a response that announced it, after ``goaway``, at the peer's end of input, or at
once if framing is lost: no message may follow one whose end is in doubt. Every end goes through ``_shut``. Output
queued before is kept, but an incomplete response stays incomplete.
"""

from __future__ import annotations

from sidegate.asgi import Headers
from sidegate.config.schema import ConnectionLimits
from sidegate.errors import Refused
from sidegate.wire.codes import CANCEL, PROTOCOL_ERROR
from sidegate.wire.events import Body, BodyRefused, Codec, End, Event, Rejected, Reset, Violation
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http1.chunked import ChunkedReader
from sidegate.wire.http1.head import HeadReader
from sidegate.wire.http1.response import AWAITED, BODY, DONE, IDLE, ResponseWriter

HELD_INPUT = 64 * 1024
"""Bytes of pipelined requests held before reading pauses. Few clients pipeline; none needs more."""

DRAIN = 64 * 1024
"""Bytes of an unread body skipped after the response to keep the connection; to skip more costs more than a new one.

A response that begins while more than that is missing announces that the connection ends with it (RFC 9112 9.6). How
much of a chunked body is missing is not known when the response begins, so all that ``limits.requestBody`` allows is
skipped: an end of the connection that was not announced could take the client's next request.
"""

_UNLIMITED = 1 << 62

_HEAD, _LENGTH, _CHUNKED, _HELD, _ASKED, _TUNNEL, _DEAF = range(7)


class Http1Codec(Codec):
    """``events.Codec`` for HTTP/1.0 and HTTP/1.1. ``now``: when the connection was made."""

    __slots__ = (
        "_buffer", "_chunks", "_closed", "_deadline", "_drain", "_eof", "_expecting", "_final", "_headers",
        "_last", "_left", "_limits", "_policy", "_reader", "_reading", "_stream", "_unacknowledged",
        "_winding_down", "_writer",
    )  # fmt: skip

    def __init__(self, policy: FieldPolicy, limits: ConnectionLimits, now: float) -> None:
        self._limits = limits
        self._policy = policy
        self._reader = HeadReader(policy, limits)
        self._chunks = ChunkedReader(policy)
        self._writer = ResponseWriter()
        self._reading = _HEAD
        self._buffer = b""
        self._left = 0  # body bytes of content-length that have not arrived
        self._deadline: float | None = now + limits.request_head
        self._stream = 0
        self._headers: Headers = []  # of the current request
        self._expecting = False  # the client waits for 100 (Continue), or for a final status
        self._unacknowledged = 0
        self._drain: int | None = None  # bytes that may still be skipped of an unread body; None if none is skipped
        self._last = False  # this response announced, or will announce, that the connection ends with it
        self._winding_down = False
        self._final = False
        self._eof = False
        self._closed = False
        self.more = False

    def expect_scheme(self, scheme: bytes) -> None:
        """See ``events.Codec``."""
        self._reader.scheme = scheme

    @property
    def closed(self) -> bool:
        """See ``events.Codec``."""
        return self._closed

    @property
    def idle(self) -> bool:
        """See ``events.Codec``."""
        return self._reading == _HEAD and not self._buffer

    @property
    def held(self) -> bool:
        """See ``events.Codec``."""
        return bool(self._buffer) or self._drain is not None

    def read_paused(self) -> bool:
        """Whether there is ``more``, or too much is held.

        That is more than ``HELD_INPUT`` of later input, or more than ``limits.stream_window`` of unread body.
        """
        if self.more:
            return True
        if len(self._buffer) > HELD_INPUT and self._reading in (_HELD, _ASKED):
            return True
        return self._unacknowledged > self._limits.stream_window

    def receive(self, data: bytes, now: float) -> list[Event]:
        """See ``events.Codec``. It sets the deadlines, because only here the time is known."""
        if data and self._reading != _DEAF:
            self._buffer = self._buffer + data if self._buffer else data
        events: list[Event] = []
        self.more = False
        if self._buffer:
            if self._reading == _HEAD:
                self._read_head(events)
            else:
                self._advance(events)
        if self._deadline is None:
            if self._reading == _HEAD and self._buffer:
                self._deadline = now + self._limits.request_head
            elif self._drain is not None:
                self._deadline = now + self._limits.body_idle
        return events

    def receive_eof(self) -> list[Event]:
        """See ``events.Codec``. Complete requests that are held are still answered (``printf … | nc`` half-closes)."""
        self._eof = True
        events: list[Event] = []
        if self._reading == _TUNNEL:
            self._reading = _DEAF
            events.append(End(self._stream, []))
        elif self._reading in (_LENGTH, _CHUNKED, _ASKED):
            if self._drain is None:
                events.append(Reset(self._stream, CANCEL))
            self._shut()
        elif self._buffer:
            self._advance(events)
        elif self._writer.stage in (IDLE, DONE):
            self._shut()
        return events

    def _advance(self, events: list[Event]) -> None:
        while self._buffer and not self.more:
            if self._reading == _LENGTH:
                self._read_length(events)
            elif self._reading == _CHUNKED:
                self._read_chunked(events)
            elif self._reading == _TUNNEL:
                data, self._buffer = self._buffer, b""
                self._take_body(data, events)
            elif self._reading == _HEAD:
                self._read_head(events)
                return
            else:
                return

    def _read_head(self, events: list[Event]) -> None:
        """Read a head, if it is complete, and the part of its body that has arrived."""
        try:
            head, self._buffer = self._reader.read(self._buffer, self._stream + 1)
        except Refused as refused:
            events.append(self._reject(refused))
            return
        if head is None:
            if self._eof:
                self._shut()
            return
        events.append(head)
        self._deadline = None
        self._stream = head.stream_id
        self._last = not self._reader.keep_alive
        self._expecting = head.expect_continue
        self._headers = head.headers
        self._writer.begin(head.method, head.http_version)
        if head.end_stream:
            self._reading = _HELD
            return
        if head.protocol:
            self._reading = _ASKED
            if self._eof:
                events += self.receive_eof()
            return
        if self._reader.chunked:
            self._reading = _CHUNKED
            self._chunks = ChunkedReader(self._policy)
        else:
            self._reading = _LENGTH
            self._left = head.content_length or 0
        self._advance(events)

    def _read_length(self, events: list[Event]) -> None:
        data = self._buffer
        if len(data) > self._left:
            data, self._buffer = data[: self._left], data[self._left :]
        else:
            self._buffer = b""
        self._left -= len(data)
        self._take_body(data, events)
        if not self._left and self._reading == _LENGTH:
            self._take_end([], events)

    def _read_chunked(self, events: list[Event]) -> None:
        data, self._buffer = self._buffer, b""
        pieces: list[bytes] = []
        rest: bytes | None = None
        refused: Refused | None = None
        try:
            rest = self._chunks.feed(data, pieces)
        except Refused as error:
            refused = error.with_traceback(None)  # which has this frame, and that has the data
        kept = self._chunks.kept
        self._buffer = kept or rest or b""
        self.more = bool(kept)
        self._take_body(b"".join(pieces), events)
        if refused is not None:
            self._lose_framing(refused, events)
        elif rest is not None and self._reading == _CHUNKED:
            self._take_end(self._chunks.trailers, events)

    def _take_body(self, data: bytes, events: list[Event]) -> None:
        """Report ``data``, or skip it."""
        self._expecting = False
        if self._drain is not None:
            self._drain -= len(data)
            if self._drain < 0:
                self._shut()
        elif data:
            self._unacknowledged += len(data)
            events.append(Body(self._stream, data))

    def _take_end(self, trailers: Headers, events: list[Event]) -> None:
        self._reading = _HELD
        if self._drain is None:
            events.append(End(self._stream, trailers))
        else:
            self._drain = self._deadline = None
            self._turn()

    def _reject(self, refused: Refused) -> Rejected:
        """Refuse a request whose end is unknown: it is answered, then nothing more is read."""
        method, target, version = self._reader.request_line()
        self._stream += 1
        self._last = True
        self._reading = _DEAF
        self._buffer = b""
        self._deadline = None
        self._writer.begin(method, version)
        return Rejected(self._stream, method, target, version, refused.status, refused.reason, refused.detail)

    def _lose_framing(self, refused: Refused, events: list[Event]) -> None:
        """Refuse the rest of a request: it is answered if no head was sent, then nothing more is read."""
        if self._writer.stage is AWAITED:
            self._last = True
            self._reading = _DEAF
            events.append(BodyRefused(self._stream, refused.status, refused.reason, refused.detail))
            return
        if self._drain is None:
            events.append(Reset(self._stream, PROTOCOL_ERROR))
        events.append(Violation(refused.reason, refused.detail))
        self._shut()

    def _turn(self) -> None:
        """Start reading the next request if this one is completely handled."""
        if self._reading == _HELD and self._writer.stage is DONE and not self._writer.output:
            self._reading = _HEAD
            self._writer.stage = IDLE

    def _shut(self) -> None:
        self._closed = True
        self._reading = _DEAF
        self._writer.stage = DONE
        self._buffer = b""
        self.more = False
        self._deadline = self._drain = None
        self._unacknowledged = 0

    def send_informational(self, stream_id: int, status: int, headers: Headers) -> None:
        """See ``events.Codec``. 100 is sent once, to a client that waits for it and has sent no body yet."""
        if stream_id != self._stream or self._writer.stage is not AWAITED:
            return
        if status == 100:
            if not self._expecting:
                return
            self._expecting = False
        self._writer.informational(status, headers)

    def send_head(self, stream_id: int, status: int, headers: Headers, end_stream: bool) -> None:
        """See ``events.Codec``."""
        if stream_id != self._stream or self._writer.stage is not AWAITED:
            return
        if self._reading == _ASKED:
            self._reading = _HELD  # denied: what the client has sent is the next request
        # A client that waits for 100 may or may not send its body (RFC 9110 10.1.1): it is unknown where the next
        # request begins, so none is read.
        close = self._last or self._winding_down or self._expecting or (self._eof and not self._buffer)
        close = close or (self._reading == _LENGTH and self._left > DRAIN)
        self._last = self._writer.head(status, headers, end_stream, close)
        if end_stream:
            self._end([])

    def close_after(self, stream_id: int, headers: Headers) -> None:
        """See ``events.Codec``."""
        if stream_id == self._stream:
            self._last = True

    def add_hop_fields(self, stream_id: int, fields: Headers, headers: Headers) -> None:
        """See ``events.Codec``."""
        if stream_id != self._stream:
            return
        chunked = b"content-length" not in dict(headers)
        for pair in fields:
            if pair[0] == b"upgrade":
                headers += [pair, (b"connection", b"upgrade")]  # RFC 9110 7.8
            elif chunked and self._carries_trailers():
                headers.append(pair)

    def _carries_trailers(self) -> bool:
        """Whether the client of this request gets trailers, if the body is chunked."""
        return (b"te", b"trailers") in self._headers and self._writer.version != "1.0"

    def accept(self, stream_id: int, headers: Headers) -> None:
        """See ``events.Codec``."""
        if stream_id == self._stream and self._reading == _ASKED:
            self._reading = _TUNNEL
            self._last = True
            self._writer.switch(dict(self._headers).get(b"sec-websocket-key", b""), headers)

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        """See ``events.Codec``."""
        writer = self._writer
        if stream_id != self._stream or writer.stage is not BODY:
            return
        writer.data(data)
        if end_stream:
            self._end([])

    def sendfile(self, stream_id: int, size: int) -> bool:
        """See ``events.Codec``. Possible if the length of the whole body was announced."""
        return stream_id == self._stream and self._writer.stage is BODY and self._writer.sendfile(size)

    def send_trailers(self, stream_id: int, trailers: Headers) -> None:
        """See ``events.Codec``. Sent if the body is chunked and the client sent ``te: trailers``.

        RFC 9110 6.5.1 lets a server send trailers that were not requested, which recipients may discard. But old
        clients and proxies mistake them for a broken body, and a client that wants them requests them.
        """
        if stream_id == self._stream and self._writer.stage is BODY:
            self._end(trailers if self._carries_trailers() else [])

    def _end(self, trailers: Headers) -> None:
        writer = self._writer
        writer.end(trailers)
        self._unacknowledged = 0
        if self._last or writer.broken or ((self._final or self._eof) and not self._buffer):
            self._shut()
        elif self._reading != _HELD:
            self._drain = self._limits.request_body or _UNLIMITED
        elif not writer.output:
            self._turn()

    def reset(self, stream_id: int, code: int) -> None:
        """See ``events.Codec``. Queued output is kept; the missing end of the message and the close show the abort."""
        if stream_id == self._stream and self._writer.stage in (AWAITED, BODY):
            self._shut()

    def release(self, stream_id: int) -> bool:
        """See ``events.Codec``. It drops nothing; there may be held input to parse, or a body to skip."""
        return self.held

    def acknowledge(self, stream_id: int, size: int) -> None:
        """See ``events.Codec``."""
        if stream_id == self._stream:
            self._unacknowledged = max(0, self._unacknowledged - size)

    def pending(self, stream_id: int) -> int:
        """See ``events.Codec``."""
        return self._writer.pending if stream_id == self._stream else 0

    def take_output(self) -> bytes:
        """See ``events.Codec``. If requests are held, call ``receive(b"", now)`` afterwards."""
        writer = self._writer
        if not writer.output:
            return b""
        data = writer.take()
        if writer.stage is DONE:
            self._turn()
        return data

    def goaway(self, final: bool) -> None:
        """See ``events.Codec``. A request that has begun to arrive, or waits behind another, is still answered."""
        self._winding_down = True
        self._final = final
        if final and self._writer.stage in (IDLE, DONE) and not self._buffer:
            self._shut()

    def goaway_noticed(self) -> bool:
        """See ``events.Codec``."""
        return True

    def next_deadline(self) -> float | None:
        """The deadline for a head (the first: from the connection's start), or for the rest of a skipped body."""
        return self._deadline

    def on_deadline(self, now: float) -> list[Event]:
        """See ``events.Codec``. A client that never sent a byte gets no answer: there is no request to refuse."""
        if self._deadline is None or now < self._deadline:
            return []
        if self._drain is not None:
            self._shut()
            return [Violation("body_timeout", "the rest of an unread body did not arrive in time")]
        if not self._buffer:
            self._shut()
            return [Violation("head_timeout", "no request arrived in time")]
        return [self._reject(Refused(408, "head_timeout", "the request head did not arrive in time"))]
