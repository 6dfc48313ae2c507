"""Large responses to clients that read nothing: what waits for them is limited, and nobody else waits for it."""

from __future__ import annotations

import functools
import socket
from pathlib import Path
from typing import Any

import pytest

from sidegate.errors import Fault
from sidegate.observe import metrics
from sidegate.server import backlog, timeouts
from sidegate.server.backlog import Backlog
from tests.support import relaying
from tests.support.apps import Receive, Scope, Send, respond
from tests.support.clients import Fields, Http2Client, Response, request
from tests.support.running import Run, Running, RunningServer, running, wait_for

LARGE = bytes(10 * 1024 * 1024)
"""One object for all responses, so that the tests themselves need little memory."""


class Application:
    """Answers with a large message. ``calls``: so many times; ``failed``: so often ``send`` raised."""

    def __init__(self) -> None:
        self.calls = self.failed = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/large":
            await respond(send, scope["path"].encode())
            return
        self.calls += 1
        try:
            await respond(send, LARGE)
        except OSError:
            self.failed += 1
            raise


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients with a large backlog are given up early."""
    for module in (backlog, timeouts):
        monkeypatch.setattr(module, "PATIENCE", 0.3)


@pytest.fixture
def pooled(tmp_path: Path) -> Run:
    """Serve an application in a worker behind a front."""
    return functools.partial(relaying.behind_a_front, tmp_path)


def begin_large(client: Http2Client, number: int) -> list[int]:
    """Ask for so many large responses in one write."""
    head: Fields = [(b":method", b"GET"), (b":scheme", client.scheme), (b":authority", b"a"), (b":path", b"/large")]
    streams = []
    for _ in range(number):
        stream = client.state.get_next_available_stream_id()
        client.responses[stream] = Response()
        client.state.send_headers(stream, head, end_stream=True)
        streams.append(stream)
    client.flush()
    return streams


def http2_client(server: RunningServer, engine: str, credit: bool = True) -> Http2Client:
    client = server.client(engine, credit)
    assert isinstance(client, Http2Client)
    return client


def backlog_of(server: RunningServer) -> Backlog:
    """The one of the process that clients connect to."""
    found: Any = server.runtime
    kept: Backlog = found._listeners[0].service.bounds.backlog
    return kept


def slow_clients(server: Running, status: int) -> int:
    """How many exchanges ended because their client was slow, by the status of the response."""
    return sum(record.status == status for record in server.observer.records if record.reason == "slow_client")


def test_a_client_that_reads_nothing_cannot_ask_for_more(engine: str) -> None:
    app = Application()
    with running(app, engine) as server:
        clients = [http2_client(server, engine, credit=False) for _ in range(4)]
        for client in clients:
            begin_large(client, 20)
        wait_for(lambda: server.observer.in_flight == 80)
        assert app.calls == 4  # one on each connection
        assert backlog_of(server).waiting == 4 * len(LARGE)
        for _ in range(3):
            assert request(server.client(engine), "GET", "/small").body == b"/small"
        for client in clients:
            client.close()
        wait_for(lambda: not server.observer.open)
        assert (app.calls, app.failed) == (4, 4)
        assert backlog_of(server).waiting == 0


def test_a_client_that_reads_gets_all_of_them(engine: str) -> None:
    """Also while others read nothing."""
    app = Application()
    with running(app, engine) as server:
        begin_large(http2_client(server, engine, credit=False), 5)
        wait_for(lambda: app.calls == 1)
        client = http2_client(server, engine)
        for stream in begin_large(client, 5):
            response = client.finish(stream)
            assert (response.status, response.reset, len(response.received)) == (200, False, len(LARGE))
        assert app.calls == 6


def test_a_small_backlog_delays_nothing(engine: str) -> None:
    app = Application()
    with running(app, engine) as server:
        client = http2_client(server, engine, credit=False)
        begin_large(client, 1)  # less than may wait in the process
        wait_for(lambda: app.calls == 1)
        client.credit = True
        assert client.finish(client.begin("GET", "/small", [], end=True)).status == 200


@pytest.mark.usefixtures("impatient")
def test_a_client_that_goes_on_to_read_nothing_is_given_up(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    app = Application()
    with running(app, engine) as server:
        client = http2_client(server, engine, credit=False)
        streams = begin_large(client, 6)
        assert client.finish(streams[0]).reset
        client.state.increment_flow_control_window(100_000)  # of the connection, for the error pages
        client.flush()
        refused = [client.finish(stream) for stream in streams[1:]]
        assert {(response.status, response.get(b"retry-after")) for response in refused} == {(429, b"1")}
        wait_for(lambda: not server.observer.open)
        assert (slow_clients(server, 200), slow_clients(server, 429)) == (1, 5)
        assert server.count(metrics.EXCHANGE_ERRORS, "all", Fault.CLIENT, "slow_client") == 1
        assert backlog_of(server).waiting == 0
        assert app.calls == app.failed == 1
        # The connection is none the worse for it.
        assert client.finish(client.begin("HEAD", "/small", [], end=True)).status == 200
    (line,) = [record.message for record in caplog.records if record.name == "sidegate.limits"]
    assert line.startswith("client 127.0.0.1 reads too slowly: 10")


def test_a_request_that_waits_ends_with_its_client(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "PATIENCE", 1e9)
    monkeypatch.setattr(timeouts, "PATIENCE", 1e9)
    app = Application()
    with running(app, engine) as server:
        client = http2_client(server, engine, credit=False)
        streams = begin_large(client, 4)
        wait_for(lambda: server.observer.in_flight == 4)
        for stream in streams[1:]:
            client.reset(stream)
        wait_for(lambda: server.observer.in_flight == 1)
        assert app.calls == 1
        client.reset(streams[0])
        wait_for(lambda: not server.observer.open)


@pytest.mark.usefixtures("impatient")
def test_connections_that_take_nothing_are_given_up() -> None:
    """HTTP/1.1 has one response at a time on a connection."""
    app = Application()
    with running(app) as server:
        socks = [narrow(server) for _ in range(3)]
        for sock in socks:
            sock.sendall(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n" * 3)
        wait_for(lambda: app.calls == app.failed == 3)
        wait_for(lambda: not server.connections)
        assert server.violations("slow_client") >= 1
        assert slow_clients(server, 200) >= 1
        assert backlog_of(server).waiting == 0


def narrow(server: RunningServer) -> socket.socket:
    """A connection whose peer holds little of what it does not read."""
    sock = server.connect()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return sock


@pytest.mark.usefixtures("impatient")
def test_the_connection_of_a_trusted_proxy_is_never_slow(engine: str) -> None:
    """But a stream that holds much is given up: it has one client."""
    app = Application()
    with running(app, engine, trustedProxies=["127.0.0.1"]) as server:
        client = http2_client(server, engine, credit=False)
        streams = begin_large(client, 5)
        assert all(client.finish(stream).reset for stream in streams)
        wait_for(lambda: app.calls == app.failed == 5)
        wait_for(lambda: slow_clients(server, 200) == 5)


@pytest.mark.usefixtures("impatient")
def test_a_worker_gives_up_what_its_front_does_not_take(engine: str, pooled: Run) -> None:
    """The worker has the messages, of which the front takes a window."""
    app = Application()
    with pooled(app, engine) as server:
        client = http2_client(server, engine, credit=False)
        streams = begin_large(client, 10)
        wait_for(lambda: app.calls == app.failed == 10)
        client.credit = True  # it comes to what the front has, and to the end of it
        client.state.increment_flow_control_window(1 << 30)
        for stream in streams:
            client.state.increment_flow_control_window(1 << 20, stream)
        client.flush()
        assert all(client.finish(stream).reset for stream in streams)
        wait_for(lambda: not server.observer.open)
        assert backlog_of(server).waiting == 0
        assert {(record.fault, record.reason) for record in server.observer.records} == {(Fault.CLIENT, "slow_client")}
        assert request(server.client(engine), "GET", "/small").body == b"/small"


def test_a_large_message_leaves_in_pieces(codec: str) -> None:
    """So that a connection which takes nothing holds no copy of it."""
    app = Application()
    with running(app, codec) as server:
        client = server.client(codec)
        if isinstance(client, Http2Client):
            client.state.increment_flow_control_window(1 << 30)
            client.state.update_settings({4: 1 << 30})
            client.flush()
        stream = client.begin("GET", "/large", [], end=True)
        wait_for(lambda: any(connection.write_paused for connection in server.connections))
        (connection,) = server.connections
        assert connection.transport.get_write_buffer_size() < 400_000
        response = client.finish(stream)
        assert response.received == LARGE
