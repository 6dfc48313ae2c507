"""Connections on real sockets: which protocol, bad input, both ends of a connection's life, and what is left behind.

``running`` itself holds after every test that no record, task or connection is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shutil
import socket
import struct
import subprocess
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from sidegate.errors import Fault
from sidegate.observe import metrics
from sidegate.server import listener
from sidegate.server.connection import Connection
from sidegate.wire.sniff import PREFACE
from tests.support.apps import Gate, Receive, Scope, Send, echo, hello, respond
from tests.support.clients import Http1Client, Http2Client, request
from tests.support.running import Running, running, wait_for

GET = b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


def until_closed(sock: socket.socket) -> bytes:
    """Everything up to the end of the connection, however it ends."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(65536):
            received += data
    return received


def until(sock: socket.socket, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        data = sock.recv(65536)
        assert data, received
        received += data
    return received


def reset(sock: socket.socket) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def is_alive(server: Running) -> bool:
    sock = server.connect()
    sock.sendall(LAST)
    return until_closed(sock).startswith(b"HTTP/1.1 200")


# Which protocol.


def test_cleartext_http1_is_told_from_its_first_bytes() -> None:
    with running(hello) as server:
        sock = server.connect()
        sock.sendall(b"P")  # could be the preface still
        assert server.count(metrics.CONNECTIONS, "test", "1.1") == 0
        sock.sendall(b"OST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        assert until_closed(sock).startswith(b"HTTP/1.1 200")
        assert server.count(metrics.CONNECTIONS, "test", "1.1") == 1


@pytest.mark.parametrize("at", range(1, len(PREFACE)))
def test_the_preface_may_come_in_pieces(at: int) -> None:
    with running(hello, "http2-h2") as server:
        sock = server.connect()
        client = Http2Client(cast(socket.socket, SplitSocket(sock, at)))
        assert request(client, "GET", "/x").body == b"/x"
        assert server.count(metrics.CONNECTIONS, "test", "2") == 1


class SplitSocket:
    """Sends the first bytes in two pieces that the server reads apart."""

    def __init__(self, sock: socket.socket, at: int) -> None:
        self._sock = sock
        self._at = at
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def sendall(self, data: bytes) -> None:
        if self._at:
            self._sock.sendall(data[: self._at])
            threading.Event().wait(0.02)
            data, self._at = data[self._at :], 0
        self._sock.sendall(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def test_a_client_that_leaves_before_its_protocol_is_known_leaves_nothing() -> None:
    with running(hello) as server:
        for farewell in (socket.socket.close, reset):
            sock = server.connect()
            sock.sendall(b"PRI")
            wait_for(lambda: server.connections)
            farewell(sock)
            wait_for(lambda: not server.connections)
        assert is_alive(server)


def test_only_http1() -> None:
    with running(hello, listener={"protocols": ["http/1.1"]}) as server:
        sock = server.connect()
        sock.sendall(PREFACE)
        assert until_closed(sock).startswith(b"HTTP/1.1 505 ")
        assert is_alive(server)


def test_only_http2() -> None:
    with running(hello, "http2-h2", listener={"protocols": ["h2"]}) as server:
        assert request(server.client("http2-h2"), "GET", "/x").body == b"/x"
        sock = server.connect()
        sock.sendall(GET)
        assert b"HTTP/1.1" not in until_closed(sock)
        wait_for(lambda: server.violations("protocol_error"))
        assert request(server.client("http2-h2"), "GET", "/y").body == b"/y"


def test_upgrade_to_h2c_is_answered_in_http1() -> None:
    with running(hello) as server:
        sock = server.connect()
        upgrade = b"upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\nconnection: upgrade, http2-settings, close\r\n"
        sock.sendall(b"GET /x HTTP/1.1\r\nhost: a\r\n" + upgrade + b"\r\n")
        response = until_closed(sock)
        assert response.startswith(b"HTTP/1.1 200")
        assert b"upgrade" not in response.lower()


# Bad input.

MALFORMED = {
    "no http": (b"\x00\x01\x02\r\n\r\n", b"400"),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
    "no version": (b"GET /\r\n\r\n", b"400"),
    "http/3": (b"GET / HTTP/3.0\r\nhost: a\r\n\r\n", b"505"),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", b"400"),
    "two lengths": (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx", b"400"),
    "length and coding": (
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"400",
    ),
    "bare LF": (b"GET / HTTP/1.1\nhost: a\n\n", b"400"),
    "connect": (b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", b"501"),
    "long target": (b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", b"414"),
    "large head": (b"GET / HTTP/1.1\r\nhost: a\r\na: " + b"x" * 40_000 + b"\r\n\r\n", b"431"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_http1_is_refused_counted_and_closed(case: str) -> None:
    data, status = MALFORMED[case]
    with running(echo) as server:
        sock = server.connect()
        sock.sendall(data)
        response = until_closed_by_shutdown(sock)
        assert response.split(b" ")[1] == status
        assert b"\r\nconnection: close\r\n" in response
        (record,) = server.observer.records
        assert (record.fault, record.status) == (Fault.CLIENT, int(status))
        assert server.count(metrics.REFUSED, "test", record.reason) == 1
        assert is_alive(server)


def until_closed_by_shutdown(sock: socket.socket) -> bytes:
    """The same for a connection that lingers: it is ours to close."""
    received = until_closed(sock)
    sock.close()
    return received


def test_framing_lost_inside_a_body_ends_the_connection() -> None:
    with running(echo) as server:
        sock = server.connect()
        sock.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        wait_for(lambda: server.observer.open)
        sock.sendall(b"zz\r\n")
        assert until_closed_by_shutdown(sock).startswith(b"HTTP/1.1 400")
        wait_for(lambda: server.observer.records)
        assert server.observer.records[0].reason == "bad_chunk"
        assert server.count(metrics.REFUSED, "test", "bad_chunk") == 1
        assert is_alive(server)


BROKEN_HTTP2 = {
    "frame too large": (b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", "frame_size_error"),
    "data on stream 0": (b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x", "protocol_error"),
    "bad hpack": (b"\x00\x00\x01\x01\x05\x00\x00\x00\x05\xff", "compression_error"),
    "window overflow": (b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\xff\xff", "flow_control_error"),
    "continuation of nothing": (b"\x00\x00\x00\x09\x04\x00\x00\x00\x01", "protocol_error"),
}


@pytest.mark.parametrize("engine", ["http2-nghttp2", "http2-h2"])
@pytest.mark.parametrize("case", BROKEN_HTTP2)
def test_broken_http2_gets_a_goaway_and_is_counted(engine: str, case: str) -> None:
    skip_without(engine)
    data, reason = BROKEN_HTTP2[case]
    gate = Gate()
    with running(gate, engine) as server:
        client = server.client(engine)
        assert isinstance(client, Http2Client)
        assert request(client, "GET", "/x").body == b"/x"
        waiting = client.begin("POST", "/wait", [], end=False)
        wait_for(lambda: gate.waiting)
        client.sock.sendall(data)
        assert client.finish(waiting).reset
        assert client.goaways[-1] != 0
        assert server.violations(reason) == 1
        gate.open()
        wait_for(lambda: not server.connections)
        assert is_alive(server)


def skip_without(engine: str) -> None:
    if engine == "http2-nghttp2":
        pytest.importorskip("sidegate.wire.http2.nghttp2", reason="the nghttp2 binding was not built")


# Requests one behind the other.


@pytest.mark.parametrize("loop_factory", [None, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_ten_thousand_pipelined_requests(loop_factory: Any) -> None:
    """More than may be held at once: reading stops and goes on."""
    options = {} if loop_factory is None else {"loop_factory": loop_factory}
    with running(hello, limits={"connectionRequests": 20_000}, **options) as server:
        sock = server.connect()
        sender = threading.Thread(target=sock.sendall, args=(GET * 10_000 + LAST,))
        sender.start()
        received = until_closed(sock)
        sender.join()
        assert received.count(b"HTTP/1.1 200") == 10_001
        assert received.endswith(b"/last")


def test_a_large_upload_to_a_slow_application_is_held_back() -> None:
    """The window bounds what waits here, whatever the client sends."""
    gate = Gate()
    size = 64 * 1024**2

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate({"path": "/wait"}, receive, drop)
        count, more = 0, True
        while more:
            message = await receive()
            count, more = count + len(message["body"]), message["more_body"]
        await respond(send, b"%d" % count)

    async def drop(message: Any) -> None:
        pass

    with running(app, limits={"requestBody": 0, "streamWindow": "64Ki"}) as server:
        sock = server.connect()
        sock.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % size)
        sent = 0
        sock.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            while sent < size:
                sent += sock.send(bytes(65536))
        assert sent < size  # the kernel's buffers are full, because nobody reads
        (record,) = server.observer.open
        assert record.bytes_in < 1024**2
        sock.settimeout(10)
        gate.open()
        sock.sendall(bytes(size - sent))
        assert until_closed(sock).endswith(b"\r\n%d" % size)


# A response while the request is still being sent.


@pytest.mark.parametrize("size", [70_000, 20 * 1024**2])
@pytest.mark.parametrize("declared", [True, False])
def test_an_uploading_client_can_read_its_413(size: int, declared: bool) -> None:
    with running(echo, limits={"requestBody": "1Ki"}) as server:
        client = server.client("http1")
        fields = [(b"content-length", b"%d" % size)] if declared else []
        stream = client.begin("POST", "/", fields, end=False)
        client.body(stream, bytes(size), end=True)  # all of it, without a look at the answer
        response = client.finish(stream)
        assert (response.status, response.reset) == (413, False)
        assert response.body.endswith(b")\n")
        client.close()
        wait_for(lambda: not server.connections)
        assert server.observer.records[0].reason == "body_too_large"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_reads_its_413(tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    with upload.open("wb") as file:
        file.truncate(20 * 1024**2)
    with running(echo, limits={"requestBody": "1Ki"}) as server:
        url = f"http://127.0.0.1:{server.address[1]}/"
        command = [
            "curl",
            "-sS",
            "--http1.1",
            "--data-binary",
            f"@{upload}",
            "-H",
            "expect:",
            "-w",
            "%{http_code}",
            url,
        ]
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert result.stdout.endswith("413"), result


# Leaving.


def test_what_was_answered_reaches_a_client_that_half_closes() -> None:
    with running(hello) as server:
        sock = server.connect()
        sock.sendall(GET)
        until(sock, b"/x")
        sock.sendall(LAST)
        sock.shutdown(socket.SHUT_WR)
        until_closed(sock)
        wait_for(lambda: not server.connections)


def test_the_end_of_input_is_a_disconnect() -> None:
    gate = Gate()
    with running(gate) as server:
        sock = server.connect()
        sock.sendall(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n")
        wait_for(lambda: gate.waiting)
        sock.shutdown(socket.SHUT_WR)
        assert until_closed(sock) == b""
        (record,) = server.observer.open
        assert (record.fault, record.reason) == (Fault.CLIENT, "client_disconnected")
        gate.open()
        wait_for(lambda: server.observer.records)


def test_a_response_that_never_left_counts_as_a_disconnect() -> None:
    """The application was done, the last bytes were still here: the client's window has no room for them."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(65535), "more_body": True})
        await send({"type": "http.response.body", "body": bytes(40_000)})

    with running(app, "http2-h2") as server:
        client = server.client("http2-h2", credit=False)
        assert isinstance(client, Http2Client)
        stream = client.begin("GET", "/", [], end=True)
        while len(client.responses[stream].body) < 65535:
            client.pump()
        wait_for(lambda: [record.bytes_out for record in server.observer.open] == [105_535])
        assert not server.observer.records
        reset(client.sock)
        wait_for(lambda: server.observer.records)
        assert server.observer.records[0].reason == "client_disconnected"


def sparse(path: Path, size: int) -> str:
    with path.open("wb") as file:
        file.truncate(size)
    return str(path)


@pytest.mark.parametrize("loop_factory", [None, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
@pytest.mark.parametrize("farewell", [reset, socket.socket.close])
def test_a_client_may_leave_in_the_middle_of_a_file(tmp_path: Path, loop_factory: Any, farewell: Any) -> None:
    path = sparse(tmp_path / "file", 64 * 1024**2)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": path})

    options = {} if loop_factory is None else {"loop_factory": loop_factory}
    with running(app, **options) as server:
        sock = server.connect()
        sock.sendall(GET)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
        farewell(sock)
        wait_for(lambda: server.observer.records)
        assert server.observer.records[0].reason == "client_disconnected"
        wait_for(lambda: not server.connections)


@pytest.mark.parametrize("loop_factory", [None, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_a_file_never_goes_to_the_next_connection(tmp_path: Path, loop_factory: Any) -> None:
    """The descriptor of a closed connection becomes that of the next one, while its file is still on its way."""
    path = tmp_path / "file"
    path.write_bytes(b"secret" * 4_000_000)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/file":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.pathsend", "path": str(path)})
        else:
            await respond(send, b"hello")

    options = {} if loop_factory is None else {"loop_factory": loop_factory}
    with running(app, **options) as server:
        first = server.connect()
        first.sendall(b"GET /file HTTP/1.1\r\nhost: a\r\n\r\n")
        first.recv(1000)
        threading.Event().wait(0.2)  # until the kernel's buffers are full
        first.shutdown(socket.SHUT_WR)
        wait_for(lambda: server.observer.records)
        others = [server.connect() for _ in range(8)]
        wait_for(lambda: len(server.connections) >= 8)
        until_closed(first)  # makes room for the rest of the file
        for other in others:
            other.sendall(LAST)
            assert b"secret" not in until_closed(other)


@pytest.mark.parametrize("leaves", [False, True])
def test_a_file_behind_a_body_that_still_waits(tmp_path: Path, leaves: bool) -> None:
    """What was written before the file goes first, however slow the client is."""
    path = tmp_path / "file"
    path.write_bytes(b"f" * 1_000_000)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1060000")]})
        await send({"type": "http.response.body", "body": b"b" * 60_000, "more_body": True})
        entered.set()
        await send({"type": "http.response.pathsend", "path": str(path)})

    entered = threading.Event()
    with running(app) as server:
        server._sockets["test"][0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # connections inherit it
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(10)
        sock.connect(server.address)
        sock.sendall(LAST)
        assert entered.wait(10)
        threading.Event().wait(0.1)
        if leaves:
            reset(sock)
            wait_for(lambda: server.observer.records)
            assert server.observer.records[0].reason == "client_disconnected"
        else:
            body = until_closed(sock).partition(b"\r\n\r\n")[2]
            assert body == b"b" * 60_000 + b"f" * 1_000_000
            sock.close()


def test_a_file_that_shrinks_while_it_is_sent_breaks_the_response_off(tmp_path: Path) -> None:
    path = tmp_path / "file"
    sparse(path, 64 * 1024**2)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": str(path)})

    with running(app) as server:
        sock = server.connect()
        sock.sendall(GET)
        sock.recv(1000)
        with path.open("rb+") as file:
            file.truncate(0)
        until_closed(sock)
        wait_for(lambda: server.observer.records)
        record = server.observer.records[0]
        assert (record.fault, record.reason) == (Fault.APPLICATION, "content_length_mismatch")


@pytest.mark.parametrize("engine", ["http2-nghttp2", "http2-h2"])
def test_a_file_that_shrinks_while_it_is_read_resets_the_stream(engine: str, tmp_path: Path) -> None:
    skip_without(engine)
    path = tmp_path / "file"
    sparse(path, 8 * 1024**2)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": str(path)})

    with running(app, engine) as server:
        client = server.client(engine)
        assert isinstance(client, Http2Client)
        stream = client.begin("GET", "/", [], end=True)
        while not client.responses[stream].body:
            client.pump()
        with path.open("rb+") as file:
            file.truncate(0)
        assert client.finish(stream).reset


@pytest.mark.parametrize("message", [{"offset": -1}, {"count": -1}, {"offset": "x"}])
def test_a_file_range_that_is_none_is_an_application_error(message: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with path.open("rb") as file:
            await send({"type": "http.response.zerocopysend", "file": file, **message})

    with running(app) as server:
        assert request(server.client("http1"), "GET", "/").status == 500


def test_a_file_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with path.open("rb") as file:
            await send({"type": "http.response.zerocopysend", "file": file.fileno(), "offset": 10, "count": 1000})

    with running(app) as server:
        assert request(server.client("http1"), "GET", "/").body == b"x" * 90


# Listeners.


def test_a_unix_socket_has_no_client_address(tmp_path: Path) -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await respond(send)

    path = tmp_path / "s"
    with running(app, listener={"address": f"unix:{path}"}) as server:
        assert request(server.client("http1"), "GET", "/").status == 200
        assert server.observer.records[0].client == "unix"
    assert (seen[0]["client"], seen[0]["server"]) == (None, (str(path), None))


def test_ipv6() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await respond(send)

    with running(app, listener={"address": "[::1]:0"}) as server:
        client = server.client("http1")
        assert request(client, "GET", "/").status == 200
        assert seen[0]["client"] == ("::1", client.sock.getsockname()[1])
        assert seen[0]["server"] == ("::1", server.address[1])


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EPERM])
def test_accepting_pauses_and_goes_on_after_a_failure(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "PAUSE", 0.05)
    failures = [OSError(number, "no more")] * 3
    accept = socket.socket.accept

    def failing(self: socket.socket) -> Any:
        if failures:
            raise failures.pop()
        return accept(self)

    with running(hello) as server:
        monkeypatch.setattr(socket.socket, "accept", failing)
        assert is_alive(server)
        assert server.violations("accept_failed") == 3


def test_a_socket_that_fails_before_it_is_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    setsockopt = socket.socket.setsockopt
    failures = [OSError(errno.EINVAL, "the peer is gone already")]

    def failing(self: socket.socket, *arguments: Any) -> None:
        if failures:
            raise failures.pop()
        setsockopt(self, *arguments)

    with running(hello) as server:
        monkeypatch.setattr(socket.socket, "setsockopt", failing)
        assert until_closed(server.connect()) == b""
        assert is_alive(server)


def test_an_unexpected_error_at_the_start_of_a_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the socket is closed: nobody else has it."""
    made, failures = Connection, [RuntimeError("not foreseen")]

    def failing(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return made(*arguments)

    monkeypatch.setattr(listener, "Connection", failing)
    with running(hello) as server:
        assert until_closed(server.connect()) == b""
        wait_for(lambda: "not foreseen" in caplog.text)
        assert is_alive(server)
        assert server.violations("accept_failed") == 1


def test_a_listener_that_pauses_can_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "PAUSE", 0.05)

    def failing(self: socket.socket) -> Any:
        raise OSError(errno.EMFILE, "no more")

    with running(hello) as server:
        monkeypatch.setattr(socket.socket, "accept", failing)
        server.connect()
        wait_for(lambda: server.violations("accept_failed"))
        server.drain()
        threading.Event().wait(0.1)  # the pause ends after the listener did


def test_http10_clients_are_served() -> None:
    with running(hello) as server:
        sock = server.connect()
        sock.sendall(b"GET /x HTTP/1.0\r\n\r\n")
        assert until_closed(sock).endswith(b"\r\n\r\n/x")
        assert server.observer.records[0].http_version == "1.0"
        client = Http1Client(server.connect())
        assert request(client, "GET", "/").status == 200


def test_buffers_other_than_bytes_and_empty_pieces_are_bodies_too() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for body in (b"", bytearray(b"one "), memoryview(b"two")):
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body"})

    with running(app) as server:
        assert request(server.client("http1"), "GET", "/").body == b"one two"


def test_no_continue_after_the_response_began() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await respond_rest(receive, send)

    async def respond_rest(receive: Receive, send: Send) -> None:
        message = await receive()
        await send({"type": "http.response.body", "body": message["body"]})

    with running(app) as server:
        client = server.client("http1")
        fields = [(b"expect", b"100-continue"), (b"content-length", b"4")]
        stream = client.begin("POST", "/", fields, end=False)
        wait_for(lambda: server.observer.open and [r.status for r in server.observer.open] == [200])
        client.body(stream, b"body", end=True)
        response = client.finish(stream)
        assert (response.informational, bytes(response.body)) == ([], b"xbody")


def test_a_sender_without_end_on_a_broken_connection_leaves_the_loop_to_others(codec: str) -> None:
    """A transport that has failed takes everything, until the loop tells that the connection is lost."""
    outcome: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/flood":
            await hello(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        (connection,) = server.connections
        connection.transport.abort()  # as uvloop does when a write fails
        try:
            while True:
                await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
        except OSError as error:
            outcome.append(type(error).__name__)

    with running(app, codec) as server:
        client = server.client(codec)
        client.begin("GET", "/flood", [], end=True)
        wait_for(lambda: outcome)
        assert outcome == ["ClientDisconnected"]
        assert is_alive(server)
