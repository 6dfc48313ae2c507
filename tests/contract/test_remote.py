"""Backends whose servers somebody else runs: addresses, names, TLS, and servers that fail."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import uvloop

from sidegate.backends.upstream import connect_failure as connect_failure_module
from sidegate.backends.upstream import remote
from sidegate.backends.upstream.backoff import EJECTED_AFTER
from sidegate.backends.upstream.connect_failure import ConnectFailure, connect_failure
from sidegate.backends.upstream.connection import UpstreamConnection
from sidegate.backends.upstream.endpoint import TcpEndpoint
from sidegate.backends.upstream.tls import client_context
from sidegate.config.schema import BackendConfig
from sidegate.config.validation import validate
from sidegate.errors import Fault
from sidegate.process.runtime import BuildError, check
from tests.support import http2
from tests.support.accounts import as_nobody, needs_root, public_folder
from tests.support.apps import Receive, Scope, Send, echo, hello, respond
from tests.support.certificates import Authority
from tests.support.clients import Response, request
from tests.support.raw_server import RawServer
from tests.support.relaying import RunningFront, pooled_config
from tests.support.relaying import remote_front as before
from tests.support.running import Running, running, wait_for


def fetch(front: Running, engine: str, path: str = "/x", body: bytes = b"") -> Response:
    client = front.client(engine)
    try:
        return request(client, "POST" if body else "GET", path, body)
    finally:
        client.close()


LONG = {"timeout": "1h"}
"""A queue in which a request waits far longer than a test does."""


def refused(front: RunningFront, engine: str, status: int, reason: str) -> None:
    """The front answers a request at once: one that waits already, and one that would have to."""
    for _ in range(2):
        response = fetch(front, engine)
        assert response.status == status
        assert b"No server of this application can be used." in response.body
    for record in front.observer.records[-2:]:
        assert (record.fault, record.reason) == (Fault.UPSTREAM, reason)
    assert front.upstream_connections()[0]["problem"]


def test_a_unix_socket(engine: str, tmp_path: Path) -> None:
    with RawServer(tmp_path) as server, before(engine, h2c=f"unix:{server.path}") as front:
        peer = server.accept()
        client = front.client(engine)
        stream = client.begin("GET", "/", [], end=True)
        number, head = peer.request()
        assert head[b"forwarded"] == b'for=127.0.0.1;proto=http;host="localhost"'
        peer.answer(number)
        assert client.finish(stream).status == 200


def test_another_server_gets_the_scheme_of_its_connection(engine: str, tmp_path: Path) -> None:
    trust = {"trustedProxies": ["127.0.0.1"]}
    with RawServer(tmp_path) as server, before(engine, trust, h2c=f"unix:{server.path}") as front:
        peer = server.accept()
        client = front.client(engine)
        stream = client.begin("GET", "/", [(b"x-forwarded-proto", b"https")], end=True)
        number, head = peer.request()
        assert (head[b":scheme"], head[b"x-forwarded-proto"]) == (b"http", b"https")
        peer.answer(number)
        assert client.finish(stream).status == 200


def test_the_scheme_is_that_of_the_connection_upstream(engine: str) -> None:
    """The client's, which a server that trusts nobody would refuse (RFC 9110 7.4), is in the forwarding fields."""

    async def tell(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, scope["scheme"].encode() + b" " + dict(scope["headers"]).get(b"x-forwarded-proto", b""))

    for trusted, told in (([], b"http "), (["127.0.0.1"], b"https https")):
        with running(tell, engine, trustedProxies=trusted) as server:
            front_of = before(engine, {"trustedProxies": ["127.0.0.1"]}, h2c=f"tcp://127.0.0.1:{server.address[1]}")
            with front_of as front:
                client = front.client(engine)
                said = [(b"x-forwarded-proto", b"https")]
                assert request(client, "GET", "/", headers=said).body == told
                client.close()


def test_a_name_stands_for_its_addresses(engine: str) -> None:
    with running(echo, engine) as server, before(engine, h2c=f"tcp://localhost:{server.address[1]}") as front:
        assert fetch(front, engine, body=b"abc").body == b"abc"
        assert f"127.0.0.1:{server.address[1]}" in [
            connection["endpoint"] for connection in front.upstream_connections()
        ]


def test_an_unexpected_error_of_an_attempt_to_connect(
    engine: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The next attempt follows, as after every failure."""
    connect, failures = TcpEndpoint.connect, [ValueError("not foreseen")]

    async def failing(self: TcpEndpoint, connection: UpstreamConnection) -> None:
        if failures:
            raise failures.pop()
        await connect(self, connection)

    monkeypatch.setattr(TcpEndpoint, "connect", failing)
    with running(hello, engine) as server, before(engine, h2c=f"tcp://127.0.0.1:{server.address[1]}") as front:
        assert fetch(front, engine).status == 200
    assert not failures
    assert "not foreseen" in caplog.text


def test_a_list_is_shared_out(engine: str) -> None:
    with running(hello, engine) as one, running(hello, engine) as two:
        addresses = [f"tcp://127.0.0.1:{server.address[1]}" for server in (one, two)]
        with before(engine, h2c=addresses) as front:
            wait_for(lambda: all(connection["ready"] for connection in front.upstream_connections()))
            for _ in range(40):
                assert fetch(front, engine).status == 200
            assert one.observer.records
            assert two.observer.records


def test_a_name_that_nobody_knows(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    with before(engine, h2c="tcp://nowhere.invalid:80", queue={"timeout": "50ms"}) as front:
        assert fetch(front, engine).status == 503
        assert (front.observer.records[0].fault, front.observer.records[0].reason) == (Fault.UPSTREAM, "no_worker")
    assert "cannot resolve" in caplog.text


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def tls_of(authority: Authority, *names: str) -> dict[str, Any]:
    return {"certificates": [authority.server(*names).as_yaml()]}


def test_tls(engine: str, authority: Authority) -> None:
    with running(echo, engine, tls=tls_of(authority, "localhost")) as server:
        address = f"tcp://localhost:{server.address[1]}"
        with before(engine, h2=address, tls={"ca": str(authority.ca)}) as front:
            assert fetch(front, engine, body=b"abc").body == b"abc"


def test_another_name_in_the_certificate(engine: str, authority: Authority) -> None:
    with running(echo, engine, tls=tls_of(authority, "app.example")) as server:
        address = f"tcp://127.0.0.1:{server.address[1]}"
        with before(engine, h2=address, tls={"ca": str(authority.ca), "serverName": "app.example"}) as front:
            assert fetch(front, engine, body=b"abc").body == b"abc"


def test_a_client_certificate(engine: str, authority: Authority) -> None:
    shown = authority.client("front").as_yaml()
    wanted = {**tls_of(authority, "localhost"), "clientCertificates": {"mode": "required", "ca": str(authority.ca)}}
    with running(echo, engine, tls=wanted) as server:
        tls = {"ca": str(authority.ca), **shown}
        with before(engine, h2=f"tcp://localhost:{server.address[1]}", tls=tls) as front:
            assert fetch(front, engine, body=b"abc").body == b"abc"


def test_a_server_that_is_not_trusted(engine: str, authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    with running(echo, engine, tls=tls_of(authority, "localhost")) as server:
        address = f"tcp://localhost:{server.address[1]}"
        with before(engine, h2=address, queue=LONG) as front:
            refused(front, engine, 502, "upstream_tls")
    assert "certificate verify failed" in caplog.text


def test_a_server_without_tls(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    with (
        running(echo, "http1") as server,
        before(engine, h2=f"tcp://127.0.0.1:{server.address[1]}", queue=LONG) as front,
    ):
        refused(front, engine, 502, "upstream_tls")
    assert "the server does not speak TLS" in caplog.text


def test_a_server_without_http2(engine: str, authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    listener = {"protocols": ["http/1.1"]}
    with running(echo, "http1", tls=tls_of(authority, "localhost"), listener=listener) as server:
        address = f"tcp://127.0.0.1:{server.address[1]}"
        tls = {"ca": str(authority.ca), "serverName": "localhost"}
        with before(engine, h2=address, tls=tls, queue=LONG) as front:
            refused(front, engine, 502, "upstream_protocol")
    assert "the server does not speak HTTP/2: it did not select h2 (ALPN)" in caplog.text
    assert "HTTP/1.1 upstreams are not available yet" in caplog.text


class AnswersText:
    """A server on a unix socket that answers what it reads with ``text``, and closes."""

    def __init__(self, path: str, text: bytes) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(path)
        self._listening.listen()
        self._text = text
        self.answered = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listening.accept()
                with peer:
                    peer.recv(65536)
                    peer.sendall(self._text)
                self.answered += 1

    def __enter__(self) -> AnswersText:
        return self

    def __exit__(self, *error: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


@pytest.mark.parametrize(
    "text",
    [b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n", b"<html>\n<p>Error code: 505", b"nonsense, long enough"],
    ids=["http11", "http09", "other"],
)
def test_a_server_that_speaks_another_protocol(
    engine: str, tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "server")
    caplog.set_level("INFO")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(AnswersText(path, text))
        front = stack.enter_context(before(engine, h2c=f"unix:{path}", queue=LONG))
        wait_for(lambda: server.answered >= 3)
        refused(front, engine, 502, "upstream_protocol")
        (line,) = messages(caplog, "not speak")
        assert line.startswith(f"backend app: unix:{path}: the server does not speak HTTP/2: ")
        assert line.endswith("; HTTP/1.1 upstreams are not available yet")
        Path(path).unlink()
        right = stack.enter_context(RawServer(tmp_path, "server"))
        peer = right.accept()
        wait_for(lambda: front.upstream_connections()[0]["ready"])
        client = front.client(engine)
        stream = client.begin("GET", "/", [], end=True)
        peer.answer(peer.request()[0])
        assert client.finish(stream).status == 200
        assert messages(caplog, "connected") == [f"backend app: unix:{path}: connected"]
        assert "problem" not in front.upstream_connections()[0]


def messages(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    """The messages with these words."""
    return [record.getMessage() for record in caplog.records if words in record.getMessage()]


def test_a_server_that_speaks_http11_says_so(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    with (
        running(echo, "http1", listener={"protocols": ["http/1.1"]}) as server,
        before(engine, h2c=f"tcp://127.0.0.1:{server.address[1]}", queue=LONG) as front,
    ):
        refused(front, engine, 502, "upstream_protocol")
    assert "the server does not speak HTTP/2: it answered 'HTTP/1.1 " in caplog.text


@pytest.mark.parametrize("path", ["missing", "file/below"])
def test_a_socket_that_does_not_exist(engine: str, tmp_path: Path, path: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with before(engine, h2c=f"unix:{tmp_path}/{path}", queue=LONG) as front:
        refused(front, engine, 503, "upstream_unreachable")
        wait_for(lambda: front.upstream_connections()[0]["failures"] > 2)
    assert len(messages(caplog, "cannot connect")) == 1


def test_a_request_waits_for_a_socket_whose_server_restarts(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with before(engine, h2c=f"unix:{tmp_path}/raw.sock", queue=LONG) as front:
        client = front.client(engine)
        with RawServer(tmp_path) as server:
            peer = server.accept()
            wait_for(lambda: front.upstream_connections()[0]["ready"])
            Path(server.path).unlink()
            peer.sock.shutdown(socket.SHUT_RDWR)
            wait_for(lambda: front.upstream_connections()[0]["failures"] > 2)
            stream = client.begin("GET", "/", [], end=True)
            wait_for(lambda: front.runtime.statistics()["backends"]["app"]["queued"] == 1)
        with RawServer(tmp_path) as server:
            peer = server.accept()
            peer.answer(peer.request()[0])
            assert client.finish(stream).status == 200
            Path(server.path).unlink()
            monkeypatch.setattr(connect_failure_module, "RESTART_TIME", 0.0)
            peer.sock.shutdown(socket.SHUT_RDWR)
            wait_for(lambda: "problem" in front.upstream_connections()[0])
            wait_for(lambda: "No such file" in front.upstream_connections()[0]["problem"])
            assert fetch(front, engine).status == 503


def test_a_request_waits_while_one_server_may_recover(engine: str, tmp_path: Path) -> None:
    """It is answered when no server will."""
    path = str(tmp_path / "refusing")
    with socket.socket(socket.AF_UNIX) as refusing:
        refusing.bind(path)  # it does not listen
        with before(engine, h2c=[f"unix:{tmp_path}/missing", f"unix:{path}"], queue=LONG) as front:
            wait_for(lambda: all(connection["failures"] > 1 for connection in front.upstream_connections()))
            client = front.client(engine)
            stream = client.begin("GET", "/", [], end=True)
            wait_for(lambda: front.runtime.statistics()["backends"]["app"]["queued"] == 1)
            Path(path).unlink()
            assert client.finish(stream).status == 503


def test_one_server_that_can_be_used_is_enough(engine: str, tmp_path: Path) -> None:
    with running(echo, engine) as server:
        addresses = [f"unix:{tmp_path}/missing", f"tcp://127.0.0.1:{server.address[1]}"]
        with before(engine, h2c=addresses, queue=LONG) as front:
            wait_for(lambda: all(one["ready"] or one["failures"] for one in front.upstream_connections()))
            assert fetch(front, engine, body=b"abc").body == b"abc"


def test_a_server_that_leaves_and_answers_nothing_more(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its requests do not wait for it for ever."""
    monkeypatch.setattr(remote, "LIVENESS", 0.3)
    with RawServer(tmp_path) as server, before(engine, h2c=f"unix:{server.path}") as front:
        peer = server.accept()
        client = front.client(engine)
        stream = client.begin("POST", "/", [], end=True)
        number, _ = peer.request()
        peer.send(http2.goaway(number))
        assert client.finish(stream).status == 502
        peer.wait_closed()


def test_a_websocket_is_refused_like_a_request(tmp_path: Path) -> None:
    with before("http1", h2c=f"unix:{tmp_path}/missing", queue=LONG) as front:
        client = front.client("http1")
        fields = [(b"connection", b"upgrade"), (b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")]
        stream = client.begin("GET", "/", [*fields, (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA==")], end=True)
        response = client.finish(stream)
        assert response.status == 503
        assert b"No server of this application can be used." in response.body


def test_a_pools_request_waits_for_the_successor_of_a_missing_worker(engine: str, tmp_path: Path) -> None:
    front = RunningFront(pooled_config("plain:app", engine, backend={"queue": LONG}), uvloop.new_event_loop)
    with contextlib.closing(front), RawServer(tmp_path) as server:
        front.set_workers((1, str(tmp_path / "missing")))
        wait_for(lambda: front.upstream_connections()[0]["failures"] > 1)
        client = front.client(engine)
        stream = client.begin("GET", "/", [], end=True)
        wait_for(lambda: front.runtime.statistics()["backends"]["app"]["queued"] == 1)
        front.set_workers((2, server.path))
        peer = server.accept()
        peer.answer(peer.request()[0])
        assert client.finish(stream).status == 200


@needs_root
def test_a_forbidden_socket_is_described() -> None:
    with public_folder() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/s")
        server.listen()
        Path(f"{folder}/s").chmod(0o640)

        def connect() -> str:
            with pytest.raises(PermissionError) as caught, socket.socket(socket.AF_UNIX) as client:
                client.connect(f"{folder}/s")
            return connect_failure(caught.value, f"{folder}/s").problem

        described = f"{folder}/s (srw-r----- root:root)"
        assert as_nobody(connect) == f"cannot connect: the user nobody may not write to {described}"


def tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), ConnectFailure("EOF")),
        (ConnectionResetError(104, "Connection reset by peer"), ConnectFailure("reset")),
        (TimeoutError(), ConnectFailure("timeout")),
        (PermissionError(13, "Permission denied"), ConnectFailure("cannot connect", 503, "upstream_unreachable")),
        (tls_error("HANDSHAKE_FAILURE"), ConnectFailure("TLS failed: HANDSHAKE_FAILURE", 502, "upstream_tls")),
    ],
)
def test_which_failures_last(error: OSError, expected: ConnectFailure) -> None:
    found = connect_failure(error, "/nowhere/socket")
    assert found.lasts(1.0) is bool(expected.status)
    assert expected.problem in found.problem
    assert (found.status, found.reason) == (expected.status, expected.reason)


@pytest.mark.parametrize(
    ("tls", "key", "words"),
    [
        ({"ca": "bad.pem"}, ("ca",), "bad.pem contains no CA certificates in PEM format"),
        ({"ca": "missing.pem"}, ("ca",), "cannot read the CA certificates missing.pem: No such file or directory"),
        ({"cert": "bad.pem", "key": "a.key"}, ("cert",), "bad.pem contains no certificate in PEM format"),
        (
            {"cert": "a.crt", "key": "a.crt"},
            ("key",),
            "a.crt contains no private key in PEM format, but: CERTIFICATE",
        ),
        ({"cert": "a.crt", "key": "a.key"}, (), "a.crt and a.key are not a PEM certificate and private key ("),
    ],
)
def test_files_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: dict[str, str], key: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pem").write_text("no certificate")
    (tmp_path / "a.crt").write_text("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
    (tmp_path / "a.key").write_text("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n")
    with pytest.raises(BuildError) as caught, before("http1", h2="tcp://localhost:1", tls=tls):
        pass
    ((path, message),) = caught.value.problems
    assert path == ("backends", "app", "tls", *key)
    assert message.startswith(words)
    found, _ = check({}, {"app": validate(BackendConfig, {"h2": "tcp://localhost:1", "tls": tls})}, import_apps=False)
    assert found == caught.value.problems


def test_a_server_that_falls_silent_is_cut(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LIVENESS", 0.3)
    with RawServer(tmp_path) as server, before(engine, h2c=f"unix:{server.path}") as front:
        peer = server.accept()
        client = front.client(engine)
        stream = client.begin("POST", "/", [], end=True)
        peer.request()
        peer.read_until(http2.PING)
        assert client.finish(stream).status == 502
        peer.wait_closed()


def test_a_server_that_always_breaks_is_left_out(engine: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        bad = stack.enter_context(RawServer(tmp_path, "bad"))
        good = stack.enter_context(RawServer(tmp_path, "good"))
        with before(engine, h2c=[f"unix:{bad.path}", f"unix:{good.path}"]) as front:
            good.accept()
            wait_for(lambda: any(connection["ready"] for connection in front.upstream_connections()))
            for _ in range(EJECTED_AFTER):
                bad.accept().close()
            wait_for(lambda: front.upstream_connections()[0]["failures"] == EJECTED_AFTER)
            bad._listening.settimeout(1.5)
            with pytest.raises(TimeoutError):  # otherwise it would be asked at least once a second
                bad.accept()


def test_a_client_context_verifies() -> None:
    context = client_context(None)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
