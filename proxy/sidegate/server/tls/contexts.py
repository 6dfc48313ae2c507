"""TLS of a listener: its engine, certificates by SNI, client certificates, ALPN, and the ASGI ``tls`` extension.

The runtime builds it once; each connection gets a session of it. It raises ``TlsError`` for files that cannot be used,
with a message for the operator.
"""

from __future__ import annotations

import importlib
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from sidegate.config.schema import Certificate, ListenerConfig, Tls
from sidegate.errors import StartError
from sidegate.server.tls.engine import Facts, ServerSettings, Session, TicketKeys, TlsEngine

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


class ServerTls:
    """TLS of one listener. The first certificate serves clients whose SNI matches none.

    ``session``: makes the session of one connection. ``redirects``: whether plain HTTP is redirected to https.
    """

    def __init__(self, engine: TlsEngine, listener: ListenerConfig, tickets: TicketKeys | None = None) -> None:
        """``tickets``: as in ``engine.ServerSettings``. Raises ``TlsError``."""
        tls = listener.tls
        if tls is None:
            raise ValueError(f"the listener {listener.name!r} has no TLS")
        certificates = _certificates(tls)
        self.redirects = listener.https_redirect
        self._by_name: dict[str, int] = {}
        settings = ServerSettings(listener.name, tls, certificates, listener.protocols, self._choose, tickets)
        self.session: Callable[[], Session] = engine.prepare(settings)
        self._pems = [_first_pem(certificate.cert) for certificate in certificates]
        if len(certificates) > 1:
            for position, certificate in enumerate(certificates):
                for name in _x509().certificate_names(certificate.cert):
                    self._by_name.setdefault(name, position)

    def _choose(self, name: str | None) -> int:
        """SNI: the exact name, else the wildcard that covers its first label (RFC 6125 6.4.3), else the first."""
        if name is None:
            return 0
        name = name.lower()
        return self._by_name.get(name, self._by_name.get("*." + name.partition(".")[2], 0))

    def extension(self, session: Session, facts: Facts) -> dict[str, Any]:
        """The ASGI ``tls`` extension of one connection (https://asgi.readthedocs.io/en/latest/specs/tls.html)."""
        chain = session.client_chain()
        return {
            "server_cert": self._pems[facts.certificate],
            "client_cert_chain": [ssl.DER_cert_to_PEM_cert(der) for der in chain],
            "client_cert_name": _x509().subject(chain[0]) if chain else None,
            "client_cert_error": None,
            "tls_version": _VERSION_CODES.get(facts.version),
            "cipher_suite": facts.cipher_suite or None,
        }


def _certificates(tls: Tls) -> tuple[Certificate, ...]:
    if not tls.self_signed:
        return tls.certificates
    path = str(self_signed_path())  # the supervisor has made it
    return (Certificate(cert=path, key=path),)


def _first_pem(path: str) -> str:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    text = Path(path).read_text("ascii", "replace")
    return begin + text.partition(begin)[2].partition(end)[0] + end + "\n"


def _x509() -> ModuleType:
    """Import the module on first use; it says why."""
    return importlib.import_module("sidegate.server.tls.x509")
