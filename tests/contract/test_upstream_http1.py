"""Requests to servers that speak HTTP/1.1: queue, balancer, retry and relay know only the client codec.

No kind of backend has such connections yet, so the tests give them to ``h2c``: the codec, and connections on demand.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from sidegate.backends.upstream import endpoint_connections, remote
from sidegate.backends.upstream.backoff import EndpointBackoff
from sidegate.backends.upstream.balancer import Balancer
from sidegate.backends.upstream.endpoint_connections import ConnectionPolicy
from sidegate.config.schema import Config
from sidegate.config.validation import validate
from sidegate.errors import Fault
from sidegate.observe import metrics
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http1.client import Http1ClientCodec
from tests.support.apps import Gate, echo, hello
from tests.support.clients import TIMEOUT, Client, contains, request
from tests.support.relaying import RunningFront
from tests.support.running import running, wait_equal, wait_for

MOST = 3
IDLE = 0.2
SMALL = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

pytestmark = pytest.mark.parametrize("codec", ["http1", "http2-h2"])


def http1_balancer(idle: float, most: int) -> Callable[..., Balancer]:
    def make(meter: Any, queue: Any, liveness: float, policy: Any, new_codec: Any, *, fronts: int) -> Balancer:
        on_demand = ConnectionPolicy(EndpointBackoff(ejects=True), least=0, most=most, idle=idle)
        new = lambda: Http1ClientCodec(FieldPolicy(100, 65536), 65536)  # noqa: E731
        return Balancer(meter, queue, IDLE if idle < 1 else 0.0, on_demand, new, fronts=fronts)

    return make


@contextlib.contextmanager
def before(
    monkeypatch: pytest.MonkeyPatch, codec: str, *ports: int, idle: float = 60.0, most: int = MOST, **queue: Any
) -> Iterator[RunningFront]:
    """A front whose backend's servers speak HTTP/1.1 at ``ports``."""
    monkeypatch.setattr(remote, "Balancer", http1_balancer(idle, most))
    config = validate(
        Config,
        {
            "listeners": [{"name": "test", "address": "127.0.0.1:0"}],
            "backends": {"app": {"h2c": [f"tcp://127.0.0.1:{port}" for port in ports], "queue": queue}},
            "routes": [{"name": "all", "path": "/", "backend": "app"}],
            "http2Engine": "h2",
        },
    )
    front = RunningFront(config, uvloop.new_event_loop)
    try:
        yield front
    finally:
        front.close()


class Server:
    """A server that does what a test says, byte by byte."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(TIMEOUT)
        self.port = self.listener.getsockname()[1]
        self.accepted: list[socket.socket] = []

    def accept(self) -> socket.socket:
        sock, _ = self.listener.accept()
        sock.settimeout(TIMEOUT)
        self.accepted.append(sock)
        return sock

    def close(self) -> None:
        for sock in [self.listener, *self.accepted]:
            sock.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def head(sock: socket.socket) -> bytes:
    """Read the head of a request."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        data += sock.recv(1)
    return data


def get(front: RunningFront, codec: str, path: str = "/", method: str = "GET") -> tuple[Client, int]:
    client = front.client(codec)
    return client, client.begin(method, path, [], end=True)


def connections(front: RunningFront) -> int:
    """How many connections to the first endpoint can be used."""
    capacity: int = front.upstream_connections()[0].get("capacity", 0)
    return capacity


def test_a_real_server(monkeypatch: pytest.MonkeyPatch, codec: str) -> None:
    with running(echo, "http1") as upstream, before(monkeypatch, codec, upstream.address[1]) as front:
        facts = {"endpoint": f"127.0.0.1:{upstream.address[1]}", "failures": 0, "ready": False}
        assert front.upstream_connections() == [facts]
        client = front.client(codec)
        for body in (b"", b"abc", b"x" * 300_000):
            assert request(client, "POST", "/", body).body == body
        client.close()
        facts |= {"ready": True, "requests": 0, "capacity": 1}
        wait_for(lambda: front.upstream_connections() == [facts])
        wait_for(lambda: len(upstream.observer.records) == 3)


def test_head_and_large_responses(monkeypatch: pytest.MonkeyPatch, codec: str) -> None:
    async def big(scope: Any, receive: Any, send: Any) -> None:
        body = bytes(1_000_000)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000000")]})
        await send({"type": "http.response.body", "body": body})

    with running(big, "http1") as upstream, before(monkeypatch, codec, upstream.address[1]) as front:
        client = front.client(codec)
        answer = request(client, "HEAD", "/")
        assert (answer.status, answer.body) == (200, b"")
        assert dict(answer.headers)[b"content-length"] == b"1000000"
        assert len(request(client, "GET", "/").body) == 1_000_000
        client.close()
        wait_for(lambda: len(upstream.observer.records) == 2)


def test_what_the_server_gets(monkeypatch: pytest.MonkeyPatch, codec: str, server: Server) -> None:
    with before(monkeypatch, codec, server.port) as front:
        client, stream = get(front, codec, "/a%20b?x=1")
        sock = server.accept()
        line, host, *fields = head(sock).split(b"\r\n")
        assert (line, host) == (b"GET /a%20b?x=1 HTTP/1.1", b"host: localhost")
        assert b"x-forwarded-for: 127.0.0.1" in fields
        assert not any(field.startswith((b":", b"x-sidegate", b"transfer-encoding")) for field in fields)
        sock.sendall(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + SMALL)
        assert client.finish(stream).body == b"ok"


def test_an_upload_without_a_length_is_chunked(monkeypatch: pytest.MonkeyPatch, codec: str, server: Server) -> None:
    with before(monkeypatch, codec, server.port) as front:
        client = front.client(codec)
        stream = client.begin("POST", "/", [], end=False)
        client.body(stream, b"abc", end=True)
        sock = server.accept()
        assert b"transfer-encoding: chunked" in head(sock)
        data = b""
        while not data.endswith(b"0\r\n\r\n"):
            data += sock.recv(100)
        assert data.startswith(b"3\r\nabc\r\n")
        sock.sendall(SMALL)
        assert client.finish(stream).body == b"ok"


def test_waiting_requests_open_connections_up_to_the_limit(monkeypatch: pytest.MonkeyPatch, codec: str) -> None:
    gate = Gate()
    with running(gate, "http1") as upstream, before(monkeypatch, codec, upstream.address[1], timeout="30s") as front:
        begun = [get(front, codec, f"/wait/{number}") for number in range(MOST + 2)]
        wait_for(lambda: gate.waiting == MOST)
        wait_for(lambda: front.count(metrics.BACKEND_QUEUE, "app") == 2)
        assert connections(front) == MOST
        gate.open()
        for number, (client, stream) in enumerate(begun):
            assert client.finish(stream).body == b"/wait/%d" % number
        assert connections(front) == MOST
        assert gate.waiting == MOST + 2


def waiting(gates: tuple[Gate, Gate]) -> int:
    return sum(gate.waiting for gate in gates)


def test_the_smaller_endpoint_gets_the_next_connection(monkeypatch: pytest.MonkeyPatch, codec: str) -> None:
    gates = Gate(), Gate()
    with (
        running(gates[0], "http1") as one,
        running(gates[1], "http1") as two,
        before(monkeypatch, codec, one.address[1], two.address[1]) as front,
    ):
        begun = []
        for _ in range(4):
            there = waiting(gates)
            begun.append(get(front, codec, "/wait"))
            while waiting(gates) == there:
                time.sleep(0.01)
        assert [gate.waiting for gate in gates] == [2, 2]
        for gate in gates:
            gate.open()
        assert [client.finish(stream).status for client, stream in begun] == [200] * 4


def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch, codec: str, server: Server) -> None:
    with before(monkeypatch, codec, server.port, idle=IDLE) as front:
        client, stream = get(front, codec)
        sock = server.accept()
        head(sock)
        sock.sendall(SMALL)
        client.finish(stream)
        assert sock.recv(1) == b""
        wait_for(lambda: front.upstream_connections()[0] == {
            "endpoint": f"127.0.0.1:{server.port}", "failures": 0, "ready": False,
        })  # fmt: skip


@pytest.mark.parametrize(
    "farewell", [b"", b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"]
)
def test_a_server_that_closes_idle_connections_has_not_failed(
    monkeypatch: pytest.MonkeyPatch, codec: str, server: Server, farewell: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with before(monkeypatch, codec, server.port) as front:
        for _ in range(3):
            client, stream = get(front, codec)
            sock = server.accept()
            head(sock)
            sock.sendall(SMALL)
            assert client.finish(stream).body == b"ok"
            sock.sendall(farewell)
            sock.shutdown(socket.SHUT_WR)
            wait_for(lambda: not front.upstream_connections()[0]["ready"])
        assert front.upstream_connections()[0]["failures"] == 0
        assert not caplog.records


def test_a_response_that_announces_the_end(
    monkeypatch: pytest.MonkeyPatch, codec: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The waiting request gets the connection that follows."""
    with before(monkeypatch, codec, server.port) as front:
        for _ in range(2):
            client, stream = get(front, codec)
            sock = server.accept()
            head(sock)
            sock.sendall(SMALL.replace(b"content", b"connection: close\r\ncontent"))
            assert client.finish(stream).body == b"ok"
            assert sock.recv(1) == b""  # the front closes first
        assert front.upstream_connections()[0]["failures"] == 0
        assert not caplog.records


def test_a_server_that_ends_every_connection(
    monkeypatch: pytest.MonkeyPatch, codec: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(endpoint_connections, "STABLE_AFTER", 3600.0)
    with before(monkeypatch, codec, server.port, timeout="1h") as front:
        for failures in range(1, 4):
            client, stream = get(front, codec, method="POST")
            sock = server.accept()
            head(sock)
            sock.close()
            assert client.finish(stream).status == 502
            wait_equal(lambda: front.upstream_connections()[0]["failures"], failures)
    assert caplog.text.count("backend app: ") == 1


def test_a_body_until_the_end_of_the_connection(monkeypatch: pytest.MonkeyPatch, codec: str, server: Server) -> None:
    with before(monkeypatch, codec, server.port) as front:
        client, stream = get(front, codec)
        sock = server.accept()
        head(sock)
        sock.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello")
        sock.shutdown(socket.SHUT_WR)
        assert client.finish(stream).body == b"hello"
        assert front.upstream_connections()[0]["failures"] == 0


@pytest.mark.parametrize("framing", [b"content-length: 9\r\n", b""])
def test_a_body_that_breaks_off(monkeypatch: pytest.MonkeyPatch, codec: str, server: Server, framing: bytes) -> None:
    with before(monkeypatch, codec, server.port) as front:
        client, stream = get(front, codec)
        sock = server.accept()
        head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\nhello")
        client.until(stream, contains(b"hello"))
        reset(sock)
        wait_for(lambda: len(front.observer.records) == 1)
        record = front.observer.records[0]
        assert (record.fault, record.reason) == (Fault.UPSTREAM, "upstream_lost")


def reset(sock: socket.socket) -> None:
    """Close with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


def test_a_get_is_sent_again_and_a_post_is_not(monkeypatch: pytest.MonkeyPatch, codec: str, server: Server) -> None:
    with before(monkeypatch, codec, server.port, most=1) as front:
        client, stream = get(front, codec)
        sock = server.accept()
        head(sock)
        sock.close()
        sock = server.accept()
        head(sock)
        sock.sendall(SMALL)
        assert client.finish(stream).body == b"ok"
        client, stream = get(front, codec, method="POST")
        assert head(sock).startswith(b"POST")
        sock.close()
        assert client.finish(stream).status == 502
        assert front.count(metrics.BACKEND_RETRIES, "app", "lost") == 1


def test_a_malformed_response(
    monkeypatch: pytest.MonkeyPatch, codec: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with before(monkeypatch, codec, server.port) as front:
        client, stream = get(front, codec)
        sock = server.accept()
        head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n")
        assert client.finish(stream).status == 502
        record = front.observer.records[0]
        assert (record.fault, record.reason) == (Fault.UPSTREAM, "upstream_reset")
        assert sock.recv(1) == b""
    assert "HTTP/1.1 protocol violation" in caplog.text


def test_a_client_that_leaves_ends_the_connection(monkeypatch: pytest.MonkeyPatch, codec: str, server: Server) -> None:
    with before(monkeypatch, codec, server.port) as front:
        client, _ = get(front, codec)
        sock = server.accept()
        head(sock)
        client.close()
        assert sock.recv(1) == b""
        client, stream = get(front, codec)
        sock = server.accept()
        head(sock)
        sock.sendall(SMALL)
        assert client.finish(stream).body == b"ok"
        assert front.upstream_connections()[0]["failures"] == 0


def test_an_early_response_ends_the_connection(monkeypatch: pytest.MonkeyPatch, codec: str, server: Server) -> None:
    with before(monkeypatch, codec, server.port) as front:
        client = front.client(codec)
        stream = client.begin("POST", "/", [], end=False)
        client.body(stream, b"abc", end=False)
        sock = server.accept()
        head(sock)
        sock.sendall(SMALL.replace(b"200 OK", b"413 Too Large"))
        assert client.finish(stream).status == 413
        while sock.recv(100):
            pass
        assert front.upstream_connections()[0]["failures"] == 0


def test_a_slow_client_pauses_the_server(monkeypatch: pytest.MonkeyPatch, codec: str, server: Server) -> None:
    """The front holds little of a large response, and goes on reading when the client does."""
    size = 64 << 20
    with before(monkeypatch, codec, server.port) as front:
        client, stream = get(front, codec)
        sock = server.accept()
        head(sock)
        sent = 0

        def send_all() -> None:
            nonlocal sent
            sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
            while sent < size:
                sock.sendall(bytes(1 << 20))
                sent += 1 << 20

        thread = threading.Thread(target=send_all)
        thread.start()
        last = -1
        while last != sent:  # until the server can send no more
            last = sent
            thread.join(0.5)
        assert thread.is_alive()
        assert sent < size // 2
        assert len(client.finish(stream).body) == size
        thread.join(TIMEOUT)


def test_a_server_that_refuses_connections(
    monkeypatch: pytest.MonkeyPatch, codec: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The requests wait, the attempts are one after the other, and the first success serves the queue."""
    server.listener.close()
    with before(monkeypatch, codec, server.port, timeout="20s") as front:
        begun = [get(front, codec) for _ in range(3)]
        wait_for(lambda: front.upstream_connections()[0]["failures"] >= 3)
        assert caplog.text.count("backend app: ") == 1
        server.listener = socket.create_server(("127.0.0.1", server.port))
        server.listener.settimeout(TIMEOUT)
        for _ in begun:
            sock = server.accept()
            head(sock)
            sock.sendall(SMALL.replace(b"content", b"connection: close\r\ncontent"))
        assert [client.finish(stream).body for client, stream in begun] == [b"ok"] * 3


def test_a_broken_endpoint_beside_a_good_one(monkeypatch: pytest.MonkeyPatch, codec: str, server: Server) -> None:
    server.listener.close()
    with running(hello, "http1") as good, before(monkeypatch, codec, server.port, good.address[1]) as front:
        for _ in range(3):
            client, stream = get(front, codec, "/x")
            assert client.finish(stream).body == b"/x"
            client.close()
        endpoints = {found["endpoint"]: found for found in front.upstream_connections()}
        assert endpoints[f"127.0.0.1:{good.address[1]}"]["ready"]


def test_a_websocket_is_refused(monkeypatch: pytest.MonkeyPatch, codec: str, server: Server) -> None:
    if codec != "http1":
        pytest.skip("the handshake of one version is enough")
    with before(monkeypatch, codec, server.port) as front:
        handshake = [
            (b"connection", b"upgrade"), (b"upgrade", b"websocket"), (b"sec-websocket-version", b"13"),
            (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        ]  # fmt: skip
        client = front.client(codec)
        stream = client.begin("GET", "/", handshake, end=True)
        server.accept()
        assert client.finish(stream).status == 502
        wait_for(lambda: front.observer.records)
        assert front.observer.records[0].reason == "upstream_no_websocket"


def test_a_stop_closes_every_connection(monkeypatch: pytest.MonkeyPatch, codec: str, server: Server) -> None:
    with before(monkeypatch, codec, server.port) as front:
        client, stream = get(front, codec)
        sock = server.accept()
        head(sock)
        sock.sendall(SMALL)
        client.finish(stream)
    assert sock.recv(1) == b""
