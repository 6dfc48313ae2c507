"""The engine over our own binding of OpenSSL: what a listener's settings mean to OpenSSL.

See ``engine.py`` and ``openssl.pyx``. Files are first loaded into a context of Python's ``ssl``, because its errors say
which file is wrong and why.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sidegate.server.tls import openssl
from sidegate.server.tls.ciphers import CIPHERS, cipher_list, suite_list
from sidegate.server.tls.engine import ServerSettings, Session
from sidegate.server.tls.files import TlsError, load_authorities, load_certificate
from sidegate.server.tls.key_log import key_log_path, open_key_log
from sidegate.server.tls.staple import Staple

library_version = openssl.library_version

_VERSIONS = {"1.2": 0x0303, "1.3": 0x0304}

SUITES = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
"""The suites of TLS 1.3. AES-128 comes first: it needs fewer rounds, and nobody can break it (RFC 8446 9.1)."""


def prepare(settings: ServerSettings) -> Callable[[], Session]:
    """See ``engine.TlsEngine``."""
    contexts = [_context(settings, index) for index in range(len(settings.certificates))]
    path = key_log_path()
    key_log = None if path is None else open_key_log(path)
    choose = None if len(contexts) == 1 else lambda name: contexts[settings.choose(name)]
    for index, context in enumerate(contexts):
        context.ask(choose, settings.tickets, _staple(settings, index), key_log)
    return partial(openssl.OpensslSession, contexts[0])


def _context(settings: ServerSettings, index: int) -> openssl.OpensslContext:
    tls, certificate = settings.tls, settings.certificates[index]
    trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_certificate(trial, certificate, index)
    load_authorities(trial, tls)
    protocols = b"".join(bytes([len(name)]) + name.encode("ascii") for name in settings.protocols)
    context = openssl.OpensslContext(index, _VERSIONS[tls.min_version], protocols, _session_context(settings))
    place: tuple[str | int, ...] = ("cipherSuites",)
    try:
        context.offer(*_offer(settings))
        place = ("certificates", index)
        context.load(certificate.cert.encode(), certificate.key.encode())
        client = tls.client_certificates
        if client is not None and client.mode != "none":
            place = ("clientCertificates", "ca")
            context.verify((client.ca or "").encode(), client.mode == "required")
    except openssl.OpensslError as error:
        raise TlsError(place, f"OpenSSL refuses it: {error}") from error
    return context


def _offer(settings: ServerSettings) -> tuple[bytes, bytes, bytes]:
    tls = settings.tls
    ciphers = cipher_list(tls.cipher_suites) or CIPHERS
    suites = suite_list(tls.cipher_suites) or SUITES
    return ciphers.encode(), suites.encode(), ":".join(tls.curves).encode()


def _session_context(settings: ServerSettings) -> bytes:
    """What a session belongs to: it must not be resumed where other client certificates are asked for."""
    client = settings.tls.client_certificates
    parts = [settings.name.encode()]
    if client is not None and client.mode != "none":
        parts += [client.mode.encode(), Path(client.ca or "").read_bytes()]
    return hashlib.sha256(b"\0".join(parts)).digest()


def _staple(settings: ServerSettings, index: int) -> Staple | None:
    path = settings.certificates[index].ocsp_staple
    if path is None:
        return None
    try:
        return Staple(path)
    except OSError as error:
        message = f"cannot read the OCSP response {path}: {error.strerror}"
        raise TlsError(("certificates", index, "ocspStaple"), message) from error
