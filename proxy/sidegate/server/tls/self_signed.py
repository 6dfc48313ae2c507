"""The development certificate of ``selfSigned: true``: made once, stored in the user's cache folder.

It is called before processes start, so that they find the file. It is imported only when needed, because
``cryptography`` takes about 10 MiB. It raises ``StartError`` if the folder cannot be written.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sidegate.errors import StartError
from sidegate.server.tls.contexts import self_signed_path

LIFETIME = datetime.timedelta(days=397)
"""Browsers accept no longer lifetime."""

RENEWAL = datetime.timedelta(days=30)
"""A certificate that expires sooner is made anew."""


def ensure_self_signed() -> None:
    """Make the file of ``tls.self_signed_path`` if it is missing or about to expire.

    Key and certificate are in one PEM file: two processes that make them at once never leave a pair that does not
    match.
    """
    path = self_signed_path()
    try:
        if not _still_good(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, _make())
    except OSError as error:
        raise StartError(
            f"cannot keep the self-signed certificate in {path.parent}: {error.strerror}; "
            "set XDG_CACHE_HOME to a folder that can be written, or give tls.certificates"
        ) from error


def _still_good(path: Path) -> bool:
    try:
        content = path.read_bytes()
        certificate = x509.load_pem_x509_certificate(content)
        key = serialization.load_pem_private_key(content, None)
    except (FileNotFoundError, ValueError, TypeError):
        return False
    if key.public_key() != certificate.public_key():
        return False
    return certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC) > RENEWAL


def _make() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Sidegate development certificate")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [x509.DNSName(host) for host in _host_names()]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + private


def _host_names() -> list[str]:
    """``localhost`` and this host's own name, if a certificate can contain it (ASCII)."""
    own = socket.gethostname()
    return list(dict.fromkeys(["localhost", "*.localhost", *([own] if own.isascii() and own else [])]))


def _write(path: Path, content: bytes) -> None:
    """Write the file whole or not at all, readable by the owner only."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise
