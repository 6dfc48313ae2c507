"""The engines and libraries that this installation uses, with their versions.

It is above ``wire`` in the layout, because only an engine knows its library's version. ``sidegate version`` uses it,
and each child, which reports the result to the supervisor. It imports a library only when its version is requested.
"""

from __future__ import annotations

import importlib
import platform
from typing import Literal

from sidegate import __version__
from sidegate.config.schema import Config, TlsEngineName
from sidegate.errors import StartError
from sidegate.server.tls.engines import load_tls_engine
from sidegate.wire.http2 import load_engine

ENGINES: tuple[Literal["nghttp2", "h2"], ...] = ("nghttp2", "h2")
TLS_ENGINES: tuple[TlsEngineName, ...] = ("openssl", "ssl")


def engines(config: Config, loop: str, http1: bool = True) -> dict[str, str]:
    """The libraries of a child with this configuration and this event loop's package, each as ``name version``.

    ``http1``: whether the child speaks HTTP/1.1 too. A worker does not, and its Python may lack httptools.
    :raises StartError: this HTTP/2 or TLS engine is not installed.
    """
    http2 = load_engine(config.http2_engine)
    tls = load_tls_engine(config.tls_engine) if any(listener.tls for listener in config.listeners) else None
    return {
        "loop": f"{loop} {_imported(loop) or platform.python_version()}",
        **({"http1": f"httptools {_imported('httptools')}"} if http1 else {}),
        "http2": f"{http2.name} {http2.version}",
        **({} if tls is None else {"tls": f"{tls.name} {tls.version}"}),
    }


def installation() -> dict[str, str | None]:
    """Every version that matters in a bug report; None for a library that is not installed."""
    return {
        "sidegate": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        **{name: _engine_version(name) for name in ENGINES},
        "httptools": _installed("httptools"),
        "uvloop": _installed("uvloop"),
        **{name: _tls_engine_version(name) for name in TLS_ENGINES},
    }


def _engine_version(name: Literal["nghttp2", "h2"]) -> str | None:
    try:
        return load_engine(name).version
    except StartError:
        return None


def _tls_engine_version(name: TlsEngineName) -> str | None:
    try:
        return load_tls_engine(name).version
    except StartError:
        return None


def _imported(package: str) -> str | None:
    """``__version__`` of an imported package; importlib.metadata would cost a front 1 MiB (email, csv, …)."""
    version: str | None = getattr(importlib.import_module(package), "__version__", None)
    return version


def _installed(distribution: str) -> str | None:
    import importlib.metadata  # noqa: PLC0415 - see above

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
