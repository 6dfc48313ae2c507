"""WSGI stands above the codecs, so one of each version of HTTP is enough; the ASGI contract runs over all of them."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import pytest

from tests.support import wsgi
from tests.support.running import Run

HTTP2 = "http2-nghttp2" if importlib.util.find_spec("sidegate.wire.http2.nghttp2") else "http2-h2"


@pytest.fixture(params=["http1", HTTP2])
def codec(request: pytest.FixtureRequest) -> str:
    """``http1``, then HTTP/2 by the engine that would be used."""
    return str(request.param)


@pytest.fixture
def running(place: str, tmp_path: Path) -> Run:
    """Serve a WSGI application in that place."""
    return wsgi.running if place == "front" else functools.partial(wsgi.behind_a_front, tmp_path)
