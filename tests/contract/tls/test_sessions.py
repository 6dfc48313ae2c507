"""The contract of an engine's session: bytes in, plaintext and bytes out. No sockets, no event loop."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sidegate.config.schema import ListenerConfig
from sidegate.config.validation import validate
from sidegate.server.tls import ssl_engine
from sidegate.server.tls.contexts import ServerTls
from sidegate.server.tls.engine import CLOSED, ENDED, HANDSHAKE, OPEN, Session
from sidegate.server.tls.engines import load_tls_engine
from sidegate.server.tls.ssl_engine import failure_of
from tests.support.certificates import Authority, Key, Pair
from tests.support.tls_client import ALERT_RECORD, DATA_RECORD, MemoryClient, records

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
RECORD = 16 * 1024

Make = Callable[..., ServerTls]


@pytest.fixture
def make(tls_engine: str, pair: Pair) -> Make:
    """``make(protocols, **tls)``: TLS of a listener, by default with the certificate ``pair``."""

    def made(protocols: tuple[str, ...] = ("h2", "http/1.1"), **tls: Any) -> ServerTls:
        settings = {"certificates": [pair.as_yaml()], **tls}
        listener = {"name": "test", "address": "127.0.0.1:0", "protocols": list(protocols), "tls": settings}
        return ServerTls(load_tls_engine(tls_engine), validate(ListenerConfig, listener))  # type: ignore[arg-type]

    return made


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    """The client's, which trusts the server's certificate and offers no ALPN."""
    return ssl.create_default_context(cafile=str(authority.ca))


def opened(session: Session, context: ssl.SSLContext, size: int = 1 << 20) -> MemoryClient:
    client = MemoryClient(session, context)
    client.shake(size)
    assert session.state == OPEN
    return client


def refusal(session: Session, context: ssl.SSLContext) -> str:
    """Handshake and read until the client gets an alert; OpenSSL's name of it."""
    client = MemoryClient(session, context)
    with pytest.raises(ssl.SSLError) as caught:
        _shake_and_get(client)
    assert session.state == CLOSED
    return str(caught.value.reason)


def _shake_and_get(client: MemoryClient) -> None:
    """With TLS 1.3 the client's side of the handshake is done before its certificate is judged."""
    client.shake()
    client.get()


# What a handshake agrees on.


@pytest.mark.parametrize(
    ("minimum", "version", "suites"),
    [
        ("1.2", V12, {0xC02B, 0xC02C, 0xCCA9}),
        ("1.2", V13, {0x1301, 0x1302, 0x1303}),
        ("1.3", V13, {0x1301, 0x1302, 0x1303}),
    ],
)
def test_version_and_suite(
    make: Make, context: ssl.SSLContext, minimum: str, version: ssl.TLSVersion, suites: set[int]
) -> None:
    context.maximum_version = version
    session = make(minVersion=minimum).session()
    assert session.state == HANDSHAKE
    client = opened(session, context)
    facts = session.facts()
    assert facts.version == client.tls.version() == {V12: "TLSv1.2", V13: "TLSv1.3"}[version]
    assert facts.cipher_suite in suites
    assert client.tls.compression() is None
    assert (facts.alpn, facts.server_name, facts.certificate, facts.resumed) == (None, "localhost", 0, False)


@pytest.mark.parametrize("key", [None, rsa.generate_private_key(65537, 2048)], ids=["ecdsa", "rsa"])
@pytest.mark.parametrize("version", [V12, V13])
def test_kinds_of_keys(
    make: Make, authority: Authority, context: ssl.SSLContext, key: Key | None, version: ssl.TLSVersion
) -> None:
    context.maximum_version = version
    session = make(certificates=[authority.server("localhost", key=key).as_yaml()]).session()
    client = opened(session, context)
    client.send(b"ping")
    assert client.heard == b"ping"
    assert client.get(session.encrypt(b"pong")) == b"pong"


@pytest.mark.parametrize(
    ("served", "offered", "chosen"),
    [
        (("h2", "http/1.1"), ["http/1.1", "h2"], "h2"),
        (("http/1.1", "h2"), ["h2", "http/1.1"], "http/1.1"),
        (("h2", "http/1.1"), ["spdy/3", "http/1.1"], "http/1.1"),
        (("h2",), [], None),
    ],
)
def test_alpn_is_chosen_by_the_order_of_the_server(
    make: Make, context: ssl.SSLContext, served: tuple[str, ...], offered: list[str], chosen: str | None
) -> None:
    if offered:
        context.set_alpn_protocols(offered)
    session = make(served).session()
    client = opened(session, context)
    assert session.facts().alpn == client.tls.selected_alpn_protocol() == chosen


@pytest.mark.parametrize(
    ("name", "position"),
    [
        ("localhost", 0),
        ("www.example.com", 1),
        ("WWW.Example.COM", 1),
        ("shop.example.com", 2),
        ("a.b.example.com", 0),
        ("other.test", 0),
        (None, 0),
    ],
)
def test_sni(make: Make, authority: Authority, pair: Pair, name: str | None, position: int) -> None:
    others = [authority.server("www.example.com"), authority.server("*.example.com")]
    pairs = [pair, *others]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    session = make(certificates=[one.as_yaml() for one in pairs]).session()
    client = MemoryClient(session, context, name)
    client.shake()
    facts = session.facts()
    assert (facts.certificate, facts.server_name) == (position, name)
    shown = ssl.DER_cert_to_PEM_cert(client.tls.getpeercert(binary_form=True) or b"")
    assert shown == pairs[position].cert.read_text()


@pytest.mark.parametrize("version", [V12, V13])
def test_client_certificates_and_resumption(
    make: Make, authority: Authority, context: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    ada = authority.client("ada")
    context.load_cert_chain(ada.cert, ada.key)
    context.maximum_version = version
    tls = make(clientCertificates={"ca": str(authority.ca)})
    first = opened(tls.session(), context)
    leaf = ssl.PEM_cert_to_DER_cert(ada.cert.read_text())
    assert first.session.client_chain()[0] == leaf
    again = tls.session()
    client = MemoryClient(again, context)
    client.tls.session = first.resumable()
    client.shake()
    assert client.tls.session_reused
    assert again.facts().resumed
    assert list(again.client_chain()) == [leaf]
    assert tls.extension(again, again.facts())["client_cert_name"] == "CN=ada"


def test_no_client_certificate(make: Make, authority: Authority, context: ssl.SSLContext) -> None:
    tls = make(clientCertificates={"mode": "optional", "ca": str(authority.ca)})
    client = opened(tls.session(), context)
    assert list(client.session.client_chain()) == []
    assert tls.extension(client.session, client.session.facts())["client_cert_name"] is None


# Handshakes that fail send their alert.


def test_a_version_that_is_not_spoken(make: Make, context: ssl.SSLContext) -> None:
    context.maximum_version = V12
    session = make(minVersion="1.3").session()
    assert refusal(session, context) == "TLSV1_ALERT_PROTOCOL_VERSION"
    assert session.failure is not None
    assert session.failure.reason == "protocol_version"


def test_no_cipher_in_common(make: Make, context: ssl.SSLContext) -> None:
    context.maximum_version = V12
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    session = make().session()
    assert refusal(session, context) == "SSLV3_ALERT_HANDSHAKE_FAILURE"
    assert session.failure == ("no_shared_cipher", "no shared cipher")


@pytest.mark.parametrize(
    ("version", "alert"), [(V12, "SSLV3_ALERT_HANDSHAKE_FAILURE"), (V13, "TLSV13_ALERT_CERTIFICATE_REQUIRED")]
)
def test_a_missing_client_certificate(
    make: Make, authority: Authority, context: ssl.SSLContext, version: ssl.TLSVersion, alert: str
) -> None:
    context.maximum_version = version
    session = make(clientCertificates={"ca": str(authority.ca)}).session()
    assert refusal(session, context) == alert
    assert session.failure is not None
    assert session.failure.reason == "no_client_certificate"


@pytest.mark.parametrize("mode", ["optional", "required"])
def test_a_client_certificate_of_a_stranger(
    make: Make, authority: Authority, stranger: Authority, context: ssl.SSLContext, mode: str
) -> None:
    eve = stranger.client("eve")
    context.load_cert_chain(eve.cert, eve.key)
    for version in (V12, V13):
        context.maximum_version = version
        session = make(clientCertificates={"mode": mode, "ca": str(authority.ca)}).session()
        assert refusal(session, context) == "TLSV1_ALERT_UNKNOWN_CA"
        assert session.failure is not None
        assert session.failure.reason == "client_certificate"


def test_a_client_that_does_not_trust_us(make: Make, stranger: Authority) -> None:
    context = ssl.create_default_context(cafile=str(stranger.ca))
    context.maximum_version = V12
    session = make().session()
    client = MemoryClient(session, context)
    with pytest.raises(ssl.SSLCertVerificationError):
        client.shake()
    client.exchange()
    assert session.state == CLOSED
    assert session.failure is not None
    assert session.failure.reason == "certificate_rejected"


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x00\x01\x02\x03" * 100, b"\x16\x03\x01\x00\x04abcd"])
def test_garbage_instead_of_a_handshake(make: Make, sent: bytes) -> None:
    session = make().session()
    assert session.receive(sent) == b""
    assert session.state == CLOSED
    assert session.failure is not None
    if sent[0] == 22:
        assert [kind for kind, _ in records(session.take_output())] == [ALERT_RECORD]
    assert session.receive(b"more") == b""
    assert session.encrypt(b"data") == b""


@pytest.mark.parametrize("others", [0, 1])
def test_a_server_name_that_is_not_ascii(
    make: Make, authority: Authority, pair: Pair, others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's ssl refuses it; a client must not fill the log with tracebacks. Other errors are still reported."""
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    ssl_engine.keep_names_out_of_the_log.cache_clear()
    pairs = [pair, *(authority.server(f"{number}.example.com") for number in range(others))]
    tls = make(certificates=[one.as_yaml() for one in pairs])
    client = MemoryClient(tls.session(), ssl.create_default_context(), "name.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    client.session.receive(client.outgoing.read().replace(b"name.test", b"n\xe4me.test"))
    assert not reported
    other = SimpleNamespace(exc_type=ValueError, object=None)
    sys.unraisablehook(other)
    assert reported == [other]


def test_alpn_without_overlap(tls_engine: str, make: Make, context: ssl.SSLContext) -> None:
    if tls_engine == "ssl":
        pytest.skip("Python's ssl goes on without ALPN")
    context.set_alpn_protocols(["spdy/3"])
    session = make().session()
    with pytest.raises(ssl.SSLError, match="alert no application protocol"):
        _shake_and_get(MemoryClient(session, context))
    assert session.failure == ("no_application_protocol", "no application protocol")


def test_reasons_that_python_does_not_name() -> None:
    assert failure_of(ssl.SSLError("something else")).reason == "other"
    assert failure_of(ssl.SSLError()).reason == "other"


# Data.


@pytest.mark.parametrize("size", [1, 7, 5000])
@pytest.mark.parametrize("version", [V12, V13])
def test_bytes_may_come_in_any_pieces(make: Make, context: ssl.SSLContext, version: ssl.TLSVersion, size: int) -> None:
    context.maximum_version = version
    client = opened(make().session(), context, size)
    sent = bytes(range(256)) * 80
    client.send(sent, size)
    assert client.heard == sent


def test_records_of_16_kib(make: Make, context: ssl.SSLContext) -> None:
    client = opened(make().session(), context)
    sent = bytes(1 << 20)
    output = client.session.encrypt(sent)
    kinds = [kind for kind, _ in records(output)]
    assert kinds == [DATA_RECORD] * (len(sent) // RECORD)
    assert client.get(output) == sent
    client.send(sent)
    assert client.heard == sent


def test_records_of_one_byte(make: Make, context: ssl.SSLContext) -> None:
    client = opened(make().session(), context)
    for number in range(3000):
        client.tls.write(bytes([number % 256]))
    client.exchange()
    assert client.heard == bytes(number % 256 for number in range(3000))
    output = b"".join(client.session.encrypt(b"x") for _ in range(1000))
    assert len(records(output)) == 1000
    assert client.get(output) == b"x" * 1000


def test_a_truncated_record_waits(make: Make, context: ssl.SSLContext) -> None:
    client = opened(make().session(), context)
    client.tls.write(b"first")
    first = client.outgoing.read()
    client.tls.write(b"second")
    second = client.outgoing.read()
    assert client.session.receive(first + second[:-1]) == b"first"
    assert client.session.state == OPEN
    assert client.session.receive(b"") == b""
    assert client.session.receive(second[-1:]) == b"second"


@pytest.mark.parametrize("damage", ["changed", "cleartext"])
def test_what_came_before_a_damaged_record_is_returned(make: Make, context: ssl.SSLContext, damage: str) -> None:
    client = opened(make().session(), context)
    client.tls.write(b"first")
    first = client.outgoing.read()
    client.tls.write(b"second")
    second = client.outgoing.read()
    damaged = second[:-1] + bytes([second[-1] ^ 1]) if damage == "changed" else b"GET / HTTP/1.1\r\n\r\n"
    assert client.session.receive(first + damaged) == b"first"
    assert client.session.state == CLOSED
    assert client.session.failure is not None
    with pytest.raises(ssl.SSLError, match="ALERT"):
        client.get(client.session.take_output())
    assert client.session.encrypt(b"data") == b""


# The end.


@pytest.mark.parametrize("version", [V12, V13])
def test_close_notify_of_the_server(make: Make, context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    context.maximum_version = version
    client = opened(make().session(), context)
    output = client.session.encrypt(b"last")
    client.session.close()
    output += client.session.take_output()
    assert client.session.state == CLOSED
    assert client.session.failure is None
    client.incoming.write(output)
    assert client.tls.read(100) == b"last"
    assert client.tls.read(100) == b""
    assert client.session.encrypt(b"more") == b""
    client.session.close()
    assert client.session.take_output() == b""


def test_close_notify_of_the_client_leaves_the_other_direction_open(make: Make, context: ssl.SSLContext) -> None:
    """RFC 8446 6.1; in TLS 1.2 the server has to close as well."""
    client = opened(make().session(), context)
    client.tls.write(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    client.exchange()
    assert client.heard == b"last"
    assert client.session.state == ENDED
    assert client.session.receive(b"more") == b""
    answer = client.session.encrypt(b"answer")
    client.session.close()
    answer += client.session.take_output()
    assert [kind for kind, _ in records(answer)] == [DATA_RECORD, DATA_RECORD]  # TLS 1.3 encrypts the alert


def test_nothing_is_sent_by_closing_during_a_handshake(make: Make) -> None:
    session = make().session()
    session.close()
    assert session.take_output() == b""
