"""The end of an HTTP/2 connection without TLS: what a client still sends must not destroy what it has not yet read.

The kernel answers bytes that arrive for a closed socket with a RST, and drops what the peer has not taken.
"""

from __future__ import annotations

import contextlib
import socket

import pytest

from tests.bench.http2_frames import Frames
from tests.support import http2 as c
from tests.support.apps import Receive, Scope, Send
from tests.support.running import Running, running, wait_for

INITIAL_WINDOW_SIZE = 4
LARGE_WINDOW = 2**30
SIZE = 200_000
"""More than a small receive buffer holds, less than what the server's kernel takes."""

FLOOD = 20_000
PINGS = c.frame(c.PING, 0, 0, bytes(8))

ENGINES = [f"http2-{engine}" for engine in c.ENGINES]


async def large(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x" * SIZE})


def greeted(server: Running) -> socket.socket:
    """A connection whose streams have room for the whole response; the client's kernel has not."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(60)
    sock.connect(server.address)
    start = c.PREFACE + c.settings((INITIAL_WINDOW_SIZE, LARGE_WINDOW))
    sock.sendall(start + c.window_update(0, LARGE_WINDOW - 65_535))
    return sock


def rest(sock: socket.socket) -> list[tuple[int, bytes]]:
    """All that still arrives: types and payloads of frames."""
    received = b""
    with sock, contextlib.suppress(ConnectionResetError):
        while data := sock.recv(65536):
            received += data
    return [(kind, payload) for kind, _, payload in Frames().feed(received)]


def has_ended(server: Running) -> bool:
    """Its side of every connection."""
    return all(connection.codec.closed and not connection.exchanges for connection in server.connections)


@pytest.mark.parametrize("codec", ENGINES)
def test_a_response_arrives_whole_though_the_client_goes_on_sending(codec: str) -> None:
    with running(large, codec, limits={"connectionRequests": 1}) as server:
        sock = greeted(server)
        sock.sendall(c.Speaker().headers(1))
        wait_for(lambda: server.observer.records and has_ended(server))
        sock.sendall(PINGS)  # as clients do that measure their window
        found = rest(sock)
        assert sum(len(payload) for kind, payload in found if kind == c.DATA) == SIZE
        wait_for(lambda: not server.connections)


@pytest.mark.parametrize("codec", ENGINES)
def test_a_client_that_floods_learns_why_its_connection_ends(codec: str) -> None:
    with running(large, codec) as server:
        sock = greeted(server)
        sock.sendall(PINGS * FLOOD)
        kind, payload = rest(sock)[-1]
        assert (kind, int.from_bytes(payload[4:8])) == (c.GOAWAY, 11)
        wait_for(lambda: not server.connections)
