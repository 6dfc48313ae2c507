"""Makes TLS connections one after the other and closes each as soon as its handshake is done.

``python -m … PORT SECONDS``; it prints how many there were. It needs TLS 1.3 and resumes no session.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import time

from tests.bench.servers.kind import HOST
from tests.bench.tls import client_context
from tests.bench.websocket_client import PATIENCE


def main() -> None:
    port, seconds = int(sys.argv[1]), float(sys.argv[2])
    context, count = context_of_handshakes(), 0
    deadline = time.monotonic() + seconds
    while count == 0 or time.monotonic() < deadline:
        shake(port, context)
        count += 1
    print(count, flush=True)


def context_of_handshakes() -> ssl.SSLContext:
    """Its handshakes are all of one kind."""
    context = client_context("http/1.1")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def shake(port: int, context: ssl.SSLContext) -> None:
    """One handshake. Raises ``OSError`` if it fails.

    The client's side is done before the server has read its last message; so it waits for the server's end.
    """
    with socket.create_connection((HOST, port), timeout=PATIENCE) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(plain, server_hostname=HOST) as connection, contextlib.suppress(ssl.SSLError):
            connection.unwrap().close()  # SSLError: some servers end the stream without close_notify


if __name__ == "__main__":
    main()
