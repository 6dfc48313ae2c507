"""WSGI stands above the codecs, so one of each version of HTTP is enough; the ASGI contract runs over all of them."""

from __future__ import annotations

import importlib.util

import pytest

HTTP2 = "http2-nghttp2" if importlib.util.find_spec("sidegate.wire.http2.nghttp2") else "http2-h2"


@pytest.fixture(params=["http1", HTTP2])
def codec(request: pytest.FixtureRequest) -> str:
    """``http1``, then HTTP/2 by the engine that would be used."""
    return str(request.param)
