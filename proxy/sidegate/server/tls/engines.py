"""Finds the TLS engine that serves.

An engine is imported only when it is used, so that another one's library costs no memory.
"""

from __future__ import annotations

import importlib

from sidegate.server.tls.engine import TlsEngine


def load_tls_engine() -> TlsEngine:
    """Import an engine."""
    module = importlib.import_module("sidegate.server.tls.ssl_engine")
    return TlsEngine("ssl", module.library_version(), module.prepare)
