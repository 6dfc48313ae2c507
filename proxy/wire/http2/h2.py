"""The h2 engine: the pure-Python library to the interface in ``engine.py``.

Where it stands: below ``codec.py``, beside ``nghttp2.pyx``; used where that was not built. It owns an
``H2Connection`` and the splitting of input into frames; ``h2_sending.py`` is its other half.

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
from collections.abc import Iterable

import h2
import h2.events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hpack import Decoder, Encoder, HeaderTuple, HPACKError, OversizedHeaderListError

from proxy.wire.http2 import engine as wire
from proxy.wire.http2.engine import EngineSettings, Fields, FrameEvent
from proxy.wire.http2.h2_sending import MAX_FRAME, SendingHalf, Stream

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_END_STREAM = 0x1
_ACK = 0x1
_END_HEADERS = 0x4
_PADDED = 0x8
_ENCODER_TABLE = 4096
_NO_BLOCK = (0, False)
_MAX_SETTINGS = 32

_DATA, _HEADERS, _PRIORITY, _RST_STREAM, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW, _CONTINUATION = range(10)


class _Fault(Exception):
    """The connection cannot go on."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class _BoundedEncoder(Encoder):
    """A table no larger than HPACK's default, whatever the client allows: it would be our memory. As in nghttp2."""

    def _bound(self, value: int) -> None:
        Encoder.header_table_size.__set__(self, min(value, _ENCODER_TABLE))  # type: ignore[attr-defined]

    header_table_size = property(Encoder.header_table_size.fget, _bound)  # type: ignore[attr-defined]


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


def _connect(settings: EngineSettings, decoder: Decoder) -> H2Connection:
    configuration = H2Configuration(
        client_side=False,
        header_encoding=None,
        validate_inbound_headers=False,
        normalize_inbound_headers=False,
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
    )
    connection = H2Connection(configuration)
    connection.encoder = _BoundedEncoder()
    connection.decoder = decoder
    # The limit of streams is the codec's to hold; h2 would answer one too many with a connection error.
    connection.local_settings = Settings(
        client=False, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: wire.WINDOW_MAX}
    )
    connection.initiate_connection()
    connection.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: settings.stream_window})
    connection.clear_outbound_data_buffer()  # the announcement stands for h2's own SETTINGS
    increment = settings.connection_window - wire.FIRST_WINDOW
    if increment > 0:
        connection.increment_flow_control_window(increment)
    return connection


class H2Engine(SendingHalf):
    """See ``engine.Engine``."""

    def __init__(self, settings: EngineSettings) -> None:
        self._decoder = _BoundedDecoder(settings)
        super().__init__(settings, _connect(settings, self._decoder))
        self._input = bytearray()
        self._preface_missing = True
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
        self._input += data
        self._flush()  # h2's buffer is cleared when a frame is in error
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
        if length > MAX_FRAME:
            raise _Fault(wire.FRAME_SIZE_ERROR, "a frame is longer than SETTINGSMAX_FRAME_SIZE")
        if self._settings_missing and (kind != _SETTINGS or flags & _ACK):
            raise _Fault(wire.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if self._block is not _NO_BLOCK and kind != _CONTINUATION:
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

    def _feed(self, frame: bytes, silent: bool = False) -> list[h2.events.Event]:
        """Give h2 one frame. ``silent``: its answer (RST_STREAM once more) is not sent."""
        try:
            events = self._connection.receive_data(frame)
        except ProtocolError as error:
            self._connection.clear_outbound_data_buffer()
            raise _Fault(int(error.error_code), str(error)) from error
        if silent:
            self._connection.clear_outbound_data_buffer()
        self._flush()
        return events

    def _is_over(self, stream_id: int) -> bool:
        """Whether a stream was open once and is no longer. Client streams are odd."""
        return bool(stream_id & 1) and stream_id <= self._highest and stream_id not in self._streams

    def _begin_headers(self, stream_id: int, flags: int) -> None:
        """A HEADERS frame begins; called again for each piece of it that arrives."""
        if not stream_id & 1:
            raise _Fault(wire.PROTOCOL_ERROR, "HEADERS on a stream that is not a client's")
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
        self._feed(frame, stream_id in self._resets)
        self._block = (stream_id, bool(flags & _END_STREAM))
        if flags & _END_HEADERS:
            self._end_headers(found)

    def _on_continuation(self, frame: bytes, flags: int, stream_id: int, found: list[FrameEvent]) -> None:
        if self._block is _NO_BLOCK or self._block[0] != stream_id:
            raise _Fault(wire.PROTOCOL_ERROR, "CONTINUATION without its HEADERS")
        if self.open_block:
            found.append((wire.CONTINUATION,))
        self._feed(frame, stream_id in self._resets)
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
        kind = wire.HEAD if stream is None else wire.TRAILERS
        if stream is None:
            stream = self._streams[stream_id] = Stream()
            self._highest = stream_id
        found.append((kind, stream_id, *self._take_fields(), end))
        if end:
            stream.remote_ended = True
            self._maybe_closed(stream_id, stream, found)

    def _take_fields(self) -> tuple[Fields, Fields, int]:
        """(pseudo-header pairs, fields, size of the list), the pairs only up to the limits."""
        size = 0
        pseudo: list[tuple[bytes, bytes]] = []
        fields: list[tuple[bytes, bytes]] = []
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
        stream = self._streams.get(stream_id)
        if stream is None:
            if not self._is_over(stream_id):
                raise _Fault(wire.PROTOCOL_ERROR, "DATA on an idle stream")
            self._ignore(length)
            return
        if stream.remote_ended:
            raise _Fault(wire.STREAM_CLOSED, "DATA after the end of the stream")
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

    def _ignore(self, length: int) -> None:
        """Credit DATA that h2 does not see: its window stays as it was, only the peer has to be told."""
        self._ignored += length
        if self._ignored >= self._settings.connection_window // 2:
            self.write(struct.pack(">HBBBLL", 0, 4, _WINDOW, 0, 0, self._ignored))
            self._ignored = 0

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
        if last & 1 or last > self._peer_last:
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
    return h2.__version__
