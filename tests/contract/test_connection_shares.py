"""One client must not have all connections: what a front that has nearly as many as it may have closes and refuses."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Any

import pytest

from sidegate.config.schema import Limits
from sidegate.config.validation import validate
from sidegate.observe import metrics
from sidegate.server import connection_shares, descriptors, idle_connections
from sidegate.server.connection_shares import LARGEST_BATCH as MANY
from tests.support import proxy_headers
from tests.support.apps import Gate, hello
from tests.support.certificates import Authority
from tests.support.clients import Client, request
from tests.support.running import Running, running, wait_for

HOG, HONEST = "127.0.0.2", "127.0.0.3"


@pytest.fixture(autouse=True)
def idle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_connections, "IDLE_AFTER", 0.0)
    monkeypatch.setattr(descriptors, "IDLE_AFTER", 0.0)


class Clients:
    """Connections from different addresses, closed at the end."""

    def __init__(self, server: Running, codec: str) -> None:
        self._server, self._codec = server, codec

    def connect(self, host: str) -> socket.socket:
        sock = socket.create_connection(self._server.address, 60, source_address=(host, 0))
        self._server._clients.append(sock)
        return sock

    def client(self, host: str) -> Client:
        """One that has had a response, so the server has counted its connection."""
        client = self._server.client(self._codec, sock=self.connect(host))
        assert request(client, "GET", "/").status == 200
        return client

    def is_refused(self, host: str) -> bool:
        """Whether the server closes a new connection."""
        client = self._server.client(self._codec, sock=self.connect(host))
        with contextlib.suppress(ConnectionError):
            return request(client, "GET", "/").reset
        return True


def counts(server: Running) -> dict[str, int]:
    count = server.runtime._listeners[0].service.bounds.connections
    assert isinstance(count, connection_shares.ConnectionShares)
    return count.shares.counts


def violations(server: Running, reason: str) -> float:
    return server.count(metrics.CONNECTION_ERRORS, "test", reason)


def test_a_client_that_has_most_loses_its_idlest_connection(codec: str, caplog: pytest.LogCaptureFixture) -> None:
    with running(hello, codec, limits={"connections": 100}) as server:
        clients = Clients(server, codec)
        honest = clients.client(HONEST)
        hog = [clients.client(HOG) for _ in range(120)]
        assert counts(server)[HOG] <= 80
        assert violations(server, "client_share") >= 40
        assert is_closed(hog[0])
        assert not is_closed(hog[-1])
        assert request(honest, "GET", "/").status == 200  # its connection was the oldest of all
        assert request(clients.client(HONEST), "GET", "/").status == 200
    (line,) = [record.getMessage() for record in caplog.records if record.name == "sidegate.limits"]
    assert line.startswith(f"client {HOG} holds ")
    assert line.endswith("connections: closed idle ones (limits.connections: 100)")


def is_closed(client: Client) -> bool:
    """Whether the server has closed it, without waiting."""
    client.sock.setblocking(False)
    try:
        while client.sock.recv(65536):
            pass
    except BlockingIOError:
        return False
    finally:
        client.sock.settimeout(60)
    return True


def test_connections_in_use_stay_and_a_new_one_is_refused(codec: str, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    with running(gate, codec, limits={"connections": 10}) as server:
        clients = Clients(server, codec)
        clients.client(HONEST)
        busy = [server.client(codec, sock=clients.connect(HOG)) for _ in range(7)]
        streams = [client.begin("GET", "/wait", [], end=True) for client in busy]
        wait_for(lambda: gate.waiting == 7)
        assert clients.is_refused(HOG)
        assert violations(server, "client_share") == 1
        for number in range(2):  # others find room
            clients.client(f"127.0.0.{number + 10}")
        gate.open()
        assert {client.finish(stream).status for client, stream in zip(busy, streams, strict=True)} == {200}
    (line,) = [record.getMessage() for record in caplog.records if record.name == "sidegate.limits"]
    assert line == f"client {HOG} holds 7 of 8 connections: closed a new one (limits.connections: 10)"


def test_a_client_that_is_alone_may_have_all_and_then_others_come(codec: str) -> None:
    gate = Gate()
    with running(gate, codec, limits={"connections": 100}) as server:
        clients = Clients(server, codec)
        hog = [clients.client(HOG) for _ in range(100)]
        assert not any(map(is_closed, hog))
        assert violations(server, "client_share") == 0
        for number in range(MANY):
            clients.client(f"127.0.1.{number}")
        wait_for(lambda: counts(server)[HOG] <= 100 - MANY)
        assert is_closed(hog[0])
        assert not is_closed(hog[-1])


def test_the_bound_closes_idle_connections_or_refuses(codec: str) -> None:
    gate = Gate()
    with running(gate, codec, limits={"connections": 4}) as server:
        clients = Clients(server, codec)
        idle = [clients.client(HOG) for _ in range(4)]
        found = clients.client(HOG)
        assert violations(server, "overload") == 1
        wait_for(lambda: any(map(is_closed, idle)))
        busy = [*(client for client in idle if not is_closed(client)), found]
        streams = [client.begin("GET", "/wait", [], end=True) for client in busy]
        wait_for(lambda: gate.waiting == 4)
        assert clients.is_refused(HOG)
        assert clients.is_refused(HONEST)
        gate.open()
        assert {client.finish(stream).status for client, stream in zip(busy, streams, strict=True)} == {200}


def test_a_limit_of_each_client(codec: str, caplog: pytest.LogCaptureFixture) -> None:
    with running(hello, codec, limits={"connectionsPerClient": 2}) as server:
        clients = Clients(server, codec)
        kept = [clients.client(HOG) for _ in range(2)]
        assert clients.is_refused(HOG)
        clients.client(HONEST)
        assert violations(server, "client_limit") == 1
        assert not any(map(is_closed, kept))
        kept[0].close()
        wait_for(lambda: counts(server)[HOG] == 1)
        clients.client(HOG)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "sidegate.limits"]
    assert line == f"client {HOG} holds 2 of 2 connections: closed a new one (limits.connectionsPerClient: 2)"


def test_with_tls_a_refused_client_is_told_after_the_handshake(authority: Authority) -> None:
    tls = {"certificates": [authority.server("localhost").as_yaml()]}
    with running(hello, tls=tls, limits={"connectionsPerClient": 1}) as server:
        context = ssl.create_default_context(cafile=authority.ca)
        first = server.client("http1", sock=server.connect_tls(context))
        assert request(first, "GET", "/").status == 200
        second = server.client("http1", sock=server.connect_tls(context))
        with contextlib.suppress(OSError):
            assert request(second, "GET", "/").reset
        assert request(first, "GET", "/").status == 200
        assert violations(server, "client_limit") == 1


def test_trusted_proxies_and_unix_sockets_are_no_client(codec: str) -> None:
    settings: dict[str, Any] = {"limits": {"connectionsPerClient": 1}, "trustedProxies": ["127.0.0.0/8"]}
    with running(hello, codec, **settings) as server:
        clients = Clients(server, codec)
        for _ in range(3):
            clients.client(HOG)
        assert counts(server) == {"": 3}


def test_the_client_that_a_proxy_header_names(codec: str) -> None:
    settings: dict[str, Any] = {"limits": {"connectionsPerClient": 1}, "trustedProxies": ["127.0.0.0/8"]}
    with running(hello, codec, listener={"proxyProtocol": True}, **settings) as server:

        def client(host: str) -> Client:
            sock = server.connect()
            sock.sendall(proxy_headers.line((host, 4711), ("192.0.2.80", 80)))
            return server.client(codec, sock=sock)

        assert request(client("192.0.2.1"), "GET", "/").status == 200
        assert request(client("192.0.2.2"), "GET", "/").status == 200
        with contextlib.suppress(ConnectionError):
            assert request(client("192.0.2.1"), "GET", "/").reset
        assert violations(server, "client_limit") == 1


def test_without_a_number_the_descriptors_are_the_bound(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidegate.process.runtime.most_connections", lambda: 20)
    assert validate(Limits, {}).connections == 0
    with running(hello, codec) as server:
        clients = Clients(server, codec)
        alone = [clients.client(HOG) for _ in range(30)]  # the kernel refuses, not this number
        assert not any(map(is_closed, alone))
        for number in range(MANY):
            clients.client(f"127.0.1.{number}")
        assert violations(server, "client_share") > 0
        assert violations(server, "overload") == 0


def test_when_descriptors_run_out_the_client_that_has_most_is_first(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(hello, codec) as server:
        clients = Clients(server, codec)
        honest = clients.client(HONEST)
        hog = [clients.client(HOG) for _ in range(5)]
        monkeypatch.setattr(descriptors, "open_descriptors", lambda limit: limit - 1)
        listener = server.runtime._listeners[0]
        server.run(_make_room(listener._descriptors))
        wait_for(lambda: violations(server, "no_descriptors") == 5)
        assert all(map(is_closed, hog))
        assert request(honest, "GET", "/").status == 200
        monkeypatch.undo()


async def _make_room(found: descriptors.Descriptors) -> None:
    found.make_room()
