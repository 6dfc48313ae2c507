"""What is wrong with certificates that can be loaded: their time, order and names; and when they expire."""

from __future__ import annotations

import datetime
import ipaddress
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sidegate.config import certificates, pem
from sidegate.config.certificates import Inspection, inspect
from sidegate.config.schema import Config
from sidegate.config.validation import validate
from sidegate.supervisor.loading import load_file, load_plain

NOW = datetime.datetime(2026, 7, 1, 12, 30, tzinfo=datetime.UTC)
YEAR = datetime.timedelta(days=365)
PAST, FUTURE = (NOW - 2 * YEAR, NOW - YEAR), (NOW + YEAR, NOW + 2 * YEAR)

KEY = ec.generate_private_key(ec.SECP256R1())
"""The key of all certificates: only names and times matter here."""

_numbers = itertools.count()


@dataclass(frozen=True)
class Made:
    """One certificate; the parts of a file are joined by ``+``."""

    content: bytes

    def __add__(self, other: Made) -> Made:
        return Made(self.content + other.content)


def made(
    subject: str = "leaf",
    issuer: str = "ca",
    valid: tuple[datetime.datetime, datetime.datetime] = (NOW - YEAR, NOW + YEAR),
    names: list[x509.GeneralName] | None = None,
) -> Made:
    """A certificate for a.example.com, or for other names."""
    builder = x509.CertificateBuilder(_name(issuer), _name(subject), KEY.public_key(), 1, *valid)
    names = [x509.DNSName("a.example.com")] if names is None else names
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Made(builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def named(*names: str) -> Made:
    return made(names=[x509.DNSName(name) for name in names])


class Files:
    """Writes certificates into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, content: Made | bytes) -> str:
        path = self.folder / f"{next(_numbers)}.pem"
        path.write_bytes(content if isinstance(content, bytes) else content.content)
        return str(path)

    def tls(self, *contents: Made | bytes) -> dict[str, Any]:
        """TLS of a listener with these certificates."""
        return {"certificates": [{"cert": self(content), "key": "/key"} for content in contents]}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def inspected(*tls: dict[str, Any], hosts: list[str] | None = None, **backend: Any) -> Inspection:
    """Inspect listeners ``l0``, … with these TLS settings, and a backend with others."""
    config = validate(
        Config,
        {
            "listeners": [{"name": f"l{n}", "address": ":0", "tls": one} for n, one in enumerate(tls)]
            or [{"name": "plain", "address": ":0"}],
            "backends": {"b": backend or {"respond": {}}},
            "routes": [{"backend": "b", "hostnames": hosts or []}, {"backend": "b", "hostnames": hosts or []}],
        },
    )
    return inspect(dict(enumerate(config.listeners)), config.backends, config.routes, NOW.timestamp())


def place(number: int, listener: int = 0) -> tuple[str | int, ...]:
    return ("listeners", listener, "tls", "certificates", number, "cert")


# Time.


def test_certificates_that_are_valid(files: Files) -> None:
    tls = files.tls(made() + made("ca", "root"))
    found = inspected(tls, hosts=["a.example.com"])
    assert (found.refused, found.warnings) == ([], [])
    assert found.expiry == {("l0", tls["certificates"][0]["cert"]): (NOW + YEAR).timestamp()}


@pytest.mark.parametrize(
    ("valid", "words"),
    [(PAST, "expired at 2025-07-01 12:30 UTC"), (FUTURE, "is not valid before 2027-07-01 12:30 UTC")],
)
def test_certificates_outside_their_validity(
    files: Files, valid: tuple[datetime.datetime, datetime.datetime], words: str
) -> None:
    tls = files.tls(made(), made(valid=valid))
    file = tls["certificates"][1]["cert"]
    found = inspected(tls)
    assert found.refused == [(place(1), f"the certificate {file} {words}: it is refused")]
    assert found.warnings == []
    assert found.expiry["l0", file] == valid[1].timestamp()


@pytest.mark.parametrize("moment", [0, 1])
def test_both_ends_of_the_validity_are_valid(files: Files, moment: int) -> None:
    edges = [(NOW, NOW + YEAR), (NOW - YEAR, NOW)]
    assert inspected(files.tls(made(valid=edges[moment]))).refused == []


def test_an_expired_intermediate(files: Files) -> None:
    tls = files.tls(made() + made("ca", "root", PAST))
    file = tls["certificates"][0]["cert"]
    found = inspected(tls)
    assert found.refused == []
    assert found.warnings == [(place(0), f"certificate 2 (CN=ca) of {file} expired at 2025-07-01 12:30 UTC")]
    assert found.expiry["l0", file] == (NOW + YEAR).timestamp()


def test_a_file_that_several_listeners_share_is_reported_once(files: Files) -> None:
    tls = files.tls(made(valid=PAST))
    tls["certificates"] *= 2
    file = tls["certificates"][0]["cert"]
    other = files.tls(made(), b"")
    other["certificates"][1]["cert"] = file
    ((path, message),) = inspected(tls, {"selfSigned": True}, other, tls).refused
    assert path == place(0)
    words = "expired at 2025-07-01 12:30 UTC: it is refused (also in listeners[2], listeners[3])"
    assert message == f"the certificate {file} {words}"
    assert set(inspected(tls, tls).expiry) == {("l0", file), ("l1", file)}


# Order.


def test_the_certificate_of_a_key(files: Files) -> None:
    key = KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    assert pem._number_of_key(files(made() + made()), key) == 1
    assert pem._number_of_key(files(b""), key) == 0
    assert pem._number_of_key(files(made()), b"OpenSSL knows more kinds of keys than cryptography") == 0


@pytest.mark.parametrize(
    ("chain", "number"),
    [
        (["leaf<ca", "ca<root", "root<root"], 0),
        (["leaf<ca", "ca<root", "ca<other", "other<other"], 0),  # two certificates of one issuer
        (["leaf<leaf"], 0),
        (["leaf<ca", "root<root", "ca<root"], 2),
        (["leaf<ca", "ca<root", "stranger<root"], 3),
        (["ca<root", "leaf<ca"], 2),
    ],
)
def test_the_order_of_a_chain(files: Files, chain: list[str], number: int) -> None:
    parts = [part.split("<") for part in chain]
    content = b"".join(made(subject, issuer).content for subject, issuer in parts)
    tls = files.tls(content)
    expected = []
    if number:
        file, subject = tls["certificates"][0]["cert"], parts[number - 1][0]
        words = f"certificate {number} (CN={subject}) of {file} has issued none of those before it; the order is: "
        expected = [(place(0), words + "the server's certificate, that of its issuer, that of the issuer's issuer")]
    assert inspected(tls).warnings == expected


# Names.


@pytest.mark.parametrize(
    ("names", "hosts", "missing"),
    [
        (["A.Example.com"], ["a.example.com"], []),
        (["*.example.com"], ["a.example.com", "*.example.com", "example.com", "a.b.example.com"],
         ["example.com", "a.b.example.com"]),
        (["a.example.com"], ["*.example.com", "b.example.com", "a.example.com", "localhost"],
         ["*.example.com", "b.example.com", "localhost"]),
        (["a.example.com"], [], []),
    ],
)  # fmt: skip
def test_host_names_of_routes_that_no_certificate_has(
    files: Files, names: list[str], hosts: list[str], missing: list[str]
) -> None:
    expected = [
        (("routes", 0, "hostnames", hosts.index(host)), f"no certificate of a listener has the name {host}")
        for host in missing
    ]
    assert inspected(files.tls(named(*names)), hosts=hosts).warnings == expected


def test_any_certificate_of_any_listener_may_have_a_name(files: Files) -> None:
    public, internal = files.tls(named("www.test"), named("*.test")), files.tls(named("app.internal"))
    assert inspected(public, internal, hosts=["www.test", "b.test", "app.internal"]).warnings == []
    assert len(inspected(public, internal, {"selfSigned": True}, hosts=["c.internal"]).warnings) == 1


def test_names_are_not_compared_with_certificates_that_cannot_be_read(files: Files) -> None:
    for content in (b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        found = inspected(files.tls(named("a.test"), content), hosts=["b.test"])
        assert (found.refused, found.warnings, len(found.expiry)) == ([], [], 1)


def test_the_development_certificate_is_not_inspected() -> None:
    assert inspected({"selfSigned": True}, hosts=["a.test"]) == Inspection()
    assert inspected(hosts=["a.test"]) == Inspection()


def test_a_certificate_without_names(files: Files) -> None:
    tls = files.tls(made(names=[]), made(names=[x509.RFC822Name("a@b.test")]))
    words = "has no host name or address in its subjectAltName, the only names that clients compare"
    expected = [
        (place(number), f"the certificate {entry['cert']} {words}") for number, entry in enumerate(tls["certificates"])
    ]
    assert inspected(tls).warnings == expected
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    assert inspected(files.tls(made(names=[address]))).warnings == []


# Authorities and backends.


@pytest.mark.parametrize("mode", ["required", "optional", "none"])
def test_authorities_of_clients_that_have_expired(files: Files, mode: str) -> None:
    ca = files(made("old", "old", PAST) + made("new", "new") + made("", "", PAST))
    expected = []
    if mode != "none":
        words = f"2 of 3 authorities in {ca} cannot be used: CN=old expired at 2025-07-01 12:30 UTC"
        expected = [(("listeners", 0, "tls", "clientCertificates", "ca"), words)]
    found = inspected({**files.tls(made()), "clientCertificates": {"mode": mode, "ca": ca}})
    assert found.warnings == expected
    assert inspected({"selfSigned": True, "clientCertificates": {"mode": mode, "ca": ca}}).warnings == expected


def test_authorities_that_are_valid(files: Files) -> None:
    ca = files(made("ca", "ca"))
    tls = {**files.tls(made()), "clientCertificates": {"ca": ca}}
    assert inspected(tls, h2="tcp://a:1", tls={"ca": ca}).warnings == []
    assert inspected({**files.tls(made()), "clientCertificates": {"mode": "none"}}).warnings == []


def test_the_files_of_a_backend(files: Files) -> None:
    file, ca = files(made(valid=PAST, names=[])), files(made("ca", "ca", PAST))
    found = inspected(h2="tcp://a:1", tls={"ca": ca, "cert": file, "key": "/key"})
    text = "expired at 2025-07-01 12:30 UTC"
    assert found.refused == [(("backends", "b", "tls", "cert"), f"the certificate {file} {text}: it is refused")]
    words = f"1 of 1 authorities in {ca} cannot be used: CN=ca {text}"
    assert found.warnings == [(("backends", "b", "tls", "ca"), words)]
    assert found.expiry == {}
    assert inspected(h2="tcp://a:1", tls={"serverName": "x"}) == Inspection()


def test_a_certificate_without_a_subject_has_a_description(files: Files) -> None:
    ((_, message),) = inspected(files.tls(made() + made("", "root"))).warnings
    assert message.startswith("certificate 2 (without a subject) of ")


def test_names_are_read_as_they_are_written(files: Files) -> None:
    (certificate,) = certificates.read_certificates(files(named("B.test", "a.TEST")))
    assert certificates.dns_names(certificate) == ["b.test", "a.test"]


# The configuration of a service.

YAML = """\
listeners:
  - name: web
    address: ":0"
    tls: {certificates: [{cert: CERT, key: /key}]}
backends: {b: {respond: {}}}
routes: [{backend: b, hostnames: [b.test]}]
"""


def test_a_service_gets_everything_as_warnings(files: Files, tmp_path: Path) -> None:
    cert = files(made(valid=PAST, names=[x509.DNSName("a.test")]))
    path = tmp_path / "sidegate.yaml"
    path.write_text(YAML.replace("CERT", cert))
    loaded, expiry = load_file(str(path), {})
    assert loaded.config is not None
    words = f"the certificate {cert} expired at 2025-07-01 12:30 UTC: it is refused"
    assert [str(warning) for warning in loaded.warnings] == [
        f"{path}:4:33: warning: listeners[0].tls.certificates[0].cert: {words}",
        f"{path}:6:35: warning: routes[0].hostnames[0]: no certificate of a listener has the name b.test",
    ]
    assert expiry == {("web", cert): PAST[1].timestamp()}


@pytest.mark.parametrize(
    ("tls", "backend", "count"),
    [
        (None, {"respond": {}}, 0),
        ({"selfSigned": True}, {"respond": {}}, 0),
        ({"selfSigned": True, "clientCertificates": {"ca": "CA"}}, {"respond": {}}, 1),
        (None, {"h2": "tcp://a:1", "tls": {"ca": "CA"}}, 1),
    ],
)
def test_a_service_without_certificates_inspects_only_what_it_has(
    files: Files, tls: dict[str, Any] | None, backend: dict[str, Any], count: int
) -> None:
    ca = files(made(valid=PAST))
    for part in (tls or {}).get("clientCertificates"), backend.get("tls"):
        if part:
            part["ca"] = ca
    listener = {"name": "a", "address": ":0", **({"tls": tls} if tls else {})}
    document = {"listeners": [listener], "backends": {"b": backend}, "routes": [{"backend": "b"}]}
    loaded, expiry = load_plain(document, "<command line>", {})
    assert len(loaded.warnings) == count
    assert expiry == {}


def test_an_invalid_configuration_is_not_inspected() -> None:
    loaded, expiry = load_plain({}, "<command line>", {})
    assert loaded.config is None
    assert (loaded.warnings, expiry) == ((), {})
