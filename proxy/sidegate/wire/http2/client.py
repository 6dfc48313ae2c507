"""HTTP/2 in the client's role: requests out, responses in.

An upstream connection calls it, and it calls an ``engine.Engine``. It owns the meaning of an engine's frames for a
client: which streams are open, which body bytes are unread, which answers are valid responses. The engine does framing,
HPACK and flow-control arithmetic. It never reads a clock (the upstream connection checks liveness with ``ping``) and
never calls the upstream connection.

The content of a server's responses is trusted, but their size is bounded: header lists by the limits of the settings,
bodies by the windows, frames that need an answer (PING, SETTINGS) by ``MOST_CONTROLS`` for each output taken. So an
upstream connection must not take output while its peer does not read.

It raises nothing; every fault of a server is an event.
"""

from __future__ import annotations

from typing import Final

from sidegate.asgi import Headers
from sidegate.wire import codes
from sidegate.wire import events as e
from sidegate.wire.client_codec import CONNECTION_LOST, MOST_INFORMATIONAL, RESPONSE_TOO_LARGE, ClientCodec
from sidegate.wire.events import FRAMES_A_TURN, Body, End, ResponseHead
from sidegate.wire.fields import allowed_trailers
from sidegate.wire.hop import HOP_SETTING, THREADS_SETTING
from sidegate.wire.http2 import engine as wire
from sidegate.wire.http2.engine import EngineFactory, EngineSettings, FrameEvent, goaway_frame, ping_frame
from sidegate.wire.http2.response import MalformedResponse, ResponseValidator

MOST_CONTROLS: Final = 1000
"""SETTINGS and PING frames between two calls of ``take_output``; each adds an answer to the output."""

_TEXT = (b"HTTP/", b"<")
"""How a server of HTTP/1.1 answers our preface (RFC 9113 3.4). As the length of a frame it would be millions."""

_MAX_CONCURRENT_STREAMS = 0x3
_ANSWERED = (wire.SETTINGS_FRAME, wire.PING_FRAME)

# The most frequent kinds of frames; C integers when compiled.
_HEAD, _DATA, _END, _CLOSED, _WINDOW = wire.HEAD, wire.DATA, wire.END, wire.CLOSED, wire.WINDOW


class ResponseStream:
    """The receiving half of a stream."""

    __slots__ = ("begun", "bodiless", "ended", "informational", "missing", "tunnel", "unread")

    def __init__(self, bodiless: bool, tunnel: bool) -> None:
        self.bodiless = bodiless  # the response to HEAD
        self.tunnel = tunnel  # the response to CONNECT, if it is 2xx
        self.informational = 0
        self.begun = False  # the final head has come
        self.ended = False
        self.missing: int | None = None  # bytes of content-length that have not arrived
        self.unread = 0  # bytes reported and not acknowledged


class Http2ClientCodec(ClientCodec):
    """One connection to a server. Calls for streams that have ended do nothing."""

    __slots__ = (
        "_continuations",
        "_controls",
        "_dead",
        "_engine",
        "_left",
        "_most_continuations",
        "_open",
        "_parted",
        "_streams",
        "_validator",
    )  # fmt: skip

    def __init__(self, engine: EngineFactory, settings: EngineSettings) -> None:
        super().__init__()
        self._engine = engine(settings, client=True)
        self._validator = ResponseValidator(settings)
        self._most_continuations = settings.continuation_frames
        self._streams: dict[int, ResponseStream] = {}  # open, or closed and not read completely
        self._open: set[int] = set()  # on the wire
        self._controls = 0
        self._left = 0  # frames that may still be handled in this turn
        self._continuations = 0
        self._parted = False  # our GOAWAY has been written
        self._dead = False
        self.ready = False  # the server's SETTINGS have arrived
        self.max_streams = wire.WINDOW_MAX  # number of concurrent streams that the server accepts

    # State

    @property
    def version(self) -> str:
        """See ``ClientCodec``."""
        return "HTTP/2"

    @property
    def closed(self) -> bool:
        """Nothing more can be sent or will arrive; close the connection once the output is flushed."""
        return self._dead or (self.draining and not self._open)

    @property
    def capacity(self) -> int:
        """See ``ClientCodec``; 0 after a GOAWAY of either side."""
        return 0 if self.draining else max(self.max_streams - len(self._open), 0)

    # Receiving

    def receive(self, data: bytes) -> list[e.Event]:
        """Take bytes from the server. Nothing is read once ``closed``."""
        found: list[e.Event] = []
        self.more = False
        if self.closed:
            return found
        if not self.ready and data.startswith(_TEXT):
            line = bytes(data[:80]).partition(b"\n")[0].decode("latin-1").strip()
            self._violate("protocol_error", f"it answered {line!r}", codes.PROTOCOL_ERROR, found)
            return found
        self._left = FRAMES_A_TURN
        while True:
            for frame in self._engine.receive(data):
                self._on_frame(frame, found)
                if self._dead or (self.draining and not self._open):
                    return found  # closed: a later read would not be taken either
            if not self.more or self._left <= 0:
                return found
            self.more = False
            data = b""

    def _on_frame(self, frame: FrameEvent, found: list[e.Event]) -> None:
        kind = frame[0]
        if kind == _HEAD:
            self._on_head(frame, found)
        elif kind == _DATA:
            self._on_data(frame, found)
        elif kind == _END:
            self._on_end(frame[1], [], found)
        elif kind == _CLOSED:
            self._on_closed(frame[1])
        elif kind != _WINDOW and kind in _RARE:
            _RARE[kind](self, frame, found)

    def _on_head(self, frame: FrameEvent, found: list[e.Event]) -> None:
        _, stream_id, pseudo, fields, size, end = frame
        self._continuations = 0
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        try:
            length = self._validator.content_length(fields, size)
            if stream.begun:
                if pseudo or not end or stream.tunnel:  # RFC 9113 8.5: nothing but DATA
                    raise MalformedResponse(codes.PROTOCOL_ERROR)
                self._on_end(stream_id, allowed_trailers(fields), found)
                return
            status = self._validator.status(pseudo)
            if status < 200:
                self._on_informational(stream, status, end)
                found.append(e.Informational(stream_id, status, list(fields)))
                return
            stream.begun = self.answered = True
            if not stream.tunnel or status > 299:
                stream.tunnel = False
                # RFC 9110 6.4.1: these have no body, whatever their content-length says.
                stream.missing = 0 if stream.bodiless or status in (204, 304) else length
            if end and stream.missing:
                raise MalformedResponse(codes.PROTOCOL_ERROR)
        except MalformedResponse as breach:
            self._break(stream_id, breach.code, found)
            return
        stream.ended = end
        found.append(ResponseHead(stream_id, status, list(fields), end))

    def _on_informational(self, stream: ResponseStream, status: int, end: bool) -> None:
        stream.informational += 1
        if end or status == 101:  # RFC 9113 8.1 and 8.6
            raise MalformedResponse(codes.PROTOCOL_ERROR)
        if stream.informational > MOST_INFORMATIONAL:
            raise MalformedResponse(codes.ENHANCE_YOUR_CALM)

    def _on_data(self, frame: FrameEvent, found: list[e.Event]) -> None:
        _, stream_id, data = frame
        size = len(data)
        stream = self._streams.get(stream_id)
        if stream is None:
            self._engine.consume_connection(size)
            return
        stream.unread += size
        if stream.missing is not None:
            stream.missing -= size
        if not stream.begun or (stream.missing is not None and stream.missing < 0):
            self._break(stream_id, codes.PROTOCOL_ERROR, found)
            return
        found.append(Body(stream_id, data))

    def _on_end(self, stream_id: int, trailers: Headers, found: list[e.Event]) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if stream.missing or not stream.begun:
            self._break(stream_id, codes.PROTOCOL_ERROR, found)
            return
        stream.ended = True
        found.append(End(stream_id, trailers))

    def _on_closed(self, stream_id: int) -> None:
        """Both sides have ended; unread bytes still count against the connection's window."""
        self._open.discard(stream_id)
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.unread:
            del self._streams[stream_id]

    def _break(self, stream_id: int, code: int, found: list[e.Event]) -> None:
        """Reset a stream whose response is malformed."""
        self._engine.reset(stream_id, codes.ENHANCE_YOUR_CALM if code == RESPONSE_TOO_LARGE else code)
        self._forget(stream_id)
        found.append(e.Reset(stream_id, code))

    def _on_reset(self, frame: FrameEvent, found: list[e.Event]) -> None:
        _, stream_id, code = frame
        if stream_id in self._open:
            self._forget(stream_id)
            found.append(e.Reset(stream_id, code))

    def _on_settings(self, frame: FrameEvent, found: list[e.Event]) -> None:
        self.ready = True
        for identifier, value in dict(frame[1]).items():  # nghttp2 reports the last value of a repeated setting
            if identifier == _MAX_CONCURRENT_STREAMS:
                self.max_streams = min(value, wire.WINDOW_MAX)
            elif identifier == HOP_SETTING:
                self.hop = value == 1
            elif identifier == THREADS_SETTING:
                self.threads = value == 1
            elif identifier == wire.CONNECT_SETTING:
                if value < self.connect_protocol:  # RFC 8441 3; h2 does not check it
                    detail = "SETTINGS_ENABLE_CONNECT_PROTOCOL taken back"
                    self._violate("protocol_error", detail, codes.PROTOCOL_ERROR, found)
                    return
                self.connect_protocol = value == 1

    def _on_control(self, frame: FrameEvent, found: list[e.Event]) -> None:
        self._controls += frame[1] in _ANSWERED
        if self._controls > MOST_CONTROLS:
            self._violate("control_flood", "too many control frames", codes.ENHANCE_YOUR_CALM, found)

    def _on_continuation(self, frame: FrameEvent, found: list[e.Event]) -> None:
        self._continuations += 1
        if self._continuations > self._most_continuations:
            self._violate("continuation_flood", "too many CONTINUATION frames", codes.ENHANCE_YOUR_CALM, found)

    def _on_pong(self, frame: FrameEvent, found: list[e.Event]) -> None:
        found.append(e.PingAck(frame[1]))

    def _on_goaway(self, frame: FrameEvent, found: list[e.Event]) -> None:
        _, code, last = frame
        self.draining = True
        found.append(e.GoAway(code, last))
        for stream_id in sorted(self._open):
            if stream_id > last:
                self._forget(stream_id)
                found.append(e.Reset(stream_id, codes.REFUSED_STREAM))

    def _on_more(self, frame: FrameEvent, found: list[e.Event]) -> None:
        self.more = True
        self._left -= frame[1]

    def _on_fault(self, frame: FrameEvent, found: list[e.Event]) -> None:
        _, code, detail = frame
        self._violate(wire.WORDS.get(code, "protocol_error"), detail, code, found)

    def _violate(self, reason: str, detail: str, code: int, found: list[e.Event]) -> None:
        self._engine.terminate(code)
        self._dead = self.draining = True
        found.append(e.Violation(reason, detail))

    def receive_eof(self) -> list[e.Event]:
        """See ``ClientCodec``: the end without a GOAWAY is a failure, so it is a connection lost."""
        return self.connection_lost()

    def connection_lost(self) -> list[e.Event]:
        """The connection has ended, on either side; also after a ``Violation``, so that no request waits."""
        found: list[e.Event] = [e.Reset(stream_id, CONNECTION_LOST) for stream_id in sorted(self._open)]
        self._open.clear()
        self._streams.clear()
        self._dead = self.draining = True
        self.more = False
        return found

    # Sending

    def request(self, headers: Headers, end_stream: bool) -> int:
        """Open a stream. ``headers`` are sent unchanged: ``:method``, the other pseudo-header fields, the rest.

        Returns the stream's number; 0 if there is no ``capacity``: then nothing was sent. Use ``:protocol`` only if the
        server accepts it (``connect_protocol``).
        """
        if self.draining or len(self._open) >= self.max_streams:
            return 0
        stream_id = self._engine.send_request(headers, end_stream)
        if stream_id:
            self._open.add(stream_id)
            method = headers[0][1]
            self._streams[stream_id] = ResponseStream(method == b"HEAD", method == b"CONNECT")
        else:
            self.draining = True  # all numbers of streams are used
        return stream_id

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        """Queue body after a request's head; ``pending`` counts what the windows hold back."""
        if stream_id in self._open:
            self._engine.send_data(stream_id, data, end_stream)

    def send_trailers(self, stream_id: int, trailers: Headers) -> None:
        """End a request with trailers."""
        if stream_id in self._open:
            self._engine.send_trailers(stream_id, trailers)

    def reset(self, stream_id: int, code: int) -> bool:
        """See ``ClientCodec``: RST_STREAM. A stream is open while the windows hold back the end of its request."""
        if stream_id not in self._open:
            return False
        self._engine.reset(stream_id, code)
        self._forget(stream_id)
        return True

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Give credit back for ``size`` bytes of body that were read."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        size = min(size, stream.unread)
        stream.unread -= size
        if not stream.ended:
            self._engine.consume(stream_id, size)
            return
        self._engine.consume_connection(size)
        if not stream.unread and stream_id not in self._open:
            del self._streams[stream_id]

    def _forget(self, stream_id: int) -> None:
        """Forget a stream that is closed on the wire and not read any more: the connection gets its credit back."""
        self._open.discard(stream_id)
        stream = self._streams.pop(stream_id)
        if stream.unread:
            self._engine.consume_connection(stream.unread)

    def read_paused(self) -> bool:
        """While input is left of the last read; else the windows bound what is unread."""
        return self.more

    def pending(self, stream_id: int) -> int:
        """Bytes of request body that are queued and not yet taken."""
        return self._engine.pending(stream_id)

    def take_output(self) -> bytes:
        """Take bytes that may be written now: all of them, or at least ``events.PIECE`` if there are more."""
        output = self._engine.take_output()
        self._controls = 0
        for stream_id in self._engine.take_closed():
            self._on_closed(stream_id)
        return output

    def ping(self, data: bytes) -> bool:
        """Send a PING; its ``PingAck`` has the same 8 bytes."""
        if not self._dead:
            self._engine.write(ping_frame(data))
        return True

    def goaway(self) -> None:
        """Announce that no more requests follow (GOAWAY, NO_ERROR). ``closed`` once the last stream has ended."""
        if not self._dead and not self._parted:
            self._parted = self.draining = True
            self._engine.write(goaway_frame(0, codes.NO_ERROR))


_RARE = {
    wire.CONTROL: Http2ClientCodec._on_control,
    wire.RESET: Http2ClientCodec._on_reset,
    wire.CONTINUATION: Http2ClientCodec._on_continuation,
    wire.STREAM_ERROR: Http2ClientCodec._on_reset,
    wire.GOAWAY: Http2ClientCodec._on_goaway,
    wire.FAULT: Http2ClientCodec._on_fault,
    wire.SETTINGS: Http2ClientCodec._on_settings,
    wire.PONG: Http2ClientCodec._on_pong,
    wire.MORE: Http2ClientCodec._on_more,
}
