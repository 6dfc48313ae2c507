"""Fixtures of the contract: the codecs and HTTP/2 engines of this installation, and where an application runs."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from tests.support import relaying
from tests.support import running as in_process
from tests.support.running import CODECS, Run

ENGINES = [codec for codec in CODECS if codec.startswith("http2")]

FRONT = pytest.param("front")
POOL = pytest.param("pool", marks=pytest.mark.pooled)


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


@pytest.hookimpl(trylast=True)  # after all other parameters, so that a test's id ends with the place
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test in both places, or in the only one that its marker names."""
    if "place" in metafunc.fixturenames:
        marked = metafunc.definition.get_closest_marker
        places = [FRONT] if marked("front_only") else [POOL] if marked("pool_only") else [FRONT, POOL]
        metafunc.parametrize("place", places, indirect=True)


@pytest.fixture
def place(request: pytest.FixtureRequest) -> str:
    """``front``: the application runs in the front itself; ``pool``: it runs in a worker behind a front."""
    return str(request.param)


@pytest.fixture
def running(place: str, tmp_path: Path) -> Run:
    """Serve an ASGI application in that place."""
    return in_process.running if place == "front" else functools.partial(relaying.behind_a_front, tmp_path)
