"""TLS over real handshakes: versions, ALPN, SNI, client certificates, and what is counted when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509

from sidegate.observe import metrics
from tests.support.apps import Receive, Scope, Send, hello, respond
from tests.support.certificates import Authority, Pair
from tests.support.clients import Http1Client, Http2Client, request
from tests.support.running import Running, running, wait_for

Loop = Callable[[], asyncio.AbstractEventLoop]

# Old versions are refused by a policy of the client's own library unless it is told otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def loop_factory(request: pytest.FixtureRequest) -> Loop:
    chosen: Loop = request.param
    return chosen


@pytest.fixture(autouse=True)
def _engine(tls_engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every server of this file uses the engine."""
    monkeypatch.setattr(f"{__name__}.running", partial(running, tlsEngine=tls_engine))


def client_context(authority: Authority, *alpn: str, pair: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.ca))
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if pair is not None:
        context.load_cert_chain(pair.cert, pair.key)
    return context


def fetch(server: Running, context: ssl.SSLContext, name: str = "localhost") -> bytes:
    """One request in the version that ALPN chose."""
    sock = server.connect_tls(context, name)
    client = Http2Client(sock) if sock.selected_alpn_protocol() == "h2" else Http1Client(sock)
    before = len(server.observer.records)
    response = request(client, "GET", "/x")
    client.close()
    assert response.status == 200
    wait_for(lambda: len(server.observer.records) > before)
    return bytes(response.body)


def failures(server: Running, listener: str = "test") -> dict[str, float]:
    """Handshake failures that were counted, by reason."""
    reasons = server.layout.offsets(metrics.HANDSHAKE_FAILURES, listener)
    counts = {reason: server.count(metrics.HANDSHAKE_FAILURES, listener, reason) for reason in reasons}
    return {reason: count for reason, count in counts.items() if count}


# Versions and protocols.


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(("h2", "http/1.1"), "h2"), (("http/1.1",), "http/1.1"), ((), None)],
)
def test_alpn_chooses_the_protocol(
    authority: Authority, pair: Pair, offered: tuple[str, ...], chosen: str | None, loop_factory: Loop
) -> None:
    with running(hello, loop_factory=loop_factory, tls={"certificates": [pair.as_yaml()]}) as server:
        context = client_context(authority, *offered)
        sock = server.connect_tls(context)
        assert sock.selected_alpn_protocol() == chosen
        assert fetch(server, context) == b"/x"
        label = "2" if chosen == "h2" else "1.1"
        assert server.count(metrics.CONNECTIONS, "test", label) == 2


@pytest.mark.parametrize("alpn", ["h2", "http/1.1"])
def test_a_request_that_says_http_over_tls_is_misdirected(
    authority: Authority, pair: Pair, loop_factory: Loop, alpn: str
) -> None:
    with running(hello, loop_factory=loop_factory, tls={"certificates": [pair.as_yaml()]}) as server:
        for scheme, status in (("https", 200), ("http", 421)):
            sock = server.connect_tls(client_context(authority, alpn))
            client = Http2Client(sock) if alpn == "h2" else Http1Client(sock)
            if isinstance(client, Http2Client):
                client.scheme = scheme.encode()
            assert request(client, "GET", "/x" if alpn == "h2" else f"{scheme}://localhost/x").status == status
            client.close()


def test_alpn_without_overlap(tls_engine: str, authority: Authority, pair: Pair, loop_factory: Loop) -> None:
    """RFC 7301 3.2: an alert. Python's ssl cannot send it; the client is served as one without ALPN."""
    with running(hello, loop_factory=loop_factory, tls={"certificates": [pair.as_yaml()]}) as server:
        context = client_context(authority, "spdy/3")
        if tls_engine == "ssl":
            assert fetch(server, context) == b"/x"
            return
        with pytest.raises(ssl.SSLError, match="no application protocol"):
            server.connect_tls(context)
        wait_for(lambda: failures(server) == {"no_application_protocol": 1})


def test_a_client_without_alpn_where_only_http2_is_spoken(authority: Authority, pair: Pair, loop_factory: Loop) -> None:
    tls = {"certificates": [pair.as_yaml()]}
    with running(hello, "http2-h2", loop_factory, tls, listener={"protocols": ["h2"]}) as server:
        with contextlib.suppress(OSError):
            sock = server.connect_tls(client_context(authority))
            sock.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert sock.recv(100) == b""
        wait_for(lambda: server.violations("no_protocol"))
        wait_for(lambda: not server.connections)
        assert fetch(server, client_context(authority, "h2")) == b"/x"


@pytest.mark.parametrize(
    "accepted",
    [
        ("1.2", ssl.TLSVersion.TLSv1_1, False),
        ("1.2", ssl.TLSVersion.TLSv1_2, True),
        ("1.2", ssl.TLSVersion.TLSv1_3, True),
        ("1.3", ssl.TLSVersion.TLSv1_2, False),
        ("1.3", ssl.TLSVersion.TLSv1_3, True),
    ],
)
def test_versions(
    authority: Authority, pair: Pair, accepted: tuple[str, ssl.TLSVersion, bool], loop_factory: Loop
) -> None:
    minimum, version, served = accepted
    context = client_context(authority)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    tls = {"certificates": [pair.as_yaml()], "minVersion": minimum}
    with running(hello, loop_factory=loop_factory, tls=tls) as server:
        if served:
            assert fetch(server, context) == b"/x"
            label = {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]
            wait_for(lambda: server.count(metrics.HANDSHAKES, "test", label) == 1)
            assert server.observer.records[0].tls == label
        else:
            with pytest.raises(ssl.SSLError):
                server.connect_tls(context)
            wait_for(lambda: failures(server) == {"protocol_version": 1})
            assert fetch(server, client_context(authority)) == b"/x"


# Which certificate.


def test_sni_chooses_the_certificate(authority: Authority, pair: Pair, loop_factory: Loop) -> None:
    exact = authority.server("www.example.com")
    wildcard = authority.server("*.example.com", "example.com")
    tls = {"certificates": [entry.as_yaml() for entry in (pair, exact, wildcard)]}
    names = {
        "www.example.com": exact,
        "WWW.Example.Com": exact,
        "shop.example.com": wildcard,
        "example.com": wildcard,
        "a.b.example.com": pair,
        "other.test": pair,
        None: pair,
    }
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["extensions"]["tls"]["server_cert"])
        await respond(send)

    with running(app, loop_factory=loop_factory, tls=tls) as server:
        for name, expected in names.items():
            sock = context.wrap_socket(server.connect(), server_hostname=name)
            presented = ssl.DER_cert_to_PEM_cert(sock.getpeercert(binary_form=True) or b"")
            assert presented == expected.cert.read_text(), name
            assert request(Http1Client(sock), "GET", "/").status == 200
            assert seen.pop() == presented
            sock.close()


def test_a_certificate_without_names_can_be_one_of_several(authority: Authority, pair: Pair) -> None:
    nameless = authority._issue("nameless", None, x509.oid.ExtendedKeyUsageOID.SERVER_AUTH)
    tls = {"certificates": [pair.as_yaml(), nameless.as_yaml()]}
    with running(hello, tls=tls) as server:
        assert fetch(server, client_context(authority)) == b"/x"


# Client certificates.


def test_the_tls_extension_is_exact(authority: Authority, pair: Pair, tmp_path: Path, loop_factory: Loop) -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await respond(send, b"/x")

    client = authority.client("Grace, Hopper")
    chain = tmp_path / "chain.pem"
    chain.write_text(client.cert.read_text() + authority.ca.read_text())
    tls = {
        "certificates": [pair.as_yaml()],
        "clientCertificates": {"mode": "required", "ca": str(authority.ca)},
    }
    with running(app, "http2-h2", loop_factory, tls) as server:
        for alpn in ("http/1.1", "h2"):
            for version, code, suites in (
                (ssl.TLSVersion.TLSv1_2, 0x0303, {0xC02B, 0xC02C, 0xCCA9}),
                (ssl.TLSVersion.TLSv1_3, 0x0304, {0x1301, 0x1302, 0x1303}),
            ):
                context = client_context(authority, alpn, pair=Pair(chain, client.key))
                context.maximum_version = version
                assert fetch(server, context) == b"/x"
                scope = seen.pop()
                assert scope["http_version"] == ("2" if alpn == "h2" else "1.1")
                assert scope["scheme"] == "https"
                extension = scope["extensions"]["tls"]
                assert extension.pop("cipher_suite") in suites
                assert extension == {
                    "server_cert": pair.cert.read_text(),
                    "client_cert_chain": [client.cert.read_text(), authority.ca.read_text()],
                    "client_cert_name": "CN=Grace\\, Hopper",
                    "client_cert_error": None,
                    "tls_version": code,
                }


def test_optional_client_certificates(
    authority: Authority, stranger: Authority, pair: Pair, loop_factory: Loop
) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        tls = scope["extensions"]["tls"]
        seen.append((tls["client_cert_name"], bool(tls["client_cert_chain"])))
        await respond(send, b"/x")

    ca = {"mode": "optional", "ca": str(authority.ca)}
    tls = {"certificates": [pair.as_yaml()], "clientCertificates": ca}
    with running(app, loop_factory=loop_factory, tls=tls) as server:
        fetch(server, client_context(authority))
        fetch(server, client_context(authority, pair=authority.client("ada")))
        assert seen == [(None, False), ("CN=ada", True)]
        refused(server, client_context(authority, pair=stranger.client("eve")))
        wait_for(lambda: failures(server) == {"client_certificate": 1})


def test_required_client_certificates(
    authority: Authority, stranger: Authority, pair: Pair, loop_factory: Loop
) -> None:
    tls = {"certificates": [pair.as_yaml()], "clientCertificates": {"ca": str(authority.ca)}}
    with running(hello, loop_factory=loop_factory, tls=tls) as server:
        refused(server, client_context(authority))
        wait_for(lambda: failures(server) == {"no_client_certificate": 1})
        refused(server, client_context(authority, pair=stranger.client("eve")))
        wait_for(lambda: failures(server) == {"no_client_certificate": 1, "client_certificate": 1})
        assert fetch(server, client_context(authority, pair=authority.client("ada"))) == b"/x"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_resumed_session_keeps_its_client_certificate(
    authority: Authority, pair: Pair, version: ssl.TLSVersion, loop_factory: Loop
) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["extensions"]["tls"]["client_cert_name"])
        await respond(send, b"/x")

    tls = {"certificates": [pair.as_yaml()], "clientCertificates": {"ca": str(authority.ca)}}
    with running(app, loop_factory=loop_factory, tls=tls) as server:
        context = client_context(authority, pair=authority.client("ada"))
        context.maximum_version = version
        first = server.connect_tls(context)
        request(Http1Client(first), "GET", "/")
        again = context.wrap_socket(server.connect(), server_hostname="localhost", session=first.session)
        request(Http1Client(again), "GET", "/")
        assert again.session_reused
        assert seen == ["CN=ada", "CN=ada"]
        first.close()
        again.close()


def test_client_certificates_may_be_switched_off(authority: Authority, pair: Pair) -> None:
    tls = {"certificates": [pair.as_yaml()], "clientCertificates": {"mode": "none"}}
    with running(hello, tls=tls) as server:
        assert fetch(server, client_context(authority)) == b"/x"


def refused(server: Running, context: ssl.SSLContext) -> None:
    """With TLS 1.3 the client's side of the handshake is done before its certificate is judged."""
    with pytest.raises(OSError, match=r"alert|EOF|reset|closed"):
        _receive_one(server.connect_tls(context))


def _receive_one(sock: ssl.SSLSocket) -> None:
    if not sock.recv(1):
        raise OSError("closed")


# Handshakes that fail.


@contextlib.contextmanager
def serving(authority: Authority, pair: Pair, loop_factory: Loop, **timeouts: str) -> Iterator[Running]:
    """A server that must still answer at the end."""
    tls = {"certificates": [pair.as_yaml()]}
    with running(hello, loop_factory=loop_factory, tls=tls, timeouts=timeouts) as server:
        yield server
        assert fetch(server, client_context(authority)) == b"/x"


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", "cleartext"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "cleartext"),
        (b"\x00\x01\x02\x03" * 100, "cleartext"),
    ],
)
def test_bytes_that_are_no_tls(authority: Authority, pair: Pair, loop_factory: Loop, sent: bytes, reason: str) -> None:
    with serving(authority, pair, loop_factory) as server:
        sock = server.connect()
        sock.sendall(sent)
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(1000):
                pass
        wait_for(lambda: failures(server) == {reason: 1})


def test_clients_that_leave_during_the_handshake(authority: Authority, pair: Pair, loop_factory: Loop) -> None:
    with serving(authority, pair, loop_factory) as server:
        server.connect().close()
        wait_for(lambda: failures(server) == {"disconnected": 1})
        sock = server.connect()
        sock.sendall(b"\x16\x03\x01")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        wait_for(lambda: failures(server) == {"disconnected": 2})


def test_a_handshake_that_does_not_end(authority: Authority, pair: Pair, loop_factory: Loop) -> None:
    with serving(authority, pair, loop_factory, tlsHandshake="200ms") as server:
        sock = server.connect()
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(100) == b""
        wait_for(lambda: failures(server) == {"timeout": 1})


@pytest.mark.parametrize("set_at", [0, 1])
def test_a_listener_may_have_its_own_time_for_handshakes(pair: Pair, loop_factory: Loop, set_at: int) -> None:
    values = ["200ms", "1m"]  # of the first listener, and of the second
    tls = {"certificates": [pair.as_yaml()]}
    listeners: list[dict[str, Any]] = [
        {"name": name, "address": "127.0.0.1:0", "tls": tls} for name in ("strict", "loose")
    ]
    listeners[set_at]["timeouts"] = {"tlsHandshake": values[set_at]}
    timeouts = {"tlsHandshake": values[1 - set_at]}
    with running(hello, loop_factory=loop_factory, listeners=listeners, timeouts=timeouts) as server:
        loose, strict = server.connect("loose"), server.connect("strict")
        with contextlib.suppress(ConnectionResetError):
            assert strict.recv(100) == b""
        wait_for(lambda: failures(server, "strict") == {"timeout": 1})
        loose.settimeout(0.2)
        with pytest.raises(TimeoutError):
            loose.recv(100)
        assert failures(server, "loose") == {}


def test_a_client_that_does_not_trust_us(
    authority: Authority, stranger: Authority, pair: Pair, loop_factory: Loop
) -> None:
    with serving(authority, pair, loop_factory) as server:
        context = client_context(stranger)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLCertVerificationError):
            server.connect_tls(context)
        wait_for(lambda: failures(server) == {"certificate_rejected": 1})


def test_no_cipher_in_common(authority: Authority, pair: Pair, loop_factory: Loop) -> None:
    with serving(authority, pair, loop_factory) as server:
        context = client_context(authority)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
        with pytest.raises(ssl.SSLError):
            server.connect_tls(context)
        wait_for(lambda: failures(server) == {"no_shared_cipher": 1})


def test_handshakes_under_way_are_cut_at_the_end(pair: Pair, loop_factory: Loop) -> None:
    with running(hello, loop_factory=loop_factory, tls={"certificates": [pair.as_yaml()]}) as server:
        server.connect()
        wait_for(lambda: server.runtime._busy)


def test_a_handshake_that_ends_during_the_drain_is_served(authority: Authority, pair: Pair, loop_factory: Loop) -> None:
    with running(hello, loop_factory=loop_factory, tls={"certificates": [pair.as_yaml()]}) as server:
        raw = server.connect()
        wait_for(lambda: server.runtime._busy)
        drain = asyncio.run_coroutine_threadsafe(server.runtime.drain(0.0, 10.0), server._loop)
        wait_for(lambda: server.runtime._listeners[0].service.draining)
        sock = client_context(authority).wrap_socket(raw, server_hostname="localhost")
        response = request(Http1Client(sock), "GET", "/x")
        assert (response.status, response.get(b"connection")) == (200, b"close")
        sock.close()
        drain.result(10)


# A response while the request is still being sent.


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
def test_an_uploading_client_can_read_its_413(authority: Authority, pair: Pair, loop_factory: Loop, alpn: str) -> None:
    tls = {"certificates": [pair.as_yaml()]}
    with running(hello, "http2-h2", loop_factory, tls, limits={"requestBody": "1Ki"}) as server:
        sock = server.connect_tls(client_context(authority, alpn))
        client = Http2Client(sock) if alpn == "h2" else Http1Client(sock)
        stream = client.begin("POST", "/", [(b"content-length", b"5000000")], end=False)
        client.body(stream, bytes(5_000_000), end=True)
        response = client.finish(stream)
        assert (response.status, response.reset) == (413, False)
        sock.close()
        wait_for(lambda: not server.connections)


def test_a_client_that_takes_nothing_is_cut(authority: Authority, pair: Pair, loop_factory: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(200):
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
        await send({"type": "http.response.body"})

    tls = {"certificates": [pair.as_yaml()]}
    with running(app, loop_factory=loop_factory, tls=tls, timeouts={"write": "500ms"}) as server:
        sock = server.connect_tls(client_context(authority))
        sock.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        wait_for(lambda: server.observer.records)
        assert server.observer.records[0].reason == "write_timeout"
        wait_for(lambda: not server.connections)
