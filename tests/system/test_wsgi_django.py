"""A Django project behind HTTP/2 over TLS, in the front and in a pool: its admin site, an upload, streams and files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from common import pattern

from tests.conftest import Serve
from tests.support.lifecycle import wait_until
from tests.support.pools import Peak, pool_config, wait_workers
from tests.support.programs import output_of, program
from tests.support.server import APPS, Sidegate
from tests.support.streaming import GROWTH, MIB, processes_of

USER, PASSWORD = "keeper", "not a secret"
UPLOAD = 100 * MIB
STORED = 40 * MIB


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The project's folder: a database with one superuser, a stored file, and one to upload."""
    folder = tmp_path_factory.mktemp("django-site")
    (folder / "media").mkdir()
    for path, size in ((folder / "media" / "large.bin", STORED), (folder / "upload.bin", UPLOAD)):
        with path.open("wb") as file:
            file.writelines(pattern(size))
    manage(folder, "migrate", "--verbosity", "0")
    manage(folder, "createsuperuser", "--noinput", "--username", USER, "--email", "")
    yield folder
    shutil.rmtree(folder)  # pytest would keep it for three more runs


def sha256(size: int) -> str:
    """Of the pattern that the files hold."""
    digest = hashlib.sha256()
    for piece in pattern(size):
        digest.update(piece)
    return digest.hexdigest()


def manage(folder: Path, *arguments: str) -> None:
    """Django's own command line."""
    environment = {
        **os.environ,
        **site(folder),
        "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
        "PYTHONPATH": str(APPS),
    }
    command = [sys.executable, "-m", "django", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def site(folder: Path) -> dict[str, str]:
    return {"DJANGO_SITE_FOLDER": str(folder), "DJANGO_SETTINGS_MODULE": "django_site.settings"}


@pytest.fixture(scope="module")
def server(serve_module: Serve, folder: Path) -> Sidegate:
    limits = {"requestBody": UPLOAD + MIB}
    config = pool_config({"threads": 4}, app="django_site.wsgi:application", processes=1, limits=limits)
    server = serve_module(config, env=site(folder))
    wait_workers(server, 1)
    return server


@pytest.fixture(params=["front", "pool"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(server: Sidegate, place: str) -> Iterator[httpx.Client]:
    """HTTP/2 over TLS, as a browser that knows nothing yet."""
    with browser(server, place) as client:
        yield client


def browser(server: Sidegate, place: str) -> httpx.Client:
    base_url, headers = server.url("", "https"), {"x-to": place}
    return httpx.Client(
        http2=True, http1=False, verify=False, base_url=base_url, headers=headers, timeout=60, trust_env=False
    )


def token(page: str) -> str:
    """The form's token against cross-site requests."""
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert found is not None, page
    return found[1]


def submit(
    client: httpx.Client, path: str, fields: dict[str, str], files: Mapping[str, tuple[str, bytes]] | None = None
) -> httpx.Response:
    """Fill in the form that is at ``path`` and send it, as a browser does."""
    page = client.get(path)
    assert (page.status_code, page.http_version) == (200, "HTTP/2")
    fields = {"csrfmiddlewaretoken": token(page.text), **fields}
    return client.post(path, data=fields, headers={"referer": str(page.url)}, files=files)


def login(client: httpx.Client) -> httpx.Response:
    fields = {"username": USER, "password": PASSWORD, "next": "/admin/"}
    return submit(client, "/admin/login/?next=/admin/", fields)


def test_the_admin_site(client: httpx.Client, folder: Path) -> None:
    """Login, a document with a file, and logout."""
    away = client.get("/admin/")
    assert (away.status_code, away.headers["location"]) == (302, "/admin/login/?next=/admin/")

    answer = login(client)
    assert (answer.status_code, answer.headers["location"]) == (302, "/admin/")
    assert set(client.cookies) == {"csrftoken", "sessionid"}
    assert "secure" in answer.headers["set-cookie"].lower()
    index = client.get("/admin/")
    assert index.status_code == 200
    assert "Site administration" in index.text
    host = client.base_url.netloc.decode()
    assert client.get("/session").json() == {"user": USER, "secure": True, "host": host}

    content = b"".join(pattern(3 * MIB))
    added = submit(
        client, "/admin/django_site/document/add/", {"title": "a pattern"}, files={"file": ("pattern.bin", content)}
    )
    assert (added.status_code, added.headers["location"]) == (302, "/admin/django_site/document/")
    documents = client.get("/admin/django_site/document/")
    assert "was added successfully" in documents.text
    (kept,) = (folder / "media" / "documents").iterdir()
    assert kept.read_bytes() == content
    kept.unlink()

    page = client.get("/admin/")
    fields = {"csrfmiddlewaretoken": token(page.text)}
    out = client.post("/admin/logout/", data=fields, headers={"referer": str(page.url)})
    assert out.status_code == 200
    assert "Logged out" in out.text
    assert "sessionid" not in client.cookies
    assert client.get("/admin/").status_code == 302


@pytest.mark.parametrize("wrong", ["token", "referrer", "password"])
def test_nobody_else_gets_in(client: httpx.Client, wrong: str) -> None:
    page = client.get("/admin/login/")
    fields = {"csrfmiddlewaretoken": token(page.text), "username": USER, "password": PASSWORD}
    headers = {"referer": str(page.url)}
    if wrong == "token":
        del fields["csrfmiddlewaretoken"]
    elif wrong == "referrer":
        headers = {"referer": "https://elsewhere.example/"}
    else:
        fields["password"] = "something else"
    refused = client.post("/admin/login/", data=fields, headers=headers)
    assert refused.status_code == (200 if wrong == "password" else 403)
    assert "sessionid" not in client.cookies


def test_a_large_upload_becomes_a_file(server: Sidegate, client: httpx.Client, place: str, folder: Path) -> None:
    """100 MiB through a form, which neither the front nor the worker holds."""
    login(client)
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    with Peak(*processes_of(server)) as peak:
        answer = output_of(
            *(program("curl"), "--noproxy", "*", "--http2", "--insecure", "--silent", "--show-error"),
            *("--header", f"x-to: {place}", "--header", f"referer: {client.base_url}/admin/", "--cookie", cookies),
            *("--header", f"x-csrftoken: {client.cookies['csrftoken']}"),
            *("--form", "title=large", "--form", f"file=@{folder}/upload.bin", server.url("/upload", "https")),
        )
    told = json.loads(answer)
    assert told == {
        "name": "documents/upload.bin",
        "sentAs": "TemporaryUploadedFile",
        "size": UPLOAD,
        "sha256": sha256(UPLOAD),
    }
    assert max(peak.growth().values()) < GROWTH, peak.growth()
    assert not list((folder / "media" / "documents").iterdir())


def test_a_stream_comes_piece_by_piece(client: httpx.Client, place: str) -> None:
    with client.stream("GET", "/gate", params={"key": place}) as response:
        lines = response.iter_lines()
        assert next(lines) == "first"
        assert client.get("/open", params={"key": place}).status_code == 200
        assert list(lines) == ["last"]


def test_a_file_is_sent_and_closed(server: Sidegate, client: httpx.Client) -> None:
    before, digest = client.get("/files").json(), hashlib.sha256()
    with Peak(*processes_of(server)) as peak, client.stream("GET", "/stored/large.bin") as response:
        assert response.status_code == 200
        assert response.headers["content-length"] == str(STORED)
        for piece in response.iter_raw():
            digest.update(piece)
    assert digest.hexdigest() == sha256(STORED)
    assert max(peak.growth().values()) < GROWTH, peak.growth()
    wait_until(lambda: client.get("/files").json() == {"sent": before["sent"] + 1, "open": 0}, "the file is closed")


def test_the_file_of_a_client_that_leaves_is_closed(server: Sidegate, client: httpx.Client, place: str) -> None:
    before = client.get("/files").json()
    with browser(server, place) as leaving, leaving.stream("GET", "/stored/large.bin") as response:
        assert next(response.iter_raw())
    wait_until(lambda: client.get("/files").json() == {"sent": before["sent"] + 1, "open": 0}, "the file is closed")


def test_head_of_a_file_sends_and_leaves_nothing_open(client: httpx.Client) -> None:
    before = client.get("/files").json()
    response = client.head("/stored/large.bin")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == str(STORED)
    wait_until(lambda: client.get("/files").json() == {"sent": before["sent"] + 1, "open": 0}, "the file is closed")
