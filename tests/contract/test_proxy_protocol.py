"""The PROXY protocol by listener: whom the application sees as client, who is believed, and who is refused."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import logging
import socket
import ssl
import struct
import termios
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from sidegate.config.schema import Config
from sidegate.config.validation import validate
from sidegate.observe import metrics
from tests.support import proxy_headers as sent
from tests.support import relaying, wsgi
from tests.support import running as in_process
from tests.support.apps import Receive, Scope, Send, respond
from tests.support.certificates import Authority
from tests.support.clients import Fields, Http1Client, Http2Client, request
from tests.support.running import Run, Running, RunningServer, wait_for
from tests.support.websocket import upgrade
from tests.support.wsgi import Environ, StartResponse

CLIENT, SERVER = ("192.0.2.1", 4711), ("198.51.100.7", 443)
CLIENT6, SERVER6 = ("2001:db8::1", 4711), ("2001:db8::2", 8443)
LISTENER = {"proxyProtocol": True}
TRUSTED = ["127.0.0.0/8"]

TLS_SUITE = sent.field(sent.SSL_CIPHER, b"TLS_AES_256_GCM_SHA384")
TLS_VERSION = sent.field(sent.SSL_VERSION, b"TLSv1.3")
OVER_TLS = sent.tls_field(sent.OVER_TLS, 0, TLS_VERSION, TLS_SUITE)


async def asgi_app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": f"{scope['client']} {scope['scheme']}"})
        await send({"type": "websocket.close"})
        return
    client, server = scope["client"], scope["server"]
    facts = {"client": client, "server": server, "scheme": scope["scheme"], "tls": scope["extensions"].get("tls")}
    await respond(send, json.dumps(facts).encode())


def wsgi_app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    client = [environ["REMOTE_ADDR"], int(environ["REMOTE_PORT"])]
    server = [environ["SERVER_NAME"], int(environ["SERVER_PORT"])]
    tls = {key: value for key, value in environ.items() if key.startswith("SSL_")}
    facts = {"client": client, "server": server, "scheme": environ["wsgi.url_scheme"], "tls": tls or None}
    return wsgi.respond(start_response, json.dumps(facts).encode())


Serve = Callable[..., contextlib.AbstractContextManager[RunningServer]]


@pytest.fixture(params=["asgi", "wsgi"])
def serve(request: pytest.FixtureRequest, place: str, tmp_path: Path) -> Serve:
    """Serve the application of either interface in that place, to trusted load balancers."""
    app, module = (asgi_app, in_process) if request.param == "asgi" else (wsgi_app, wsgi)
    behind = wsgi.behind_a_front if request.param == "wsgi" else relaying.behind_a_front
    run = functools.partial(module.running, app) if place == "front" else functools.partial(behind, tmp_path, app)
    return functools.partial(run, listener=LISTENER, trustedProxies=TRUSTED)


def through(server: RunningServer, header: bytes, pause: bool = False) -> socket.socket:
    """A connection of a load balancer that has sent the header. ``pause``: in two pieces, one of them of one byte."""
    sock = server.connect()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if pause:
        sock.sendall(header[:1])
        wait_for(lambda: not _unread(sock))
        header = header[1:]
    sock.sendall(header)
    return sock


def _unread(sock: socket.socket) -> bool:
    """Whether the other end has not yet acknowledged what was sent (SIOCOUTQ)."""
    return bool(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0])


def facts(
    server: RunningServer, codec: str, header: bytes, fields: Fields | None = None, *, tls: bool = False, **how: Any
) -> dict[str, Any]:
    """What the application learns of a request on a connection with that header, which says that ``tls`` has ended."""
    client = server.client(codec, sock=through(server, header, **how))
    if isinstance(client, Http2Client) and tls:
        client.scheme = b"https"
    response = request(client, "GET", "/", headers=fields)
    assert response.status == 200
    found: dict[str, Any] = json.loads(bytes(response.body))
    return found


def ended(sock: socket.socket) -> bool:
    """Whether the server has ended the connection without an answer."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


# Who the client is.


HEADERS = [
    (sent.line(CLIENT, SERVER), CLIENT, SERVER),
    (sent.line(CLIENT6, SERVER6), CLIENT6, SERVER6),
    (sent.relayed(CLIENT, SERVER), CLIENT, SERVER),
    (sent.relayed(CLIENT6, SERVER6, sent.field(sent.NOOP, bytes(3000))), CLIENT6, SERVER6),
]


def test_the_client_is_the_one_of_the_header(codec: str, serve: Serve) -> None:
    with serve(codec) as running:
        for header, client, server in HEADERS:
            found = facts(running, codec, header)
            assert (found["client"], found["server"]) == ([*client], [*server])
            assert (found["scheme"], found["tls"]) == ("http", None)
            assert facts(running, codec, header, pause=True) == found
        front: Any = getattr(running, "front", running)
        wait_for(lambda: len(front.observer.records) == 2 * len(HEADERS))
        assert {record.client for record in front.observer.records} == {CLIENT[0], CLIENT6[0]}


def test_a_balancer_that_says_that_it_has_ended_tls(engine: str, serve: Serve) -> None:
    for field, scheme in ((OVER_TLS, b"http"), (sent.tls_field(0, 0), b"https")):
        with serve(engine) as running:
            client = running.client(engine, sock=through(running, sent.relayed(CLIENT, SERVER, field)))
            assert isinstance(client, Http2Client)
            client.scheme = scheme
            assert request(client, "GET", "/").status == 421


def test_a_balancer_that_does_not_tell_whether_it_has_ended_tls(engine: str, serve: Serve) -> None:
    """Its clients' scheme is neither refused nor believed."""
    with serve(engine) as running:
        for header, *_ in HEADERS:
            client = running.client(engine, sock=through(running, header))
            assert isinstance(client, Http2Client)
            client.scheme = b"https"
            response = request(client, "GET", "/")
            assert (response.status, json.loads(bytes(response.body))["scheme"]) == (200, "http")


WITHOUT_ADDRESSES = [
    b"PROXY UNKNOWN\r\n",
    sent.binary(sent.UNSPECIFIED, b"", command=sent.LOCAL),
    sent.binary(sent.TCP4, sent.ends(CLIENT, SERVER), command=sent.LOCAL),
    sent.binary(sent.UNIX, bytes(216)),
]


def test_without_addresses_the_connections_own_count(codec: str, serve: Serve) -> None:
    fields = [(b"x-forwarded-for", b"192.0.2.9")]  # of the client that the balancer does not know
    with serve(codec) as server:
        for header in WITHOUT_ADDRESSES:
            found = facts(server, codec, header, fields)
            assert found["client"][0] == "127.0.0.1"
            assert found["server"] == [*server.address]


def test_a_websocket(codec: str, running: Run) -> None:
    with running(asgi_app, codec, listener=LISTENER, trustedProxies=TRUSTED) as server:
        client = server.client(codec, sock=through(server, sent.relayed(CLIENT, SERVER, OVER_TLS)))
        if isinstance(client, Http2Client):
            client.scheme = b"https"
        websocket = upgrade(client)
        assert websocket.receive() in (f"{CLIENT} wss", f"{[*CLIENT]} wss")
        websocket.closed()


# TLS.


def test_tls_that_ended_at_the_balancer(codec: str, running: Run) -> None:
    with running(asgi_app, codec, listener=LISTENER, trustedProxies=TRUSTED) as server:
        found = facts(server, codec, sent.relayed(CLIENT, SERVER, OVER_TLS), tls=True)
        front: Any = getattr(server, "front", server)
        assert found["scheme"] == "https"
        assert found["tls"] == {
            "server_cert": None, "client_cert_chain": [], "client_cert_name": None, "client_cert_error": None,
            "tls_version": 0x0304, "cipher_suite": 0x1302,
        }  # fmt: skip
        wait_for(lambda: front.observer.records)
        assert front.observer.records[0].tls == "TLSv1.3"
        assert facts(server, codec, sent.relayed(CLIENT, SERVER, sent.tls_field(0, 0)))["scheme"] == "http"
        unknown = facts(server, codec, sent.relayed(CLIENT, SERVER, sent.tls_field(1, 0)), tls=True)
        assert (unknown["scheme"], unknown["tls"]["tls_version"], unknown["tls"]["cipher_suite"]) == (
            "https",
            None,
            None,
        )


@pytest.mark.front_only("the header is the front's")
@pytest.mark.parametrize(
    ("common_name", "name"),
    [
        ("", None),
        ("somebody", "CN=somebody"),
        ('a,b="c"', 'CN=a\\,b=\\"c\\"'),
        (" # ", "CN=\\ #\\ "),
        ("#1", "CN=\\#1"),
    ],
)
def test_a_certificate_of_which_only_the_name_is_known(running: Run, common_name: str, name: str | None) -> None:
    said = sent.tls_field(sent.OVER_TLS | sent.CERTIFICATE_EARLIER, 0, sent.field(sent.SSL_CN, common_name.encode()))
    with running(asgi_app, "http1", listener=LISTENER, trustedProxies=TRUSTED) as server:
        tls = facts(server, "http1", sent.relayed(CLIENT, SERVER, said))["tls"]
    assert (tls["client_cert_chain"], tls["client_cert_name"], tls["client_cert_error"]) == ([], name, None)


def test_a_whole_certificate(codec: str, serve: Serve, authority: Authority) -> None:
    pem = Path(authority.client("somebody").cert).read_text()
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----\n"
    pem = begin + pem.partition(begin)[2].partition(end)[0] + end
    der = sent.field(sent.SSL_CERTIFICATE, ssl.PEM_cert_to_DER_cert(pem))
    flags = sent.OVER_TLS | sent.CERTIFICATE_NOW
    with serve(codec) as server:
        good = facts(server, codec, sent.relayed(CLIENT, SERVER, sent.tls_field(flags, 0, der)), tls=True)["tls"]
        bad = facts(server, codec, sent.relayed(CLIENT, SERVER, sent.tls_field(flags, 19, der)), tls=True)["tls"]
    problem = "the proxy has not verified the client's certificate"
    if "SSL_CLIENT_VERIFY" in good:
        assert good == {"SSL_CLIENT_VERIFY": "SUCCESS", "SSL_CLIENT_CERT": pem, "SSL_CLIENT_S_DN": "CN=somebody"}
        assert bad == {"SSL_CLIENT_VERIFY": f"FAILED:{problem}"}
    else:
        assert (good["client_cert_chain"], good["client_cert_name"]) == ([pem], "CN=somebody")
        assert good["client_cert_error"] is None
        assert (bad["client_cert_chain"], bad["client_cert_name"]) == ([], None)
        assert bad["client_cert_error"] == problem


@pytest.mark.front_only("the header is the front's")
@pytest.mark.parametrize("name", [b"some\xe9ody", b"\x00\xff\xff\xff\xff\xff\xff\xff"])
def test_a_certificate_whose_name_cannot_be_read(running: Run, authority: Authority, name: bytes) -> None:
    """OpenSSL accepts a name in Latin-1, as old authorities write them; the request is served without it."""
    der = ssl.PEM_cert_to_DER_cert(Path(authority.client("somebody").cert).read_text()).replace(b"somebody", name)
    said = sent.tls_field(sent.OVER_TLS | sent.CERTIFICATE_NOW, 0, sent.field(sent.SSL_CERTIFICATE, der))
    with running(asgi_app, "http1", listener=LISTENER, trustedProxies=TRUSTED) as server:
        tls = facts(server, "http1", sent.relayed(CLIENT, SERVER, said))["tls"]
    assert tls["client_cert_chain"] == [ssl.DER_cert_to_PEM_cert(der)]
    assert (tls["client_cert_name"], tls["client_cert_error"]) == (None, None)


def test_wsgi_learns_a_name_alone() -> None:
    said = sent.tls_field(sent.OVER_TLS | sent.CERTIFICATE_NOW, 0, sent.field(sent.SSL_CN, b"somebody"), TLS_VERSION)
    with wsgi.running(wsgi_app, listener=LISTENER, trustedProxies=TRUSTED) as server:
        tls = facts(server, "http1", sent.relayed(CLIENT, SERVER, said))["tls"]
    assert tls == {"SSL_PROTOCOL": "TLSv1.3", "SSL_CLIENT_VERIFY": "SUCCESS", "SSL_CLIENT_S_DN": "CN=somebody"}


def test_the_header_precedes_the_tls_of_the_listener(codec: str, running: Run, authority: Authority) -> None:
    """The balancer passes TLS through: its facts are the client's. Or it makes a connection of its own."""
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.set_alpn_protocols(["http/1.1" if codec == "http1" else "h2"])
    tls = {"certificates": [authority.server("localhost").as_yaml()]}
    with running(asgi_app, codec, tls=tls, listener=LISTENER, trustedProxies=TRUSTED) as server:
        for field, scheme, version in ((b"", "https", 0x0304), (sent.tls_field(0, 0), "http", None)):
            sock = context.wrap_socket(
                through(server, sent.relayed(CLIENT, SERVER, field)), server_hostname="localhost"
            )
            # The balancer says that the client has no TLS; but it may pass on the client's own.
            found = json.loads(bytes(request(server.client(codec, sock=sock), "GET", "/").body))
            assert (found["client"], found["scheme"]) == ([*CLIENT], scheme)
            assert (found["tls"] or {"tls_version": None})["tls_version"] == version
            sock.close()


@pytest.mark.front_only("the body is a file of the front's own process")
@pytest.mark.parametrize("ends_at", ["balancer", "listener"])
def test_files_are_sent_whoever_ends_tls(running: Run, authority: Authority, tmp_path: Path, ends_at: str) -> None:
    """sendfile(2) is for sockets without TLS, whatever the client's connection uses."""
    (tmp_path / "file").write_bytes(bytes(range(256)) * 4096)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": str(tmp_path / "file")})

    context = ssl.create_default_context(cafile=str(authority.ca))
    tls = {"certificates": [authority.server("localhost").as_yaml()]} if ends_at == "listener" else None
    with running(app, tls=tls, listener=LISTENER, trustedProxies=TRUSTED) as server:
        if ends_at == "balancer":
            sock = through(server, sent.relayed(CLIENT, SERVER, OVER_TLS))
        else:
            sock = through(server, sent.relayed(CLIENT, SERVER, sent.tls_field(0, 0)))
            sock = context.wrap_socket(sock, server_hostname="localhost")
        assert bytes(request(Http1Client(sock), "GET", "/").body) == (tmp_path / "file").read_bytes()
        sock.close()


# Who is believed.


def test_forwarding_fields_behind_a_header_are_the_clients_own(codec: str, serve: Serve) -> None:
    """The balancer does not read them, so it cannot remove them."""
    fields = [(b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https")]
    with serve(codec) as server:
        found = facts(server, codec, sent.relayed(CLIENT, SERVER), fields)
        assert (found["client"], found["scheme"]) == ([*CLIENT], "http")
        proxy = ("127.0.0.9", 99)  # another trusted proxy, whose connection the balancer passes on
        found = facts(server, codec, sent.relayed(proxy, SERVER), fields)
        assert (found["client"][0], found["scheme"]) == ("203.0.113.9", "https")


def test_any_other_peer_is_an_ordinary_client(codec: str, serve: Serve) -> None:
    with serve(codec, trustedProxies=["192.0.2.0/24"]) as server:
        assert facts(server, codec, b"")["client"][0] == "127.0.0.1"
        answer = through(server, sent.line(CLIENT, SERVER) + b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").recv(1000)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert through(server, sent.relayed(CLIENT, SERVER)).recv(1000).startswith(b"HTTP/1.1 400 ")


@pytest.mark.front_only("the header is the front's")
def test_a_listener_without_the_key_reads_no_header(running: Run) -> None:
    with running(asgi_app, trustedProxies=TRUSTED) as server:
        assert through(server, sent.line(CLIENT, SERVER) + b"\r\n").recv(1000).startswith(b"HTTP/1.1 400 ")


@pytest.mark.front_only("the header is the front's")
def test_on_a_unix_socket(running: Run, tmp_path: Path) -> None:
    listener = {**LISTENER, "address": f"unix:{tmp_path / 's'}"}
    with running(asgi_app, listener=listener, trustedProxies=["unix"]) as server:
        sock = server.connect()
        sock.sendall(sent.relayed(CLIENT, SERVER))
        assert json.loads(bytes(request(Http1Client(sock), "GET", "/").body))["client"] == [*CLIENT]
        refused = server.connect()
        refused.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert ended(refused)
    with running(asgi_app, listener=listener | {"address": f"unix:{tmp_path / 't'}"}, trustedProxies=TRUSTED) as server:
        assert json.loads(bytes(request(Http1Client(server.connect()), "GET", "/").body))["client"] is None


# Who is refused.

REFUSED = {
    b"GET / HTTP/1.1\r\nhost: a\r\n\r\n": "no_proxy_header",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": "no_proxy_header",
    b"\x16\x03\x01\x02\x00": "no_proxy_header",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n": "bad_proxy_header",
    sent.relayed(CLIENT, SERVER, sent.field(sent.NOOP, bytes(4096))): "bad_proxy_header",
}


def violations(server: RunningServer, reason: str) -> float:
    return server.count(metrics.CONNECTION_ERRORS, "test", reason)


@pytest.mark.front_only("the header is the front's")
@pytest.mark.parametrize("tls", [False, True])
def test_a_trusted_proxy_without_a_good_header_is_refused(
    running: Run, authority: Authority, tls: bool, caplog: pytest.LogCaptureFixture
) -> None:
    own = {"certificates": [authority.server("localhost").as_yaml()]} if tls else None
    with running(asgi_app, tls=own, listener=LISTENER, trustedProxies=TRUSTED) as server:
        for data, reason in REFUSED.items():
            before = violations(server, reason)
            assert ended(through(server, data)), data
            wait_for(lambda: violations(server, reason) == before + 1)  # noqa: B023 - it is called in this turn
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    told = "listener test: refused a connection of a trusted proxy (127.0.0.1): "
    assert [text for text in warnings if text.startswith("listener")] == [
        f"{told}the connection does not begin with a PROXY header"
    ]


@pytest.mark.front_only("the header is the front's")
def test_the_size_of_a_header_is_a_limit(running: Run) -> None:
    header = sent.relayed(CLIENT, SERVER, sent.field(sent.NOOP, bytes(5000)))
    listener = {**LISTENER, "limits": {"proxyHeaderSize": "8Ki"}}
    with running(asgi_app, listener=listener, trustedProxies=TRUSTED) as server:
        assert facts(server, "http1", header)["client"] == [*CLIENT]


@pytest.mark.front_only("the header is the front's")
@pytest.mark.parametrize("begun", [b"", b"PROXY TCP4 ", sent.relayed(CLIENT, SERVER)[:20]])
def test_a_header_has_to_come_in_time(running: Run, begun: bytes) -> None:
    listener = {**LISTENER, "timeouts": {"proxyHeader": "50ms"}}
    with running(asgi_app, listener=listener, trustedProxies=TRUSTED) as server:
        sock = through(server, begun)
        assert ended(sock)
        wait_for(lambda: violations(server, "proxy_header_timeout") == 1)


@pytest.mark.front_only("the header is the front's")
@pytest.mark.parametrize("begun", [b"", b"PROXY TCP4 ", b"\r\n\r\n"])
def test_a_check_that_only_connects_is_no_violation(running: Run, begun: bytes) -> None:
    with running(asgi_app, listener=LISTENER, trustedProxies=TRUSTED) as server:
        sock = through(server, begun)
        sock.shutdown(socket.SHUT_WR)
        assert ended(sock)
        for reason in ("no_proxy_header", "bad_proxy_header", "proxy_header_timeout"):
            assert violations(server, reason) == 0


@pytest.mark.front_only("the header is the front's")
def test_a_stop_does_not_wait_for_a_header(running: Run) -> None:
    with running(asgi_app, listener=LISTENER, trustedProxies=TRUSTED) as server:
        sock = through(server, b"PROXY")
        wait_for(lambda: _listener(server).busy)
        server.drain(grace=0.0)
        assert ended(sock)


def _listener(server: RunningServer) -> Any:
    assert isinstance(server, Running)
    return server.runtime._listeners[0]


# The configuration.


def test_it_needs_trusted_proxies() -> None:
    document: dict[str, Any] = {
        "listeners": [{"name": "test", "address": ":0", **LISTENER}],
        "backends": {"a": {"respond": {}}},
        "routes": [{"backend": "a"}],
    }
    with pytest.raises(ValueError, match=r"listeners\[0\].proxyProtocol: needs trustedProxies"):
        validate(Config, document)
    assert validate(Config, {**document, "trustedProxies": TRUSTED}).listeners[0].proxy_protocol
