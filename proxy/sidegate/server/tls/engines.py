"""Finds the TLS engine that serves.

There are two: ``openssl`` (a Cython binding that is built if a compiler and OpenSSL's headers are installed) and
``ssl`` (Python's own). An engine is imported only when it is used. It raises ``StartError`` for an engine that was not
built.
"""

from __future__ import annotations

import importlib

from sidegate.config.schema import TlsEngineName
from sidegate.errors import StartError
from sidegate.server.tls.engine import TlsEngine

_INSTALL = (
    "its binding was not built. Install libssl-dev (or openssl-devel) 3.0 or newer and a C compiler, install sidegate "
    "again, or set tlsEngine: ssl"
)


class TlsEngineUnavailable(StartError, ImportError):
    """The TLS engine cannot be imported; the message says what to install."""


def load_tls_engine(name: TlsEngineName = "auto") -> TlsEngine:
    """Import an engine. ``auto`` is openssl if it was built, else ssl. Raises ``StartError``."""
    if name != "auto":
        return _load(name)
    try:
        return _load("openssl")
    except TlsEngineUnavailable:
        return _load("ssl")


def _load(name: str) -> TlsEngine:
    try:
        module = importlib.import_module(f"sidegate.server.tls.{name}_engine")
    except ImportError as error:
        raise TlsEngineUnavailable(f"TLS engine {name} cannot be used: {_INSTALL} ({error})") from error
    return TlsEngine(name, module.library_version(), module.prepare)
