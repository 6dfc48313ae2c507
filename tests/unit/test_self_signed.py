"""The development certificate: made once, kept, made anew in time."""

from __future__ import annotations

import datetime
import ipaddress
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from sidegate.config.schema import ListenerConfig, Tls
from sidegate.errors import StartError
from sidegate.server.tls import self_signed
from sidegate.server.tls.contexts import ServerTls, self_signed_path
from sidegate.server.tls.engines import load_tls_engine
from sidegate.server.tls.self_signed import ensure_self_signed

LISTENER = ListenerConfig(name="https", addresses=("127.0.0.1:0",), tls=Tls(self_signed=True))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_is_for_this_machine_and_can_be_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "desk")
    ensure_self_signed()
    path = self_signed_path()
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "*.localhost", "desk"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("127.0.0.1"),
        ipaddress.ip_address("::1"),
    ]
    lifetime = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(days=390) < lifetime < datetime.timedelta(days=398)
    ServerTls(load_tls_engine(), LISTENER)


@pytest.mark.parametrize("name", ["", "büro"])
def test_a_host_name_that_no_certificate_can_hold_is_left_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: name)
    ensure_self_signed()
    certificate = x509.load_pem_x509_certificate(self_signed_path().read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "*.localhost"]


def test_only_the_owner_may_read_it_and_nothing_else_is_left() -> None:
    ensure_self_signed()
    path = self_signed_path()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_it_is_made_once() -> None:
    ensure_self_signed()
    content = self_signed_path().read_bytes()
    ensure_self_signed()
    assert self_signed_path().read_bytes() == content


def test_one_that_is_about_to_expire_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(self_signed, "LIFETIME", datetime.timedelta(days=29))
        ensure_self_signed()
    content = self_signed_path().read_bytes()
    ensure_self_signed()
    assert self_signed_path().read_bytes() != content


def key_of(content: bytes) -> bytes:
    return content[content.index(b"-----BEGIN PRIVATE KEY-----") :]


def certificate_of(content: bytes) -> bytes:
    return content[: content.index(b"-----BEGIN PRIVATE KEY-----")]


def encrypted(content: bytes) -> bytes:
    key = serialization.load_pem_private_key(content, None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return certificate_of(content) + pem


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"no certificate",
        lambda content: content[:100],
        certificate_of,
        key_of,
        encrypted,
        lambda content: certificate_of(content) + key_of(self_signed._make()),
    ],
    ids=["empty", "other", "cut", "no key", "no certificate", "encrypted", "another key"],
)
def test_a_file_that_cannot_be_used_is_made_anew(damage: Callable[[bytes], bytes]) -> None:
    ensure_self_signed()
    path = self_signed_path()
    path.write_bytes(damage(path.read_bytes()))
    ensure_self_signed()
    ServerTls(load_tls_engine(), LISTENER)


def test_a_folder_that_cannot_be_written(cache: Path) -> None:
    cache.write_text("a file, where the folder should be")
    with pytest.raises(StartError) as caught:
        ensure_self_signed()
    assert str(caught.value) == (
        f"cannot keep the self-signed certificate in {cache}/sidegate: Not a directory; "
        "set XDG_CACHE_HOME to a folder that can be written, or give tls.certificates"
    )


def test_a_write_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StartError, match="No space left on device"):
        ensure_self_signed()
    assert list(self_signed_path().parent.iterdir()) == []


def test_the_folder_is_below_home_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert self_signed_path() == tmp_path / ".cache" / "sidegate" / "self-signed.pem"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(StartError, match="set XDG_CACHE_HOME"):
        self_signed_path()
