"""Backends whose servers somebody else runs: addresses, names, TLS, and servers that fail."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from sidegate.backends.upstream import remote
from sidegate.backends.upstream.backoff import EJECTED_AFTER
from sidegate.backends.upstream.tls import client_context
from sidegate.config.schema import BackendConfig, Config
from sidegate.config.validation import validate
from sidegate.errors import Fault
from sidegate.process.runtime import BuildError, check
from tests.support import http2
from tests.support.apps import echo, hello
from tests.support.certificates import Authority
from tests.support.clients import Response, request
from tests.support.raw_server import RawServer
from tests.support.relaying import RunningFront
from tests.support.running import Running, running, wait_for


@contextlib.contextmanager
def before(engine: str, **backend: Any) -> Iterator[RunningFront]:
    """A front whose only backend is somebody else's."""
    config = validate(
        Config,
        {
            "listeners": [{"name": "test", "address": "127.0.0.1:0"}],
            "backends": {"app": {"queue": {"timeout": "2s"}, **backend}},
            "routes": [{"name": "all", "path": "/", "backend": "app"}],
            "http2Engine": "h2" if engine == "http2-h2" else "nghttp2",
        },
    )
    front = RunningFront(config, uvloop.new_event_loop)
    try:
        yield front
    finally:
        front.close()


def fetch(front: Running, engine: str, path: str = "/x", body: bytes = b"") -> Response:
    client = front.client(engine)
    try:
        return request(client, "POST" if body else "GET", path, body)
    finally:
        client.close()


def test_a_unix_socket(engine: str, tmp_path: Path) -> None:
    with RawServer(tmp_path) as server, before(engine, h2c=f"unix:{server.path}") as front:
        peer = server.accept()
        client = front.client(engine)
        stream = client.begin("GET", "/", [], end=True)
        number, head = peer.request()
        assert head[b"forwarded"] == b'for=127.0.0.1;proto=http;host="localhost"'
        peer.answer(number)
        assert client.finish(stream).status == 200


def test_a_name_stands_for_its_addresses(engine: str) -> None:
    with running(echo, engine) as server, before(engine, h2c=f"tcp://localhost:{server.address[1]}") as front:
        assert fetch(front, engine, body=b"abc").body == b"abc"
        assert f"127.0.0.1:{server.address[1]}" in [
            connection["endpoint"] for connection in front.upstream_connections()
        ]


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
        with before(engine, h2=address, queue={"timeout": "300ms"}) as front:
            assert fetch(front, engine).status == 503
    assert "certificate verify failed" in caplog.text


def test_a_server_without_http2(engine: str, authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    listener = {"protocols": ["http/1.1"]}
    with running(echo, "http1", tls=tls_of(authority, "localhost"), listener=listener) as server:
        address = f"tcp://127.0.0.1:{server.address[1]}"
        tls = {"ca": str(authority.ca), "serverName": "localhost"}
        with before(engine, h2=address, tls=tls, queue={"timeout": "300ms"}) as front:
            assert fetch(front, engine).status == 503
    assert "ALPN" in caplog.text


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
