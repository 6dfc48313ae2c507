"""The h2 engine: the pure-Python library to the interface in ``engine.py``.

Where it stands: below ``codec.py``, beside ``nghttp2.pyx``; used where that was not built. It owns an
``H2Connection``, the splitting of input into frames, and what is queued for each stream.

Frames are handed to h2 one at a time: h2 forgets the events of earlier frames when a later one is in error. Before
that, a handler for each frame type applies the rules of ``engine.py`` where h2 would do otherwise or nothing. GOAWAY
never reaches h2: either side's would end its connection at once, although responses are still owed.

h2's checks of HTTP are off: validation and normalisation by configuration, and because its content-length check
cannot be switched off and ends the whole connection, h2 never sees a header list: ``_BoundedDecoder`` keeps the
decoded fields for us and shows h2 an empty one.

Errors that leave it: none; everything a peer does is a frame event.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable
from importlib.metadata import version

import h2.events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hpack import Decoder, HeaderTuple, HPACKError, OversizedHeaderListError

from proxy.asgi import Headers
from proxy.wire.http2 import engine as wire
from proxy.wire.http2.engine import EngineSettings, FrameEvent, goaway_frame

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_END_STREAM = 0x1
_ACK = 0x1
_END_HEADERS = 0x4
_PADDED = 0x8
_MAX_FRAME = 16384
_FIRST_WINDOW = 65535
_MAX_SETTINGS = 32

_DATA, _HEADERS, _PRIORITY, _RST_STREAM, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW, _CONTINUATION = range(10)


class _Fault(Exception):
    """The connection cannot go on."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class _BoundedDecoder(Decoder):
    """Keeps what it decoded for the engine; h2 gets an empty list."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(max_header_list_size=settings.header_block * wire.BOMB)
        self.fields: list[HeaderTuple] = []

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        try:
            self.fields = list(super().decode(data, raw=True))
        except OversizedHeaderListError as error:
            raise _Fault(wire.ENHANCE_YOUR_CALM, "header list far beyond the limit") from error
        except (HPACKError, IndexError) as error:
            raise _Fault(wire.COMPRESSION_ERROR, str(error)) from error
        return ()


class _Stream:
    """What this engine knows of an open stream."""

    __slots__ = (
        "chunks",
        "credit",
        "ended",
        "head_sent",
        "local_ended",
        "offset",
        "queued",
        "remote_ended",
        "size",
        "trailers",
    )

    def __init__(self) -> None:
        self.credit = 0  # bytes consumed that no WINDOW_UPDATE has told the peer of
        self.remote_ended = False
        self.local_ended = False  # END_STREAM is in the output
        self.head_sent = False
        self.chunks: deque[bytes] = deque()
        self.offset = 0  # bytes of the first chunk already sent
        self.size = 0
        self.queued = False  # stands in the engine's order
        self.ended = False  # nothing more will be queued
        self.trailers: Headers = []

    def next_chunk(self, most: int) -> bytes:
        """Take up to ``most`` bytes, from as many pieces as needed."""
        taken: list[bytes] = []
        room = most
        while room > 0 and self.chunks:
            piece = self.chunks[0][self.offset : self.offset + room]
            taken.append(piece)
            room -= len(piece)
            self.offset += len(piece)
            if self.offset == len(self.chunks[0]):
                self.chunks.popleft()
                self.offset = 0
        chunk = b"".join(taken)
        self.size -= len(chunk)
        return chunk


class H2Engine:
    """See ``engine.Engine``."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._input = bytearray()
        self._output = bytearray(settings.announcement())
        self._preface_missing = True
        self._settings_missing = True
        self._acknowledgement_missing = True
        self._streams: dict[int, _Stream] = {}
        self._order: deque[int] = deque()  # streams with something to send, the next one first
        self._resets: dict[int, None] = {}  # streams reset by this side, oldest first
        self._closed: list[int] = []
        self._credit = 0  # like _Stream.credit, for the connection
        self._ignored = 0  # bytes of DATA for streams that were reset, not credited yet
        self._highest = 0
        self._peer_last = wire.WINDOW_MAX
        self._block: tuple[int, bool] | None = None  # stream and END_STREAM of the header block being received
        self._blocks = 0
        self._dead = False
        self.open_block = 0
        self.data_frames = 0
        self._decoder = _BoundedDecoder(settings)
        self._connection = self._connect()

    def _connect(self) -> H2Connection:
        configuration = H2Configuration(
            client_side=False,
            header_encoding=None,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        connection = H2Connection(configuration)
        connection.decoder = self._decoder
        # The limit of streams is the codec's to hold; h2 would answer one too many with a connection error.
        connection.local_settings = Settings(
            client=False, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: wire.WINDOW_MAX}
        )
        connection.initiate_connection()
        connection.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: self._settings.stream_window})
        connection.clear_outbound_data_buffer()  # the announcement stands for h2's own SETTINGS
        increment = self._settings.connection_window - _FIRST_WINDOW
        if increment > 0:
            connection.increment_flow_control_window(increment)
        return connection

    # Input

    def receive(self, data: bytes) -> list[FrameEvent]:
        """See ``engine.Engine``."""
        found: list[FrameEvent] = []
        if self._dead:
            return found
        self._input += data
        try:
            if self._preface_missing:
                self._take_preface()
            while not self._preface_missing and self._take_frame(found):
                pass
        except _Fault as fault:
            self.terminate(fault.code)
            found.append((wire.FAULT, fault.code, fault.detail))
        return found

    def _take_preface(self) -> None:
        start = bytes(self._input[: len(_PREFACE)])
        if not _PREFACE.startswith(start):
            raise _Fault(wire.PROTOCOL_ERROR, "bad client preface")
        if start == _PREFACE:
            self._preface_missing = False
            del self._input[: len(_PREFACE)]
            self._connection.receive_data(start)

    def _take_frame(self, found: list[FrameEvent]) -> bool:
        """Handle one frame; false if there is no whole one."""
        if len(self._input) < 9:
            return False
        high, low, kind, flags, stream_id = struct.unpack_from(">BHBBL", self._input)
        length = high << 16 | low
        stream_id &= 0x7FFFFFFF
        if length > _MAX_FRAME:
            raise _Fault(wire.FRAME_SIZE_ERROR, "a frame is longer than SETTINGS_MAX_FRAME_SIZE")
        if self._settings_missing and (kind != _SETTINGS or flags & _ACK):
            raise _Fault(wire.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if self._block is not None and kind != _CONTINUATION:
            raise _Fault(wire.PROTOCOL_ERROR, "a frame inside a header block")
        if kind == _HEADERS:
            self._begin_headers(stream_id, flags)
        if len(self._input) < 9 + length:
            return False
        frame = bytes(self._input[: 9 + length])
        del self._input[: 9 + length]
        handler = _HANDLERS.get(kind)
        if handler is None:
            found.append((wire.CONTROL, kind))
        else:
            handler(self, frame, flags, stream_id, found)
        return True

    def _feed(self, frame: bytes) -> list[h2.events.Event]:
        try:
            events = self._connection.receive_data(frame)
        except ProtocolError as error:
            self._connection.clear_outbound_data_buffer()
            raise _Fault(int(error.error_code), str(error)) from error
        self._flush()
        return events

    def _is_over(self, stream_id: int) -> bool:
        """Was this stream open once, and is it no longer? (Client streams are odd.)"""
        return bool(stream_id & 1) and stream_id <= self._highest and stream_id not in self._streams

    def _begin_headers(self, stream_id: int, flags: int) -> None:
        """A HEADERS frame begins; called again for each piece of it that arrives."""
        if self.open_block or stream_id in self._resets:
            return
        stream = self._streams.get(stream_id)
        if self._is_over(stream_id) or (stream is not None and stream.remote_ended):
            raise _Fault(wire.STREAM_CLOSED, "HEADERS after the end of the stream")
        if stream is not None and not flags & _END_STREAM:
            raise _Fault(wire.PROTOCOL_ERROR, "trailers without END_STREAM")
        self._blocks += 1
        self.open_block = self._blocks

    def _on_headers(self, frame: bytes, flags: int, stream_id: int, found: list[FrameEvent]) -> None:
        self._feed(frame)
        self._block = (stream_id, bool(flags & _END_STREAM))
        if flags & _END_HEADERS:
            self._end_headers(found)

    def _on_continuation(self, frame: bytes, flags: int, stream_id: int, found: list[FrameEvent]) -> None:
        if self._block is None or self._block[0] != stream_id:
            raise _Fault(wire.PROTOCOL_ERROR, "CONTINUATION without its HEADERS")
        if self.open_block:
            found.append((wire.CONTINUATION,))
        self._feed(frame)
        if flags & _END_HEADERS:
            self._end_headers(found)

    def _end_headers(self, found: list[FrameEvent]) -> None:
        assert self._block is not None
        stream_id, end = self._block
        self._block = None
        self.open_block = 0
        if stream_id in self._resets:
            return
        stream = self._streams.get(stream_id)
        kind = wire.HEAD if stream is None else wire.TRAILERS
        if stream is None:
            stream = self._streams[stream_id] = _Stream()
            self._highest = stream_id
        found.append((kind, stream_id, *self._take_fields(), end))
        if end:
            stream.remote_ended = True
            self._maybe_closed(stream_id, stream, found)

    def _take_fields(self) -> tuple[tuple[HeaderTuple, ...], tuple[HeaderTuple, ...], int]:
        """(pseudo-header pairs, fields, size of the list), the pairs only up to the limits."""
        size = 0
        pseudo: list[HeaderTuple] = []
        fields: list[HeaderTuple] = []
        most = self._settings.header_fields
        for pair in self._decoder.fields:
            size += len(pair[0]) + len(pair[1]) + 32
            if size > self._settings.header_block or len(fields) > most or len(pseudo) > most:
                continue
            (fields if fields or pair[0][:1] != b":" else pseudo).append((pair[0], pair[1]))
        self._decoder.fields = []
        return tuple(pseudo), tuple(fields), size

    def _on_data(self, frame: bytes, flags: int, stream_id: int, found: list[FrameEvent]) -> None:
        length = len(frame) - 9
        if stream_id in self._resets:
            # h2 does not see it, so its window stays as it was: only the peer has to be told.
            self._ignored += length
            if self._ignored >= self._settings.connection_window // 2:
                self.write(struct.pack(">HBBBLL", 0, 4, _WINDOW, 0, 0, self._ignored))
                self._ignored = 0
            return
        stream = self._streams.get(stream_id)
        if self._is_over(stream_id) or (stream is not None and stream.remote_ended):
            raise _Fault(wire.STREAM_CLOSED, "DATA after the end of the stream")
        if stream is None:
            raise _Fault(wire.PROTOCOL_ERROR, "DATA on an idle stream")
        if length > self._connection.remote_flow_control_window(stream_id):
            raise _Fault(wire.FLOW_CONTROL_ERROR, "DATA beyond the window")
        data = b"".join(event.data for event in self._feed(frame) if isinstance(event, h2.events.DataReceived))
        if data:
            found.append((wire.DATA, stream_id, data))
        if len(data) < length:
            self.consume(stream_id, length - len(data))
        if flags & _END_STREAM:
            found.append((wire.END, stream_id))
            stream.remote_ended = True
            self._maybe_closed(stream_id, stream, found)
        elif not data:
            found.append((wire.EMPTY, stream_id))

    def _on_reset(self, frame: bytes, flags: int, stream_id: int, found: list[FrameEvent]) -> None:
        if len(frame) != 13:
            raise _Fault(wire.FRAME_SIZE_ERROR, "RST_STREAM is not 4 bytes long")
        if not stream_id & 1 or stream_id > self._highest:
            raise _Fault(wire.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        if self._streams.pop(stream_id, None) is not None:
            self._feed(frame)
        found.append((wire.RESET, stream_id, struct.unpack_from(">L", frame, 9)[0]))

    def _on_settings(self, frame: bytes, flags: int, stream_id: int, found: list[FrameEvent]) -> None:
        if flags & _ACK:
            if not self._acknowledgement_missing:
                raise _Fault(wire.PROTOCOL_ERROR, "SETTINGS acknowledged that were not sent")
            self._acknowledgement_missing = False
        elif len(frame) - 9 > _MAX_SETTINGS * 6:
            raise _Fault(wire.ENHANCE_YOUR_CALM, "too many settings")
        self._feed(frame)
        self._settings_missing = False
        found.append((wire.CONTROL, _SETTINGS))

    def _on_control(self, frame: bytes, flags: int, stream_id: int, found: list[FrameEvent]) -> None:
        found.append((wire.CONTROL, frame[3]))
        self._feed(frame)

    def _on_goaway(self, frame: bytes, flags: int, stream_id: int, found: list[FrameEvent]) -> None:
        if stream_id:
            raise _Fault(wire.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(frame) < 17:
            raise _Fault(wire.FRAME_SIZE_ERROR, "GOAWAY is shorter than 8 bytes")
        last, code = struct.unpack_from(">LL", frame, 9)
        last &= 0x7FFFFFFF
        if last & 1 and last or last > self._peer_last:
            raise _Fault(wire.PROTOCOL_ERROR, "GOAWAY with an impossible last stream")
        self._peer_last = last
        found.append((wire.GOAWAY, code))

    def _on_window(self, frame: bytes, flags: int, stream_id: int, found: list[FrameEvent]) -> None:
        found.append((wire.WINDOW,))
        if len(frame) != 13:
            raise _Fault(wire.FRAME_SIZE_ERROR, "WINDOW_UPDATE is not 4 bytes long")
        if self._is_over(stream_id):
            return
        for event in self._feed(frame):
            if isinstance(event, h2.events.StreamReset):
                self._drop(stream_id)
                found.append((wire.STREAM_ERROR, stream_id, wire.FLOW_CONTROL_ERROR))

    def _on_push(self, frame: bytes, flags: int, stream_id: int, found: list[FrameEvent]) -> None:
        raise _Fault(wire.PROTOCOL_ERROR, "PUSH_PROMISE from a client")

    # Output

    def send_head(self, stream_id: int, status: int, headers: Headers, end_stream: bool) -> None:
        """See ``engine.Engine``."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.head_sent or self._dead:
            return
        stream.head_sent = True
        stream.ended = end_stream
        self._connection.send_headers(stream_id, [(b":status", b"%d" % status), *headers], end_stream)
        if end_stream:
            stream.local_ended = True
            self._maybe_closed(stream_id, stream, None)

    def send_informational(self, stream_id: int, status: int, headers: Headers) -> None:
        """See ``engine.Engine``."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.head_sent and not self._dead:
            self._connection.send_headers(stream_id, [(b":status", b"%d" % status), *headers])

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        """See ``engine.Engine``."""
        stream = self._streams.get(stream_id)
        if stream is None or not stream.head_sent or stream.ended or self._dead:
            return
        if data:
            stream.chunks.append(data)
            stream.size += len(data)
        stream.ended = end_stream
        self._queue(stream_id, stream)

    def send_trailers(self, stream_id: int, trailers: Headers) -> None:
        """See ``engine.Engine``."""
        stream = self._streams.get(stream_id)
        if stream is None or not stream.head_sent or stream.ended or self._dead:
            return
        stream.ended = True
        stream.trailers = trailers
        self._queue(stream_id, stream)

    def _queue(self, stream_id: int, stream: _Stream) -> None:
        if not stream.queued and (stream.size or stream.ended):
            stream.queued = True
            self._order.append(stream_id)

    def take_output(self) -> bytes:
        """See ``engine.Engine``. One frame of each stream in turn."""
        blocked: list[int] = []
        while self._order and not self._dead:
            stream_id = self._order.popleft()
            stream = self._streams.get(stream_id)
            if stream is None:
                continue
            room = min(self._connection.local_flow_control_window(stream_id), _MAX_FRAME)
            if stream.size and room <= 0:
                blocked.append(stream_id)
                continue
            self._send_frame(stream_id, stream, room)
            if stream.size:
                self._order.append(stream_id)
            else:
                stream.queued = False
        self._order.extend(blocked)
        self._flush()
        output = bytes(self._output)
        self._output.clear()
        return output

    def _send_frame(self, stream_id: int, stream: _Stream, room: int) -> None:
        connection = self._connection
        chunk = stream.next_chunk(room)
        last = stream.ended and not stream.size
        if chunk:
            connection.send_data(stream_id, chunk, last and not stream.trailers)
            self.data_frames += 1
        elif not stream.trailers:
            connection.end_stream(stream_id)  # needs no window, which may be negative
            self.data_frames += 1
        if not last:
            return
        if stream.trailers:
            connection.send_headers(stream_id, stream.trailers, end_stream=True)
        stream.local_ended = True
        self._maybe_closed(stream_id, stream, None)

    def _maybe_closed(self, stream_id: int, stream: _Stream, found: list[FrameEvent] | None) -> None:
        if not (stream.local_ended and stream.remote_ended):
            return
        del self._streams[stream_id]
        if found is None:
            self._closed.append(stream_id)
        else:
            found.append((wire.CLOSED, stream_id))

    def reset(self, stream_id: int, code: int) -> None:
        """See ``engine.Engine``."""
        if stream_id in self._streams:
            self._drop(stream_id)
            self._connection.reset_stream(stream_id, code)

    def _drop(self, stream_id: int) -> None:
        """This side resets the stream: frames that the peer sent before it knows are ignored."""
        del self._streams[stream_id]
        self._resets[stream_id] = None
        if len(self._resets) > wire.RESETS_REMEMBERED:
            del self._resets[next(iter(self._resets))]

    def consume(self, stream_id: int, size: int) -> None:
        """See ``engine.Engine``."""
        self.consume_connection(size)
        stream = self._streams.get(stream_id)
        if stream is None or stream.remote_ended or self._dead:
            return
        stream.credit += size
        if stream.credit >= self._settings.stream_window // 2:
            self._connection.increment_flow_control_window(stream.credit, stream_id)
            stream.credit = 0

    def consume_connection(self, size: int) -> None:
        """See ``engine.Engine``."""
        self._credit += size
        if self._credit >= self._settings.connection_window // 2 and not self._dead:
            self._connection.increment_flow_control_window(self._credit)
            self._credit = 0

    def pending(self, stream_id: int) -> int:
        """See ``engine.Engine``."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.size

    def local_ended(self, stream_id: int) -> bool:
        """See ``engine.Engine``."""
        stream = self._streams.get(stream_id)
        return stream is not None and stream.local_ended

    def write(self, frame: bytes) -> None:
        """See ``engine.Engine``."""
        self._flush()
        self._output += frame

    def terminate(self, code: int) -> None:
        """See ``engine.Engine``."""
        if not self._dead:
            self._dead = True
            self.write(goaway_frame(self._highest, code))

    def _flush(self) -> None:
        self._output += self._connection.data_to_send()

    def take_closed(self) -> list[int]:
        """See ``engine.Engine``."""
        closed = self._closed
        self._closed = []
        return closed


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


def create(settings: EngineSettings) -> H2Engine:
    """An engine in the server's role."""
    return H2Engine(settings)


def library_version() -> str:
    """The version of h2 that is installed."""
    return version("h2")
