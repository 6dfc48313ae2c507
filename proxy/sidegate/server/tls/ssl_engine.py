"""The engine of Python's ``ssl``: OpenSSL as the interpreter has it, through memory BIOs.

See ``engine.py``. It is complete, and it needs no compiler. What only a binding of our own can do (shared session
tickets, the suites of TLS 1.3, curves, stapled OCSP responses, the alert for ALPN without overlap) it lacks.
"""

from __future__ import annotations

import contextlib
import ssl
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

from sidegate.server.tls.ciphers import CIPHERS
from sidegate.server.tls.engine import (
    CLEARTEXT,
    CLOSED,
    DISCONNECTED,
    ENDED,
    HANDSHAKE,
    OPEN,
    Facts,
    Failure,
    ServerSettings,
    Session,
)
from sidegate.server.tls.files import TlsError, load_authorities, load_certificate
from sidegate.server.tls.key_log import key_log_path, open_key_log

RECORD = 16 * 1024
"""Bytes of plaintext in the largest record (RFC 8446 5.1)."""

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_MODES = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}

# OpenSSL's reasons for the failures that operators look for.
_REASONS = {
    "HTTP_REQUEST": CLEARTEXT,
    "WRONG_VERSION_NUMBER": CLEARTEXT,
    "UNSUPPORTED_PROTOCOL": "protocol_version",
    "VERSION_TOO_LOW": "protocol_version",
    "NO_SHARED_CIPHER": "no_shared_cipher",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no_client_certificate",
    "CERTIFICATE_VERIFY_FAILED": "client_certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "certificate_rejected",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "certificate_rejected",
    "SSLV3_ALERT_BAD_CERTIFICATE": "certificate_rejected",
    "UNEXPECTED_EOF_WHILE_READING": DISCONNECTED,
}


def library_version() -> str:
    """OpenSSL's version: ``3.0.19``."""
    return ssl.OPENSSL_VERSION.split()[1]


def prepare(settings: ServerSettings) -> Callable[[], Session]:
    """See ``engine.TlsEngine``."""
    _check_possible(settings)
    keep_names_out_of_the_log()
    contexts = [_context(settings, index) for index in range(len(settings.certificates))]
    positions = {id(context): index for index, context in enumerate(contexts)}
    suites = {cipher["name"]: cipher["id"] & 0xFFFF for cipher in contexts[0].get_ciphers()}
    if len(contexts) > 1:

        def choose(ssl_object: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            ssl_object.server_name = name  # type: ignore[attr-defined]  # for the facts: it keeps only a client's
            ssl_object.context = contexts[settings.choose(name)]

        contexts[0].sni_callback = choose
    else:
        contexts[0].sni_callback = _keep_name
    return partial(SslSession, contexts[0], positions, suites)


def _check_possible(settings: ServerSettings) -> None:
    """Refuse what only the other engine can do, instead of leaving it out."""
    wanted: list[tuple[str | int, ...]] = []
    if settings.tls.cipher_suites:
        wanted.append(("cipherSuites",))
    if settings.tls.curves:
        wanted.append(("curves",))
    for index, certificate in enumerate(settings.certificates):
        if certificate.ocsp_staple is not None:
            wanted.append(("certificates", index, "ocspStaple"))
    if wanted:
        raise TlsError(wanted[0], "only the TLS engine openssl can do that; this process uses ssl (see tlsEngine)")


@cache
def keep_names_out_of_the_log() -> None:
    """Once in a process: print no traceback for an SNI that is not ASCII, which any client may send.

    Python decodes it before it calls ``sni_callback``, passes the error to ``sys.unraisablehook`` with the bytes, and
    ends the handshake with an alert.
    """
    report = sys.unraisablehook

    def hook(unraisable: Any, /) -> None:
        if unraisable.exc_type is not UnicodeDecodeError or type(unraisable.object) is not bytes:
            report(unraisable)

    sys.unraisablehook = hook


def _keep_name(ssl_object: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
    ssl_object.server_name = name  # type: ignore[attr-defined]


def _context(settings: ServerSettings, index: int) -> ssl.SSLContext:
    tls = settings.tls
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(list(settings.protocols))
    load_certificate(context, settings.certificates[index], index)
    path = key_log_path()
    if path is not None and open_key_log(path) is not None:
        context.keylog_filename = path
    if tls.client_certificates is not None:
        context.verify_mode = _MODES[tls.client_certificates.mode]
        load_authorities(context, tls)
    return context


class SslSession:
    """See ``engine.Session``."""

    __slots__ = ("_incoming", "_object", "_outgoing", "_positions", "_suites", "failure", "state")

    def __init__(self, context: ssl.SSLContext, positions: dict[int, int], suites: dict[str, int]) -> None:
        """``positions``: of the certificates, by the id of their context. ``suites``: their numbers, by name."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._positions = positions
        self._suites = suites
        self.state: int = HANDSHAKE
        self.failure: Failure | None = None

    def receive(self, data: bytes) -> bytes:
        self._incoming.write(data)
        if self.state == HANDSHAKE:
            self._shake()
        return self._read() if self.state == OPEN else b""

    def _shake(self) -> None:
        try:
            self._object.do_handshake()
            self.state = OPEN
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._fail(error)

    def _read(self) -> bytes:
        pieces = []
        try:
            while piece := self._object.read(RECORD):
                pieces.append(piece)
            self.state = ENDED
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._fail(error)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _fail(self, error: ssl.SSLError) -> None:
        self.state = CLOSED
        self.failure = failure_of(error)

    def encrypt(self, data: bytes) -> bytes:
        if self.state in {OPEN, ENDED}:
            self._object.write(data)
        return self._outgoing.read()

    def close(self) -> None:
        if self.state not in {OPEN, ENDED}:
            return
        with contextlib.suppress(ssl.SSLError):  # the peer has not sent close_notify yet
            self._object.unwrap()
        self.state = CLOSED

    def take_output(self) -> bytes:
        return self._outgoing.read() if self._outgoing.pending else b""

    def facts(self) -> Facts:
        cipher = self._object.cipher()
        return Facts(
            version=self._object.version() or "",
            cipher_suite=self._suites.get(cipher[0], 0) if cipher else 0,
            alpn=self._object.selected_alpn_protocol(),
            server_name=getattr(self._object, "server_name", None),
            certificate=self._positions[id(self._object.context)],
            resumed=bool(self._object.session_reused),
        )

    def client_chain(self) -> Sequence[bytes]:
        leaf = self._object.getpeercert(binary_form=True)
        if leaf is None:
            return []
        if hasattr(self._object, "get_unverified_chain"):  # Python 3.13
            return list(self._object.get_unverified_chain()) or [leaf]
        # Older versions have the same list, but no public name for it.
        chain = self._object._sslobj.get_unverified_chain() or ()  # type: ignore[attr-defined]
        return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in chain] or [leaf]


def failure_of(error: ssl.SSLError) -> Failure:
    """The reason of an error in one word, from a fixed set (it becomes a metric's label), and in OpenSSL's words."""
    reason = getattr(error, "reason", None) or ""  # OpenSSL does not name every one
    return Failure(_REASONS.get(reason, "other"), reason.replace("_", " ").lower() or str(error))
