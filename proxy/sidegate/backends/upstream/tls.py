"""The TLS context of the connections to a third-party server.

It is made once for each backend with ``h2``. The server's certificate is always verified.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from sidegate.config.pem import PemError, authorities_error, load_pair
from sidegate.config.schema import BackendConfig, UpstreamTls
from sidegate.errors import ConfigPath, Problems
from sidegate.ipc import permissions


def client_context(tls: UpstreamTls | None) -> ssl.SSLContext:
    """Make a context for TLS 1.2 or newer with ALPN h2.

    :raises PemError: a file cannot be used.
    """
    ca = None if tls is None else tls.ca
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise authorities_error(ca or "", error) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    if tls is not None and tls.cert is not None:
        load_pair(context, tls.cert, tls.key or "")
    return context


def problem_of(backend: str, error: PemError) -> tuple[ConfigPath, str]:
    """The problem of a file of ``backend`` that cannot be used: its path in the configuration, and the message."""
    path: ConfigPath = ("backends", backend, "tls", error.key) if error.key else ("backends", backend, "tls")
    return path, f"{error}; {permissions.denied(error.denied)}" if error.denied else str(error)


def check_contexts(backends: Mapping[str, BackendConfig], problems: Problems) -> None:
    """Add the files of ``h2`` backends that cannot be used to ``problems``. Nothing is connected."""
    for name, backend in backends.items():
        if backend.h2:
            try:
                client_context(backend.tls)
            except PemError as error:
                problems.append(problem_of(name, error))
