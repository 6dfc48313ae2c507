"""An HTTP/2 server that does what a test says, frame by frame, on a unix socket."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from hpack import Decoder, Encoder
from hyperframe.frame import Frame, HeadersFrame

from tests.support import http2
from tests.support.clients import TIMEOUT

PREFACE = http2.PREFACE
OK = [(b":status", b"200")]


class RawPeer:
    """One accepted connection, its SETTINGS sent."""

    def __init__(self, sock: socket.socket, settings: tuple[tuple[int, int], ...], then: bytes = b"") -> None:
        self.sock = sock
        sock.settimeout(TIMEOUT)
        self._decoder = Decoder()
        self._encoder = Encoder()
        self._unread = b""
        self.frames: list[Any] = []
        self._take(len(PREFACE))
        self.send(http2.settings(*settings), then)

    def send(self, *frames: bytes) -> None:
        self.sock.sendall(b"".join(frames))

    def head(self, stream: int, fields: list[tuple[bytes, bytes]], end: bool = False) -> bytes:
        """A HEADERS frame."""
        flags = http2.END_HEADERS | (http2.END_STREAM if end else 0)
        return http2.frame(http2.HEADERS, flags, stream, self._encoder.encode(fields))

    def answer(self, stream: int, body: bytes = b"ok") -> None:
        """A whole response."""
        self.send(self.head(stream, OK), http2.data(stream, body, end=True))

    def read(self) -> Any:
        """The next frame."""
        frame: Any
        frame, length = Frame.parse_frame_header(memoryview(self._take(9)))
        frame.parse_body(memoryview(self._take(length)))
        self.frames.append(frame)
        return frame

    def read_until(self, kind: int) -> Any:
        """The next frame of that kind; PINGs are left unanswered, SETTINGS are acknowledged."""
        while True:
            frame = self.read()
            if frame.type == http2.SETTINGS and "ACK" not in frame.flags:
                self.send(http2.frame(http2.SETTINGS, http2.ACK, 0))
            if frame.type == kind:
                return frame

    def request(self) -> tuple[int, dict[bytes, bytes]]:
        """The next request's stream and header fields."""
        frame = self.read_until(http2.HEADERS)
        assert isinstance(frame, HeadersFrame)
        assert "END_HEADERS" in frame.flags
        return frame.stream_id, {bytes(n): bytes(v) for n, v in self._decoder.decode(frame.data, raw=True)}

    def body(self, size: int) -> bytes:
        """So many bytes of DATA."""
        found = b""
        while len(found) < size:
            found += self.read_until(http2.DATA).data
        return found

    def close(self) -> None:
        self.sock.close()

    def _take(self, size: int) -> bytes:
        while len(self._unread) < size:
            data = self.sock.recv(65536)
            assert data, "the front closed the connection"
            self._unread += data
        found, self._unread = self._unread[:size], self._unread[size:]
        return found

    def wait_closed(self) -> None:
        """Return once the front has closed the connection."""
        while self.sock.recv(65536):
            pass


class RawServer:
    """A listening unix socket."""

    def __init__(self, folder: Path, name: str = "raw.sock") -> None:
        self.path = str(folder / name)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen()
        self._listening.settimeout(TIMEOUT)
        self.peers: list[RawPeer] = []

    def accept_only(self) -> socket.socket:
        """The next connection, without SETTINGS."""
        return self._listening.accept()[0]

    def accept(self, *settings: tuple[int, int], then: bytes = b"") -> RawPeer:
        """The next connection. ``then`` is sent together with the SETTINGS."""
        peer = RawPeer(self.accept_only(), settings, then)
        self.peers.append(peer)
        return peer

    def close(self) -> None:
        """Refuse from now on; connections stay open until the end of the test."""
        self._listening.close()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
        for peer in self.peers:
            peer.close()
