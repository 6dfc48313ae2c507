"""Opens many connections, has one request answered on each, and keeps them.

``python -m … PORT COUNT [h2] [tls] [deflate] [websocket]``; with the last word what is opened are WebSockets, and what
is answered is a message.

It prints how many it opened; then, for every line on its standard input, how many of them are still open. A request
on each makes sure that the handshake is finished on both sides and that the server's codec exists.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import sys

from tests.bench.http2_frames import DATA, END_STREAM, HEADERS, Frames, get, preface
from tests.bench.websocket_client import NoWebSocket, Way, WebSocket, connect, read

H1_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
H1_END = b"Hello, world!"


def main() -> None:
    port, count, way = int(sys.argv[1]), int(sys.argv[2]), Way.of(sys.argv[3:])
    opened = opened_websocket if "websocket" in sys.argv[3:] else opened_connection
    held: list[socket.socket] = []
    while len(held) < count:
        try:
            held.append(opened(port, way))
        except (OSError, NoWebSocket):
            break  # refused, reset or too slow: what is open by now is the answer
    print(len(held), flush=True)
    for _ in sys.stdin:
        print(still_open(held), flush=True)


def opened_connection(port: int, way: Way) -> socket.socket:
    """One after its first answer. Raises ``OSError``."""
    connection = connect(port, way)
    if way.protocol == "h2":
        ask_h2(connection)
    else:
        ask_h1(connection)
    return connection


def opened_websocket(port: int, way: Way) -> socket.socket:
    """One after its first echo. Raises ``OSError`` and ``NoWebSocket``."""
    one = WebSocket(port, way)
    one.send()
    while not one.receive():
        continue
    return one.sock


def ask_h1(connection: socket.socket) -> None:
    connection.sendall(H1_REQUEST)
    answer = b""
    while not answer.endswith(H1_END):
        answer += read(connection)


def ask_h2(connection: socket.socket) -> None:
    """Preface and SETTINGS, then a request whose fields are in HPACK's static table, but for the host."""
    connection.sendall(preface() + get(1, b"\x82\x87\x84\x01\x09localhost"))
    frames, ended = Frames(), False
    while not ended:
        answer = frames.feed(read(connection))
        ended = any(kind in (DATA, HEADERS) and flags & END_STREAM for kind, flags, _ in answer)


def still_open(held: list[socket.socket]) -> int:
    """Those on which no end has arrived. What else a server sends to an idle client (PING) is read and forgotten."""
    with selectors.DefaultSelector() as selector:
        for connection in held:
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ, connection)
        ended = sum(_has_ended(key.data) for key, _ in selector.select(0))
    return len(held) - ended


def _has_ended(connection: socket.socket) -> bool:
    try:
        with contextlib.suppress(ssl.SSLWantReadError, BlockingIOError):
            while connection.recv(65536):
                continue
            return True
    except OSError:
        return True
    return False


if __name__ == "__main__":
    main()
