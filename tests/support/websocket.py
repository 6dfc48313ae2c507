"""A WebSocket client over either version of HTTP, with one face; and small applications that it talks to.

Frames are made and read by websockets' sans-I/O protocol, or are the test's own bytes (``write``), on the sockets of
``clients.py``: a connection that was upgraded, or one stream of HTTP/2. Nothing of ours reads what we wrote.
"""

from __future__ import annotations

import base64
import contextlib
import socket
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.headers import build_extension, parse_extension
from websockets.protocol import Protocol as FrameProtocol
from websockets.protocol import Side, State

from sidegate.asgi import Message
from tests.support.apps import Receive, Scope, Send
from tests.support.clients import Client, Fields, Http1Client, Http2Client, Response

KEY = base64.b64encode(bytes(range(16)))
VERSION = (b"sec-websocket-version", b"13")

Asgi = Callable[[Scope, Receive, Send], Any]


class Server(Protocol):
    """A runtime of ``running.py``, or one behind a front."""

    def client(self, codec: str, credit: bool = True, sock: Any = None) -> Client:
        """A client of that version on a connection of its own."""


class Closed(NamedTuple):
    """What the server's close frame said; 1005: no code in it, 1006: there was none. ``reset``: by the transport."""

    code: int
    reason: str
    reset: bool


class Line(Protocol):
    """The bytes of a WebSocket, whatever carries them."""

    def write(self, data: bytes) -> None:
        """Send bytes; blocks for flow control."""

    def read(self) -> bytes:
        """Bytes of the server; none when its side has ended."""

    def end(self) -> None:
        """End our side."""

    @property
    def reset(self) -> bool:
        """Whether the server's side was broken off rather than ended."""


class Http1Line:
    """The rest of a connection that was upgraded. To it the end is the end of input, however it comes."""

    def __init__(self, client: Http1Client, first: bytes) -> None:
        self._sock = client.sock
        self._first = first
        self.reset = False

    def write(self, data: bytes) -> None:
        self._sock.sendall(data)

    def read(self) -> bytes:
        data, self._first = self._first, b""
        if not data:
            try:
                data = self._sock.recv(65536)
            except ConnectionResetError:
                self.reset = True
        return data

    def end(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)


class Http2Line:
    """One stream of a connection."""

    def __init__(self, client: Http2Client, stream: int) -> None:
        self._client = client
        self._response = client.responses[stream]
        self.stream = stream

    def write(self, data: bytes) -> None:
        self._client.body(self.stream, data, end=False)

    def read(self) -> bytes:
        self._client.until(self.stream, lambda response: response.received)
        data = self._response.body
        self._response.received.clear()
        return data

    def end(self) -> None:
        self._client.body(self.stream, b"", end=True)

    @property
    def reset(self) -> bool:
        return self._response.reset


class WebSocket:
    """One that the server has accepted, or refused: then only ``response`` is of use, with its whole body."""

    def __init__(self, client: Client, stream: int, response: Response, line: Line | None) -> None:
        self.client = client
        self.stream = stream
        self.response = response
        self.status = response.status
        self._line = line
        self._protocol = FrameProtocol(Side.CLIENT, state=State.OPEN, max_size=None)
        self._frames: list[Any] = []
        self._ended = False
        self.answering = True
        """Whether pings and a close frame are answered."""
        extensions = self.get(b"sec-websocket-extensions")
        if extensions is not None:
            self._protocol.extensions = [_agreed(extensions)]

    @property
    def line(self) -> Line:
        """What carries it."""
        assert self._line is not None, f"it was refused with {self.status}"
        return self._line

    def get(self, name: bytes) -> bytes | None:
        """A header field of the answer to the handshake."""
        return self.response.get(name)

    # Sending.

    def write(self, data: bytes) -> None:
        """The test's own bytes."""
        self.line.write(data)

    def send(self, data: str | bytes) -> None:
        """A whole message."""
        if isinstance(data, str):
            self._protocol.send_text(data.encode())
        else:
            self._protocol.send_binary(data)
        self._flush()

    def send_fragments(self, *pieces: bytes) -> None:
        """One binary message in so many frames."""
        self._protocol.send_binary(pieces[0], fin=False)
        for piece in pieces[1:]:
            self._protocol.send_continuation(piece, fin=piece is pieces[-1])
        self._flush()

    def ping(self, payload: bytes) -> None:
        """A ping."""
        self._protocol.send_ping(payload)
        self._flush()

    def close(self, code: int | None = 1000, reason: str = "") -> Closed:
        """The closing handshake, begun by us; what the server answered."""
        self._protocol.send_close(code, reason)
        self._flush()
        return self.closed()

    def leave(self) -> None:
        """Go away without a word: the connection, or the stream, is lost."""
        if isinstance(self.client, Http2Client):
            self.client.reset(self.stream)
        else:
            self.client.close()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data and self.answering:
                self.line.write(data)

    # Receiving.

    def frame(self) -> Frame | None:
        """The next frame, None at the end. What has to be answered is answered."""
        while not self._frames and not self._ended:
            data = self.line.read()
            if data:
                self._protocol.receive_data(data)
            else:
                self._ended = True
                self._protocol.receive_eof()
            with contextlib.suppress(OSError):  # the server may not wait for the answer to its close frame
                self._flush()
            self._frames += self._protocol.events_received()
        assert self._protocol.parser_exc is None or self._ended, self._protocol.parser_exc
        return self._frames.pop(0) if self._frames else None

    def receive(self) -> str | bytes:
        """The next message; fails if there is none. A server of ours sends each in one frame."""
        frame = self.frame()
        while frame is not None and frame.opcode in (Opcode.PING, Opcode.PONG):
            frame = self.frame()
        assert frame is not None, "the server's side has ended"
        assert frame.fin
        assert frame.opcode in (Opcode.TEXT, Opcode.BINARY), frame
        return str(frame.data, "utf-8") if frame.opcode is Opcode.TEXT else bytes(frame.data)

    def echoed(self, data: str | bytes) -> str | bytes:
        """Send a message and receive one."""
        self.send(data)
        return self.receive()

    def until(self, opcode: Opcode) -> bytes:
        """The payload of the next frame of that kind; others are skipped."""
        while (frame := self.frame()) is not None:
            if frame.opcode is opcode:
                return bytes(frame.data)
        raise AssertionError(f"no {opcode.name} came")

    def closed(self) -> Closed:
        """Read to the end; how the server closed. Over HTTP/1.1 the connection then closes (RFC 6455 7.1.1)."""
        while self.frame() is not None:
            pass
        if not isinstance(self.client, Http2Client):
            self.client.close()
        said = self._protocol.close_rcvd
        if said is None:
            return Closed(1006, "", self.line.reset)
        return Closed(int(said.code), said.reason, self.line.reset)


def connect(
    server: Server,
    codec: str,
    path: str = "/",
    headers: Iterable[tuple[bytes, bytes]] = (),
    *,
    deflate: bool = False,
    credit: bool = True,
    sock: Any = None,
) -> WebSocket:
    """The handshake on a connection of its own. ``deflate``: offer compression as browsers do."""
    return upgrade(server.client(codec, credit, sock), path, headers, deflate=deflate)


def upgrade(
    client: Client, path: str = "/", headers: Iterable[tuple[bytes, bytes]] = (), *, deflate: bool = False
) -> WebSocket:
    """The handshake on a connection that may have served something before."""
    offer = [(b"sec-websocket-extensions", OFFER)] if deflate else []
    return ask(client, path, [*required(client), *headers, *offer])


def required(client: Client) -> Fields:
    """The fields of a right handshake, without those that every request has."""
    return [VERSION] if isinstance(client, Http2Client) else [*UPGRADE, (b"sec-websocket-key", KEY), VERSION]


UPGRADE: Fields = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]


def ask(client: Client, path: str, fields: Fields) -> WebSocket:
    """A handshake with these fields, right or wrong."""
    return answer(client, begin(client, path, fields))


def begin(client: Client, path: str, fields: Fields) -> int:
    """Ask without waiting for the answer; the stream's number."""
    if not isinstance(client, Http2Client):
        return client.begin("GET", path, fields, end=True)
    while not client.state.remote_settings.enable_connect_protocol:  # RFC 8441 3: not before the server has said so
        client.pump()
    head = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", client.scheme)]
    return client.open([*head, (b":authority", b"localhost"), (b":path", path.encode()), *fields], end=False)


def answer(client: Client, stream: int) -> WebSocket:
    """Wait for the answer."""
    response = client.until(stream, lambda response: response.status or response.informational)
    if isinstance(client, Http2Client):
        line: Line | None = Http2Line(client, stream) if response.status == 200 else None
    elif response.informational:
        assert isinstance(client, Http1Client)
        response.status, response.headers = response.informational.pop()
        line = Http1Line(client, client.rest())
    else:
        line = None
    return WebSocket(client, stream, response if line else client.finish(stream), line)


_DEFLATE = ClientPerMessageDeflateFactory(client_max_window_bits=True)
OFFER = build_extension([(_DEFLATE.name, list(_DEFLATE.get_request_params()))]).encode()
"""What browsers offer: ``permessage-deflate; client_max_window_bits``."""


def _agreed(answer: bytes) -> Any:
    ((name, parameters),) = parse_extension(answer.decode())
    assert name == _DEFLATE.name
    return _DEFLATE.process_response_params(parameters, [])


# Applications.


async def accept(receive: Receive, send: Send, **more: Any) -> None:
    """Take ``websocket.connect`` and accept."""
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept", **more})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends every message back."""
    await accept(receive, send)
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


def beside_echo(app: Asgi) -> Asgi:
    """``app``, but ``echo`` under ``/echo``."""
    return lambda scope, receive, send: (echo if scope["path"] == "/echo" else app)(scope, receive, send)


class Keeping:
    """An application that keeps what it receives, and whose ``answer`` to a message is up to the test."""

    def __init__(self, answer: Callable[[Send, Message], Any] | None = None) -> None:
        self.messages: list[Message] = []
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        while True:
            message = await receive()
            self.messages.append(message)
            if message["type"] == "websocket.disconnect":
                return
            if self._answer is not None:
                await self._answer(send, message)

    @property
    def ends(self) -> list[tuple[int, str]]:
        """Code and reason of every disconnect."""
        return [(m["code"], m["reason"]) for m in self.messages if m["type"] == "websocket.disconnect"]
