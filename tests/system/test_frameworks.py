"""Applications of five frameworks answer the same over HTTP/1.1 and over HTTP/2."""

from __future__ import annotations

import hashlib
import socket
import ssl
import time
from collections.abc import Iterator

import httpx
import pytest
from common import pattern

from tests.conftest import Serve
from tests.support.clients import Http2Client, request
from tests.support.server import Sidegate, app_config

LARGE = 50 * 1024 * 1024
PATIENCE = 30.0


@pytest.fixture(
    scope="module",
    params=[
        ("starlette", "auto"),
        ("fastapi", "auto"),
        ("django", "auto"),
        ("quart", "auto"),
        ("litestar", "auto"),
        ("starlette", "h2"),  # where nghttp2 is built, auto takes it; the other engine has to carry all this too
    ],
    ids=lambda param: f"{param[0]}-engine-{param[1]}",
)
def choice(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A framework and an HTTP/2 engine."""
    framework, engine = request.param
    return framework, engine


@pytest.fixture(scope="module")
def framework(choice: tuple[str, str]) -> str:
    return choice[0]


@pytest.fixture(scope="module")
def server(choice: tuple[str, str], serve_module: Serve) -> Sidegate:
    framework, engine = choice
    limits = {"requestBody": "64Mi"}
    config = app_config(f"with_{framework}:app", tls={"selfSigned": True}, limits=limits)
    return serve_module(config, args=["--http2-engine", engine])


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


def test_application_notices_that_a_listener_left(client: httpx.Client, server: Sidegate) -> None:
    """Over HTTP/1.1 the connection closes; over HTTP/2 only the stream is reset, and the connection goes on."""
    before = client.get("/listeners").json()
    if client.base_url.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        with context.wrap_socket(_connect(server.port("https"))) as sock:
            listener = Http2Client(sock)
            stream = listener.begin("GET", "/events", [], end=True)
            while not listener.responses[stream].body:
                listener.pump()
            assert _listeners(client, open=1)
            listener.reset(stream)
            assert _listeners(client, open=0, closed=before["closed"] + 1)
            assert request(listener, "GET", "/hello?name=x").status == 200
    else:
        with _connect(server.port()) as sock:
            sock.sendall(b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
            assert _listeners(client, open=1)
        assert _listeners(client, open=0, closed=before["closed"] + 1)


def test_exception_is_500_and_the_server_goes_on(client: httpx.Client, framework: str) -> None:
    assert client.get("/error").status_code == 500
    assert client.get("/hello", params={"name": "again"}).json()["framework"] == framework


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


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
