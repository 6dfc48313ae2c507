"""Applications of five frameworks answer the same over HTTP/1.1 and over HTTP/2."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import Serve
from tests.support.server import Sidegate, app_config
from tests.system.apps.common import pattern

LARGE = 50 * 1024 * 1024
PATIENCE = 10.0


@pytest.fixture(scope="module", params=["starlette", "fastapi", "django", "quart", "litestar"])
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(framework: str, serve_module: Serve) -> Sidegate:
    limits = {"requestBody": "64Mi"}
    return serve_module(app_config(f"with_{framework}:app", tls={"selfSigned": True}, limits=limits))


@pytest.fixture(params=["h1", "h2"])
def client(request: pytest.FixtureRequest, server: Sidegate) -> Iterator[httpx.Client]:
    """HTTP/1.1 in clear text, or HTTP/2 over TLS."""
    http2 = request.param == "h2"
    base_url = server.url("", "https" if http2 else "http")
    with httpx.Client(http2=http2, http1=not http2, verify=False, base_url=base_url, timeout=60) as client:
        yield client


def test_get(client: httpx.Client, framework: str) -> None:
    response = client.get("/hello", params={"name": "Jörg & Söhne"})
    assert response.status_code == 200
    assert response.json() == {
        "framework": framework,
        "method": "GET",
        "path": "/hello",
        "query": "Jörg & Söhne",
    }
    assert response.http_version == ("HTTP/2" if response.url.scheme == "https" else "HTTP/1.1")


def test_streamed_upload(client: httpx.Client) -> None:
    response = client.post("/upload", content=pattern(LARGE))
    assert response.status_code == 200
    assert response.json() == {"size": LARGE, "sha256": _digest(pattern(LARGE))}


def test_streamed_download(client: httpx.Client) -> None:
    with client.stream("GET", "/download", params={"size": LARGE}) as response:
        assert response.status_code == 200
        assert _digest(response.iter_raw()) == _digest(pattern(LARGE))


def test_application_notices_that_a_listener_left(client: httpx.Client) -> None:
    before = client.get("/listeners").json()
    with client.stream("GET", "/events") as response:
        events = response.iter_raw()  # held: the response closes with its iterator
        assert next(events).startswith(b"data: 1\n\n")
        assert _listeners(client, open=1)
    assert _listeners(client, open=0, closed=before["closed"] + 1)


def test_exception_is_500_and_the_server_goes_on(client: httpx.Client, server: Sidegate, framework: str) -> None:
    assert client.get("/error").status_code == 500
    assert client.get("/hello", params={"name": "again"}).json()["framework"] == framework
    assert "ApplicationFailed" in server.wait_log("ApplicationFailed")


def _listeners(client: httpx.Client, **wanted: int) -> bool:
    """Whether /listeners comes to say what is wanted."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if client.get("/listeners").json().items() >= wanted.items():
            return True
        time.sleep(0.05)
    return False


def _digest(pieces: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
