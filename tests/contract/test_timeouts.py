"""Peers that are silent or slow: every limit of time, and the limits of one connection's life.

The clock ticks twice a second, so nothing here is exact; the tests wait for what has to happen.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

import pytest

from sidegate.errors import Fault
from sidegate.server.service import GOAWAY_PAUSE
from tests.support.apps import Gate, Receive, Scope, Send, echo, hello, respond
from tests.support.clients import Http2Client, request
from tests.support.running import Running, running, wait_for

GET = b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n"


def http2(server: Running, engine: str, credit: bool = True) -> Http2Client:
    client = server.client(engine, credit)
    assert isinstance(client, Http2Client)
    return client


def until_closed(sock: socket.socket) -> bytes:
    received = b""
    while data := sock.recv(65536):
        received += data
    return received


# Before a request.


def test_a_kept_connection_that_stays_idle_is_closed(codec: str) -> None:
    with running(hello, codec, timeouts={"keepAlive": "100ms"}) as server:
        client = server.client(codec)
        assert request(client, "GET", "/").status == 200
        until_closed(client.sock)
        wait_for(lambda: not server.connections)
        assert server.violations("head_timeout") == 0


def test_a_connection_that_never_says_what_it_speaks() -> None:
    with running(hello, timeouts={"requestHead": "100ms"}) as server:
        sock = server.connect()
        sock.sendall(b"PRI")
        assert until_closed(sock) == b""
        assert server.violations("head_timeout") == 1


def test_a_head_that_comes_byte_by_byte_is_a_408() -> None:
    with running(hello, timeouts={"requestHead": "300ms"}) as server:
        sock = server.connect()
        for byte in GET[:-2]:
            sock.sendall(bytes([byte]))
            threading.Event().wait(0.01)
        assert until_closed(sock).startswith(b"HTTP/1.1 408")
        assert server.observer.records[0].reason == "head_timeout"
        sock.close()
        wait_for(lambda: not server.connections)


def test_a_second_head_that_does_not_end_is_a_408() -> None:
    with running(hello, timeouts={"requestHead": "100ms"}) as server:
        sock = server.connect()
        sock.sendall(GET + b"GET ")
        assert b"HTTP/1.1 408" in until_closed(sock)


def test_a_preface_without_settings(engine: str) -> None:
    with running(hello, engine, listener={"protocols": ["h2"]}, timeouts={"http2Preface": "100ms"}) as server:
        sock = server.connect()
        sock.sendall(b"PRI * HT")
        until_closed(sock)
        assert server.violations("preface_timeout") == 1


# Inside a request.


def test_a_body_that_stops_is_a_408(codec: str) -> None:
    with running(echo, codec, timeouts={"bodyIdle": "100ms"}) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/", [], end=False)
        client.body(stream, b"begin", end=False)
        response = client.finish(stream)
        assert response.status == 408
        wait_for(lambda: server.observer.records)
        record = server.observer.records[0]
        assert (record.fault, record.reason, record.bytes_in) == (Fault.CLIENT, "body_timeout", 5)
        client.close()


def test_a_body_that_stops_while_the_response_streams_breaks_it_off(codec: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    with running(app, codec, timeouts={"bodyIdle": "100ms"}) as server:
        client = server.client(codec)
        response = client.finish(client.begin("POST", "/", [], end=False))
        assert (response.status, bytes(response.body), response.reset) == (200, b"x", True)
        wait_for(lambda: server.observer.records)
        assert server.observer.records[0].reason == "body_timeout"
        client.close()


def test_the_rest_of_a_body_that_nobody_reads_does_not_keep_the_connection() -> None:
    with running(hello, timeouts={"bodyIdle": "100ms"}) as server:
        sock = server.connect()
        sock.sendall(b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nbegin")
        assert until_closed(sock).endswith(b"/x")
        assert server.violations("body_timeout") == 1


# A client that does not read.


def large(size: int, pieces: int = 1) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(pieces):
            await send({"type": "http.response.body", "body": bytes(size // pieces), "more_body": True})
        await send({"type": "http.response.body"})

    return app


def narrow(server: Running, size: int = 4096) -> socket.socket:
    """A connection whose receive buffer is small, so that it is full soon."""
    sock = socket.socket()
    server._clients.append(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    sock.settimeout(10)
    sock.connect(server.address)
    return sock


@pytest.mark.parametrize("pieces", [1, 1000])
def test_a_client_that_takes_nothing_is_cut(pieces: int) -> None:
    with running(large(20_000_000, pieces), timeouts={"write": "500ms"}) as server:
        sock = narrow(server)
        sock.sendall(GET)
        wait_for(lambda: server.observer.records)
        wait_for(lambda: not server.connections)
        assert server.violations("write_timeout") == 1
        record = server.observer.records[0]
        assert (record.status, record.fault, record.reason) == (200, Fault.CLIENT, "write_timeout")


def test_a_client_that_takes_nothing_of_a_file_is_cut(tmp_path: Any) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(64 * 1024**2)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": str(path)})

    with running(app, timeouts={"write": "300ms"}) as server:
        narrow(server).sendall(GET)
        wait_for(lambda: server.observer.records)
        assert server.observer.records[0].reason == "write_timeout"
        assert server.violations("write_timeout") == 1


def test_a_slow_client_that_takes_a_little_all_the_time_is_not_cut() -> None:
    """``timeouts.write`` is the longest silence, not the longest response."""
    with running(large(8_000_000), timeouts={"write": "1s"}) as server:
        sock = narrow(server, 65536)
        sock.sendall(GET)
        received = 0
        pause = threading.Event()
        while received < 8_000_000:
            received += len(sock.recv(40_000))
            pause.wait(0.01)
        wait_for(lambda: server.observer.records)
        assert server.observer.records[0].fault is None
        assert server.violations("write_timeout") == 0


def test_a_small_rest_that_is_never_taken_does_not_keep_the_connection() -> None:
    """Less than the transport's high-water mark, so nothing is paused: the rest waits behind a finished exchange."""
    sizes: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, bytes(sizes[0] if sizes else 50_000))

    with running(app, timeouts={"write": "500ms"}, limits={"connectionRequests": 10_000}) as server:
        sock = narrow(server)
        pause = threading.Event()
        while not any(connection.transport.get_write_buffer_size() for connection in server.connections):
            sock.sendall(GET)
            pause.wait(0.005)
        wait_for(lambda: not server.connections)
        assert server.violations("write_timeout") == 1


def test_a_stream_whose_window_stays_closed_is_given_up(engine: str) -> None:
    with running(large(200_000, 20), engine, timeouts={"write": "300ms"}) as server:
        client = http2(server, engine, credit=False)
        response = client.finish(client.begin("GET", "/", [], end=True))
        assert response.reset
        assert len(response.body) == 65_535
        wait_for(lambda: server.observer.records)
        record = server.observer.records[0]
        assert (record.status, record.fault, record.reason) == (200, Fault.CLIENT, "write_timeout")


def test_the_last_bytes_of_a_stream_that_nobody_takes_are_given_up(engine: str) -> None:
    """The application is done: the rest is below the mark at which ``send`` waits."""
    with running(large(70_000), engine, timeouts={"write": "300ms"}) as server:
        client = http2(server, engine, credit=False)
        assert client.finish(client.begin("GET", "/", [], end=True)).reset
        wait_for(lambda: server.observer.records)
        assert server.observer.records[0].reason == "write_timeout"


def test_a_stream_that_is_taken_slowly_is_not_given_up(engine: str) -> None:
    with running(large(90_000, 3), engine, timeouts={"write": "700ms"}) as server:
        client = http2(server, engine, credit=False)
        stream = client.begin("GET", "/", [], end=True)
        pause = threading.Event()
        while len(client.responses[stream].body) < 65_535:
            client.pump()
        while stream not in client.ended:
            pause.wait(0.2)
            client.state.increment_flow_control_window(3000)
            client.state.increment_flow_control_window(3000, stream)
            client.flush()
            client.pump()
        assert len(client.responses[stream].body) == 90_000


def test_a_refusal_that_is_never_taken_does_not_keep_the_connection(engine: str) -> None:
    """An error page without an exchange, behind a window that is closed from the start."""
    timeouts = {"write": "100ms", "keepAlive": "100ms"}
    with running(hello, engine, timeouts=timeouts) as server:
        client = http2(server, engine)
        client.state.update_settings({4: 0})  # SETTINGS_INITIAL_WINDOW_SIZE
        client.flush()
        client.begin("GET", "/", [(b"expect", b"x")], end=True)
        wait_for(lambda: server.observer.records)
        wait_for(lambda: not server.connections)


# Lingering.


def test_a_client_that_goes_on_sending_after_the_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidegate.server.timeouts.LINGER", 0.1)
    with running(hello) as server:
        sock = server.connect()
        sock.sendall(b"nonsense\r\n\r\n")
        assert until_closed(sock).startswith(b"HTTP/1.1 400")
        wait_for(lambda: not server.connections)  # our side has not been closed


def test_lingering_begins_when_the_response_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidegate.server.timeouts.LINGER", 0.1)
    size = 60_000  # more than the small buffers of the kernel hold, less than what pauses the transport
    with running(large(size)) as server:
        server._sockets["test"][0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # connections inherit it
        sock = narrow(server)
        sock.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\nconnection: close\r\n\r\n")
        wait_for(lambda: any(connection.lingering_since for connection in server.connections))
        threading.Event().wait(1.2)  # a few ticks, in which the last bytes still wait
        received = until_closed(sock)
        assert received.endswith(b"\r\n0\r\n\r\n")
        assert len(received) > size
        sock.close()
        wait_for(lambda: not server.connections)


# The life of a connection.


def test_the_last_request_of_an_http1_connection_says_so() -> None:
    with running(hello, limits={"connectionRequests": 2}) as server:
        client = server.client("http1")
        assert request(client, "GET", "/").get(b"connection") is None
        assert request(client, "GET", "/").get(b"connection") == b"close"
        assert client.sock.recv(1) == b""


def test_an_http2_connection_ends_in_two_phases(engine: str) -> None:
    gate = Gate()
    with running(gate, engine, limits={"connectionRequests": 2}) as server:
        client = http2(server, engine)
        assert request(client, "GET", "/").status == 200
        waiting = client.begin("GET", "/wait", [], end=True)
        while not client.goaways:
            client.pump()
        crossed = raw_request(client, b"/crossed")  # it was on its way when the GOAWAY came
        gate.open()
        received = b""
        while data := client.sock.recv(65536):
            received += data
        last_streams = [int.from_bytes(frame[:4], "big") for kind, frame in frames(received) if kind == 7]
        assert last_streams == [crossed]
        wait_for(lambda: len(server.observer.records) == 3)
        assert [record.status for record in server.observer.records] == [200] * 3
        assert waiting < crossed


def test_the_second_phase_waits_until_the_client_has_noticed_the_first(engine: str) -> None:
    with running(hello, engine, limits={"connectionRequests": 1}) as server:
        client = http2(server, engine)
        client.begin("GET", "/", [], end=True)
        received = b""
        while not (pings := [payload for kind, payload in frames(received) if kind == 6]):
            received += client.sock.recv(65536)  # past the library, which would acknowledge the PING
        threading.Event().wait(2 * GOAWAY_PAUSE)
        crossed = raw_request(client, b"/crossed")
        client.sock.sendall(b"\x00\x00\x08\x06\x01\x00\x00\x00\x00" + pings[0])
        while data := client.sock.recv(65536):
            received += data
        assert [int.from_bytes(frame[:4], "big") for kind, frame in frames(received) if kind == 7] == [
            2**31 - 1,
            crossed,
        ]
        wait_for(lambda: len(server.observer.records) == 2)
        assert [record.status for record in server.observer.records] == [200, 200]


def test_a_client_that_never_notices_is_not_waited_for(engine: str) -> None:
    with running(hello, engine, limits={"connectionRequests": 1}) as server:
        client = http2(server, engine)
        client.begin("GET", "/", [], end=True)
        received = b""
        while data := client.sock.recv(65536):
            received += data
        assert [kind for kind, _ in frames(received)][-1] == 7


def raw_request(client: Http2Client, path: bytes) -> int:
    """A request behind a GOAWAY, which h2 would not send; indexed fields only (RFC 7541 A)."""
    stream = client.state.highest_outbound_stream_id + 2
    block = b"\x82\x86\x04" + bytes([len(path)]) + path + b"\x01\x01a"  # GET, http, :path, :authority
    client.sock.sendall(len(block).to_bytes(3, "big") + b"\x01\x05" + stream.to_bytes(4, "big") + block)
    return stream


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """(type, payload) of every frame."""
    found = []
    while data:
        size = int.from_bytes(data[:3], "big")
        found.append((data[3], data[9 : 9 + size]))
        data = data[9 + size :]
    return found


def test_an_old_connection_is_asked_to_end(codec: str) -> None:
    with running(hello, codec, timeouts={"connectionLife": "100ms"}) as server:
        client = server.client(codec)
        assert request(client, "GET", "/").status == 200
        until_closed(client.sock)
        wait_for(lambda: not server.connections)


def test_an_old_connection_ends_after_what_is_under_way() -> None:
    gate = Gate()
    with running(gate, timeouts={"connectionLife": "100ms"}) as server:
        client = server.client("http1")
        stream = client.begin("GET", "/wait", [], end=True)
        wait_for(lambda: any(connection.winding_down for connection in server.connections))
        threading.Event().wait(0.6)
        gate.open()
        response = client.finish(stream)
        assert (response.status, response.reset) == (200, False)
        wait_for(lambda: not server.connections)


def test_a_client_may_leave_between_the_two_phases(codec: str) -> None:
    with running(hello, codec, limits={"connectionRequests": 1}) as server:
        client = server.client(codec)
        client.begin("POST", "/", [], end=False)
        wait_for(lambda: any(connection.winding_down for connection in server.connections))
        client.close()
        wait_for(lambda: not server.connections)
        threading.Event().wait(0.6)  # the second phase finds nobody


def test_a_client_that_says_goodbye_is_not_waited_for(engine: str) -> None:
    with running(hello, engine) as server:
        client = http2(server, engine)
        assert request(client, "GET", "/").status == 200
        client.state.close_connection()
        client.flush()
        until_closed(client.sock)
        wait_for(lambda: not server.connections)


def test_an_application_that_only_polls_is_not_waiting_for_a_body(codec: str) -> None:
    """``is_disconnected`` of Starlette cancels its ``receive`` at once, as often as it is called."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(100):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(receive(), 0.001)
        for connection in server.connections:
            assert not any(exchange.waits_for_body for exchange in connection.exchanges.values())
            assert not any(exchange._readers for exchange in connection.exchanges.values())
        await respond(send, b"done")

    with running(app, codec) as server:
        client = server.client(codec)
        assert client.finish(client.begin("POST", "/", [], end=False)).body == b"done"
        client.close()
