"""Fixtures of the contract: every codec, or every HTTP/2 engine, that this installation has."""

from __future__ import annotations

import pytest

from tests.support.running import CODECS

ENGINES = [codec for codec in CODECS if codec.startswith("http2")]


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest) -> str:
    """``http1``, ``http2-nghttp2``, ``http2-h2`` in turn."""
    return _available(request)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The codecs that are HTTP/2's, in turn."""
    return _available(request)


def _available(request: pytest.FixtureRequest) -> str:
    if request.param == "http2-nghttp2":
        pytest.importorskip("sidegate.wire.http2.nghttp2", reason="the nghttp2 binding was not built")
    return str(request.param)
