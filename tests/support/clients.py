"""Small blocking clients on real sockets, one for each version of HTTP, with the same face.

They stand on h11 and h2, so nothing of ours reads what we wrote. A test gets whole responses, or drives a request
step by step (``begin``, ``body``, ``finish``).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h11

Fields = list[tuple[bytes, bytes]]
TIMEOUT = 10.0


@dataclass
class Response:
    """A response as the client saw it. ``received``: its body so far; ``reset``: it broke off."""

    status: int = 0
    headers: Fields = field(default_factory=list)
    received: bytearray = field(default_factory=bytearray)
    trailers: Fields = field(default_factory=list)
    informational: list[tuple[int, Fields]] = field(default_factory=list)
    reset: bool = False

    @property
    def body(self) -> bytes:
        """A copy of ``received``: bytes, so that mypy lets a test compare it with bytes."""
        return bytes(self.received)

    def get(self, name: bytes) -> bytes | None:
        """The value of the first header field of that name."""
        return next((value for key, value in self.headers if key == name), None)


def contains(piece: bytes) -> Callable[[Response], bool]:
    """For ``Client.until``: whether ``piece`` has come."""
    return lambda response: piece in response.received


class Client(Protocol):
    """What both versions can do."""

    sock: socket.socket

    def begin(self, method: str, path: str, headers: Fields, end: bool) -> int:
        """Send a request head; the stream's number."""

    def body(self, stream: int, data: bytes, end: bool) -> None:
        """Send body; blocks for HTTP/2 flow control."""

    def until(self, stream: int, enough: Callable[[Response], object]) -> Response:
        """Read until ``enough`` of the response is there, or it is over."""

    def finish(self, stream: int) -> Response:
        """Read until that response is complete or broken off."""

    def close(self) -> None:
        """Close the socket."""


def request(client: Client, method: str, path: str, body: bytes = b"", headers: Fields | None = None) -> Response:
    """One whole exchange."""
    fields = list(headers or [])
    if body:
        fields.append((b"content-length", b"%d" % len(body)))
    stream = client.begin(method, path, fields, end=not body)
    if body:
        client.body(stream, body, end=True)
    return client.finish(stream)


LARGEST_HEAD = 1024 * 1024
"""Bytes of a response's head that the clients accept: more than a server may send."""


class Http1Client:
    """HTTP/1.1 on h11; one request at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(TIMEOUT)
        self._state = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST_HEAD)
        self._response = Response()

    def begin(self, method: str, path: str, headers: Fields, end: bool) -> int:
        self._response = Response()
        if self._state.our_state is h11.DONE:
            self._state.start_next_cycle()
        if not end and not any(name in (b"content-length", b"transfer-encoding") for name, _ in headers):
            headers = [*headers, (b"transfer-encoding", b"chunked")]
        self._send(h11.Request(method=method, target=path, headers=[(b"host", b"localhost"), *headers]))
        if end:
            self._send(h11.EndOfMessage())
        return 1

    def body(self, stream: int, data: bytes, end: bool) -> None:
        if data:
            self._send(h11.Data(data=data))
        if end:
            self._send(h11.EndOfMessage())

    def _send(self, event: h11.Event) -> None:
        self.sock.sendall(self._state.send(event) or b"")

    def until(self, stream: int, enough: Callable[[Response], object]) -> Response:
        while not enough(self._response) and not self._step():
            pass
        return self._response

    def finish(self, stream: int) -> Response:
        while not self._step():
            pass
        return self._response

    def _step(self) -> bool:
        """Take in one event; is the response over?"""
        response = self._response
        try:
            event = self._state.next_event()
        except h11.RemoteProtocolError:
            response.reset = True
            return True
        if event is h11.NEED_DATA:
            self._receive()
        elif isinstance(event, h11.InformationalResponse):
            response.informational.append((event.status_code, list(event.headers)))
        elif isinstance(event, h11.Response):
            response.status, response.headers = event.status_code, list(event.headers)
        elif isinstance(event, h11.Data):
            response.received += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            response.trailers = list(event.headers)
            return True
        else:
            response.reset = True
            return True
        return False

    def _receive(self) -> None:
        try:
            self._state.receive_data(self.sock.recv(65536))
        except ConnectionResetError:
            self._state.receive_data(b"")

    def rest(self) -> bytes:
        """After an upgrade: what has been read of the other protocol already."""
        return self._state.trailing_data[0]

    def close(self) -> None:
        self.sock.close()


class _Enduring(h2.connection.H2Connection):
    """h2 takes any GOAWAY for the end of its connection; streams that are open go on (RFC 9113 6.8)."""

    def _receive_goaway_frame(self, frame: Any) -> Any:
        before = self.state_machine.state
        found = super()._receive_goaway_frame(frame)
        self.state_machine.state = before
        return found


class Http2Client:
    """HTTP/2 on h2; any number of streams. ``credit=False`` gives no flow-control credit back.

    ``settings`` are announced beside h2's own, by identifier.
    """

    def __init__(self, sock: socket.socket, credit: bool = True, settings: Mapping[int, int] | None = None) -> None:
        self.sock = sock
        self.scheme = b"https" if isinstance(sock, ssl.SSLSocket) else b"http"
        self.credit = credit
        sock.settimeout(TIMEOUT)
        self.state = _Enduring(h2.config.H2Configuration(header_encoding=None))
        self.state.decoder.max_header_list_size = LARGEST_HEAD
        self.state.initiate_connection()
        self.flush()
        if settings:  # hyperframe cuts identifiers to eight bits
            payload = b"".join(struct.pack(">HL", *pair) for pair in settings.items())
            sock.sendall(struct.pack(">HBBBL", 0, len(payload), 4, 0, 0) + payload)
        self.responses: dict[int, Response] = {}
        self.ended: set[int] = set()
        self.goaways: list[int] = []

    def begin(self, method: str, path: str, headers: Fields, end: bool) -> int:
        pseudo = [(b":method", method.encode()), (b":scheme", self.scheme), (b":authority", b"localhost")]
        return self.open([*pseudo, (b":path", path.encode()), *headers], end)

    def open(self, head: Fields, end: bool) -> int:
        """Send a request head with pseudo-header fields; the stream's number."""
        stream = self.state.get_next_available_stream_id()
        self.responses[stream] = Response()
        self.state.send_headers(stream, head, end_stream=end)
        self.flush()
        return stream

    def body(self, stream: int, data: bytes, end: bool) -> None:
        while data:
            room = min(self.state.local_flow_control_window(stream), self.state.max_outbound_frame_size)
            if stream in self.ended:
                return
            if room <= 0:
                self.pump()
                continue
            self.state.send_data(stream, data[:room])
            data = data[room:]
            self.flush()
        if end:
            with contextlib.suppress(h2.exceptions.StreamClosedError):
                self.state.end_stream(stream)
            self.flush()

    def until(self, stream: int, enough: Callable[[Response], object]) -> Response:
        while not enough(self.responses[stream]) and stream not in self.ended:
            self.pump()
        return self.responses[stream]

    def finish(self, stream: int) -> Response:
        while stream not in self.ended:
            self.pump()
        return self.responses[stream]

    def reset(self, stream: int, code: int = 8) -> None:
        """RST_STREAM."""
        self.state.reset_stream(stream, code)
        self.flush()

    def flush(self) -> None:
        """Write what h2 has queued."""
        self.sock.sendall(self.state.data_to_send())

    def pump(self) -> None:
        """Read once and take in what came."""
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self._end_all()
            return
        for event in self.state.receive_data(data):
            self._take(event)
        self.flush()

    def _end_all(self) -> None:
        for stream, response in self.responses.items():
            response.reset = response.reset or stream not in self.ended
            self.ended.add(stream)

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaways.append(int(event.error_code or 0))
            return
        response = self.responses.get(getattr(event, "stream_id", 0) or 0)
        if response is None:
            return
        if isinstance(event, h2.events.InformationalResponseReceived):
            response.informational.append((_status(event.headers), event.headers[1:]))
        elif isinstance(event, h2.events.ResponseReceived):
            response.status, response.headers = _status(event.headers), event.headers[1:]
        elif isinstance(event, h2.events.DataReceived):
            response.received += event.data
            if self.credit and event.flow_controlled_length:
                self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            response.trailers = event.headers
        elif isinstance(event, h2.events.StreamReset):
            # RFC 9113 8.1: NO_ERROR after a whole response only asks to stop the upload.
            response.reset = event.error_code != 0 or event.stream_id not in self.ended
            self.ended.add(event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(event.stream_id)

    def close(self) -> None:
        self.sock.close()


def _status(headers: Fields) -> int:
    return int(headers[0][1])
