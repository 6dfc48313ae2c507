"""``concurrentRequests`` and ``queueDelay``: excess requests get 503, accepted ones go on, connections stay."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvloop

from sidegate.errors import Fault
from sidegate.observe import metrics
from sidegate.wire.http1.server import DRAIN
from tests.support.apps import Gate, Receive, Scope, Send, respond
from tests.support.clients import Client, Fields, Http2Client, Response, request
from tests.support.running import Running, running, wait_for


def shed(server: Running, reason: str = "overload") -> float:
    """How many requests were refused for want of room."""
    return server.count(metrics.EXCHANGE_ERRORS, "", Fault.PROXY, reason)


def hold(server: Running, codec: str, gate: Gate, number: int) -> list[tuple[Client, int]]:
    """So many requests, each on a connection of its own, that the application has and does not answer yet."""
    held = []
    for _ in range(number):
        client = server.client(codec)
        held.append((client, client.begin("GET", "/wait", [], end=True)))
    wait_for(lambda: gate.waiting == number)
    return held


def assert_shed(response: Response) -> None:
    assert (response.status, response.reset) == (503, False)
    assert response.get(b"retry-after") == b"1"
    assert response.body.startswith(b"503 Service Unavailable: ")
    assert response.informational == []


def test_one_more_than_the_limit_is_answered_at_once(codec: str) -> None:
    gate = Gate()
    with running(gate, codec, limits={"concurrentRequests": 2}) as server:
        held = hold(server, codec, gate, 2)
        client = server.client(codec)
        for _ in range(2):  # on the one connection, which is none the worse for it
            assert_shed(request(client, "GET", "/wait"))
        wait_for(lambda: shed(server) == 2)
        assert (gate.waiting, server.observer.in_flight) == (2, 2)
        for record in server.observer.records:
            assert (record.status, record.fault, record.reason) == (503, Fault.PROXY, "overload")
        gate.open()
        assert [other.finish(stream).status for other, stream in held] == [200, 200]
        wait_for(lambda: not server.observer.open)
        assert request(client, "GET", "/x").body == b"/x"
        assert shed(server) == 2


def test_connections_do_not_count(codec: str) -> None:
    with running(Gate(), codec, limits={"concurrentRequests": 1}) as server:
        for client in [server.client(codec) for _ in range(4)]:
            assert request(client, "GET", "/x").status == 200
            wait_for(lambda: not server.observer.open)
        assert len(server.connections) == 4


def test_streams_of_one_connection_count(engine: str) -> None:
    """They come in one read, so that all of them are known before the first one's task could run."""
    gate = Gate()
    with running(gate, engine, limits={"concurrentRequests": 2}) as server:
        client = server.client(engine)
        assert isinstance(client, Http2Client)
        head: Fields = [(b":method", b"GET"), (b":scheme", client.scheme), (b":authority", b"a"), (b":path", b"/wait")]
        streams = range(1, 11, 2)
        for stream in streams:
            client.responses[stream] = Response()
            client.state.send_headers(stream, head, end_stream=True)
        client.flush()
        for stream in streams[2:]:
            assert_shed(client.finish(stream))
        assert gate.waiting == 2
        gate.open()
        assert [client.finish(stream).status for stream in streams[:2]] == [200, 200]


@pytest.mark.parametrize("limit", [0, 9])
def test_below_the_limit_or_without_one_all_are_taken(codec: str, limit: int) -> None:
    gate = Gate()
    with running(gate, codec, limits={"concurrentRequests": limit}) as server:
        held = hold(server, codec, gate, 9)
        gate.open()
        assert {client.finish(stream).status for client, stream in held} == {200}
        wait_for(lambda: not server.observer.open)
        assert (server.observer.in_flight, shed(server)) == (0, 0)


@pytest.mark.parametrize("size", [100, 70_000, 20 * 1024**2])
@pytest.mark.parametrize("declared", [True, False])
def test_a_client_that_uploads_can_read_its_503(codec: str, size: int, declared: bool) -> None:
    gate = Gate()
    with running(gate, codec, limits={"concurrentRequests": 1, "requestBody": 0}) as server:
        hold(server, codec, gate, 1)
        client = server.client(codec)
        fields = [(b"content-length", b"%d" % size)] if declared else []
        stream = client.begin("POST", "/wait", fields, end=False)
        client.body(stream, bytes(size), end=True)  # all of it, without a look at the answer
        assert_shed(client.finish(stream))
        gate.open()
        wait_for(lambda: not server.observer.open)
        if codec == "http1" and declared and size > DRAIN:  # to read on would cost more than a new connection
            client = server.client(codec)
        assert request(client, "GET", "/x").status == 200


def test_a_client_that_asks_before_it_uploads_keeps_its_body(codec: str) -> None:
    gate = Gate()
    with running(gate, codec, limits={"concurrentRequests": 1}) as server:
        hold(server, codec, gate, 1)
        expect = [(b"expect", b"100-continue"), (b"content-length", b"4")]
        client = server.client(codec)
        assert_shed(client.finish(client.begin("POST", "/wait", expect, end=False)))
        gate.open()


async def blocking(scope: Scope, receive: Receive, send: Send) -> None:
    """Blocks the event loop for as many milliseconds as the path says."""
    time.sleep(int(scope["path"][1:]) / 1000)  # noqa: ASYNC251
    await respond(send, b"done")


@contextlib.contextmanager
def held_up(server: Running) -> Iterator[None]:
    """The loop reads nothing meanwhile."""
    stopped, free = threading.Event(), threading.Event()

    def stop() -> None:
        stopped.set()
        free.wait()

    server.runtime._listeners[0].service.loop.call_soon_threadsafe(stop)
    stopped.wait()
    try:
        yield
    finally:
        free.set()


def unacknowledged(sock: socket.socket) -> int:
    """Bytes that the kernel of the other side has not confirmed."""
    return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def at_once(server: Running, codec: str, *paths: str) -> list[Response]:
    """The answers to these, each asked on a connection of its own, and read in one turn of the loop or two."""
    sockets = [server.connect() for _ in paths]
    for sock in sockets:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a request waits for an ACK
    clients = [server.client(codec, sock=sock) for sock in sockets]
    for client in clients:
        assert request(client, "GET", "/10").status == 200  # so that none of them is in the shadow of the one before
    with held_up(server):
        streams = [client.begin("GET", path, [], end=True) for client, path in zip(clients, paths, strict=True)]
        wait_for(lambda: not any(map(unacknowledged, sockets)))
    return [client.finish(stream) for client, stream in zip(clients, streams, strict=True)]


@pytest.mark.parametrize("loop_factory", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_requests_that_waited_in_their_sockets(
    codec: str, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with running(blocking, codec, loop_factory, limits={"queueDelay": "20ms"}) as server:
        answers = at_once(server, codec, *["/30"] * 8)
        late = [answer for answer in answers if answer.status == 503]
        assert 1 <= len(late) <= 6  # two are served in each turn: one that is slow is no queue
        for answer in late:
            assert_shed(answer)
        wait_for(lambda: shed(server, "queue_delay") == len(late))
        assert shed(server) == 0
        refused = [record for record in server.observer.records if record.reason]
        assert {(record.status, record.fault) for record in refused} == {(503, Fault.PROXY)}
        assert {record.reason for record in refused} == {"queue_delay"}
        assert {answer.status for answer in at_once(server, codec, "/30")} == {200}
        assert len(server.connections) == 9


def test_streams_that_waited_for_each_other(engine: str) -> None:
    with running(blocking, engine, limits={"queueDelay": "20ms"}) as server:
        client = server.client(engine)
        assert isinstance(client, Http2Client)
        assert request(client, "GET", "/10").status == 200
        head: Fields = [(b":method", b"GET"), (b":scheme", client.scheme), (b":authority", b"a"), (b":path", b"/30")]
        for stream in (3, 5, 7, 9):
            client.responses[stream] = Response()
            client.state.send_headers(stream, head, end_stream=True)
        client.flush()
        assert [client.finish(stream).status for stream in (3, 5, 7, 9)] == [200, 200, 503, 503]


def test_one_slow_request_makes_no_other_fail(codec: str) -> None:
    with running(blocking, codec, limits={"queueDelay": "1s"}) as server:
        answers = at_once(server, codec, "/600", "/0", "/0", "/0")
        assert {answer.status for answer in answers} == {200}


def test_connections_do_not_wait_for_as_many_long_turns() -> None:
    """One is accepted in each turn of the loop, and what a long turn kept waiting with it."""
    accepted: list[int] = []

    with running(blocking) as server:
        listener = server.runtime._listeners[0]
        loop = listener.service.loop

        def turn() -> None:
            # The loop calls it itself when a connection waits, but in what order with other callbacks is the kernel's.
            listener._accept(listener._sockets[0])
            time.sleep(0.05)
            loop.call_soon(look)

        def look() -> None:
            accepted.append(len(listener._opening) + len(listener.service.connections))

        with held_up(server):
            others = [server.connect() for _ in range(20)]
            loop.call_soon_threadsafe(turn)
        wait_for(lambda: bool(accepted))
        assert accepted[0] >= len(others)  # one may be in both
        wait_for(lambda: len(server.connections) == len(others))
