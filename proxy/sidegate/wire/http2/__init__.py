"""HTTP/2: a codec for each role, two engines with one interface.

The engines are ``nghttp2`` (the C library, with a Cython binding that is built if a compiler and libnghttp2's headers
are installed) and ``h2`` (pure Python). An engine's library is imported only when it is used, so the other one costs no
memory. It raises ``StartError`` for an engine that was not built or installed.
"""

from __future__ import annotations

import importlib
from typing import Literal

from sidegate.errors import StartError
from sidegate.wire.http2.client import Http2ClientCodec
from sidegate.wire.http2.engine import Engine, EngineFactory, EngineSettings
from sidegate.wire.http2.server import Http2Codec

__all__ = ["Engine", "EngineFactory", "EngineSettings", "Http2ClientCodec", "Http2Codec", "load_engine"]


class EngineUnavailable(StartError, ImportError):
    """The HTTP/2 engine cannot be imported; the message says what to install."""


_INSTALL = {
    "nghttp2": "its binding was not built. Install libnghttp2-dev (or nghttp2-devel) and a C compiler, install sidegate"
    " again, or set http2Engine: h2",
    "h2": "the Python package h2 is not installed",
}


def load_engine(name: Literal["auto", "nghttp2", "h2"]) -> EngineFactory:
    """Import an engine. ``auto`` is nghttp2 if it was built, else h2. Raises ``StartError``."""
    if name != "auto":
        return _load(name)
    try:
        return _load("nghttp2")
    except EngineUnavailable:
        return _load("h2")


def _load(name: str) -> EngineFactory:
    try:
        module = importlib.import_module(f"{__name__}.{name}")
    except ImportError as error:
        raise EngineUnavailable(f"HTTP/2 engine {name} cannot be used: {_INSTALL[name]} ({error})") from error
    return EngineFactory(name, module.library_version(), module.create)
