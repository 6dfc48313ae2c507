"""One client must not take the whole: fair shares of the requests in flight, of WebSockets, and the minimum rate.

The hog comes from one loopback address and the honest clients from another.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sidegate.aio.clock import TICK
from sidegate.errors import Fault
from sidegate.observe import metrics
from sidegate.server import min_rate
from sidegate.server.connection import Connection
from tests.support import proxy_headers, websocket
from tests.support import running as in_process
from tests.support.apps import Gate, Receive, Scope, Send, read_body, respond
from tests.support.clients import Client, Fields, Http1Client, Response, contains, request
from tests.support.running import Run, RunningServer, wait_for

HOG, HONEST = "127.0.0.2", "127.0.0.3"


@pytest.fixture
def wide(place: str) -> dict[str, Any]:
    """Settings with which the limit of the front is reached first."""
    return {"pool": {"workers": 1, "concurrency": 2000}} if place == "pool" else {}


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    yield opened
    for sock in opened:
        sock.close()


class Clients:
    """Makes clients that have the address ``host``."""

    def __init__(self, server: RunningServer, codec: str, sockets: list[socket.socket], host: str) -> None:
        self._server, self._codec, self._sockets, self._host = server, codec, sockets, host

    def client(self) -> Client:
        sock = socket.create_connection(self._server.address, 60, source_address=(self._host, 0))
        self._sockets.append(sock)
        return self._server.client(self._codec, sock=sock)

    def held(self, streams: int, method: str = "POST", path: str = "/wait") -> list[tuple[Client, int]]:
        """Requests whose bodies never arrive, ten on each connection of HTTP/2."""
        found: list[tuple[Client, int]] = []
        client = None
        for number in range(streams):
            if client is None or isinstance(client, Http1Client) or number % 10 == 0:
                client = self.client()
            found.append((client, client.begin(method, path, [], end=method == "GET")))
        return found


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body of an upload."""
    if scope["method"] == "POST":
        await read_body(receive)
    await respond(send, scope["path"].encode())


def counted(server: RunningServer, fault: Fault, reason: str, route: str = "") -> float:
    return server.count(metrics.EXCHANGE_ERRORS, route, fault, reason)


def in_flight(server: RunningServer, number: int) -> Callable[[], bool]:
    return lambda: server.count(metrics.IN_FLIGHT, "test") == number


def assert_share(response: Response) -> None:
    assert (response.status, response.reset) == (429, False)
    assert response.get(b"retry-after") == b"1"
    assert response.body.startswith(b"429 Too Many Requests: ")


@pytest.mark.parametrize("first", ["hog", "honest"])
def test_uploads_that_never_arrive_take_no_place_of_others(
    codec: str, running: Run, sockets: list[socket.socket], first: str, wide: dict[str, Any]
) -> None:
    """The hog that was found had 11 connections with 100 uploads each, where 1000 requests may be in flight."""
    limit = 40 if codec == "http1" else 100
    with running(app, codec, limits={"concurrentRequests": limit}, **wide) as server:
        honest = Clients(server, codec, sockets, HONEST)
        if first == "honest":
            honest.held(1)
            wait_for(in_flight(server, 1))
        hog = Clients(server, codec, sockets, HOG)
        hog.held(limit + limit // 10)
        fault, reason = (Fault.PROXY, "overload") if first == "hog" else (Fault.CLIENT, "client_share")
        least = limit // 10 if first == "hog" else limit * 3 // 10
        wait_for(lambda: counted(server, fault, reason) >= least)  # all have come
        for number in range(30):
            assert request(honest.client(), "GET", f"/{number}").body == b"/%d" % number
        kept = honest.held(limit // 10)
        for client, stream in kept:
            client.body(stream, b"x", end=True)
            assert client.finish(stream).status == 200
        refused = request(hog.client(), "GET", "/")
        if first == "hog":  # it was alone
            assert refused.status == 503
        else:
            assert_share(refused)


def test_a_client_that_is_alone_loses_nothing(codec: str, running: Run, wide: dict[str, Any]) -> None:
    """All requests come from one address: a NAT, or a balancer that says nothing about its clients."""
    gate = Gate()
    with running(gate, codec, limits={"concurrentRequests": 10}, **wide) as server:
        clients = [server.client(codec) for _ in range(12)]
        streams = [client.begin("GET", "/wait", [], end=True) for client in clients[:10]]
        wait_for(lambda: gate.waiting == 10)
        assert [request(client, "GET", "/wait").status for client in clients[10:]] == [503, 503]
        gate.open()
        assert {client.finish(stream).status for client, stream in zip(clients, streams, strict=False)} == {200}
        assert counted(server, Fault.CLIENT, "client_share") == 0


def test_behind_a_trusted_proxy_its_clients_share(codec: str, running: Run, wide: dict[str, Any]) -> None:
    gate = Gate()
    with running(gate, codec, limits={"concurrentRequests": 10}, trustedProxies=["127.0.0.0/8"], **wide) as server:

        def ask(number: int, address: bytes | None) -> tuple[Client, int]:
            client = server.client(codec)
            fields = [] if address is None else [(b"x-forwarded-for", address)]
            return client, client.begin("GET", f"/wait/{number}", fields, end=True)

        asked = [ask(number, b"192.0.2.1") for number in range(6)]
        asked += [ask(number, None) for number in range(2)]  # the proxy's own, of which nothing is a client's
        wait_for(lambda: gate.waiting == 8)
        hog, stream = ask(9, b"192.0.2.1")
        assert_share(hog.finish(stream))
        asked += [ask(number, b"192.0.2.2") for number in range(1)]
        asked += [ask(number, None) for number in range(1)]
        wait_for(lambda: gate.waiting == 10)
        gate.open()
        assert {client.finish(stream).status for client, stream in asked} == {200}


def test_the_client_that_a_proxy_header_names(codec: str) -> None:
    gate = Gate()
    listener = {"proxyProtocol": True}
    limits = {"concurrentRequests": 10}
    with in_process.running(gate, codec, listener=listener, limits=limits, trustedProxies=["127.0.0.0/8"]) as server:

        def ask(host: str) -> tuple[Client, int]:
            sock = server.connect()
            sock.sendall(proxy_headers.line((host, 4711), ("2001:db8::80" if ":" in host else "192.0.2.80", 80)))
            client = server.client(codec, sock=sock)
            return client, client.begin("GET", "/wait", [], end=True)

        asked = [ask(f"2001:db8::{number}") for number in range(7)]  # one network
        asked += [ask("2001:db8:0:1::1")]
        wait_for(lambda: gate.waiting == 8)
        hog, stream = ask("2001:db8::7")
        assert_share(hog.finish(stream))
        asked += [ask("192.0.2.1")]
        wait_for(lambda: gate.waiting == 9)
        gate.open()
        assert {client.finish(stream).status for client, stream in asked} == {200}


def test_a_limit_of_each_client(codec: str, running: Run, sockets: list[socket.socket], wide: dict[str, Any]) -> None:
    gate = Gate()
    with running(gate, codec, limits={"requestsPerClient": 2, "concurrentRequests": 0}, **wide) as server:
        held = Clients(server, codec, sockets, HOG).held(2, "GET") + Clients(server, codec, sockets, HONEST).held(
            2, "GET"
        )
        wait_for(lambda: gate.waiting == 4)
        hog = Clients(server, codec, sockets, HOG).client()
        assert_share(request(hog, "GET", "/wait"))
        wait_for(lambda: counted(server, Fault.CLIENT, "client_limit") == 1)
        gate.open()
        assert {client.finish(stream).status for client, stream in held} == {200}
        wait_for(in_flight(server, 0))
        assert request(hog, "GET", "/x").body == b"/x"


@pytest.mark.parametrize("limits", [{"websocketsPerClient": 3}, {"websockets": 5}], ids=["limit", "share"])
def test_websockets(codec: str, running: Run, sockets: list[socket.socket], limits: dict[str, int]) -> None:
    reason = "client_share" if "websockets" in limits else "client_limit"
    with running(websocket.echo, codec, limits=limits) as server:
        held = server.runtime._listeners[0].service.bounds.admission.websockets.holdings
        hog = Clients(server, codec, sockets, HOG)
        opened = [websocket.upgrade(Clients(server, codec, sockets, HONEST).client())]
        opened += [websocket.upgrade(hog.client()) for _ in range(3)]
        refused = websocket.upgrade(hog.client())
        assert (refused.status, refused.get(b"retry-after")) == (429, b"1")
        wait_for(lambda: counted(server, Fault.CLIENT, reason) == 1)
        opened += [websocket.upgrade(Clients(server, codec, sockets, "127.0.0.4").client())]
        assert [one.echoed("x") for one in opened] == ["x"] * 5
        for one in opened[:2]:
            assert one.close().code == 1000
        wait_for(lambda: len(held) == 3)
        assert websocket.upgrade(hog.client()).echoed("x") == "x"


def test_one_line_names_the_client_and_the_limit(
    codec: str, sockets: list[socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    with in_process.running(gate, codec, limits={"concurrentRequests": 10}) as server:
        Clients(server, codec, sockets, HONEST).held(1, "GET")
        wait_for(lambda: gate.waiting == 1)
        hog = Clients(server, codec, sockets, HOG)
        hog.held(7, "GET")
        wait_for(lambda: gate.waiting == 8)
        for _ in range(3):
            assert_share(request(hog.client(), "GET", "/"))
        lines = [record.getMessage() for record in caplog.records if record.name == "sidegate.limits"]
        wanted = "holds 7 of 8 requests in flight: further ones get 429 (limits.concurrentRequests: 10)"
        assert lines == [f"client {HOG} {wanted}"]
        gate.open()


# The minimum rate.


def ticks(server: RunningServer, seconds: float) -> None:
    """So many seconds pass for the minimum rate, as the clock would count them."""

    async def pass_time() -> None:
        for _ in range(int(seconds / TICK)):
            for connection in server.connections:
                min_rate.check_rates(connection)
            await asyncio.sleep(0)

    server.run(pass_time())


def ended(server: RunningServer, route: str = "all") -> float:
    return counted(server, Fault.CLIENT, "min_rate", route)


def test_a_body_that_does_not_come_frees_its_place(codec: str, running: Run, wide: dict[str, Any]) -> None:
    """No more of them are ended than necessary."""
    with running(app, codec, limits={"concurrentRequests": 10}, **wide) as server:
        clients = [server.client(codec) for _ in range(10)]
        streams = [client.begin("POST", "/", [], end=False) for client in clients]
        wait_for(waiting_for_bodies(server, 10))
        ticks(server, 4)
        assert ended(server) == 0
        ticks(server, 30)
        wait_for(in_flight(server, 8))
        assert ended(server) == 2
        found = []
        for client, stream in zip(clients, streams, strict=True):
            with contextlib.suppress(ConnectionError):  # it was refused, and its connection closed
                client.body(stream, b"x", end=True)
            found.append(client.finish(stream).status)
        assert sorted(found) == [200] * 8 + [408] * 2


def waiting_for_bodies(server: RunningServer, number: int) -> Callable[[], bool]:
    """Whether so many applications wait for more of a body; a thread other than the loop's may look at it."""
    return lambda: (
        number
        == sum(exchange.waits_for_body for one in server.connections for exchange in list(one.exchanges.values()))
    )


GRPC = [(b"content-type", b"application/grpc+proto"), (b"te", b"trailers")]


async def mixed(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers as the path says."""
    if scope["path"] == "/events":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
        await receive()
        await read_until_released()
        await send({"type": "http.response.body", "body": b"data: y\n\n"})
        return
    if scope["path"] == "/busy":
        await read_until_released()
    await respond(send, await read_body(receive) if scope["method"] == "POST" else b"x")


async def read_until_released() -> None:
    while not RELEASED.is_set():
        await asyncio.sleep(0.005)


RELEASED = threading.Event()


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    RELEASED.clear()
    yield
    RELEASED.set()


def press(server: RunningServer, codec: str, sockets: list[socket.socket]) -> None:
    """Nine requests of the hog, in each of which the application is the one to act."""
    Clients(server, codec, sockets, HOG).held(9, "GET", "/busy")
    wait_for(in_flight(server, 9))


@pytest.mark.parametrize("asked", [("GET", "/events", []), ("POST", "/rpc", GRPC), ("POST", "/busy", [])])
def test_who_does_not_owe_anything_may_be_silent(
    codec: str, running: Run, sockets: list[socket.socket], wide: dict[str, Any], asked: tuple[str, str, Fields]
) -> None:
    """An event a minute, a message a minute, and an application that does not ask for the body."""
    method, path, fields = asked
    if wide and path == "/busy":
        pytest.skip("a front asks for the body on behalf of its worker")
    with running(mixed, codec, limits={"concurrentRequests": 10}, **wide) as server:
        press(server, codec, sockets)
        client = Clients(server, codec, sockets, HOG).client()
        stream = client.begin(method, path, list(fields), end=method == "GET")
        if method == "GET":
            client.until(stream, contains(b"data: x"))
        else:
            client.body(stream, b"first", end=False)
            wait_for(lambda: any(received(server)))
        ticks(server, 150)
        RELEASED.set()
        if method == "POST":
            client.body(stream, b"last", end=True)
        response = client.finish(stream)
        assert (response.status, response.reset) == (200, False)
        assert response.body in (b"firstlast", b"data: x\n\ndata: y\n\n")
        assert ended(server) == 0


def received(server: RunningServer) -> Iterator[int]:
    return (exchange.record.bytes_in for one in server.connections for exchange in list(one.exchanges.values()))


def test_an_upload_may_pause_if_it_was_fast(
    codec: str, running: Run, sockets: list[socket.socket], wide: dict[str, Any]
) -> None:
    """``curl -T -`` with a pause of a minute."""
    with running(mixed, codec, limits={"concurrentRequests": 10}, **wide) as server:
        press(server, codec, sockets)
        client = Clients(server, codec, sockets, HOG).client()
        stream = client.begin("POST", "/up", [], end=False)
        client.body(stream, bytes(20_000), end=False)
        wait_for(lambda: any(size == 20_000 for size in received(server)))
        ticks(server, 60)
        assert ended(server) == 0
        ticks(server, 30)
        wait_for(lambda: ended(server) == 1)
        assert client.finish(stream).status == 408


def test_a_client_that_holds_little_is_not_judged(
    codec: str, running: Run, sockets: list[socket.socket], wide: dict[str, Any]
) -> None:
    with running(mixed, codec, limits={"concurrentRequests": 10}, **wide) as server:
        press(server, codec, sockets)
        client = Clients(server, codec, sockets, HONEST).client()
        stream = client.begin("POST", "/up", [], end=False)
        wait_for(waiting_for_bodies(server, 1))
        ticks(server, 150)
        client.body(stream, b"late", end=True)
        assert client.finish(stream).body == b"late"


def test_below_four_fifths_nobody_is_judged(codec: str, running: Run, wide: dict[str, Any]) -> None:
    with running(app, codec, limits={"concurrentRequests": 10, "requestsPerClient": 10}, **wide) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/up", [], end=False)
        wait_for(waiting_for_bodies(server, 1))
        ticks(server, 150)
        client.body(stream, b"late", end=True)
        assert client.finish(stream).body == b"/up"


async def large(scope: Scope, receive: Receive, send: Send) -> None:
    """More than the kernel's buffers hold."""
    if scope["path"] == "/busy":
        await read_until_released()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(200):
        await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
    await send({"type": "http.response.body"})


def test_a_response_that_is_not_taken_frees_its_place(
    codec: str, running: Run, sockets: list[socket.socket], wide: dict[str, Any]
) -> None:
    with running(large, codec, limits={"concurrentRequests": 10}, **wide) as server:
        press(server, codec, sockets)
        sock = socket.create_connection(server.address, 60, source_address=(HOG, 0))
        sockets.append(sock)
        client = server.client(codec, credit=False, sock=sock)
        stream = client.begin("GET", "/", [], end=True)
        wait_for(lambda: any(map(waits, server.connections)))
        ticks(server, 4)
        assert ended(server) == 0
        ticks(server, 6)
        wait_for(lambda: ended(server) == 1)
        wait_for(in_flight(server, 9))
        assert client.finish(stream).reset
        listener = server.count(metrics.CONNECTION_ERRORS, "test", "min_rate")
        assert listener == (codec == "http1")


def waits(connection: Connection) -> bool:
    """Whether bytes wait for the client."""
    if connection.transport.get_write_buffer_size():
        return True
    return any(connection.codec.pending(stream) for stream in list(connection.exchanges))
