"""The h2 engine: it adapts the pure-Python library to the interface in ``engine.py``.

The codecs use it if ``nghttp2.pyx`` was not built. It owns the splitting of input into frames; ``h2_sending.py`` is its
other half.

h2 is the state machine of everything that is received. It gets frames one at a time, because it forgets the events of
earlier frames when a later one is in error. Before that, a handler for each frame type applies the rules of
``engine.py`` where h2 would do something else or nothing. h2 never gets a GOAWAY: a GOAWAY of either side would end its
connection at once, although responses are still due. It gets no frame for a stream that has ended either, except header
blocks on streams that this side has reset, because their fields change the table.

h2's checks of HTTP are off. Validation and normalisation are switched off by configuration. Its content-length check
cannot be switched off and ends the whole connection, so h2 never sees a header list: ``BlockDecoder`` keeps the decoded
fields for this engine and gives h2 an empty list.

It raises nothing; every fault of a peer is a frame event.
"""

from __future__ import annotations

import struct

from sidegate.wire import codes
from sidegate.wire.http2 import engine as wire
from sidegate.wire.http2.engine import EngineSettings, FrameEvent
from sidegate.wire.http2.h2_fields import ConnectionFailure
from sidegate.wire.http2.h2_library import VERSION, DataReceived, Event, ProtocolError, StreamReset
from sidegate.wire.http2.h2_sending import FRAME, MAX_FRAME, SendingHalf, Stream

_END_STREAM = 0x1
_ACK = 0x1
_END_HEADERS = 0x4
_PADDED = 0x8
_PRIORITY_FIELDS = 0x20
_NO_BLOCK = (0, False)
_MAX_SETTINGS = 32
_MORE = (wire.MORE, wire.FRAMES)

_DATA, _HEADERS, _PRIORITY, _RST_STREAM, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW, _CONTINUATION = range(10)


class H2Engine(SendingHalf):
    """See ``engine.Engine``."""

    def __init__(self, settings: EngineSettings, client: bool = False) -> None:
        super().__init__(settings, client)
        self._input = b""
        self._at = 0  # bytes of the input that were handled
        self._preface_missing = not client
        self._settings_missing = True
        self._acknowledgement_missing = True
        self._ignored = 0  # bytes of DATA for streams that were reset, not credited yet
        self._peer_last = wire.WINDOW_MAX
        self._block = _NO_BLOCK  # stream and END_STREAM of the header block being received
        self._blocks = 0

    def receive(self, data: bytes) -> list[FrameEvent]:
        """See ``engine.Engine``."""
        found: list[FrameEvent] = []
        if self._dead:
            return found
        if data:
            self._input = self._input[self._at :] + data
            self._at = 0
        data, at, left = self._input, self._at, wire.FRAMES
        try:
            if self._preface_missing:
                at = self._take_preface(data)
            if not self._preface_missing:
                while left and (taken := self._take_frame(data, at, found)):
                    at += taken
                    left -= 1
        except ConnectionFailure as fault:
            self.terminate(fault.code)
            found.append((wire.FAULT, fault.code, fault.detail))
        if at == len(data):
            self._input, at = b"", 0
        elif not left:
            found.append(_MORE)
        self._at = at
        return found

    def _take_preface(self, data: bytes) -> int:
        """Check the preface. Returns the number of bytes taken: all of it or none."""
        start = data[: len(wire.PREFACE)]
        if not wire.PREFACE.startswith(start):
            raise ConnectionFailure(codes.PROTOCOL_ERROR, "bad client preface")
        if start != wire.PREFACE:
            return 0
        self._preface_missing = False
        self._connection.receive_data(start)
        return len(start)

    def _take_frame(self, data: bytes, at: int, found: list[FrameEvent]) -> int:
        """Handle the frame at ``at``. Returns the number of bytes taken, 0 if the frame is incomplete."""
        if len(data) < at + 9:
            return 0
        high, low, kind, flags, stream_id = FRAME.unpack_from(data, at)
        size: int = 9 + (high << 16 | low)
        stream_id &= 0x7FFFFFFF
        if size > 9 + MAX_FRAME:
            raise ConnectionFailure(codes.FRAME_SIZE_ERROR, "a frame is longer than SETTINGS_MAX_FRAME_SIZE")
        if self._settings_missing and (kind != _SETTINGS or flags & _ACK):
            raise ConnectionFailure(codes.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if self._block is not _NO_BLOCK and kind != _CONTINUATION:
            raise ConnectionFailure(codes.PROTOCOL_ERROR, "a frame inside a header block")
        if kind == _HEADERS:
            self._begin_headers(stream_id, flags)
        if len(data) < at + size:
            return 0
        handler = _HANDLERS.get(kind)
        if handler is None:
            found.append((wire.CONTROL, kind))
        else:
            handler(self, data[at : at + size], flags, stream_id, found)
        return size

    def _feed(self, frame: bytes) -> list[Event]:
        """Give h2 one frame. Its answer is in its buffer, which was empty before."""
        try:
            return self._connection.receive_data(frame)
        except ProtocolError as error:
            self._connection.clear_outbound_data_buffer()
            raise ConnectionFailure(int(error.error_code), str(error)) from error

    def _feed_block(self, frame: bytes, stream_id: int) -> None:
        self._feed(frame)
        if stream_id in self._resets:
            self._connection.clear_outbound_data_buffer()  # h2 repeats RST_STREAM

    def _is_over(self, stream_id: int) -> bool:
        """Whether a stream was open once and has ended. Client streams are odd."""
        return bool(stream_id & 1) and stream_id <= self._highest and stream_id not in self._streams

    def _begin_headers(self, stream_id: int, flags: int) -> None:
        """Begin a HEADERS frame; called again for each piece of the frame that arrives."""
        if not stream_id & 1:
            raise ConnectionFailure(codes.PROTOCOL_ERROR, "HEADERS on a stream that is not a client's")
        if self.open_block or stream_id in self._resets:
            return
        stream = self._streams.get(stream_id)
        if self._is_over(stream_id) or (stream is not None and stream.remote_ended):
            raise ConnectionFailure(codes.STREAM_CLOSED, "HEADERS after the end of the stream")
        if self._client:
            if stream is None:
                raise ConnectionFailure(codes.PROTOCOL_ERROR, "HEADERS on a stream that was not opened")
        elif stream is not None and not flags & _END_STREAM:
            raise ConnectionFailure(codes.PROTOCOL_ERROR, "trailers without END_STREAM")
        self._blocks += 1
        self.open_block = self._blocks

    def _on_headers(self, frame: bytes, flags: int, stream_id: int, found: list[FrameEvent]) -> None:
        if self._client and stream_id in self._streams:
            # The codec, not h2, decides whether it is a response or its trailers.
            self._streams[stream_id].window.state_machine.headers_received = None
        self._feed_block(_without_padding(frame) if flags & _PADDED else frame, stream_id)
        self._block = (stream_id, bool(flags & _END_STREAM))
        if flags & _END_HEADERS:
            self._end_headers(found)

    def _on_continuation(self, frame: bytes, flags: int, stream_id: int, found: list[FrameEvent]) -> None:
        if self._block is _NO_BLOCK or self._block[0] != stream_id:
            raise ConnectionFailure(codes.PROTOCOL_ERROR, "CONTINUATION without its HEADERS")
        if self.open_block:
            found.append((wire.CONTINUATION,))
        self._feed_block(frame, stream_id)
        if flags & _END_HEADERS:
            self._end_headers(found)

    def _end_headers(self, found: list[FrameEvent]) -> None:
        stream_id, end = self._block
        self._block = _NO_BLOCK
        self.open_block = 0
        if stream_id in self._resets:
            found.append((wire.CONTROL, _HEADERS))
            return
        stream = self._streams.get(stream_id)
        kind = wire.HEAD if stream is None or self._client else wire.TRAILERS
        if stream is None:
            stream = self._streams[stream_id] = Stream(self._connection.streams[stream_id])
            self._highest = stream_id
        found.append((kind, stream_id, *self._connection.decoder.block, end))
        if end:
            self._end_receiving(stream_id, stream, found)

    def _on_data(self, frame: bytes, flags: int, stream_id: int, found: list[FrameEvent]) -> None:
        length = len(frame) - 9
        stream = self._streams.get(stream_id)
        if stream is None:
            if not self._is_over(stream_id):
                raise ConnectionFailure(codes.PROTOCOL_ERROR, "DATA on an idle stream")
            if stream_id not in self._resets and stream_id > self._forgotten:
                raise ConnectionFailure(codes.STREAM_CLOSED, "DATA after the end of the stream")
            self._ignore(length)
            return
        if stream.remote_ended:
            raise ConnectionFailure(codes.STREAM_CLOSED, "DATA after the end of the stream")
        if length > self._connection.remote_flow_control_window(stream_id):
            raise ConnectionFailure(codes.FLOW_CONTROL_ERROR, "DATA beyond the window")
        data = b"".join(event.data for event in self._feed(frame) if isinstance(event, DataReceived))
        if data:
            found.append((wire.DATA, stream_id, data))
        if len(data) < length:
            self.consume(stream_id, length - len(data))
        if flags & _END_STREAM:
            found.append((wire.END, stream_id))
            self._end_receiving(stream_id, stream, found)
        elif not data:
            found.append((wire.EMPTY, stream_id))

    def _end_receiving(self, stream_id: int, stream: Stream, found: list[FrameEvent]) -> None:
        stream.remote_ended = True
        self._maybe_closed(stream_id, stream, found)

    def _ignore(self, length: int) -> None:
        """Credit DATA that h2 does not see: the window is unchanged, but the peer has to be told."""
        self._ignored += length
        if self._ignored >= self._settings.connection_window // 2:
            self.write(FRAME.pack(0, 4, _WINDOW, 0, 0) + self._ignored.to_bytes(4))
            self._ignored = 0

    def _on_reset(self, frame: bytes, flags: int, stream_id: int, found: list[FrameEvent]) -> None:
        if len(frame) != 13:
            raise ConnectionFailure(codes.FRAME_SIZE_ERROR, "RST_STREAM is not 4 bytes long")
        if not stream_id & 1 or stream_id > self._highest:
            raise ConnectionFailure(codes.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        if self._streams.pop(stream_id, None) is not None:
            self._feed(frame)
            del self._connection.streams[stream_id]
        found.append((wire.RESET, stream_id, struct.unpack_from(">L", frame, 9)[0]))

    def _on_settings(self, frame: bytes, flags: int, stream_id: int, found: list[FrameEvent]) -> None:
        if flags & _ACK:
            if not self._acknowledgement_missing:
                raise ConnectionFailure(codes.PROTOCOL_ERROR, "SETTINGS acknowledged that were not sent")
            self._acknowledgement_missing = False
        elif len(frame) - 9 > _MAX_SETTINGS * 6:
            raise ConnectionFailure(codes.ENHANCE_YOUR_CALM, "too many settings")
        self._feed(frame)
        self._flush()
        self._settings_missing = False
        found.append((wire.CONTROL, _SETTINGS))
        if (self._client or self._settings.hop) and not flags & _ACK:
            found.append((wire.SETTINGS, tuple(struct.iter_unpack(">HL", frame[9:]))))

    def _on_control(self, frame: bytes, flags: int, stream_id: int, found: list[FrameEvent]) -> None:
        found.append((wire.CONTROL, frame[3]))
        self._feed(frame)
        self._flush()
        if frame[3] == _PING and flags & _ACK:
            found.append((wire.PONG, frame[9:]))

    def _on_goaway(self, frame: bytes, flags: int, stream_id: int, found: list[FrameEvent]) -> None:
        if stream_id:
            raise ConnectionFailure(codes.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(frame) < 17:
            raise ConnectionFailure(codes.FRAME_SIZE_ERROR, "GOAWAY is shorter than 8 bytes")
        last, code = struct.unpack_from(">LL", frame, 9)
        last &= 0x7FFFFFFF
        if (last and last & 1 != self._client) or last > self._peer_last:
            raise ConnectionFailure(codes.PROTOCOL_ERROR, "GOAWAY with an impossible last stream")
        self._peer_last = last
        found.append((wire.GOAWAY, code, last))
        if self._client:
            self._give_up_beyond(last, found)

    def _give_up_beyond(self, last: int, found: list[FrameEvent]) -> None:
        """Close the streams that the server will not answer; what it still sends on them is ignored."""
        for stream_id in [stream_id for stream_id in self._streams if stream_id > last]:
            self._connection.reset_stream(stream_id)
            self._connection.clear_outbound_data_buffer()
            self._drop(stream_id)
            found.append((wire.CLOSED, stream_id))

    def _on_window(self, frame: bytes, flags: int, stream_id: int, found: list[FrameEvent]) -> None:
        found.append((wire.WINDOW,))
        if len(frame) != 13:
            raise ConnectionFailure(codes.FRAME_SIZE_ERROR, "WINDOW_UPDATE is not 4 bytes long")
        if self._is_over(stream_id):
            return
        # hyperframe refuses the reserved bit of the increment, which has to be ignored (RFC 9113 6.9).
        events = self._feed(frame[:9] + bytes((frame[9] & 0x7F,)) + frame[10:])
        self._flush()
        for event in events:
            if isinstance(event, StreamReset):
                self._drop(stream_id)
                found.append((wire.STREAM_ERROR, stream_id, codes.FLOW_CONTROL_ERROR))

    def _on_push(self, frame: bytes, flags: int, stream_id: int, found: list[FrameEvent]) -> None:
        raise ConnectionFailure(codes.PROTOCOL_ERROR, "PUSH_PROMISE, which nobody here takes")


def _without_padding(frame: bytes) -> bytes:
    """A padded HEADERS frame as one without padding (RFC 9113 6.2).

    h2 would refuse padding that leaves an empty fragment, and would accept some that reaches into the priority fields.
    """
    start = 9 + 1 + (5 if frame[4] & _PRIORITY_FIELDS else 0)
    end = len(frame) - (frame[9] if len(frame) > 9 else 0)
    if end < start:
        raise ConnectionFailure(codes.PROTOCOL_ERROR, "the padding is longer than the frame")
    size = end - 10
    return FRAME.pack(0, size, _HEADERS, frame[4] & ~_PADDED, int.from_bytes(frame[5:9])) + frame[10:end]


_HANDLERS = {
    _DATA: H2Engine._on_data,
    _HEADERS: H2Engine._on_headers,
    _PRIORITY: H2Engine._on_control,
    _RST_STREAM: H2Engine._on_reset,
    _SETTINGS: H2Engine._on_settings,
    _PUSH: H2Engine._on_push,
    _PING: H2Engine._on_control,
    _GOAWAY: H2Engine._on_goaway,
    _WINDOW: H2Engine._on_window,
    _CONTINUATION: H2Engine._on_continuation,
}


def create(settings: EngineSettings, client: bool = False) -> H2Engine:
    """Create an engine in the server's role or the ``client``'s."""
    return H2Engine(settings, client)


def library_version() -> str:
    """The version of h2 that is installed."""
    return VERSION
