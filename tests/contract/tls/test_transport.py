"""The TLS transport over real sockets: who closes how, what waits for whom, and what the operator is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from sidegate.observe import metrics
from sidegate.wire.events import FRAMES_A_TURN
from tests.support.apps import Gate, Receive, Scope, Send, echo, hello
from tests.support.certificates import Authority, Pair
from tests.support.clients import Http1Client, request
from tests.support.long_reads import Parts, chunks, held
from tests.support.running import Running, running, wait_for
from tests.support.tls_client import ALERT_RECORD

Loop = Callable[[], asyncio.AbstractEventLoop]

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl's command is the client")

GET = b"GET /x HTTP/1.1\r\nhost: localhost\r\n\r\n"


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def loop_factory(request: pytest.FixtureRequest) -> Loop:
    chosen: Loop = request.param
    return chosen


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.ca))


@contextlib.contextmanager
def serving(
    tls_engine: str, pair: Pair, loop_factory: Loop, app: Callable[..., Any] = hello, **settings: Any
) -> Iterator[Running]:
    tls = {"certificates": [pair.as_yaml()], **settings.pop("tls", {})}
    with running(app, loop_factory=loop_factory, tls=tls, tlsEngine=tls_engine, **settings) as server:
        yield server


async def no_send(message: object) -> None:
    """Drop it."""


def until_closed(sock: socket.socket) -> bytes:
    received = b""
    while data := sock.recv(65536):
        received += data
    return received


def test_a_closing_server_sends_close_notify_and_waits_for_the_client(
    tls_engine: str, pair: Pair, context: ssl.SSLContext, loop_factory: Loop
) -> None:
    with serving(tls_engine, pair, loop_factory) as server:
        sock = server.connect_tls(context)
        sock.sendall(GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        assert until_closed(sock).endswith(b"/x")  # a bare EOF would be an ssl.SSLEOFError
        sock.sendall(b"late bytes")  # the socket is still open in this direction: no RST
        assert sock.unwrap() is not None
        sock.close()
        wait_for(lambda: not server.connections)


def test_a_response_that_ends_with_the_connection_and_an_unread_body(
    tls_engine: str, pair: Pair, context: ssl.SSLContext, loop_factory: Loop
) -> None:
    """close_notify is the end of such a response, which the client must get while it is still sending."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"first, ", "more_body": True})
        await send({"type": "http.response.body", "body": b"last"})

    with serving(tls_engine, pair, loop_factory, app) as server:
        sock = context.wrap_socket(server.connect(), server_hostname="localhost", suppress_ragged_eofs=False)
        sock.sendall(b"POST / HTTP/1.0\r\ncontent-length: 200000\r\n\r\n" + b"x" * 100)
        assert until_closed(sock).endswith(b"\r\n\r\nfirst, last")
        sock.close()
        wait_for(lambda: not server.connections)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_closes_gets_close_notify(
    tls_engine: str, pair: Pair, context: ssl.SSLContext, loop_factory: Loop, version: ssl.TLSVersion
) -> None:
    context.maximum_version = version
    with serving(tls_engine, pair, loop_factory) as server:
        sock = server.connect_tls(context)
        assert request(Http1Client(sock), "GET", "/x").status == 200
        sock.unwrap()  # returns when the server has answered with its own
        wait_for(lambda: not server.connections)


def test_a_response_whose_client_has_ended_its_side_is_still_sent(
    tls_engine: str, pair: Pair, context: ssl.SSLContext, loop_factory: Loop
) -> None:
    """The responses so far are written before the connection closes, as over cleartext."""
    with serving(tls_engine, pair, loop_factory) as server:
        sock = server.connect_tls(context)
        sock.sendall(GET)
        sock.setblocking(False)
        with contextlib.suppress(ssl.SSLError):  # the server has not sent close_notify yet
            sock.unwrap()
        sock.settimeout(10)
        wait_for(lambda: not server.connections)
        wait_for(lambda: len(server.observer.records) == 1)


def test_close_notify_comes_behind_what_is_left_of_a_read(
    tls_engine: str, pair: Pair, context: ssl.SSLContext, loop_factory: Loop
) -> None:
    """The application gets the whole body, in parts, although its client has ended the connection at once."""
    parts = Parts()
    with serving(tls_engine, pair, loop_factory, parts) as server:
        sock = server.connect_tls(context)
        sock.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        wait_for(lambda: server.observer.open)
        sock.setblocking(False)
        with held(server):
            sock.sendall(chunks(3 * FRAMES_A_TURN + 1))
            with contextlib.suppress(ssl.SSLError):  # the server has not sent close_notify yet
                sock.unwrap()
        wait_for(lambda: parts.end)
        wait_for(lambda: not server.connections)
    assert (parts.end, parts.count) == ("whole", 4)


def test_an_end_without_close_notify_is_the_end_too(
    tls_engine: str, pair: Pair, context: ssl.SSLContext, loop_factory: Loop
) -> None:
    with serving(tls_engine, pair, loop_factory) as server:
        sock = server.connect_tls(context)
        assert request(Http1Client(sock), "GET", "/x").status == 200
        sock.shutdown(socket.SHUT_WR)
        wait_for(lambda: not server.connections)


def test_garbage_after_the_handshake_gets_an_alert(
    tls_engine: str, pair: Pair, context: ssl.SSLContext, loop_factory: Loop
) -> None:
    with serving(tls_engine, pair, loop_factory) as server:
        sock = server.connect_tls(context)
        assert request(Http1Client(sock), "GET", "/x").status == 200
        raw = socket.socket(fileno=sock.detach())
        raw.settimeout(10)
        raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert until_closed(raw)
        raw.close()
        wait_for(lambda: not server.connections)


def test_a_slow_reader_stops_the_application(
    tls_engine: str, pair: Pair, context: ssl.SSLContext, loop_factory: Loop
) -> None:
    sent = 0
    size, pieces = 65536, 500

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(pieces):
            await send({"type": "http.response.body", "body": bytes(size), "more_body": True})
            sent += 1
        await send({"type": "http.response.body"})

    with serving(tls_engine, pair, loop_factory, app) as server:
        sock = server.connect_tls(context)
        sock.sendall(GET)
        wait_for(lambda: server.connections and server.connections[0].write_paused)
        assert sent < pieces
        received = 0
        while received < pieces * size:
            data = sock.recv(1 << 20)
            assert data
            received += len(data)
        sock.close()
        wait_for(lambda: server.observer.records)
        assert sent == pieces


def test_an_application_that_reads_nothing_stops_the_client(
    tls_engine: str, pair: Pair, context: ssl.SSLContext, loop_factory: Loop
) -> None:
    gate, size = Gate(), 20_000_000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate({"path": "/wait"}, receive, no_send)
        await echo(scope, receive, send)

    with serving(tls_engine, pair, loop_factory, app, limits={"requestBody": "1Gi"}) as server:
        sock = server.connect_tls(context)
        sock.sendall(f"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n".encode())
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.sendall(bytes(size))
        sock.close()
        gate.open()
        wait_for(lambda: not server.connections)


TYPED = GET.decode().replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")


@needs_openssl
def test_updates_of_keys(tls_engine: str, pair: Pair, authority: Authority, loop_factory: Loop) -> None:
    """The client asks for an update of the server's keys as well; that the server answers shows that it came."""
    with serving(tls_engine, pair, loop_factory) as server:
        steps = [("", "Verify return code"), ("K\n", "KEYUPDATE"), ("k\n", "KEYUPDATE"), (TYPED, "HTTP/1.1 200 OK")]
        assert "200 OK" in s_client(server, authority, steps, "-tls1_3")


@needs_openssl
def test_renegotiation_is_refused(tls_engine: str, pair: Pair, authority: Authority, loop_factory: Loop) -> None:
    with serving(tls_engine, pair, loop_factory) as server:
        steps = [("", "Verify return code"), ("R\n", "no renegotiation")]
        assert "RENEGOTIATING" in s_client(server, authority, steps, "-tls1_2")


@needs_openssl
def test_early_data_is_refused(
    tls_engine: str, pair: Pair, authority: Authority, loop_factory: Loop, tmp_path: Path
) -> None:
    ticket, early = tmp_path / "ticket", tmp_path / "early"
    early.write_bytes(GET)
    options = ("-tls1_3", "-ign_eof")
    with serving(tls_engine, pair, loop_factory) as server:
        s_client(server, authority, [(TYPED, "HTTP/1.1 200 OK")], *options, "-sess_out", str(ticket))
        steps = [("", "Early data was not sent"), (TYPED, "HTTP/1.1 200 OK")]
        out = s_client(server, authority, steps, *options, "-sess_in", str(ticket), "-early_data", str(early))
        assert "Reused, TLSv1.3" in out
        wait_for(lambda: len(server.observer.records) == 2)


def s_client(server: Running, authority: Authority, steps: Iterable[tuple[str, str]], *options: str) -> str:
    """What ``openssl s_client`` prints. Each step: what is typed, and what it has to print before the next step.

    What is expected holds a space: the certificate is printed in base64, which may hold every short word without one.
    """
    host, port = server.address[:2]
    command = ["openssl", "s_client", "-connect", f"{host}:{port}", "-servername", "localhost"]
    process = subprocess.Popen(
        [*command, "-CAfile", str(authority.ca), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    printed = ""
    with process, contextlib.suppress(BrokenPipeError):
        for typed, expected in steps:
            process.stdin.write(typed)
            process.stdin.flush()
            start = len(printed)
            while expected not in printed[start:]:
                line = process.stdout.readline()
                assert line, printed
                printed += line
        process.kill()
    return printed


# What the operator is told.


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "sidegate.listener"]


def test_failed_handshakes_are_logged_once_in_a_while(
    tls_engine: str, pair: Pair, context: ssl.SSLContext, loop_factory: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        caplog.at_level(logging.INFO, "sidegate.listener"),
        serving(tls_engine, pair, loop_factory, tls={"minVersion": "1.3"}) as server,
    ):
        for _ in range(3):
            with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
                server.connect_tls(context)
        wait_for(lambda: server.count(metrics.HANDSHAKE_FAILURES, "test", "protocol_version") == 3)
        (line,) = lines(caplog)
        start = (
            "listener test: TLS handshake with 127.0.0.1 failed: the client supports none of the allowed TLS versions"
        )
        assert line.startswith(start)
        handshakes = server.runtime._listeners[0]._handshakes
        assert handshakes is not None
        handshakes._silent_until = 0.0
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            server.connect_tls(context)
        wait_for(lambda: len(lines(caplog)) == 2)
        assert lines(caplog)[1].endswith("; 2 more failed since the last such line")


def test_a_client_that_only_looks_whether_the_port_is_open_is_not_logged(
    tls_engine: str, pair: Pair, loop_factory: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, "sidegate.listener"),
        serving(tls_engine, pair, loop_factory) as server,
    ):
        server.connect().close()
        wait_for(lambda: server.count(metrics.HANDSHAKE_FAILURES, "test", "disconnected") == 1)
        assert lines(caplog) == []
        sock = server.connect()
        sock.sendall(b"\x16\x03\x01")
        sock.close()
        wait_for(lambda: len(lines(caplog)) == 1)


def test_an_alert_arrives_even_if_the_client_has_sent_more(
    tls_engine: str, pair: Pair, authority: Authority, loop_factory: Loop, context: ssl.SSLContext
) -> None:
    """Bytes that nobody reads would let the kernel send a RST, which destroys the alert."""
    client = {"ca": str(authority.ca)}
    with serving(tls_engine, pair, loop_factory, tls={"clientCertificates": client}) as server:
        sock = server.connect_tls(context)
        sock.sendall(GET * 2000)
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
            sock.recv(100)


def test_a_client_that_does_not_leave_after_an_alert(
    tls_engine: str, pair: Pair, loop_factory: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidegate.server.tls.transport.LINGER", 0.1)
    with serving(tls_engine, pair, loop_factory) as server:
        sock = server.connect()
        sock.sendall(b"\x16\x03\x01\x00\x04abcd")
        assert until_closed(sock)[0] == ALERT_RECORD
        handshakes = server.runtime._listeners[0]._handshakes
        assert handshakes is not None
        wait_for(lambda: not handshakes._failed)


@pytest.mark.parametrize("redirects", [False, True])
def test_plain_http(tls_engine: str, pair: Pair, loop_factory: Loop, redirects: bool) -> None:
    with serving(tls_engine, pair, loop_factory, listener={"httpsRedirect": redirects}) as server:
        sock = server.connect()
        for start in range(0, len(GET), 10):
            sock.sendall(GET[start : start + 10])
        expected = b"HTTP/1.1 308 Permanent Redirect" if redirects else b"HTTP/1.1 400 Bad Request"
        received = until_closed(sock)
        assert received.startswith(expected)
        assert (b"location: https://localhost/x\r\n" in received) == redirects
        sock.close()
        wait_for(lambda: server.count(metrics.HANDSHAKE_FAILURES, "test", "cleartext") == 1)


@pytest.mark.parametrize("end", ["eof", "close", "timeout"])
def test_plain_http_that_does_not_end(tls_engine: str, pair: Pair, loop_factory: Loop, end: str) -> None:
    settings: dict[str, Any] = {"listener": {"httpsRedirect": True}, "timeouts": {"tlsHandshake": "200ms"}}
    with serving(tls_engine, pair, loop_factory, **settings) as server:
        sock = server.connect()
        sock.sendall(GET[:10])
        if end == "close":
            sock.close()
        elif end == "eof":
            sock.shutdown(socket.SHUT_WR)
        if end != "close":
            with contextlib.suppress(ConnectionResetError):
                assert until_closed(sock) == b""
        handshakes = server.runtime._listeners[0]._handshakes
        assert handshakes is not None
        wait_for(lambda: server.count(metrics.HANDSHAKE_FAILURES, "test", "cleartext") == 1)
        wait_for(lambda: not handshakes._failed)
        assert server.count(metrics.HANDSHAKE_FAILURES, "test", "disconnected") == 0
        assert server.count(metrics.HANDSHAKE_FAILURES, "test", "timeout") == 0


def test_a_reset_in_the_handshake(tls_engine: str, pair: Pair, loop_factory: Loop) -> None:
    with serving(tls_engine, pair, loop_factory) as server:
        sock = server.connect()
        sock.sendall(b"\x16\x03\x01")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        wait_for(lambda: server.count(metrics.HANDSHAKE_FAILURES, "test", "disconnected") == 1)
