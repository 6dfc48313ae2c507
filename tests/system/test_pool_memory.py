"""What bodies cost the front and the worker in memory: the windows, however large the body and slow the other side."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.support.clients import Http2Client
from tests.support.pools import Peak, answered_by, pool_config, resident, wait_workers
from tests.support.server import Sidegate
from tests.support.streaming import GROWTH, MIB, VERSIONS, download, processes_of, upload

LARGE = 192 * MIB

STREAMS = 12
SIZE = 16 * MIB
"""Of each slow stream: together many times what a process may grow by."""

WINDOW = 65_535
"""What an HTTP/2 client that says nothing lets a server send (RFC 9113 6.9.2)."""

OTHERS = 50


@pytest.fixture(scope="module")
def server(serve_module: Serve) -> Sidegate:
    """One front and one worker."""
    limits = {"requestBody": LARGE}
    server = serve_module(pool_config({"workers": 1}, processes=1, gracePeriod="1s", limits=limits))
    wait_workers(server, 1)
    return server


@pytest.mark.parametrize("listener", VERSIONS)
def test_a_large_download_streams(server: Sidegate, listener: str) -> None:
    with Peak(*processes_of(server)) as peak:
        download(server, listener, LARGE)
    assert max(peak.growth().values()) < GROWTH, peak.growth()


@pytest.mark.parametrize("listener", VERSIONS)
def test_a_large_upload_streams(server: Sidegate, listener: str, tmp_path: Path) -> None:
    with Peak(*processes_of(server)) as peak:
        upload(server, listener, LARGE, tmp_path)
    assert max(peak.growth().values()) < GROWTH, peak.growth()


def test_clients_that_do_not_read_cost_windows(server: Sidegate) -> None:
    with Peak(*processes_of(server)) as peak, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in range(STREAMS)]
        for client in clients:
            client.sendall(head("GET", f"/body?size={SIZE}&chunked=1"))
        others_are_answered(server)
        late = received(clients[0])
    assert SIZE < late < SIZE + MIB, "slow is not lost"
    assert max(peak.growth().values()) < GROWTH, peak.growth()


def test_streams_that_nobody_reads_cost_windows(server: Sidegate) -> None:
    with Peak(*processes_of(server)) as peak, tls_connected(server) as sock:
        client = Http2Client(sock, credit=False)
        slow = [client.begin("GET", f"/body?size={SIZE}", [], end=True) for _ in range(STREAMS)]
        while sum(len(client.responses[stream].body) for stream in slow) < WINDOW:
            client.pump()
        others_are_answered(server)
        assert not set(slow) & client.ended
        client.credit = True
        for stream in slow[1:]:
            client.reset(stream)
        for stream in (0, slow[0]):
            client.state.increment_flow_control_window(WINDOW, stream or None)
        client.flush()
        assert len(client.finish(slow[0]).body) == SIZE, "slow is not lost"
    assert max(peak.growth().values()) < GROWTH, peak.growth()


def test_an_application_that_does_not_read_costs_windows(server: Sidegate) -> None:
    """The clients send as much as they can."""
    with Peak(*processes_of(server)) as peak, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in range(STREAMS)]
        for client in clients:
            client.sendall(head("POST", "/hold", SIZE))
            client.setblocking(False)
        writable: list[socket.socket] = clients
        while writable:
            for client in writable:
                with contextlib.suppress(BlockingIOError):
                    client.send(bytes(MIB))
            writable = select.select([], clients, [], 0.5)[1]
        others_are_answered(server)
    assert max(peak.growth().values()) < GROWTH, peak.growth()


def test_clients_that_send_slowly_keep_nobody_waiting(server: Sidegate) -> None:
    with Peak(*processes_of(server)) as peak, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in range(STREAMS)]
        for client in clients:
            client.sendall(head("POST", "/upload", SIZE) + bytes(SIZE - MIB))
        others_are_answered(server)
        for client in clients:
            client.sendall(bytes(MIB))
        for client in clients:
            assert b'"size": %d,' % SIZE in received_text(client)
    assert max(peak.growth().values()) < GROWTH, peak.growth()


def others_are_answered(server: Sidegate) -> None:
    """By the same worker, while the slow ones stand and nothing grows any more."""
    most, now = 0, 1
    while now > most:
        most = now
        time.sleep(0.3)
        now = sum(resident(pid) for pid in processes_of(server))
    for number in range(OTHERS):
        assert answered_by(server, f"/pid?{number}") > 0


@contextlib.contextmanager
def connected(server: Sidegate) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port())) as client:
        client.settimeout(30)
        yield client


@contextlib.contextmanager
def tls_connected(server: Sidegate) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    plain = socket.create_connection(("127.0.0.1", server.port("https")))
    with context.wrap_socket(plain) as client:
        yield client


def head(method: str, path: str, length: int = 0) -> bytes:
    """A request whose connection ends with its response."""
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n".encode()


def received(client: socket.socket) -> int:
    """Bytes until the end."""
    size = 0
    while piece := client.recv(1 << 16):
        size += len(piece)
    return size


def received_text(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(1 << 16), b""))
