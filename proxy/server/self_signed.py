"""The development certificate of ``selfSigned: true``: made once, kept in the user's cache folder.

Where it stands: called before processes start, so that they find the files. Errors: ``StartError`` if the folder
cannot be written.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import tempfile
from pathlib import Path

from proxy.config.schema import Certificate
from proxy.errors import StartError

LIFETIME = datetime.timedelta(days=397)
"""Browsers accept no longer one."""

RENEWAL = datetime.timedelta(days=30)
"""A certificate that ends sooner is made anew."""


def cache_folder() -> Path:
    """Where it is kept: ``$XDG_CACHE_HOME/sidegate``, by default below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "sidegate"


def ensure_self_signed(folder: Path | None = None) -> Certificate:
    """The files, made if they are missing or about to expire. Key and certificate are one PEM file, so that
    two processes that make them at once never leave a pair that does not match."""
    folder = folder or cache_folder()
    path = folder / "self-signed.pem"
    try:
        if not _still_good(path):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, _make())
    except OSError as error:
        raise StartError(
            f"cannot keep the self-signed certificate in {folder}: {error.strerror}; "
            "set XDG_CACHE_HOME to a folder that can be written, or give tls.certificates"
        ) from error
    return Certificate(cert=str(path), key=str(path))


def _still_good(path: Path) -> bool:
    from cryptography import x509  # about 10 MiB, and only development needs it

    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC) > RENEWAL


def _make() -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Sidegate development certificate")])
    now = datetime.datetime.now(datetime.UTC)
    hosts = dict.fromkeys(["localhost", "*.localhost", socket.gethostname()])
    names: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts]
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


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, readable by the owner only."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
