"""Opens many TLS connections, has one request answered on each, and keeps them: ``python -m … PORT h1|h2 COUNT``.

It prints how many it opened; then, for every line on its standard input, how many of them are still open. A request
on each makes sure that the handshake is finished on both sides and that the server's codec exists.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import sys

from tests.bench.http2_frames import DATA, END_STREAM, HEADERS, frames, get, preface
from tests.bench.servers.kind import HOST
from tests.bench.tls import client_context

PATIENCE = 30.0
H1_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
H1_END = b"Hello, world!"


def main() -> None:
    port, protocol, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    context = client_context("h2" if protocol == "h2" else "http/1.1")
    held: list[ssl.SSLSocket] = []
    while len(held) < count:
        try:
            held.append(opened(context, port, protocol))
        except OSError:
            break  # refused, reset or too slow: what is open by now is the answer
    print(len(held), flush=True)
    for _ in sys.stdin:
        print(still_open(held), flush=True)


def opened(context: ssl.SSLContext, port: int, protocol: str) -> ssl.SSLSocket:
    """A connection after its first answer. Raises ``OSError``."""
    plain = socket.create_connection((HOST, port), timeout=PATIENCE)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        secure = context.wrap_socket(plain, server_hostname="localhost")
    except BaseException:
        plain.close()
        raise
    if protocol == "h2":
        ask_h2(secure)
    else:
        ask_h1(secure)
    return secure


def ask_h1(connection: ssl.SSLSocket) -> None:
    connection.sendall(H1_REQUEST)
    answer = b""
    while not answer.endswith(H1_END):
        answer += received(connection)


def ask_h2(connection: ssl.SSLSocket) -> None:
    """Preface and SETTINGS, then a request whose fields are in HPACK's static table, but for the host."""
    connection.sendall(preface() + get(1, b"\x82\x87\x84\x01\x09localhost"))
    answer = b""
    while not any(kind in (DATA, HEADERS) and flags & END_STREAM for kind, flags in frames(answer)):
        answer += received(connection)


def received(connection: ssl.SSLSocket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionResetError("closed before the answer")
    return data


def still_open(held: list[ssl.SSLSocket]) -> int:
    """Those on which no end has arrived. What else a server sends to an idle client (PING) is read and forgotten."""
    with selectors.DefaultSelector() as selector:
        for connection in held:
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
        ended = sum(_has_ended(key.fileobj) for key, _ in selector.select(0) if isinstance(key.fileobj, ssl.SSLSocket))
    return len(held) - ended


def _has_ended(connection: ssl.SSLSocket) -> bool:
    try:
        with contextlib.suppress(ssl.SSLWantReadError):
            while connection.recv(65536):
                continue
            return True
    except OSError:
        return True
    return False


if __name__ == "__main__":
    main()
