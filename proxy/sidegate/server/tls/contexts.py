"""TLS contexts of a listener: certificates by SNI, client certificates, ALPN, and the ASGI ``tls`` extension.

The runtime builds it once; the listener passes ``context`` to the event loop. It raises ``TlsError`` for files that
cannot be used, with a message for the operator.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from sidegate.config.pem import PemError, authorities_error, load_pair
from sidegate.config.schema import Certificate, Tls
from sidegate.errors import SidegateError, StartError
from sidegate.ipc import permissions

# TLS 1.2 with forward secrecy and authenticated encryption only (RFC 9325 4.2); all TLS 1.3 suites are allowed.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_MODES = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_VERSION_CODES = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


def self_signed_path() -> Path:
    """The path of the development certificate: below ``$XDG_CACHE_HOME``, by default ``~/.cache``.

    Raises ``StartError`` for a user without a home folder, as in some containers.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        cache = Path(base) if base else Path.home() / ".cache"
    except RuntimeError as error:
        raise StartError(
            "there is no home folder to keep the self-signed certificate in; set XDG_CACHE_HOME"
        ) from error
    return cache / "sidegate" / "self-signed.pem"


class TlsError(SidegateError):
    """A certificate, key or CA file cannot be used. ``field`` is the configuration key that names the file."""

    def __init__(self, field: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.field = field


class ServerTls:
    """The contexts of one listener. The first certificate serves clients whose SNI matches none."""

    def __init__(self, tls: Tls, protocols: Sequence[str], certificates: Sequence[Certificate]) -> None:
        """``certificates``: those of ``tls``, or the self-signed one. Raises ``TlsError``."""
        contexts = [_context(tls, protocols, certificate, index) for index, certificate in enumerate(certificates)]
        self.context = contexts[0]
        self._pems = {id(context): _first_pem(c.cert) for context, c in zip(contexts, certificates, strict=True)}
        self._suites = {cipher["name"]: cipher["id"] & 0xFFFF for cipher in self.context.get_ciphers()}
        self._by_name: dict[str, ssl.SSLContext] = {}
        if len(contexts) > 1:
            for context, certificate in zip(contexts, certificates, strict=True):
                for name in _x509().certificate_names(certificate.cert):
                    self._by_name.setdefault(name, context)
            self.context.sni_callback = self._choose

    def _choose(self, ssl_object: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        """SNI: the exact name, else the wildcard that covers its first label (RFC 6125 6.4.3), else the first."""
        if name is None:
            return
        name = name.lower()
        context = self._by_name.get(name) or self._by_name.get("*." + name.partition(".")[2])
        if context is not None:
            ssl_object.context = context

    def extension(self, ssl_object: ssl.SSLObject) -> dict[str, Any]:
        """The ASGI ``tls`` extension of one connection (https://asgi.readthedocs.io/en/latest/specs/tls.html)."""
        cipher = ssl_object.cipher()
        chain = _client_chain(ssl_object)
        return {
            "server_cert": self._pems.get(id(ssl_object.context)),
            "client_cert_chain": [ssl.DER_cert_to_PEM_cert(der) for der in chain],
            "client_cert_name": _x509().subject(chain[0]) if chain else None,
            "client_cert_error": None,
            "tls_version": _VERSION_CODES.get(ssl_object.version() or ""),
            "cipher_suite": self._suites.get(cipher[0]) if cipher else None,
        }


def _context(tls: Tls, protocols: Sequence[str], certificate: Certificate, index: int) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(list(protocols))
    with _named(("certificates", index)):
        load_pair(context, certificate.cert, certificate.key)
    client = tls.client_certificates
    if client is not None and client.mode != "none":
        context.verify_mode = _MODES[client.mode]
        ca = client.ca or ""  # there is one: the mode needs it
        with _named(("clientCertificates",)):
            try:
                context.load_verify_locations(ca)
            except OSError as error:
                raise authorities_error(ca, error) from error
    return context


@contextlib.contextmanager
def _named(place: tuple[str | int, ...]) -> Iterator[None]:
    """Report a file that cannot be used as one of the keys at ``place``."""
    try:
        yield
    except PemError as error:
        message = f"{error}; {permissions.denied(error.denied)}" if error.denied else str(error)
        raise TlsError((*place, error.key) if error.key else place, message) from error


def _first_pem(path: str) -> str:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    text = Path(path).read_text("ascii", "replace")
    return begin + text.partition(begin)[2].partition(end)[0] + end + "\n"


def _client_chain(ssl_object: ssl.SSLObject) -> list[bytes]:
    """The peer's certificates in DER, leaf first; empty if it sent none. A resumed session has only the leaf."""
    leaf = ssl_object.getpeercert(binary_form=True)
    if leaf is None:
        return []
    if hasattr(ssl_object, "get_unverified_chain"):  # Python 3.13
        return list(ssl_object.get_unverified_chain()) or [leaf]
    # Older versions have the same list, but no public name for it.
    chain = ssl_object._sslobj.get_unverified_chain() or ()  # type: ignore[attr-defined]
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in chain] or [leaf]


def _x509() -> ModuleType:
    """Import the module on first use; it says why."""
    return importlib.import_module("sidegate.server.tls.x509")
