"""WebSocket over either version of HTTP: in the front by the engine that would be used, through a pool by the other.

How the engines carry an accepted stream is held by the codecs' contract.
"""

from __future__ import annotations

import importlib.util

import pytest


@pytest.fixture(params=["http1", "http2"])
def codec(request: pytest.FixtureRequest, place: str) -> str:
    """``http1``, then ``http2-nghttp2`` or ``http2-h2``."""
    if request.param == "http1":
        return "http1"
    built = importlib.util.find_spec("sidegate.wire.http2.nghttp2") is not None
    return "http2-nghttp2" if built and place == "front" else "http2-h2"
