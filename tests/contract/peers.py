"""Clients for the codec contract: independent libraries (h11, h2) that talk to a codec without a socket."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.settings
import h11

from sidegate.asgi import Headers
from sidegate.wire.events import Codec, Event, RequestHead

HOST = b"a.example"
WEBSOCKET = [(b"sec-websocket-version", b"13"), (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")]
FIRST_WINDOW = 65535
"""A connection's (RFC 9113 6.9.2)."""
END_HEADERS = 0x4
GOAWAY = 0x7
"""A flag and a frame type (RFC 9113 6.2, 6.8)."""


@dataclass
class Response:
    """What a peer has read of one response."""

    status: int = 0
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    trailers: Headers = field(default_factory=list)
    informational: list[tuple[int, Headers]] = field(default_factory=list)
    complete: bool = False
    reset: bool = False

    def header(self, name: bytes) -> bytes | None:
        """The value of a header field."""
        return dict(self.headers).get(name)


class Peer(ABC):
    """A client at the other end of ``codec``. ``events``: what the codec told and nobody has looked at yet."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.now = 1.0
        self.events: list[Event] = []
        self.responses: dict[int, Response] = {}
        self.largest = 0
        """Bytes of the largest output that was taken at once."""

    def output(self) -> bytes:
        """Take output."""
        data = self.codec.take_output()
        assert type(data) is bytes
        self.largest = max(self.largest, len(data))
        return data

    def send(self, data: bytes) -> None:
        """Let the codec read ``data``."""
        self.events += self.codec.receive(data, self.now)
        while self.codec.more:
            self.events += self.codec.receive(b"", self.now)

    def take_events(self) -> list[Event]:
        """The events since the last call."""
        events, self.events = self.events, []
        return events

    def open(
        self, method: str = "GET", path: str = "/", fields: Headers | None = None, end: bool = True
    ) -> RequestHead:
        """Send a request head; the codec must report it, and nothing else."""
        self.request(method, path, fields or [], end)
        (event,) = self.take_events()
        assert isinstance(event, RequestHead)
        return event

    @abstractmethod
    def request(self, method: str, path: str, fields: Headers, end: bool) -> None:
        """Send a request head."""

    def ask(self, path: str = "/", fields: Headers | None = None) -> RequestHead:
        """Send a WebSocket's handshake; the codec must report it, and nothing else."""
        self.handshake(path, [*WEBSOCKET, *(fields or [])])
        (event,) = self.take_events()
        assert isinstance(event, RequestHead)
        assert (event.protocol, event.end_stream, event.expect_continue) == ("websocket", False, False)
        return event

    @abstractmethod
    def handshake(self, path: str, fields: Headers) -> None:
        """Send a WebSocket's handshake. Its bytes are ``body`` then; accepted, its status is 101 or 200."""

    @abstractmethod
    def begin_head(self) -> None:
        """Send a part of a request head."""

    @abstractmethod
    def body(self, stream: int, data: bytes, end: bool = False, trailers: Headers | None = None) -> None:
        """Send a piece of body."""

    @abstractmethod
    def may_send(self, stream: int) -> int:
        """How many bytes of body the codec allows now."""

    @abstractmethod
    def abort(self, stream: int) -> None:
        """Give an unfinished request up."""

    @abstractmethod
    def stall(self) -> None:
        """Take output as far as a peer does that reads nothing more."""

    @abstractmethod
    def read(self) -> None:
        """Take all output, and give credit for it, until no more comes."""


class Http1Peer(Peer):
    """h11. The connection is at its end when ``codec.closed``: what is incomplete then stays so."""

    def __init__(self, codec: Codec) -> None:
        super().__init__(codec)
        self._h11 = h11.Connection(h11.CLIENT)
        self._stream = 0
        self._asked = self._switched = False

    def request(self, method: str, path: str, fields: Headers, end: bool) -> None:
        if self._h11.our_state is h11.DONE:
            self._h11.start_next_cycle()
        self._stream += 1
        self._asked = False
        self.responses[self._stream] = Response()
        headers = [(b"host", HOST), *fields]
        if not end and not any(name == b"content-length" for name, _ in fields):
            headers.append((b"transfer-encoding", b"chunked"))
        data = self._h11.send(h11.Request(method=method, target=path, headers=headers))
        assert data is not None
        if end:
            data += self._h11.send(h11.EndOfMessage()) or b""
        self.send(data)

    def handshake(self, path: str, fields: Headers) -> None:
        self.request("GET", path, [(b"upgrade", b"websocket"), (b"connection", b"Upgrade"), *fields], True)
        self._asked = True

    def begin_head(self) -> None:
        self.send(b"GET / HTTP/1.1\r\nHo")

    def body(self, stream: int, data: bytes, end: bool = False, trailers: Headers | None = None) -> None:
        if self._asked:
            self.send(data)
            self.events += self.codec.receive_eof() if end else []
            return
        wire = self._h11.send(h11.Data(data=data)) or b""
        if end:
            wire += self._h11.send(h11.EndOfMessage(headers=trailers or [])) or b""
        self.send(wire)

    def may_send(self, stream: int) -> int:
        return 0 if self.codec.read_paused() else 1 << 30

    def abort(self, stream: int) -> None:
        self.events += self.codec.receive_eof()

    def stall(self) -> None:
        """The kernel's buffers are full: the connection takes no output."""

    def read(self) -> None:
        response = self.responses[self._stream]
        while data := self.output():
            if self._switched:
                response.body += data
            else:
                self._h11.receive_data(data)
                self._read_events()
        if self.codec.closed:
            response.complete = response.complete or self._switched
            response.reset = not response.complete

    def _read_events(self) -> None:
        response = self.responses[self._stream]
        while (event := self._h11.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.InformationalResponse):
                response.informational.append((event.status_code, list(event.headers)))
                if event.status_code == 101:
                    self._switched = True
                    response.status, response.headers = response.informational.pop()
                    response.body = self._h11.trailing_data[0]
            elif isinstance(event, h11.Response):
                response.status, response.headers = event.status_code, list(event.headers)
            elif isinstance(event, h11.Data):
                response.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                response.complete, response.trailers = True, list(event.headers)
                return


class Http2Peer(Peer):
    """The h2 library in the client's role, with a window of ``window`` bytes for each stream."""

    def __init__(self, codec: Codec, window: int = 65535) -> None:
        super().__init__(codec)
        config = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self._h2 = h2.connection.H2Connection(config)
        self._h2.initiate_connection()
        self._h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        if window > FIRST_WINDOW:
            self._h2.increment_flow_control_window(window - FIRST_WINDOW)
        self.goaways: list[tuple[int, int]] = []  # last stream, code
        self._partial = b""
        self._unread: list[tuple[int, int]] = []
        self._flush()
        self.stall()

    def _flush(self) -> None:
        self.send(self._h2.data_to_send())

    def _send_headers(self, method: str, path: str, fields: Headers, end: bool) -> None:
        stream = self._h2.get_next_available_stream_id()
        self.responses[stream] = Response()
        pseudo = [
            (b":method", method.encode()),
            (b":scheme", b"https"),
            (b":authority", HOST),
            (b":path", path.encode()),
        ]
        if method == "CONNECT":
            pseudo.append((b":protocol", b"websocket"))
        self._h2.send_headers(stream, [*pseudo, *fields], end_stream=end)

    def request(self, method: str, path: str, fields: Headers, end: bool) -> None:
        self._send_headers(method, path, fields, end)
        self._flush()

    def handshake(self, path: str, fields: Headers) -> None:
        self.request("CONNECT", path, fields, False)

    def begin_head(self) -> None:
        self._send_headers("GET", "/", [], True)
        frame = bytearray(self._h2.data_to_send())
        frame[4] &= ~END_HEADERS
        self.send(bytes(frame))

    def body(self, stream: int, data: bytes, end: bool = False, trailers: Headers | None = None) -> None:
        while data:
            piece = data[: min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)]
            data = data[len(piece) :]
            self._h2.send_data(stream, piece, end_stream=end and not data and not trailers)
        if end and trailers:
            self._h2.send_headers(stream, trailers, end_stream=True)
        self._flush()

    def may_send(self, stream: int) -> int:
        return self._h2.local_flow_control_window(stream)

    def abort(self, stream: int) -> None:
        self._h2.reset_stream(stream, 0x8)
        self._flush()

    def stall(self) -> None:
        while data := self.output():
            for event in self._h2.receive_data(self._without_goaway(data)):
                self._on_event(event)
            self._flush()

    def _without_goaway(self, data: bytes) -> bytes:
        """Keep GOAWAY frames to this class: the library takes one for the end of all streams, RFC 9113 6.8 does not."""
        data = self._partial + data
        kept = b""
        while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3]):
            size = 9 + int.from_bytes(data[:3])
            frame, data = data[:size], data[size:]
            if frame[3] == GOAWAY:
                self.goaways.append((int.from_bytes(frame[9:13]), int.from_bytes(frame[13:17])))
            else:
                kept += frame
        self._partial = data
        return kept

    def read(self) -> None:
        self.stall()
        while self._unread:
            for stream, size in self._unread:
                self._h2.acknowledge_received_data(size, stream)
            self._unread.clear()
            self._flush()
            self.stall()

    def _on_event(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.InformationalResponseReceived():
                status, *headers = event.headers or []
                self.responses[event.stream_id].informational.append(
                    (int(status[1]), [(name, value) for name, value in headers])
                )
            case h2.events.ResponseReceived():
                status, *headers = event.headers or []
                self.responses[event.stream_id].status = int(status[1])
                self.responses[event.stream_id].headers = [(name, value) for name, value in headers]
            case h2.events.DataReceived():
                self.responses[event.stream_id].body += event.data or b""
                self._unread.append((event.stream_id, event.flow_controlled_length or 0))
            case h2.events.TrailersReceived():
                self.responses[event.stream_id].trailers = [(name, value) for name, value in event.headers or []]
            case h2.events.StreamEnded():
                self.responses[event.stream_id].complete = True
            case h2.events.StreamReset():
                self.responses[event.stream_id].reset = True


MakePeer = Callable[..., Peer]
"""Makes a peer with a fresh codec. Keyword ``window``: the peer's credit for a stream in bytes, where it has one."""
