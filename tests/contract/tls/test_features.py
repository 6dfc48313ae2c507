"""What only the engine openssl can do, and that the engine ssl refuses to leave it out. Then the key log of both."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import ocsp

from sidegate.config.schema import ListenerConfig
from sidegate.config.validation import validate
from sidegate.server.tls import staple
from sidegate.server.tls.contexts import ServerTls
from sidegate.server.tls.engine import CLOSED, TicketKeys
from sidegate.server.tls.engines import load_tls_engine
from sidegate.server.tls.files import TlsError
from tests.support.apps import hello
from tests.support.certificates import Authority, Pair
from tests.support.clients import Http1Client, request
from tests.support.running import running
from tests.support.tls_client import MemoryClient

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

Make = Callable[..., ServerTls]


@pytest.fixture
def make(pair: Pair) -> Make:
    """``make(engine, keys, name, **tls)``: TLS of a listener, by default with the certificate ``pair``."""

    def made(engine: str, keys: TicketKeys | None = None, name: str = "test", **tls: Any) -> ServerTls:
        settings = {"certificates": [pair.as_yaml()], **tls}
        listener = validate(ListenerConfig, {"name": name, "address": "127.0.0.1:0", "tls": settings})
        return ServerTls(load_tls_engine(engine), listener, keys)  # type: ignore[arg-type]

    return made


@pytest.fixture
def openssl() -> None:
    pytest.importorskip("sidegate.server.tls.openssl", reason="the OpenSSL binding was not built")


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.ca))


def shaken(tls: ServerTls, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> MemoryClient:
    client = MemoryClient(tls.session(), context)
    if session is not None:
        client.tls.session = session
    client.shake()
    return client


# Session tickets. Each ServerTls stands for that of another process.


@pytest.mark.usefixtures("openssl")
@pytest.mark.parametrize("version", [V12, V13])
def test_a_session_is_resumed_where_the_keys_are_the_same(
    make: Make, context: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    context.maximum_version = version
    keys = TicketKeys()
    one, other, stranger = make("openssl", keys), make("openssl", keys), make("openssl", TicketKeys())
    session = shaken(one, context).resumable()
    for tls, resumed in ((one, True), (other, True), (stranger, False)):
        client = shaken(tls, context, session)
        assert client.tls.session_reused == client.session.facts().resumed == resumed


@pytest.mark.usefixtures("openssl")
@pytest.mark.parametrize("version", [V12, V13])
def test_the_key_before_the_last_rotation_still_decrypts(
    make: Make, context: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    context.maximum_version = version
    keys = TicketKeys()
    tls = make("openssl", keys)
    session = shaken(tls, context).resumable()
    keys.keys = (os.urandom(80), *keys.keys)
    again = shaken(tls, context, session)
    assert again.session.facts().resumed
    session = again.resumable()  # encrypted with the new key
    keys.keys = keys.keys[:1]
    assert shaken(tls, context, session).session.facts().resumed
    keys.keys = (os.urandom(80),)
    assert not shaken(tls, context, session).session.facts().resumed


@pytest.mark.usefixtures("openssl")
def test_a_runtime_takes_new_keys_while_it_serves(pair: Pair, context: ssl.SSLContext) -> None:
    with running(hello, tls={"certificates": [pair.as_yaml()]}, tlsEngine="openssl") as server:
        first, second = os.urandom(80), os.urandom(80)
        session = None
        for keys, resumed in (([first], False), ([second, first], True), ([second], True), ([first], False)):
            server.runtime.set_ticket_keys(keys)
            sock = context.wrap_socket(server.connect(), server_hostname="localhost", session=session)
            assert request(Http1Client(sock), "GET", "/").status == 200
            assert sock.session_reused == resumed
            session = sock.session
            sock.close()


@pytest.mark.usefixtures("openssl")
def test_a_session_of_another_listener_is_not_resumed(
    make: Make, authority: Authority, context: ssl.SSLContext
) -> None:
    """Else a client without a certificate could resume where one is required."""
    keys = TicketKeys()
    session = shaken(make("openssl", keys), context).resumable()
    assert not shaken(make("openssl", keys, "other"), context, session).session.facts().resumed
    ada = authority.client("ada")
    context.load_cert_chain(ada.cert, ada.key)
    asking = make("openssl", keys, clientCertificates={"ca": str(authority.ca)})
    client = shaken(asking, context, session)
    assert not client.session.facts().resumed
    assert client.session.client_chain()


# Suites and curves.


@pytest.mark.usefixtures("openssl")
@pytest.mark.parametrize(
    ("suites", "tls12", "tls13"),
    [
        ([], {0xC02B, 0xC02C}, {0x1301}),
        (["TLS_CHACHA20_POLY1305_SHA256"], {0xC02B, 0xC02C}, {0x1303}),
        (["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"], {0xC02B, 0xC02C}, {0x1302}),
        (["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"], {0xCCA9}, {0x1301}),
    ],
)
def test_cipher_suites(
    make: Make, context: ssl.SSLContext, suites: list[str], tls12: set[int], tls13: set[int]
) -> None:
    tls = make("openssl", cipherSuites=suites)
    for version, expected in ((V12, tls12), (V13, tls13)):
        context.maximum_version = version
        assert shaken(tls, context).session.facts().cipher_suite in expected


@pytest.mark.usefixtures("openssl")
def test_curves(make: Make, context: ssl.SSLContext) -> None:
    context.set_ecdh_curve("prime256v1")
    assert shaken(make("openssl", curves=["x25519", "secp256r1"]), context).session.facts().version == "TLSv1.3"
    client = MemoryClient(make("openssl", curves=["x25519", "x448"]).session(), context)
    with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure"):
        client.shake()
    assert client.session.state == CLOSED


# Stapled OCSP responses.


def response(status: ocsp.OCSPResponseStatus) -> bytes:
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)


@pytest.mark.usefixtures("openssl")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl's command is the client")
def test_a_stapled_response_and_its_renewal(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staple, "CHECK_PERIOD", 0.0)
    file = tmp_path / "response.der"
    file.write_bytes(response(ocsp.OCSPResponseStatus.UNAUTHORIZED))
    first, second = authority.server("first.test"), authority.server("second.test")
    certificates = [{**first.as_yaml(), "ocspStaple": str(file)}, second.as_yaml()]
    with running(hello, tls={"certificates": certificates}, tlsEngine="openssl") as server:
        assert "Response Status: unauthorized" in status_of(server.address, "first.test")
        assert "no response sent" in status_of(server.address, "second.test")
        file.write_bytes(response(ocsp.OCSPResponseStatus.TRY_LATER))
        os.utime(file, (1, 1))
        assert "Response Status: trylater" in status_of(server.address, "first.test")
        file.unlink()
        assert "Response Status: trylater" in status_of(server.address, "first.test")


def status_of(address: tuple[str, int], name: str) -> str:
    command = ["openssl", "s_client", "-connect", f"{address[0]}:{address[1]}", "-servername", name, "-status"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout


@pytest.mark.usefixtures("openssl")
def test_a_staple_that_cannot_be_read(make: Make, pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(TlsError, match="cannot read the OCSP response") as caught:
        make("openssl", certificates=[{**pair.as_yaml(), "ocspStaple": str(tmp_path / "none.der")}])
    assert caught.value.field == ("certificates", 0, "ocspStaple")


# The other engine.


@pytest.mark.parametrize(
    ("tls", "field"),
    [
        ({"cipherSuites": ["TLS_AES_128_GCM_SHA256"]}, ("cipherSuites",)),
        ({"curves": ["x25519"]}, ("curves",)),
        ({"staple": True}, ("certificates", 0, "ocspStaple")),
    ],
)
def test_the_engine_ssl_refuses_what_it_cannot_do(
    make: Make, pair: Pair, tls: dict[str, Any], field: tuple[str | int, ...]
) -> None:
    if tls.pop("staple", False):
        tls = {"certificates": [{**pair.as_yaml(), "ocspStaple": str(pair.cert)}]}
    with pytest.raises(TlsError, match="only the TLS engine openssl") as caught:
        make("ssl", **tls)
    assert caught.value.field == field


# Both.


def test_an_encrypted_key_is_refused(tls_engine: str, make: Make, pair: Pair, tmp_path: Path) -> None:
    key = load_pem_private_key(pair.key.read_bytes(), None)
    secret = BestAvailableEncryption(b"secret")
    file = tmp_path / "key.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
    with pytest.raises(TlsError, match="the private key is encrypted") as caught:
        make(tls_engine, certificates=[{"cert": str(pair.cert), "key": str(file)}])
    assert caught.value.field == ("certificates", 0, "key")


def test_the_key_log(
    tls_engine: str, make: Make, context: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(file))
    shaken(make(tls_engine), context)
    monkeypatch.delenv("SSLKEYLOGFILE")
    labels = {line.split()[0] for line in file.read_text().splitlines() if not line.startswith("#")}
    assert {"SERVER_TRAFFIC_SECRET_0", "CLIENT_TRAFFIC_SECRET_0"} <= labels
    assert file.stat().st_mode & 0o077 == 0


def test_a_key_log_that_cannot_be_written_stops_nobody(
    tls_engine: str, make: Make, context: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "none" / "keys"))
    shaken(make(tls_engine), context)
