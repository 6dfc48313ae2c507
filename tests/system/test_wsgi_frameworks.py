"""WSGI applications of five frameworks answer the same, in the front and in a pool, over HTTP/1.1 and over HTTP/2.

Each is mounted below its name, so their own URLs need SCRIPT_NAME.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from common import COOKIES, pattern

from tests.conftest import Serve
from tests.support.pools import wait_workers
from tests.support.programs import output_of, program
from tests.support.server import APPS, Sidegate, listener

FRAMEWORKS = ("django", "flask", "bottle", "falcon", "pyramid")
LARGE = 5 * 1024 * 1024


@pytest.fixture(scope="module")
def server(serve_module: Serve) -> Sidegate:
    """All of them, each in a pool below ``/pool`` and in the front below ``/front``; one was imported before a fork."""
    backends: dict[str, Any] = {}
    for framework in FRAMEWORKS:
        app = {"app": f"wsgi_{framework}:app", "directory": str(APPS)}
        pool = {"threads": 4, "preload": framework == "flask"}
        backends[f"pool-{framework}"] = {**app, "rootPath": f"/pool/{framework}", "pool": pool}
        backends[f"front-{framework}"] = {**app, "rootPath": f"/front/{framework}"}
    server = serve_module(
        {
            "listeners": [listener(), listener(name="https", tls={"selfSigned": True})],
            "backends": backends,
            "routes": [{"name": name, "path": f"/{name.replace('-', '/')}", "backend": name} for name in backends],
            "processes": 1,
        }
    )
    for framework in FRAMEWORKS:
        wait_workers(server, 1, f"pool-{framework}")
    return server


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["front", "pool"])
def mount(request: pytest.FixtureRequest, framework: str) -> str:
    """Where the application is mounted."""
    return f"/{request.param}/{framework}"


@pytest.fixture(params=["h1", "h2"])
def client(request: pytest.FixtureRequest, server: Sidegate, mount: str) -> Iterator[httpx.Client]:
    """HTTP/1.1 in clear text, or HTTP/2 over TLS."""
    http2 = request.param == "h2"
    base_url = server.url(mount, "https" if http2 else "http")
    with httpx.Client(
        http2=http2, http1=not http2, verify=False, base_url=base_url, timeout=30, trust_env=False
    ) as client:
        yield client


def test_get(client: httpx.Client, framework: str, mount: str) -> None:
    response = client.get("/hello", params={"name": "Jörg & Söhne"})
    assert response.status_code == 200
    assert response.json() == {
        "framework": framework,
        "method": "GET",
        "mounted": mount,
        "path": "/hello",
        "query": "Jörg & Söhne",
        "scheme": client.base_url.scheme,
    }
    assert response.http_version == ("HTTP/2" if client.base_url.scheme == "https" else "HTTP/1.1")


def test_head(client: httpx.Client) -> None:
    """Some frameworks leave it to the server to drop the body."""
    whole = client.get("/hello", params={"name": "x"})
    response = client.head("/hello", params={"name": "x"})
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers.get("content-type") == whole.headers["content-type"]
    assert client.get("/hello", params={"name": "x"}).content == whole.content


def test_form(client: httpx.Client) -> None:
    fields = {"name": ["Jörg & Söhne"], "colour": ["red", "blue"]}
    response = client.post("/form", data=fields)
    assert response.status_code == 200
    assert response.json() == fields


def in_pieces(body: bytes) -> Iterator[bytes]:
    """For httpx: a body of unknown length, in chunks over HTTP/1.1."""
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]


def test_form_of_unknown_length(client: httpx.Client) -> None:
    """Django and Flask read CONTENT_LENGTH bytes, so that they found nothing in it."""
    fields = {"name": ["Jörg & Söhne"], "colour": ["red", "x" * 70_000]}
    whole = client.build_request("POST", "/form", data=fields)
    headers = {"content-type": whole.headers["content-type"]}
    response = client.post("/form", content=in_pieces(whole.read()), headers=headers)
    assert response.status_code == 200
    assert response.json() == fields


def test_file_of_unknown_length(client: httpx.Client) -> None:
    content = b"".join(pattern(300_000))
    whole = client.build_request("POST", "/file", data={"note": "x"}, files={"file": ("pattern.bin", content)})
    headers = {"content-type": whole.headers["content-type"]}
    response = client.post("/file", content=in_pieces(whole.read()), headers=headers)
    assert response.status_code == 200
    assert response.json() == {"note": "x", "name": "pattern.bin", **told(content)}


@pytest.mark.parametrize("framework", ["flask"], indirect=True)
def test_events_come_one_by_one(client: httpx.Client, mount: str) -> None:
    """Buffered responses are not delayed: each event is made when the one before has arrived."""
    key = f"events-{mount}-{client.base_url.scheme}"
    with client.stream("GET", "/events", params={"key": key}) as response:
        lines = (line for line in response.iter_lines() if line)
        for number in range(3):
            assert next(lines) == f"data: {number}"
            assert client.get("/open", params={"key": f"{key}{number + 1}"}).status_code == 200
        assert not list(lines)


def test_file(client: httpx.Client) -> None:
    content = b"".join(pattern(300_000))
    response = client.post("/file", data={"note": "für dich"}, files={"file": ("pattern.bin", content)})
    assert response.status_code == 200
    assert response.json() == {"note": "für dich", "name": "pattern.bin", **told(content)}


def test_json(client: httpx.Client) -> None:
    value = {"text": "Jörg", "numbers": [1, 2.5, None], "large": "x" * 100_000}
    response = client.post("/json", json=value)
    assert response.status_code == 200
    assert response.json() == {"got": value}


def test_cookies(client: httpx.Client) -> None:
    first = client.get("/cookies")
    assert first.json() == {}
    assert len(first.headers.get_list("set-cookie")) == len(COOKIES)
    assert client.get("/cookies").json() == COOKIES


def test_redirect(client: httpx.Client) -> None:
    response = client.get("/redirect", follow_redirects=True)
    assert [step.status_code for step in response.history] == [302]
    assert response.json()["query"] == "redirected"
    assert response.json()["scheme"] == client.base_url.scheme


@pytest.mark.parametrize("length", ["with a length", "without a length"])
def test_streamed_upload(client: httpx.Client, length: str) -> None:
    headers = {"content-length": str(LARGE)} if length == "with a length" else {}
    response = client.post(
        "/upload", content=pattern(LARGE), headers={**headers, "content-type": "application/octet-stream"}
    )
    assert response.status_code == 200
    assert response.json() == told(b"".join(pattern(LARGE)))


def test_streamed_download(client: httpx.Client) -> None:
    response = client.get("/download", params={"size": LARGE})
    assert response.status_code == 200
    assert told(response.content) == told(b"".join(pattern(LARGE)))


def test_a_stream_comes_piece_by_piece(client: httpx.Client) -> None:
    """The first piece is at the client while the application still holds the other back."""
    key = str(client.base_url)
    with client.stream("GET", "/gate", params={"key": key}) as response:
        lines = response.iter_lines()
        assert next(lines) == "first"
        assert client.get("/open", params={"key": key}).status_code == 200
        assert list(lines) == ["last"]


def test_exception_is_500_and_the_server_goes_on(client: httpx.Client, framework: str) -> None:
    assert client.get("/error").status_code == 500
    assert client.get("/hello", params={"name": "again"}).json()["framework"] == framework


def test_curl_does_what_a_browser_would(server: Sidegate, mount: str, framework: str, tmp_path: Path) -> None:
    """A form with a file, cookies that are kept, a redirect that is followed; one connection over HTTP/2."""
    file = tmp_path / "pattern.bin"
    file.write_bytes(b"".join(pattern(1_000_000)))
    base, common = server.url(mount, "https"), ("--insecure", "--silent", "--fail", "--cookie", "none")
    separate = ("--next", *common)
    output = output_of(
        *(program("curl"), "--noproxy", "*", "--http2", *common),
        *("--write-out", "\n%{http_version} %{num_connects}\n"),
        *("--form", "note=from curl", "--form", f"file=@{file}", f"{base}/file"),
        *(*separate, "--location", "--write-out", "\n", f"{base}/redirect"),
        *(*separate, "--write-out", "\n", f"{base}/cookies"),
        *(*separate, f"{base}/cookies"),
    )
    sent, connection, redirected, *cookies = filter(None, output.splitlines())
    assert json.loads(sent) == {"note": "from curl", "name": "pattern.bin", **told(file.read_bytes())}
    assert connection == "2 1"
    assert json.loads(redirected)["framework"] == framework
    assert [json.loads(line) for line in cookies] == [{}, COOKIES]


def told(content: bytes) -> dict[str, int | str]:
    """What the applications say of a body."""
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
