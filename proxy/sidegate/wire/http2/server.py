"""The HTTP/2 codec: requests and responses on top of an engine's frames.

The connection calls it, and it calls an ``engine.Engine``. It owns the meaning of an engine's frames: requests,
refusals, limits and GOAWAY. The engine does framing, HPACK and flow-control arithmetic, ``streams.py`` has the state of
bodies, ``head.py`` checks fields. It never calls the connection.

Three kinds of refusal:

* malformed (RFC 9113 8.1.1): RST_STREAM(PROTOCOL_ERROR) at once and a ``Rejected`` to be counted; an answer to it is
  dropped;
* refused by policy or limit: a ``Rejected`` to be answered with an error page, then RST_STREAM(NO_ERROR) if the client
  has not finished (RFC 9113 8.1);
* a broken or abusive connection: GOAWAY, one ``Violation``, and nothing more is read or sent.

A stream above the limit is none of these: RST_STREAM(REFUSED_STREAM) and no event, because the client may try again
(RFC 9113 8.7). A request that proves malformed after its head (content-length, trailers) is reset, and its exchange
gets a ``Reset``; for trailers above a limit it gets a ``BodyRefused``.

It raises nothing; every fault of a peer is an event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidegate.asgi import Headers
from sidegate.errors import Refused
from sidegate.wire import codes
from sidegate.wire import events as e
from sidegate.wire.events import FRAMES_A_TURN, Codec, RequestHead
from sidegate.wire.fields import CLOSE, OFFER, FieldPolicy, accept_fields, reset_content
from sidegate.wire.hop import HEADER_TABLE, HOP_SETTING
from sidegate.wire.http2 import engine as wire
from sidegate.wire.http2.engine import EngineFactory, EngineSettings, Fields, FrameEvent, goaway_frame, ping_frame
from sidegate.wire.http2.floods import FloodCounters
from sidegate.wire.http2.head import CONNECT, HeadValidator, Malformed, said
from sidegate.wire.http2.streams import RequestStream, Streams

if TYPE_CHECKING:
    from sidegate.config.schema import ConnectionLimits

_GOAWAY_PING = b"sidegate"

# The most frequent kinds of frames; C integers when compiled.
_HEAD, _DATA, _END, _CLOSED, _WINDOW = wire.HEAD, wire.DATA, wire.END, wire.CLOSED, wire.WINDOW


class Http2Codec(Codec):
    """``events.Codec`` for HTTP/2, in the server's role."""

    __slots__ = (
        "_block",
        "_block_deadline",
        "_dead",
        "_draining",
        "_engine",
        "_final",
        "_floods",
        "_hop_policy",
        "_last",
        "_left",
        "_limits",
        "_noticed",
        "_now",
        "_preface_deadline",
        "_serves_front",
        "_streams",
        "_validator",
    )  # fmt: skip

    def __init__(
        self,
        engine: EngineFactory,
        policy: FieldPolicy,
        limits: ConnectionLimits,
        now: float,
        hop_policy: FieldPolicy | None = None,
        *,
        threads: bool = False,
    ) -> None:
        """``hop_policy``: this is a worker; it applies to a client whose SETTINGS announce a front.

        ``threads``: the worker runs its application on threads.
        """
        self._engine = engine(
            EngineSettings(
                concurrent_streams=limits.concurrent_streams,
                stream_window=limits.stream_window,
                header_fields=limits.header_fields,
                header_block=limits.header_block,
                continuation_frames=limits.continuation_frames,
                header_table=wire.FIRST_TABLE if hop_policy is None else HEADER_TABLE,
                hop=hop_policy is not None,
                cookies=limits.cookies,
                threads=threads and hop_policy is not None,
            )
        )
        # A front counts a request until its response has ended, a worker until its application has ended. A request
        # that is only ending must not refuse the next one, whose body may be gone when it could be sent elsewhere.
        most = limits.concurrent_streams if hop_policy is None else 2 * limits.concurrent_streams
        self._streams = Streams(self._engine, most)
        self._validator = HeadValidator(policy, limits)
        self._hop_policy = hop_policy
        self._serves_front = False
        self._floods = FloodCounters(limits, now)
        self._limits = limits
        self.more = False
        self._now = now
        self._left = 0  # frames that may still be handled in this turn
        self._last = 0  # the highest stream seen
        self._final: int | None = None  # the last stream that the final GOAWAY promised to serve
        self._draining = False  # no more streams will come
        self._noticed = False  # the client has acknowledged the PING behind the first GOAWAY
        self._dead = False
        self._block = 0
        self._block_deadline: float | None = None
        self._preface_deadline: float | None = now + limits.http2_preface

    def expect_scheme(self, scheme: bytes) -> None:
        """See ``events.Codec``. A front names the scheme of its client in its facts instead."""
        self._validator.scheme = scheme

    # State

    @property
    def closed(self) -> bool:
        """See ``events.Codec``."""
        return self._dead or (self._draining and not self._streams.open)

    @property
    def idle(self) -> bool:
        """See ``events.Codec``."""
        return not self._streams.open and not self._engine.open_block and not self.more

    @property
    def held(self) -> bool:
        """Always false: the input that is left waits for the next turn, and for nothing else."""
        return False

    def read_paused(self) -> bool:
        """While input is left of the last read; else the windows bound what the peer can send."""
        return self.more

    # Receiving

    def receive(self, data: bytes, now: float) -> list[e.Event]:
        """See ``events.Codec``."""
        found: list[e.Event] = []
        self.more = False
        if self.closed:
            return found
        self._now = now
        self._left = FRAMES_A_TURN
        engine = self._engine
        while True:
            for frame in engine.receive(data):
                self._on_frame(frame, found)
                if self._dead or (self._draining and not self._streams.open):
                    return found  # closed: a later read would not be taken either
            if not self.more or self._left <= 0:
                break
            self.more = False
            data = b""
        block = engine.open_block
        if block != self._block:
            self._block = block
            self._block_deadline = now + self._limits.continuation if block else None
        return found

    def _on_frame(self, frame: FrameEvent, found: list[e.Event]) -> None:
        kind = frame[0]
        if kind == _HEAD:
            self._on_head(frame, found)
        elif kind == _DATA:
            self._on_data(frame, found)
        elif kind == _END:
            self._end_request(frame[1], [], found)
        elif kind == _CLOSED:
            self._streams.forget(frame[1])
        elif kind == _WINDOW:
            self._on_window(found)
        else:
            _RARE[kind](self, frame, found)

    def _on_head(self, frame: FrameEvent, found: list[e.Event]) -> None:
        _, stream_id, pseudo, fields, size, end = frame
        floods, streams = self._floods, self._streams
        floods.continuations = 0
        if self._final is not None:
            # Opened before the client saw our GOAWAY: the code tells it that it may send the request elsewhere.
            self._engine.reset(stream_id, codes.REFUSED_STREAM)
            self._count_reset(found)
            return
        self._last = stream_id
        floods.streams += 1
        if streams.full():
            self._engine.reset(stream_id, codes.REFUSED_STREAM)
            self._count_reset(found)
            return
        streams.open.add(stream_id)
        try:
            method, target, headers, length, expects = self._validator.request(pseudo, fields, size)
            if end and length:
                raise Malformed("content_length_mismatch", "content-length without a body")
            if method is CONNECT and (end or length):
                raise Refused(400, "websocket_body", "a WebSocket's handshake with a body, or with its stream's end")
        except Refused as refused:
            self._reject(stream_id, refused, pseudo, end, found)
            return
        streams.running.add(stream_id)
        if method == "HEAD":
            streams.bodiless.add(stream_id)
        head = RequestHead(stream_id, method, target, headers.copy(), "2")
        if end:
            head.announce_body(length, False, True)
        elif method is CONNECT:
            head.announce_body(length, False, False)
            head.announce_protocol("websocket")
            streams.uploads[stream_id] = RequestStream(None, tunnel=True)
        else:
            head.announce_body(length, expects, False)
            streams.uploads[stream_id] = RequestStream(length)
        found.append(head)

    def _reject(self, stream_id: int, refused: Refused, pseudo: Fields, end: bool, found: list[e.Event]) -> None:
        method, target = said(pseudo)
        found.append(e.Rejected(stream_id, method, target, "2", refused.status, refused.reason, refused.detail))
        if isinstance(refused, Malformed):
            self._streams.reset(stream_id, codes.PROTOCOL_ERROR)
            self._count_reset(found)
            return
        if method in ("HEAD", ""):  # a list far above its limit was not kept, and what it asked for is unknown
            self._streams.bodiless.add(stream_id)
        if not end:
            self._streams.refuse_rest(stream_id)
            self._count_reset(found)  # answered unread: it ends in a reset that the client provoked

    def _on_data(self, frame: FrameEvent, found: list[e.Event]) -> None:
        _, stream_id, data = frame
        size = len(data)
        upload = self._streams.uploads.get(stream_id)
        if upload is None or upload.discard:
            self._engine.consume_connection(size)
            return
        if upload.missing is not None:
            upload.missing -= size
            if upload.missing < 0:
                self._engine.consume_connection(size)
                self._break(stream_id, found)
                return
        upload.unread += size
        found.append(e.Body(stream_id, data))

    def _on_trailers(self, frame: FrameEvent, found: list[e.Event]) -> None:
        _, stream_id, pseudo, fields, size, _ = frame
        self._floods.continuations = 0
        upload = self._streams.uploads.get(stream_id)
        if upload is not None and upload.tunnel:  # RFC 9113 8.5: nothing but DATA
            self._break(stream_id, found)
            return
        try:
            trailers = self._validator.trailers(pseudo, fields, size)
        except Refused as refused:
            if upload is not None:
                self._refuse_trailers(stream_id, upload, refused, found)
            return
        self._end_request(stream_id, trailers, found)

    def _refuse_trailers(self, stream_id: int, upload: RequestStream, refused: Refused, found: list[e.Event]) -> None:
        if refused.status != 431 or upload.missing:
            self._break(stream_id, found)
            return
        if not upload.discard:
            found.append(e.BodyRefused(stream_id, refused.status, refused.reason, refused.detail))
        self._streams.end_upload(stream_id, upload)

    def _end_request(self, stream_id: int, trailers: Headers, found: list[e.Event]) -> None:
        upload = self._streams.uploads.get(stream_id)
        if upload is None:
            return
        if upload.missing and not upload.discard:
            self._break(stream_id, found)
            return
        if not upload.discard:
            found.append(e.End(stream_id, trailers))
        self._streams.end_upload(stream_id, upload)

    def _break(self, stream_id: int, found: list[e.Event]) -> None:
        """Reset a request that proves malformed after its head; its exchange, if any, gets a ``Reset``."""
        if stream_id in self._streams.running:
            found.append(e.Reset(stream_id, codes.PROTOCOL_ERROR))
        self._streams.reset(stream_id, codes.PROTOCOL_ERROR)
        self._count_reset(found)

    def _on_reset(self, frame: FrameEvent, found: list[e.Event]) -> None:
        _, stream_id, code = frame
        if stream_id in self._streams.open and stream_id in self._streams.running:
            found.append(e.Reset(stream_id, code))
        self._streams.forget(stream_id)
        self._count_reset(found)

    def _on_window(self, found: list[e.Event]) -> None:
        if not self._floods.window_update(self._now, self._engine.data_frames):
            self._violate("control_flood", "too many WINDOW_UPDATE frames", codes.ENHANCE_YOUR_CALM, found)

    def _on_control(self, frame: FrameEvent, found: list[e.Event]) -> None:
        if frame[1] == wire.SETTINGS_FRAME:
            self._preface_deadline = None
        if not self._floods.control(self._now):
            self._violate("control_flood", "too many control frames", codes.ENHANCE_YOUR_CALM, found)

    def _on_settings(self, frame: FrameEvent, found: list[e.Event]) -> None:
        """Handle SETTINGS, reported only on a hop. A third-party proxy does not forward its clients' SETTINGS."""
        if self._hop_policy is not None and (HOP_SETTING, 1) in frame[1]:
            self._validator = HeadValidator(self._hop_policy, self._limits)
            self._serves_front = True

    def _on_empty(self, frame: FrameEvent, found: list[e.Event]) -> None:
        if not self._floods.empty_data(self._now):
            self._violate("empty_data_flood", "too many empty DATA frames", codes.ENHANCE_YOUR_CALM, found)

    def _on_continuation(self, frame: FrameEvent, found: list[e.Event]) -> None:
        if not self._floods.continuation():
            self._violate("continuation_flood", "too many CONTINUATION frames", codes.ENHANCE_YOUR_CALM, found)

    def _on_goaway(self, frame: FrameEvent, found: list[e.Event]) -> None:
        self._draining = True
        found.append(e.GoAway(frame[1], frame[2]))

    def _on_pong(self, frame: FrameEvent, found: list[e.Event]) -> None:
        self._noticed = self._noticed or frame[1] == _GOAWAY_PING

    def _on_more(self, frame: FrameEvent, found: list[e.Event]) -> None:
        self.more = True
        self._left -= frame[1]

    def _on_fault(self, frame: FrameEvent, found: list[e.Event]) -> None:
        _, code, detail = frame
        self._violate(wire.WORDS.get(code, "protocol_error"), detail, code, found)

    def receive_eof(self) -> list[e.Event]:
        """See ``events.Codec``. Also after a ``Violation``, so that no exchange waits for a dead connection."""
        streams = self._streams
        found: list[e.Event] = [
            e.Reset(stream_id, codes.CANCEL) for stream_id in sorted(streams.open & streams.running)
        ]
        streams.open.clear()
        self._dead = True
        self.more = False
        return found

    # Limits

    def _count_reset(self, found: list[e.Event]) -> None:
        if not self._floods.reset(self._now):
            self._violate("stream_resets", "too many streams reset", codes.ENHANCE_YOUR_CALM, found)

    def _violate(self, reason: str, detail: str, code: int, found: list[e.Event]) -> None:
        self._engine.terminate(code)
        self._dead = True
        found.append(e.Violation(reason, detail))

    def next_deadline(self) -> float | None:
        """See ``events.Codec``."""
        if self.closed:
            return None
        # Never both: a header block before the first SETTINGS is a violation.
        return self._block_deadline if self._preface_deadline is None else self._preface_deadline

    def on_deadline(self, now: float) -> list[e.Event]:
        """See ``events.Codec``."""
        found: list[e.Event] = []
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return found
        if deadline == self._block_deadline:
            self._violate("continuation_timeout", "a header block is incomplete", codes.ENHANCE_YOUR_CALM, found)
        else:
            self._violate("preface_timeout", "no SETTINGS in time", codes.PROTOCOL_ERROR, found)
        return found

    # Sending

    def send_head(self, stream_id: int, status: int, headers: Headers, end_stream: bool) -> None:
        """See ``events.Codec``. A response without a body by RFC 9110 6.4.1 ends here, whatever follows."""
        streams = self._streams
        if stream_id in streams.open:
            if status in (204, 205, 304) or stream_id in streams.bodiless:
                end_stream = True
                if status == 205:
                    headers = reset_content(headers)
                elif status == 204:  # RFC 9110 8.6: it has no content-length; clients reset the stream that has one
                    headers = [pair for pair in headers if pair[0] != b"content-length"]
            self._engine.send_head(stream_id, status, headers, end_stream)

    def close_after(self, stream_id: int, headers: Headers) -> None:
        """See ``events.Codec``."""
        if self._serves_front:
            headers.append((CLOSE, b"1"))

    def add_hop_fields(self, stream_id: int, fields: Headers, headers: Headers) -> None:
        """See ``events.Codec``."""
        for pair in fields:
            if pair[0] != b"upgrade":
                headers.append(pair)
            elif self._serves_front:
                headers.append((OFFER, pair[1]))

    def accept(self, stream_id: int, headers: Headers) -> None:
        """See ``events.Codec``."""
        upload = self._streams.uploads.get(stream_id)
        if upload is not None and upload.tunnel:
            self.send_head(stream_id, 200, accept_fields(headers), False)

    def send_informational(self, stream_id: int, status: int, headers: Headers) -> None:
        """See ``events.Codec``."""
        if stream_id in self._streams.open:
            self._engine.send_informational(stream_id, status, headers)

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        """See ``events.Codec``."""
        if stream_id in self._streams.open:
            self._engine.send_data(stream_id, data, end_stream)

    def sendfile(self, stream_id: int, size: int) -> bool:
        """See ``events.Codec``. Always false: DATA frames are made here."""
        return False

    def send_trailers(self, stream_id: int, trailers: Headers) -> None:
        """See ``events.Codec``."""
        if stream_id in self._streams.open:
            self._engine.send_trailers(stream_id, trailers)

    def reset(self, stream_id: int, code: int) -> None:
        """See ``events.Codec``."""
        if stream_id in self._streams.open:
            self._streams.reset(stream_id, code)

    def release(self, stream_id: int) -> bool:
        """See ``events.Codec``."""
        return self._streams.release(stream_id)

    def acknowledge(self, stream_id: int, size: int) -> None:
        """See ``events.Codec``."""
        self._streams.acknowledge(stream_id, size)

    def pending(self, stream_id: int) -> int:
        """See ``events.Codec``."""
        return self._engine.pending(stream_id)

    def take_output(self) -> bytes:
        """See ``events.Codec``."""
        return self._streams.take_output()

    def goaway(self, final: bool) -> None:
        """See ``events.Codec``. RFC 9113 6.8: streams that cross the first GOAWAY are still served."""
        if self._dead or self._final is not None:
            return
        if final:
            self._final = self._last
            self._draining = True
        self._engine.write(goaway_frame(self._last if final else wire.WINDOW_MAX, codes.NO_ERROR))
        if not final:
            self._engine.write(ping_frame(_GOAWAY_PING))

    def goaway_noticed(self) -> bool:
        """See ``events.Codec``."""
        return self._noticed or self._draining or self._dead


_RARE = {
    wire.CONTROL: Http2Codec._on_control,
    wire.RESET: Http2Codec._on_reset,
    wire.TRAILERS: Http2Codec._on_trailers,
    wire.EMPTY: Http2Codec._on_empty,
    wire.CONTINUATION: Http2Codec._on_continuation,
    wire.STREAM_ERROR: Http2Codec._on_reset,
    wire.GOAWAY: Http2Codec._on_goaway,
    wire.FAULT: Http2Codec._on_fault,
    wire.SETTINGS: Http2Codec._on_settings,
    wire.PONG: Http2Codec._on_pong,
    wire.MORE: Http2Codec._on_more,
}
