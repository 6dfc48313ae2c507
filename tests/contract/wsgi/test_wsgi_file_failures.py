"""The WSGI contract: files of ``wsgi.file_wrapper`` and buffered bodies whose disk or client fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from sidegate.errors import Fault
from sidegate.server import files
from tests.contract.wsgi.test_wsgi_body_buffering import FILE, open_files
from tests.support.running import Run, fetch, only_record, wait_for
from tests.support.wsgi import Environ, StartResponse, respond

CONTENT = bytes(range(256)) * 8192  # more than the first read, and than one read after it


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    path = tmp_path / "files" / "content"
    path.write_bytes(CONTENT)
    return path


def wrapping(path: Path) -> Any:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](path.open("rb"))
        return wrapped

    return app


@pytest.fixture(params=["on", "off"])
def buffering(request: pytest.FixtureRequest) -> dict[str, str]:
    """With a buffer, the thread is free before the file is sent."""
    return {"responseBuffering": request.param}


@pytest.mark.parametrize("low", [0, 1], ids=["first", "rest"])
def test_a_disk_that_fails_is_not_blamed_on_the_client(
    codec: str, running: Run, path: Path, buffering: dict[str, str], *, low: int,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def failing(original: Any, place: int) -> Any:
        def call(*arguments: Any) -> Any:
            if arguments[place] >= low:
                raise OSError(errno.EIO, "Input/output error")
            return original(*arguments)

        return call

    monkeypatch.setattr(files, "_FROM_MEMORY", None)
    monkeypatch.setattr("sidegate.server.files.os.pread", failing(os.pread, 2))
    monkeypatch.setattr("sidegate.server.files.os.sendfile", failing(os.sendfile, 2))
    with running(wrapping(path), codec, backend=buffering) as server:
        response = fetch(server, codec, "GET", "/")
        record = only_record(server)
        assert (response.status, response.reset) == ((200, True) if low else (500, False))
        assert (record.fault, record.reason) == (Fault.APPLICATION, "file_failed")
        assert any(record.request_id in line.getMessage() and line.exc_info for line in caplog.records)
        wait_for(lambda: not open_files(path.parent))


def test_clients_that_leave_during_a_file_leave_no_descriptor(
    codec: str, running: Run, path: Path, buffering: dict[str, str]
) -> None:
    with path.open("r+b") as file:
        file.truncate(1 << 30)  # takes no space
    with running(wrapping(path), codec, backend=buffering) as server:
        for number in range(1, 6):
            client = server.client(codec, False)
            stream = client.begin("GET", "/", [], end=True)
            client.until(stream, lambda response: response.body)
            client.close()
            assert only_record(server, number).reason == "client_disconnected"
        wait_for(lambda: not open_files(path.parent))


@pytest.mark.front_only("a worker gets the body from its front")
@pytest.mark.parametrize("size", [-1, FILE])
@pytest.mark.parametrize("fails", ["short", "error"])
def test_a_buffered_body_that_cannot_be_read_is_no_disconnected_client(
    codec: str, running: Run, size: int, fails: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Werkzeug and Django take an OSError of ``wsgi.input`` for one, and a short body for a whole one."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"]
        if fails == "short":
            os.ftruncate(body.fileno(), 1000)
        else:  # a descriptor that cannot be read
            os.dup2(os.open(os.devnull, os.O_WRONLY), body.fileno())
        try:
            return respond(start_response, body.read(size))
        except OSError:
            return respond(start_response, b"the client has disconnected")

    with running(app, codec) as server:
        assert fetch(server, codec, "POST", "/", b"x" * FILE).status == 500
        record = only_record(server)
        assert (record.fault, record.reason) == (Fault.PROXY, "buffer_lost")
        assert "what was buffered in the temporary folder cannot be read" in caplog.text


@pytest.mark.front_only("the body of a pool's request is replayed by its front, whose relay reports the error")
def test_a_body_of_which_no_file_gives_back_the_beginning(
    codec: str, running: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second write fails, so the body streams; then the first part cannot be read."""
    write, calls = os.pwrite, [0]

    def full(descriptor: int, data: Any, offset: int) -> int:
        calls[0] += 1
        if calls[0] > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data, offset)

    monkeypatch.setattr("sidegate.aio.temporary_files.os.pwrite", full)
    monkeypatch.setattr("sidegate.aio.temporary_files.os.pread", lambda descriptor, size, offset: b"")

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return respond(start_response, environ["wsgi.input"].read())

    with running(app, codec, threads=1) as server:
        for number in (1, 2):  # the thread is free again
            client = server.client(codec)
            stream = client.begin("POST", "/", [], end=False)
            client.body(stream, b"x" * FILE, end=False)
            wait_for(lambda: calls[0])
            client.body(stream, b"x" * FILE, end=True)
            assert client.finish(stream).status == 500
            client.close()
            record = only_record(server, number)
            assert (record.fault, record.reason) == (Fault.PROXY, "buffer_lost")
            calls[0] = 0
