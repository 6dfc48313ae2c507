"""The interface between the HTTP/2 codecs and an engine: frames, HPACK, flow control and stream states, no HTTP.

The codecs (requests, limits, policy) use the two engines, ``nghttp2.pyx`` and ``h2.py``. An engine reports every frame
that matters as a small tuple, in wire order, so that only the codec counts, checks and decides, and both engines lead
to the same events. An engine never calls the codec.

Rules of both engines, whatever their library does by itself:

* HEADERS or DATA for a closed stream, and after the peer's END_STREAM on an open one, are a connection error
  STREAM_CLOSED (RFC 9113 5.1). For a stream that this side has reset they are ignored, because the peer may not know of
  the reset yet: HEADERS is reported as CONTROL, and DATA is credited to the connection at once. Padding is credited at
  once too.
* A second HEADERS without END_STREAM is a connection error (RFC 9113 8.1 requires a stream error at least).
* DATA beyond a window is a connection error FLOW_CONTROL_ERROR (RFC 9113 6.9.1 allows either).
* The engine announces the number of concurrent streams but does not enforce it; the codec refuses streams.
* In the client's role every header block is a HEAD: only HTTP's status code distinguishes an informational response
  from a final one and a final one from trailers. HEADERS on a stream that was never opened, and any PUSH_PROMISE, are a
  connection error.
* Header fields are kept up to the limits and counted beyond them; a block of more than ``BOMB`` times the limit ends
  the connection at once, because it would be useless to decode the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sidegate.asgi import Headers
from sidegate.wire import codes
from sidegate.wire.hop import HOP_SETTING, THREADS_SETTING

FRAMES: Final = 8
"""Frames that one call of ``receive`` handles: so few that nearly nothing is decoded behind a frame that breaks a limit
of the codec, and so many that it costs nothing to call again."""

FrameEvent = tuple[Any, ...]
"""``(kind, …)`` with one of the kinds below; the comment of each kind lists the other items."""

Fields = tuple[tuple[bytes, bytes], ...]
"""Header fields in order, as an engine decoded them."""

HEAD: Final = 0  # stream, pseudo-header pairs, field pairs (both tuples), size of the list, end_stream
DATA: Final = 1  # stream, bytes (never empty)
END: Final = 2  # stream: END_STREAM on a DATA frame
CLOSED: Final = 3  # stream: both sides have ended
WINDOW: Final = 4  # a WINDOW_UPDATE frame
CONTROL: Final = 5  # frame type: SETTINGS, PING, PRIORITY, a type unknown, or a HEADERS that is ignored
RESET: Final = 6  # stream, code: RST_STREAM received
TRAILERS: Final = 7  # like HEAD, always with end_stream
EMPTY: Final = 8  # a DATA frame without data and without END_STREAM on an open stream
CONTINUATION: Final = 9  # a CONTINUATION frame
STREAM_ERROR: Final = 10  # stream, code: the engine reset a stream because of a peer's frame
GOAWAY: Final = 11  # code, last stream: GOAWAY received
FAULT: Final = 12  # code, detail: the connection has failed, GOAWAY is in the output; always the last event
SETTINGS: Final = 13  # (identifier, value) pairs: SETTINGS received, after its CONTROL; to a client, and on a hop
PONG: Final = 14  # 8 bytes: PING acknowledged, after its CONTROL
MORE: Final = 15  # number of frames handled: input is left; always the last event

CONNECT_SETTING: Final = 0x8
"""SETTINGS_ENABLE_CONNECT_PROTOCOL: the server accepts CONNECT with ``:protocol`` (RFC 8441 3)."""

SETTINGS_FRAME: Final = 4
PING_FRAME: Final = 6
BOMB: Final = 2
WINDOW_MAX: Final = 2**31 - 1
FIRST_WINDOW: Final = 65535
"""Initial window of a connection, which SETTINGS cannot change (RFC 9113 6.9.2)."""

WORDS = {
    codes.PROTOCOL_ERROR: "protocol_error",
    codes.FLOW_CONTROL_ERROR: "flow_control_error",
    codes.STREAM_CLOSED: "stream_closed",
    codes.FRAME_SIZE_ERROR: "frame_size_error",
    codes.COMPRESSION_ERROR: "compression_error",
    codes.ENHANCE_YOUR_CALM: "excessive_load",
}
"""The reason of a ``Violation`` by the code of a FAULT."""

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""The bytes that a client sends before its SETTINGS (RFC 9113 3.4)."""

FIRST_TABLE: Final = 4096
"""Initial size of HPACK's tables (RFC 9113 6.5.2)."""

RESETS_REMEMBERED = 1024
"""Number of streams reset by this side whose late frames are ignored; the peer knows older resets for certain.

DATA that still comes for these or lower streams is no error: a client may have given up more streams than that at once.
"""


CRUMB_OVERHEAD = 32 + len("cookie") - len("; ")
"""Bytes by which a crumb counts for more than it adds to the joined field."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What one side announces and requires of its peer. Sizes are in bytes.

    ``header_table`` is the table size that the peer's encoder may use, and the most that our encoder uses of what the
    peer allows. ``cookies``: how many more fields, for crumbs, an engine keeps of a request (RFC 9113 8.2.3); the codec
    checks what they are. ``hop``: announce a hop to the peer, which may be its other end (``wire/hop.py``);
    ``threads``: and that this end runs its application on threads.
    """

    concurrent_streams: int
    stream_window: int
    header_fields: int
    header_block: int
    continuation_frames: int
    header_table: int = FIRST_TABLE
    hop: bool = False
    cookies: int = 0
    threads: bool = False

    @property
    def most_fields(self) -> int:
        """Number of fields, crumbs among them, that an engine keeps of a header list."""
        return self.header_fields + self.cookies

    @property
    def largest_block(self) -> int:
        """Size of a header list, as RFC 9113 6.5.2 counts, up to which an engine keeps its fields."""
        return self.header_block + self.cookies * CRUMB_OVERHEAD

    @property
    def connection_window(self) -> int:
        """Window of the connection: room for every stream's window, so that an unread stream cannot stop the others."""
        return min(max(self.concurrent_streams * self.stream_window, FIRST_WINDOW), WINDOW_MAX)

    def announcement(self, client: bool = False) -> bytes:
        """The SETTINGS frame that opens the connection (RFC 9113 6.5); for a client the preface is in front of it."""
        pairs = [(0x4, self.stream_window), (0x6, self.header_block)]
        # A server announces the number of requests it takes. A client would announce that of pushes, and it wants none.
        pairs.insert(0, (0x2, 0) if client else (0x3, self.concurrent_streams))
        if not client:
            pairs.append((CONNECT_SETTING, 1))
        if self.header_table != FIRST_TABLE:
            pairs.append((0x1, self.header_table))
        if self.hop:
            pairs.append((HOP_SETTING, 1))
        if self.threads:
            pairs.append((THREADS_SETTING, 1))
        payload = b"".join(struct.pack(">HL", identifier, value) for identifier, value in pairs)
        frame = struct.pack(">HBBBL", 0, len(payload), SETTINGS_FRAME, 0, 0) + payload
        return PREFACE + frame if client else frame


def goaway_frame(last_stream_id: int, code: int) -> bytes:
    """A GOAWAY frame (RFC 9113 6.8) without debug data."""
    return struct.pack(">HBBBLLL", 0, 8, 0x7, 0, 0, last_stream_id, code)


def ping_frame(data: bytes) -> bytes:
    """A PING frame (RFC 9113 6.7) of 8 bytes, which the peer sends back."""
    return struct.pack(">HBBBL8s", 0, 8, 0x6, 0, 0, data)


class Engine(Protocol):
    """One HTTP/2 connection without the semantics of HTTP. Calls for streams that have ended do nothing."""

    @property
    def open_block(self) -> int:
        """The ordinal (from 1) of the header block being received, 0 between blocks."""

    @property
    def data_frames(self) -> int:
        """DATA frames sent so far."""

    def receive(self, data: bytes) -> list[FrameEvent]:
        """Take bytes from the peer. Nothing more is read after a FAULT.

        A call handles up to ``FRAMES`` frames. If input is left then, the last event is MORE: ``receive(b"")``
        continues.
        """

    def send_request(self, headers: Headers, end_stream: bool) -> int:
        """Open a stream with a request head. Returns its number; 0 if none can be opened (any more).

        The caller respects the peer's SETTINGS_MAX_CONCURRENT_STREAMS. Only the client's role has this method; it has
        neither ``send_head`` nor ``send_informational``.
        """

    def send_head(self, stream_id: int, status: int, headers: Headers, end_stream: bool) -> None:
        """Queue a response head; a second one is ignored."""

    def send_informational(self, stream_id: int, status: int, headers: Headers) -> None:
        """Queue a 1xx response head."""

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        """Queue body after a head; ignored before the head and after the end."""

    def send_trailers(self, stream_id: int, trailers: Headers) -> None:
        """End a response with a trailer section."""

    def reset(self, stream_id: int, code: int) -> None:
        """Queue RST_STREAM and drop what is queued for the stream."""

    def consume(self, stream_id: int, size: int) -> None:
        """Give credit for ``size`` received bytes back to the stream and the connection."""

    def consume_connection(self, size: int) -> None:
        """Give credit back to the connection alone, because the stream needs none any more."""

    def pending(self, stream_id: int) -> int:
        """Body bytes that are queued and not yet in frames."""

    def local_ended(self, stream_id: int) -> bool:
        """Whether END_STREAM has been sent, with the stream still open on the peer's side."""

    def write(self, frame: bytes) -> None:
        """Put a whole frame into the output unchanged; the library does not see it."""

    def terminate(self, code: int) -> None:
        """Put GOAWAY into the output; nothing else is sent or read from now on."""

    def take_output(self) -> bytes:
        """Take the bytes that the peer's windows allow."""

    def take_closed(self) -> list[int]:
        """Streams that ended on both sides while output was taken."""


@dataclass(frozen=True, slots=True)
class EngineFactory:
    """An available engine: its name and its library's version, for the start-up line, status and metric."""

    name: str
    version: str
    create: Callable[[EngineSettings, bool], Engine]

    def __call__(self, settings: EngineSettings, client: bool = False) -> Engine:
        """Create an engine for one connection, in the server's role or the ``client``'s."""
        return self.create(settings, client)
