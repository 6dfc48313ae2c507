"""A hand-held HTTP/2 client for codec tests: raw frames out, h2's and hyperframe's reading of what comes back."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, HeadersFrame

from sidegate.config.schema import ConnectionLimits
from sidegate.wire import events as e
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http2 import Http2Codec, load_engine
from sidegate.wire.http2 import engine as wire
from sidegate.wire.http2.engine import Engine, FrameEvent

EngineName = Literal["nghttp2", "h2"]
ENGINES: tuple[EngineName, ...] = ("nghttp2", "h2") if load_engine("auto").name == "nghttp2" else ("h2",)
"""The engines that can be had: nghttp2's binding is not built everywhere."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
END_STREAM, END_HEADERS, PADDED, ACK = 0x1, 0x4, 0x8, 0x1
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

Pairs = list[tuple[bytes, bytes]]

GET: Pairs = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"example.org"), (b":path", b"/")]
POST: Pairs = [(b":method", b"POST"), *GET[1:]]
CONNECT: Pairs = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]]
"""A WebSocket's handshake (RFC 8441 5.1)."""


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame, whatever its contents."""
    return struct.pack(">BHBBL", len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream_id) + payload


def with_reserved_bits(one: bytes) -> bytes:
    """The frame, the reserved bits of its head and of its payload set (RFC 9113 4.1, 6.8, 6.9)."""
    made = bytearray(one)
    made[5] |= 0x80
    if made[3] in (GOAWAY, WINDOW_UPDATE):
        made[9] |= 0x80
    return bytes(made)


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HL", *pair) for pair in pairs))


def window_update(stream_id: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, struct.pack(">L", increment))


def rst_stream(stream_id: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, 0, stream_id, struct.pack(">L", code))


def goaway(last: int = 0, code: int = 0) -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack(">LL", last, code))


def data(stream_id: int, payload: bytes = b"", end: bool = False) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream_id, payload)


START = PREFACE + settings() + frame(SETTINGS, ACK, 0)
"""What a client says before its first request, our SETTINGS acknowledged."""


class Speaker:
    """Encodes header blocks with a table of its own."""

    def __init__(self) -> None:
        self._encoder = Encoder()

    def block(self, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Field by field without the table, so that blocks can be dropped and reordered by tests."""
        return self._encoder.encode([NeverIndexedHeaderTuple(*pair) for pair in fields])

    def headers(self, stream_id: int, fields: Iterable[tuple[bytes, bytes]] = GET, end: bool = True) -> bytes:
        return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream_id, self.block(fields))


@dataclass
class Answer:
    """What a client read of one stream."""

    heads: list[list[tuple[bytes, bytes]]] = field(default_factory=list)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None


@dataclass
class Heard:
    """What a client read of a connection, by frames."""

    frames: list[Any]
    streams: dict[int, Answer]
    goaways: list[tuple[int, int]]

    def window_updates(self, stream_id: int) -> int:
        return sum(f.window_increment for f in self.frames if f.type == WINDOW_UPDATE and f.stream_id == stream_id)


def listen(output: bytes, decoder: Decoder | None = None) -> Heard:
    """Read a server's output from its start (or with the ``decoder`` of what came before)."""
    decoder = decoder or Decoder()
    heard = Heard([], {}, [])
    block = b""
    while output:
        parsed: Any
        parsed, length = Frame.parse_frame_header(memoryview(output[:9]))
        parsed.parse_body(memoryview(output[9 : 9 + length]))
        output = output[9 + length :]
        heard.frames.append(parsed)
        if parsed.type == GOAWAY:
            heard.goaways.append((parsed.last_stream_id, parsed.error_code))
        if parsed.type not in (HEADERS, CONTINUATION, DATA, RST_STREAM):
            continue
        answer = heard.streams.setdefault(parsed.stream_id, Answer())
        if isinstance(parsed, HeadersFrame | ContinuationFrame):
            block += parsed.data
            if "END_HEADERS" in parsed.flags:
                answer.heads.append([(bytes(n), bytes(v)) for n, v in decoder.decode(block, raw=True)])
                block = b""
        elif isinstance(parsed, DataFrame):
            answer.body += parsed.data
        else:
            answer.reset = parsed.error_code
        answer.ended = answer.ended or "END_STREAM" in parsed.flags
    return heard


def frames_of(engine: Engine, data: bytes) -> list[FrameEvent]:
    """The frame events of ``data``, of which an engine handles only a part in a call."""
    found = engine.receive(data)
    while found and found[-1][0] == wire.MORE:
        found = found[:-1] + engine.receive(b"")
    return found


def codec(engine: EngineName, now: float = 0.0, **limits: Any) -> Http2Codec:
    chosen = ConnectionLimits(**limits)
    policy = FieldPolicy(chosen.header_fields, chosen.header_block)
    return Http2Codec(load_engine(engine), policy, chosen, now)


def started(engine: EngineName, **limits: Any) -> Http2Codec:
    """A codec whose client has sent its preface and read ours."""
    made = codec(engine, **limits)
    assert made.receive(START, 0.0) == []
    made.take_output()
    return made


def merged(found: Iterable[e.Event]) -> list[e.Event]:
    """Events with adjacent pieces of a body joined: where they are cut is nobody's business."""
    kept: list[e.Event] = []
    for event in found:
        last = kept[-1] if kept else None
        if isinstance(event, e.Body) and isinstance(last, e.Body) and last.stream_id == event.stream_id:
            kept[-1] = e.Body(event.stream_id, last.data + event.data)
        else:
            kept.append(event)
    return kept


def first_head(found: Sequence[e.Event]) -> e.RequestHead:
    """The first event, which must be a request's head."""
    head = found[0]
    assert isinstance(head, e.RequestHead)
    return head


def answer_all(made: Http2Codec, found: Iterable[e.Event]) -> None:
    """What a connection with a trivial application does: read everything, answer every request at once.

    A WebSocket is accepted, and ended when its client does.
    """
    for event in found:
        if isinstance(event, e.Body):
            made.acknowledge(event.stream_id, len(event.data))
        elif isinstance(event, e.RequestHead) and event.protocol:
            made.accept(event.stream_id, [(b"x-a", b"b")])
            made.send_data(event.stream_id, b"hello", False)
        elif isinstance(event, e.End):
            made.send_data(event.stream_id, b"bye", True)
            made.release(event.stream_id)
        elif isinstance(event, e.RequestHead | e.Rejected):
            status = event.status if isinstance(event, e.Rejected) else 200
            made.send_head(event.stream_id, status, [(b"content-type", b"text/plain")], False)
            made.send_data(event.stream_id, b"answer to %d" % event.stream_id, True)
            made.release(event.stream_id)


def violated(made: Http2Codec, sent: bytes, now: float = 0.0) -> e.Violation:
    """Send, and return the violation that must be the last event."""
    found = made.receive(sent, now)
    assert isinstance(found[-1], e.Violation)
    assert made.closed
    assert made.receive(frame(PING, 0, 0, bytes(8)), now) == []
    return found[-1]
