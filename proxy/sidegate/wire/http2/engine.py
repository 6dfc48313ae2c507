"""What the HTTP/2 codec asks of an engine: frames, HPACK, flow control and stream states, nothing of HTTP.

Where it stands: between ``server.py`` (requests, limits, policy) and the two engines, ``nghttp2.pyx`` and ``h2.py``.
An engine reports every frame that matters as a small tuple, in wire order, so that the codec alone counts,
judges and decides, and both engines lead to the same events. An engine never calls upward.

Rules that both engines hold, whatever their library would do:

* A HEADERS frame for a closed stream, and HEADERS or DATA after the peer's END_STREAM on an open one, are a
  connection error STREAM_CLOSED (RFC 9113 5.1). HEADERS for a stream that this side has reset is ignored, because the
  peer could not know yet, and reported as CONTROL.
* DATA for a closed stream is ignored and credited to the connection at once, however it was closed: nghttp2 does not
  tell of it, and what it costs is bounded by the connection's window. Padding is credited at once too.
* A second HEADERS without END_STREAM is a connection error (RFC 9113 8.1 asks for a stream error at least).
* DATA beyond a window is a connection error FLOW_CONTROL_ERROR (RFC 9113 6.9.1 leaves the choice).
* The number of concurrent streams is announced but not enforced here; the codec refuses streams.
* In the client's role every header block is a HEAD: only HTTP's status code tells an informational response from a
  final one and that from trailers. HEADERS on a stream that was never opened, and any PUSH_PROMISE, are a connection
  error.
* Header fields are kept up to the limits and counted beyond them; a block of more than ``BOMB`` times the limit
  ends the connection at once, because decoding on would be work for nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sidegate.asgi import Headers
from sidegate.wire.hop import HOP_SETTING

FrameEvent = tuple[Any, ...]
"""``(kind, …)`` with one of the kinds below; the fields that follow are given behind each."""

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
FAULT: Final = 12  # code, detail: the connection is at its end, GOAWAY is in the output; always the last
SETTINGS: Final = 13  # (identifier, value) pairs: SETTINGS received, behind its CONTROL; to a client, and on a hop
PONG: Final = 14  # 8 bytes: PING acknowledged, behind its CONTROL; in the client's role only

CONNECT_SETTING: Final = 0x8
"""SETTINGS_ENABLE_CONNECT_PROTOCOL: a server takes CONNECT with ``:protocol`` (RFC 8441 3)."""

SETTINGS_FRAME: Final = 4
PING_FRAME: Final = 6
BOMB: Final = 2
WINDOW_MAX: Final = 2**31 - 1
FIRST_WINDOW: Final = 65535
"""What a connection's window starts at, and SETTINGS cannot change (RFC 9113 6.9.2)."""

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
FLOW_CONTROL_ERROR: Final = 0x3
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
ENHANCE_YOUR_CALM: Final = 0xB

WORDS = {
    PROTOCOL_ERROR: "protocol_error",
    FLOW_CONTROL_ERROR: "flow_control_error",
    STREAM_CLOSED: "stream_closed",
    FRAME_SIZE_ERROR: "frame_size_error",
    COMPRESSION_ERROR: "compression_error",
    ENHANCE_YOUR_CALM: "excessive_load",
}
"""What a ``Violation`` calls a FAULT's code."""

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client's SETTINGS follow (RFC 9113 3.4)."""

FIRST_TABLE: Final = 4096
"""What HPACK's tables start with (RFC 9113 6.5.2)."""

RESETS_REMEMBERED = 1024
"""Streams reset by this side whose late frames are ignored; older ones have long been seen by the peer."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What one side announces and holds its peer to. Sizes in bytes.

    ``header_table`` is what the peer's encoder may use, and the most that ours uses of what the peer allows. ``hop``:
    say so to the peer, which may be the other end of one (``wire/hop.py``).
    """

    concurrent_streams: int
    stream_window: int
    header_fields: int
    header_block: int
    continuation_frames: int
    header_table: int = FIRST_TABLE
    hop: bool = False

    @property
    def connection_window(self) -> int:
        """Room for every stream's window: a stream that nobody reads can then never stop the others."""
        return min(max(self.concurrent_streams * self.stream_window, FIRST_WINDOW), WINDOW_MAX)

    def announcement(self, client: bool = False) -> bytes:
        """The SETTINGS frame that opens the connection (RFC 9113 6.5), of a client behind the preface."""
        pairs = [(0x4, self.stream_window), (0x6, self.header_block)]
        # A server's is the number of requests it takes; a client's would be of pushed responses, and it wants none.
        pairs.insert(0, (0x2, 0) if client else (0x3, self.concurrent_streams))
        if not client:
            pairs.append((CONNECT_SETTING, 1))
        if self.header_table != FIRST_TABLE:
            pairs.append((0x1, self.header_table))
        if self.hop:
            pairs.append((HOP_SETTING, 1))
        payload = b"".join(struct.pack(">HL", identifier, value) for identifier, value in pairs)
        frame = struct.pack(">HBBBL", 0, len(payload), SETTINGS_FRAME, 0, 0) + payload
        return PREFACE + frame if client else frame


def goaway_frame(last_stream_id: int, code: int) -> bytes:
    """A GOAWAY frame (RFC 9113 6.8) without debug data."""
    return struct.pack(">HBBBLLL", 0, 8, 0x7, 0, 0, last_stream_id, code)


def ping_frame(data: bytes) -> bytes:
    """A PING frame (RFC 9113 6.7) of 8 bytes that the peer sends back."""
    return struct.pack(">HBBBL8s", 0, 8, 0x6, 0, 0, data)


class Engine(Protocol):
    """One HTTP/2 connection below HTTP semantics. Calls for streams that are gone do nothing."""

    @property
    def open_block(self) -> int:
        """The ordinal (from 1) of the header block being received, 0 between blocks."""

    @property
    def data_frames(self) -> int:
        """DATA frames sent so far."""

    def receive(self, data: bytes) -> list[FrameEvent]:
        """Take bytes from the peer. Nothing more is read after a FAULT."""

    def send_request(self, headers: Headers, end_stream: bool) -> int:
        """Open a stream by a request head. Its number; 0 where none can be opened (any more).

        The caller keeps to the peer's SETTINGS_MAX_CONCURRENT_STREAMS. In the client's role only, where there are no
        ``send_head`` and no ``send_informational``.
        """

    def send_head(self, stream_id: int, status: int, headers: Headers, end_stream: bool) -> None:
        """Queue a response head; a second one is ignored."""

    def send_informational(self, stream_id: int, status: int, headers: Headers) -> None:
        """Queue a 1xx response head."""

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        """Queue body behind a head; ignored before it and after the end."""

    def send_trailers(self, stream_id: int, trailers: Headers) -> None:
        """End a response with a trailer section."""

    def reset(self, stream_id: int, code: int) -> None:
        """Queue RST_STREAM and drop what is queued for the stream."""

    def consume(self, stream_id: int, size: int) -> None:
        """Give back credit for ``size`` received bytes to the stream and the connection."""

    def consume_connection(self, size: int) -> None:
        """Give back credit to the connection alone: the stream needs none any more."""

    def pending(self, stream_id: int) -> int:
        """Body bytes queued that have not become frames yet."""

    def local_ended(self, stream_id: int) -> bool:
        """Whether END_STREAM has been sent, with the stream still open on the peer's side."""

    def write(self, frame: bytes) -> None:
        """Put a whole frame into the output as it is, without the library's knowledge."""

    def terminate(self, code: int) -> None:
        """Put GOAWAY into the output; nothing but it will be sent or read from now on."""

    def take_output(self) -> bytes:
        """Take the bytes that the peer's windows allow."""

    def take_closed(self) -> list[int]:
        """Streams that ended on both sides while output was taken."""


@dataclass(frozen=True, slots=True)
class EngineFactory:
    """An engine that can be had: its name and its library's version, for start-up line, status and metric."""

    name: str
    version: str
    create: Callable[[EngineSettings, bool], Engine]

    def __call__(self, settings: EngineSettings, client: bool = False) -> Engine:
        """An engine for one connection, in the server's role or the ``client``'s."""
        return self.create(settings, client)
