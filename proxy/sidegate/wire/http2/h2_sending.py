"""The sending half of the h2 engine: the queue of each stream, the order of the streams, HEADERS and DATA frames.

It is the base of ``h2.H2Engine``, which adds the receiving half. It owns the output and the state of the streams; h2
owns the windows. It raises nothing.

HEADERS and DATA are written here and not by h2: its state machine and frame objects cost more for a small response than
all the rest of this engine, only to check what this module already ensures (one head, then body, then nothing). h2 gets
what it needs to check the peer: windows are debited in the objects where h2 credits them, and a stream that has ended
on both sides is removed from h2's streams. h2 writes RST_STREAM, WINDOW_UPDATE and the acknowledgements itself; each is
moved into the output as soon as h2 has made it, so that frames are sent in the order of the calls.
"""

from __future__ import annotations

import struct
from collections import deque

from sidegate.asgi import Headers
from sidegate.wire.events import PIECE
from sidegate.wire.http2 import engine as wire
from sidegate.wire.http2.engine import EngineSettings, FrameEvent, goaway_frame
from sidegate.wire.http2.h2_connection import connect
from sidegate.wire.http2.h2_library import H2Stream

FRAME = struct.Struct(">BHBBL")
"""A frame's first nine bytes: length (8 and 16 bits), type, flags, stream."""

MAX_FRAME = 16384
"""The longest frame sent or received, even if the peer would take longer ones."""

_DATA, _HEADERS, _CONTINUATION = 0x0, 0x1, 0x9
_END_STREAM, _END_HEADERS = 0x1, 0x4


class Stream:
    """The state of an open stream in this engine."""

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
        "window",
    )

    def __init__(self, window: H2Stream) -> None:
        self.window = window  # h2 keeps the stream's windows up to date there
        self.credit = 0  # bytes consumed for which no WINDOW_UPDATE was sent yet
        self.remote_ended = False
        self.local_ended = False  # END_STREAM is in the output
        self.head_sent = False
        self.chunks: deque[bytes] = deque()
        self.offset = 0  # bytes of the first chunk already sent
        self.size = 0
        self.queued = False  # is in the engine's order
        self.ended = False  # nothing more will be queued
        self.trailers: Headers = []

    def next_chunk(self, most: int) -> bytes:
        """Take up to ``most`` bytes, from as many pieces as needed."""
        if self.size <= most and len(self.chunks) == 1 and not self.offset:
            self.size = 0
            return self.chunks.popleft()
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


class SendingHalf:
    """Everything of ``engine.Engine`` but ``receive``."""

    def __init__(self, settings: EngineSettings, client: bool) -> None:
        self._settings = settings
        self._client = client
        self._connection = connect(settings, client)
        self._output = [settings.announcement(client)]
        self._streams: dict[int, Stream] = {}
        self._order: deque[int] = deque()  # streams with something to send, the next one first
        self._resets: dict[int, None] = {}  # streams reset by this side, oldest first
        self._forgotten = 0  # the highest stream that is no longer in `_resets`
        self._closed: list[int] = []
        self._credit = 0  # like Stream.credit, for the connection
        self._highest = 0  # of the client's streams
        self._dead = False
        self.open_block = 0
        self.data_frames = 0
        self._flush()

    def send_request(self, headers: Headers, end_stream: bool) -> int:
        """See ``engine.Engine``."""
        stream_id = self._highest + 2 if self._highest else 1
        if self._dead or stream_id > wire.WINDOW_MAX:
            return 0
        self._highest = stream_id
        stream = self._streams[stream_id] = Stream(self._connection.open_stream(stream_id))
        stream.head_sent = True
        stream.ended = stream.local_ended = end_stream
        self._send_block(stream_id, headers, end_stream)
        return stream_id

    def send_head(self, stream_id: int, status: int, headers: Headers, end_stream: bool) -> None:
        """See ``engine.Engine``."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.head_sent or self._dead:
            return
        stream.head_sent = True
        stream.ended = end_stream
        self._send_block(stream_id, [(b":status", b"%d" % status), *headers], end_stream)
        if end_stream:
            stream.local_ended = True
            self._maybe_closed(stream_id, stream, None)

    def send_informational(self, stream_id: int, status: int, headers: Headers) -> None:
        """See ``engine.Engine``."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.head_sent and not self._dead:
            self._send_block(stream_id, [(b":status", b"%d" % status), *headers], False)

    def _send_block(self, stream_id: int, fields: Headers, end_stream: bool) -> None:
        block = self._connection.encoder.block(fields)
        kind, flags = _HEADERS, _END_STREAM if end_stream else 0
        while len(block) > MAX_FRAME:
            self._output += FRAME.pack(0, MAX_FRAME, kind, flags, stream_id), block[:MAX_FRAME]
            block = block[MAX_FRAME:]
            kind, flags = _CONTINUATION, 0
        self._output += FRAME.pack(0, len(block), kind, flags | _END_HEADERS, stream_id), block

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

    def _queue(self, stream_id: int, stream: Stream) -> None:
        if not stream.queued and (stream.size or stream.ended):
            stream.queued = True
            self._order.append(stream_id)

    def take_output(self) -> bytes:
        """See ``engine.Engine``. The streams take turns, one frame each, until there are ``PIECE`` bytes of body."""
        connection = self._connection
        blocked: list[int] = []
        piece = 0
        while self._order and not self._dead and piece < PIECE:
            stream_id = self._order.popleft()
            stream = self._streams.get(stream_id)
            if stream is None:
                continue
            window = min(connection.outbound_flow_control_window, stream.window.outbound_flow_control_window)
            if stream.size and window <= 0:
                blocked.append(stream_id)
                continue
            before = stream.size
            self._send_frame(stream_id, stream, min(window, MAX_FRAME))
            piece += before - stream.size
            if stream.size:
                self._order.append(stream_id)
            else:
                stream.queued = False
        self._order.extend(blocked)
        output = b"".join(self._output)
        self._output.clear()
        return output

    def _send_frame(self, stream_id: int, stream: Stream, room: int) -> None:
        chunk = stream.next_chunk(room)
        size = len(chunk)
        last = stream.ended and not stream.size
        if size or not stream.trailers:  # an end without data needs no window, which may be negative
            flags = _END_STREAM if last and not stream.trailers else 0
            self._output += FRAME.pack(0, size, _DATA, flags, stream_id), chunk
            self._connection.outbound_flow_control_window -= size
            stream.window.outbound_flow_control_window -= size
            self.data_frames += 1
        if not last:
            return
        if stream.trailers:
            self._send_block(stream_id, stream.trailers, True)
        stream.local_ended = True
        self._maybe_closed(stream_id, stream, None)

    def _maybe_closed(self, stream_id: int, stream: Stream, found: list[FrameEvent] | None) -> None:
        if not (stream.local_ended and stream.remote_ended):
            return
        del self._streams[stream_id], self._connection.streams[stream_id]
        if found is None:
            self._closed.append(stream_id)
        else:
            found.append((wire.CLOSED, stream_id))

    def reset(self, stream_id: int, code: int) -> None:
        """See ``engine.Engine``."""
        if stream_id in self._streams and not self._dead:
            self._connection.reset_stream(stream_id, code)
            self._flush()
            self._drop(stream_id)

    def _drop(self, stream_id: int) -> None:
        """Note that this side has reset the stream: frames that the peer sent before it knew are ignored."""
        del self._streams[stream_id]
        self._connection.forget(stream_id)
        self._resets[stream_id] = None
        if len(self._resets) > wire.RESETS_REMEMBERED:
            oldest = next(iter(self._resets))
            del self._resets[oldest]
            self._forgotten = max(self._forgotten, oldest)

    def consume(self, stream_id: int, size: int) -> None:
        """See ``engine.Engine``."""
        self.consume_connection(size)
        stream = self._streams.get(stream_id)
        if stream is None or stream.remote_ended or self._dead:
            return
        stream.credit += size
        if stream.credit >= self._settings.stream_window // 2:
            self._connection.increment_flow_control_window(stream.credit, stream_id)
            self._flush()
            stream.credit = 0

    def consume_connection(self, size: int) -> None:
        """See ``engine.Engine``."""
        self._credit += size
        if self._credit >= self._settings.connection_window // 2 and not self._dead:
            self._connection.increment_flow_control_window(self._credit)
            self._flush()
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
        self._output.append(frame)

    def terminate(self, code: int) -> None:
        """See ``engine.Engine``."""
        if not self._dead:
            self._dead = True
            self.write(goaway_frame(0 if self._client else self._highest, code))

    def _flush(self) -> None:
        self._output.append(self._connection.data_to_send())

    def take_closed(self) -> list[int]:
        """See ``engine.Engine``."""
        closed = self._closed
        self._closed = []
        return closed
