"""WebSockets that send one message again and again: the harness's own client, cheap enough not to be what is measured.

Over HTTP/1.1 a connection is the WebSocket; over HTTP/2 it is the only stream of one.
"""

from __future__ import annotations

import socket
import ssl
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import hpack

from tests.bench import websocket_frames as ws
from tests.bench.http2_frames import (
    DATA,
    ENABLE_CONNECT_PROTOCOL,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    RST_STREAM,
    SETTINGS,
    WINDOW,
    Frames,
    frame,
    preface,
    settings_of,
)
from tests.bench.servers.kind import HOST
from tests.bench.tls import client_context

PATIENCE = 30.0
STREAM = 1
MESSAGE = b"x" * 32


class NoWebSocket(Exception):  # the message is what the row says
    """The server does not open one."""


@dataclass(frozen=True)
class Way:
    """How a WebSocket is opened; ``deflate``: with permessage-deflate, as browsers ask for it."""

    protocol: str
    tls: bool
    deflate: bool

    @classmethod
    def of(cls, words: Iterable[str]) -> Way:
        """From a command line: ``h1`` or ``h2``, ``tls``, ``deflate``, in any order."""
        words = set(words)
        return cls("h2" if "h2" in words else "h1", "tls" in words, "deflate" in words)


class WebSocket:
    """One that is open. ``sock`` can be waited for; ``send`` and ``receive`` move one message each way."""

    def __init__(self, port: int, way: Way) -> None:
        """Raises ``OSError`` and ``NoWebSocket``."""
        self.sock = connect(port, way)
        self._messages = ws.Messages()
        self._frames = Frames() if way.protocol == "h2" else None
        try:
            deflate = self._upgrade(way) if self._frames is None else self._extended_connect(self._frames, way)
        except BaseException:
            self.sock.close()
            raise
        payload = ws.message(compress(MESSAGE), compressed=True) if deflate else ws.message(MESSAGE)
        self._message = payload if self._frames is None else frame(DATA, 0, STREAM, payload)

    def send(self) -> None:
        self.sock.sendall(self._message)

    def receive(self) -> int:
        """Read what is there: how many messages have become whole. Raises ``OSError`` if it is closed."""
        data = read(self.sock)
        if self._frames is None:
            return self._messages.feed(data)
        return sum(self._messages.feed(payload) for payload in _stream_data(self._frames.feed(data)))

    def _upgrade(self, way: Way) -> bool:
        """Whether messages are compressed."""
        self.sock.sendall(ws.upgrade(way.deflate))
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += read(self.sock)
        head, _, rest = answer.partition(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise NoWebSocket(head.split(b"\r\n")[0].decode("latin-1"))
        self._messages.feed(rest)
        return b"permessage-deflate" in head.lower()

    def _extended_connect(self, frames: Frames, way: Way) -> bool:
        self.sock.sendall(preface({INITIAL_WINDOW_SIZE: WINDOW}))
        self._wait_for_offer(frames)
        self.sock.sendall(frame(SETTINGS, 1, 0) + ws.extended_connect(STREAM, way.tls, way.deflate))
        while True:
            for kind, flags, payload in frames.feed(read(self.sock)):
                if kind == RST_STREAM or (kind == HEADERS and flags & END_STREAM):
                    raise NoWebSocket("refuses extended CONNECT")
                if kind == HEADERS:
                    return way.deflate and accepted_deflate(payload)

    def _wait_for_offer(self, frames: Frames) -> None:
        """The server's first SETTINGS say whether it knows RFC 8441."""
        while True:
            for kind, flags, payload in frames.feed(read(self.sock)):
                if kind == SETTINGS and not flags:
                    if ENABLE_CONNECT_PROTOCOL not in settings_of(payload):
                        raise NoWebSocket("no WebSocket over HTTP/2")
                    return


def connect(port: int, way: Way) -> socket.socket:
    plain = socket.create_connection((HOST, port), timeout=PATIENCE)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not way.tls:
        return plain
    try:
        return client_context("h2" if way.protocol == "h2" else "http/1.1").wrap_socket(plain, server_hostname=HOST)
    except BaseException:
        plain.close()
        raise


def read(sock: socket.socket) -> bytes:
    data = sock.recv(65536)
    if not data:
        raise ConnectionResetError("closed by the server")
    while isinstance(sock, ssl.SSLSocket) and sock.pending():  # no selector would tell of it
        data += sock.recv(65536)
    return data


def compress(payload: bytes) -> bytes:
    """As permessage-deflate has it (RFC 7692 7.2.1)."""
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


def accepted_deflate(block: bytes) -> bool:
    """Whether the server's header block accepts the extension."""
    return any(name == b"sec-websocket-extensions" for name, _ in hpack.Decoder().decode(block, raw=True))


def _stream_data(frames: Iterable[tuple[int, int, bytes]]) -> Iterator[bytes]:
    for kind, flags, payload in frames:
        if kind == RST_STREAM or (kind == DATA and flags & END_STREAM):
            raise ConnectionResetError("the stream has ended")
        if kind == DATA:
            yield payload
