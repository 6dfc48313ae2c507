"""Which connections are closed to make room, in which order, and what their clients see."""

from __future__ import annotations

import asyncio
import fcntl
import ssl
import termios
from collections.abc import Callable, Iterable
from typing import TypeVar

from sidegate.server.connection import Connection
from sidegate.server.idle_connections import IDLE_AFTER, close_idle, is_closing, oldest_idle
from sidegate.wire.events import FRAMES_A_TURN
from tests.support import http2
from tests.support.apps import Gate, hello
from tests.support.certificates import Authority
from tests.support.clients import Http2Client, request
from tests.support.running import Running, running, wait_equal, wait_for

T = TypeVar("T")


def on_loop(server: Running, function: Callable[[float], T]) -> T:
    """``function(now)`` in the thread of the server's loop."""

    async def call() -> T:
        return function(asyncio.get_running_loop().time())

    result: T = server.run(call())
    return result


def oldest(server: Running, later: float = 0.0, count: int = 9) -> list[Connection]:
    """Those that would be closed ``later`` seconds from now."""
    return on_loop(server, lambda now: oldest_idle(server.connections, now + later, count))


def close(server: Running, connections: Iterable[Connection]) -> list[bool]:
    return on_loop(server, lambda _: [close_idle(connection) for connection in connections])


def only(server: Running) -> Connection:
    wait_for(lambda: server.connections)
    (connection,) = server.connections
    return connection


def test_an_idle_connection_is_closed(codec: str) -> None:
    with running(hello, codec) as server:
        client = server.client(codec)
        assert request(client, "GET", "/").status == 200
        wait_for(lambda: oldest(server, later=IDLE_AFTER))
        used = only(server).last_active
        assert on_loop(server, lambda _: oldest_idle(server.connections, used + 0.9 * IDLE_AFTER, 9)) == []
        assert close(server, oldest(server, later=IDLE_AFTER)) == [True]
        if isinstance(client, Http2Client):
            while not client.goaways:
                client.pump()
            assert client.goaways == [0]
        while client.sock.recv(65536):  # frames before the end: no RST
            pass
        client.close()
        wait_for(lambda: not server.connections)


def test_a_connection_with_a_request_under_way_is_not_closed(codec: str) -> None:
    app = Gate()
    with running(app, codec) as server:
        client = server.client(codec)
        stream = client.begin("GET", "/wait", [], end=True)
        wait_for(lambda: app.waiting)
        assert oldest(server, later=3600.0) == []
        app.open()
        assert client.finish(stream).status == 200


def test_the_oldest_come_first(codec: str) -> None:
    with running(hello, codec) as server:
        for count in range(1, 4):
            assert request(server.client(codec), "GET", "/").status == 200
            wait_equal(lambda: len(oldest(server, later=IDLE_AFTER)), count)
        connections = server.connections
        for age, connection in enumerate(connections):  # in no order
            connection.last_active -= age
        assert oldest(server, later=IDLE_AFTER, count=2) == [connections[2], connections[1]]


def test_a_request_that_waits_in_the_socket_keeps_the_connection(codec: str) -> None:
    with running(hello, codec) as server:
        client = server.client(codec)
        assert request(client, "GET", "/").status == 200
        connection = only(server)
        on_loop(server, lambda _: connection.transport.pause_reading())  # as a loop that did not come to it yet
        stream = client.begin("GET", "/next", [], end=True)
        sock = connection.transport.get_extra_info("socket")
        wait_for(lambda: any(fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4))))
        assert close(server, [connection]) == [False]
        on_loop(server, lambda _: connection.transport.resume_reading())
        assert client.finish(stream).body == b"/next"


def test_a_client_that_sends_nothing_goes_first_and_half_a_head_last() -> None:
    with running(hello) as server:
        half = server.connect()
        half.sendall(b"GET / HTTP/1.1\r\nho")
        wait_for(lambda: len(server.connections) == 1 and only(server).protocol)
        silent = server.connect()
        wait_for(lambda: len(server.connections) == 2)
        found = oldest(server, later=IDLE_AFTER)
        assert [connection.protocol for connection in found] == [None, "http/1.1"]
        assert close(server, found) == [True, True]
        assert silent.recv(1) == b""
        assert half.recv(1) == b""
        wait_for(lambda: not server.connections)


def test_a_connection_that_waits_only_for_its_peer_is_aborted_first(codec: str, authority: Authority) -> None:
    pair, context = authority.server("localhost"), ssl.create_default_context(cafile=authority.ca)
    context.set_alpn_protocols(["http/1.1" if codec == "http1" else "h2"])
    with running(hello, codec, tls={"certificates": [pair.as_yaml()]}) as server:
        idle = server.client(codec, sock=server.connect_tls(context))
        assert request(idle, "GET", "/").status == 200
        other = only(server)
        closing = server.client(codec, sock=server.connect_tls(context))
        assert request(closing, "GET", "/").status == 200
        wait_for(lambda: len(oldest(server, later=IDLE_AFTER)) == 2)
        other.last_active -= 1
        youngest = oldest(server, later=IDLE_AFTER)[1]
        assert close(server, [youngest]) == [True]
        assert len(server.connections) == 2  # TLS: until the peer has ended its side
        first, second = oldest(server, later=IDLE_AFTER)
        assert (first, is_closing(first), is_closing(second)) == (youngest, True, False)
        assert close(server, [first]) == [True]
        wait_for(lambda: len(server.connections) == 1)
        assert request(idle, "GET", "/").status == 200


def test_a_response_that_the_client_has_not_taken_keeps_the_connection() -> None:
    with running(hello) as server:
        client = server.client("http1")
        assert request(client, "GET", "/").status == 200
        connection = only(server)
        wait_for(lambda: oldest(server, later=IDLE_AFTER))

        def fill(_: float) -> None:
            while not connection.transport.get_write_buffer_size():
                connection.transport.write(bytes(1 << 20))

        on_loop(server, fill)
        assert oldest(server, later=3600.0) == []


def test_a_connection_with_input_that_waits_for_the_next_turn_stays_open(engine: str) -> None:
    """A request may be behind the part of a read that was handled."""
    with running(hello, engine) as server:
        sock = server.connect()
        sock.sendall(http2.START)
        wait_for(lambda: any(one.protocol for one in server.connections))

        def closed(now: float) -> bool:
            connection = only(server)
            connection.data_received(http2.window_update(0, 1) * (FRAMES_A_TURN + 1))
            assert oldest_idle([connection], now + IDLE_AFTER, 1) == [connection]
            return close_idle(connection)

        assert not on_loop(server, closed)
        assert close(server, server.connections) == [True]
        wait_for(lambda: not server.connections)
