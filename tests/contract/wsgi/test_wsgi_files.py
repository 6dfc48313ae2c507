"""The WSGI contract: ``wsgi.file_wrapper`` (PEP 3333, "Optional Platform-Specific File Handling")."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from sidegate.errors import Fault
from tests.support.clients import request
from tests.support.running import Run, fetch, only_record, wait_for
from tests.support.wsgi import Closing, Environ, StartResponse

CONTENT = bytes(range(256)) * 4096  # 1 MiB: more than any buffer on the way
SKIPPED = 1000

File = Any
Opener = Callable[[Path], File]


class OnlyReads:
    """As little as PEP 3333 asks of a file-like object."""

    def __init__(self, path: Path) -> None:
        self._file = io.BytesIO(path.read_bytes())

    def read(self, size: int) -> bytes:
        return self._file.read(size)


def from_gzip(path: Path) -> File:
    """Its ``fileno`` is that of the compressed file."""
    packed = path.with_suffix(".gz")
    packed.write_bytes(gzip.compress(path.read_bytes(), 1))
    return gzip.open(packed)


def from_gzip_in_a_buffer(path: Path) -> File:
    return io.BufferedReader(from_gzip(path))


def from_zip(path: Path) -> File:
    packed = path.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(path, "file")
    return zipfile.ZipFile(packed).open("file")


def from_pipe(path: Path) -> File:
    """Has a ``fileno`` and no size. What a pipe holds is little: 64 KiB."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(path.read_bytes()[: 60_000 + SKIPPED])
    return os.fdopen(reading, "rb")


def from_temporary_file(path: Path) -> File:
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - the server closes it
    file.write(path.read_bytes())
    file.seek(0)
    return file


def from_spooled_file(path: Path) -> File:
    file = tempfile.SpooledTemporaryFile(max_size=10 << 20)  # noqa: SIM115 - ditto
    file.write(path.read_bytes())
    file.seek(0)
    return file


OPENERS: dict[str, Opener] = {
    "buffered": lambda path: path.open("rb"),
    "unbuffered": lambda path: path.open("rb", buffering=0),
    "for update": lambda path: path.open("r+b"),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "gzip": from_gzip,
    "gzip in a buffer": from_gzip_in_a_buffer,
    "zip": from_zip,
    "pipe": from_pipe,
    "temporary": from_temporary_file,
    "spooled": from_spooled_file,
    "only read": OnlyReads,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def wrap(environ: Environ, *arguments: Any) -> Iterable[bytes]:
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](*arguments)
    return wrapped


class Sending:
    """An application that returns a wrapped file, read up to ``SKIPPED``. ``files`` are those it opened."""

    def __init__(self, opener: Opener, path: Path, headers: Iterable[tuple[str, str]] = ()) -> None:
        self._open, self._path = opener, path
        self._headers = list(headers)
        self.files: list[File] = []

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        file = self._open(self._path)
        file.read(SKIPPED)
        self.files.append(file)
        start_response("200 OK", list(self._headers))
        return wrap(environ, file, 8192)

    @property
    def closed(self) -> bool:
        return all(getattr(file, "closed", True) for file in self.files)


@pytest.mark.parametrize("opener", OPENERS)
def test_a_file_is_sent_from_where_it_stands_and_closed(codec: str, running: Run, opener: str, path: Path) -> None:
    app = Sending(OPENERS[opener], path)
    expected = CONTENT[SKIPPED : 60_000 + SKIPPED] if opener == "pipe" else CONTENT[SKIPPED:]
    with running(app, codec) as server:
        client = server.client(codec)
        for _ in range(2):
            response = request(client, "GET", "/")
            assert (response.status, response.reset) == (200, False)
            assert response.body == expected
        client.close()
        wait_for(lambda: app.closed)
        assert only_record(server, 2).bytes_out == len(expected)


@pytest.mark.parametrize("opener", OPENERS)
def test_a_file_longer_than_its_length(codec: str, running: Run, opener: str, path: Path) -> None:
    """PEP 3333: until the end of the file, or until Content-Length bytes have been written."""
    app = Sending(OPENERS[opener], path, [("Content-Length", "50000")])
    with running(app, codec) as server:
        client = server.client(codec)
        response = request(client, "GET", "/")
        assert (response.body, response.reset) == (CONTENT[SKIPPED : SKIPPED + 50_000], False)
        wait_for(lambda: app.closed)
        assert only_record(server).fault is None  # the client has all of it by its length, perhaps before its end
        client.close()


@pytest.mark.parametrize("opener", ["buffered", "BytesIO"])
def test_a_file_shorter_than_its_length(codec: str, running: Run, opener: str, path: Path) -> None:
    app = Sending(OPENERS[opener], path, [("Content-Length", "2000000")])
    with running(app, codec) as server:
        assert fetch(server, codec, "GET", "/").reset or only_record(server).status == 500
        record = only_record(server)
        assert (record.fault, record.reason) == (Fault.APPLICATION, "content_length_mismatch")
        wait_for(lambda: app.closed)


@pytest.mark.parametrize("opener", ["buffered", "BytesIO"])
def test_head_for_a_file(codec: str, running: Run, opener: str, path: Path) -> None:
    length = str(len(CONTENT) - SKIPPED)
    app = Sending(OPENERS[opener], path, [("Content-Length", length)])
    with running(app, codec) as server:
        client = server.client(codec)
        for _ in range(2):
            response = request(client, "HEAD", "/")
            assert (response.status, response.body, response.reset) == (200, b"", False)
            assert response.get(b"content-length") == length.encode()
        client.close()
        wait_for(lambda: len(app.files) == 2 and app.closed)


@pytest.mark.parametrize("opener", ["buffered", "BytesIO"])
def test_an_empty_file(codec: str, running: Run, opener: str, path: Path) -> None:
    path.write_bytes(b"")
    app = Sending(OPENERS[opener], path)
    with running(app, codec) as server:
        client = server.client(codec)
        for _ in range(2):
            response = request(client, "GET", "/")
            assert (response.status, response.body, response.reset) == (200, b"", False)
        client.close()
        wait_for(lambda: app.closed)


def test_a_file_behind_middleware_is_iterated_over(codec: str, running: Run, path: Path) -> None:
    wrapped: list[Closing] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        wrapped.append(Closing(environ["wsgi.file_wrapper"](path.open("rb"))))
        return wrapped[0]

    with running(app, codec) as server:
        assert fetch(server, codec, "GET", "/").body == CONTENT
        wait_for(lambda: wrapped[0].closed)
    wrapper: Any = wrapped[0].blocks
    wrapper.close()  # passes it on to the file
    with pytest.raises(ValueError, match="closed file"):
        next(iter(wrapper))


@pytest.mark.parametrize("length", [None, 5 + 100])
def test_a_file_after_what_was_written(codec: str, running: Run, path: Path, length: int | None) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [] if length is None else [("Content-Length", str(length))])
        write(b"first")
        return wrap(environ, path.open("rb"))

    with running(app, codec) as server:
        response = fetch(server, codec, "GET", "/")
        assert not response.reset
        assert response.body == (b"first" + CONTENT)[:length]


def test_a_file_that_the_application_goes_on_with_keeps_its_place(codec: str, running: Run, path: Path) -> None:
    """The kernel reads by offset, so a file that two requests share is not torn."""
    with path.open("rb") as shared:

        class Unclosed:
            def __init__(self, file: File) -> None:
                self.read, self.tell, self.fileno = file.read, file.tell, file.fileno

        def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [])
            return wrap(environ, Unclosed(shared))

        with running(app, codec, threads=1) as server:
            assert fetch(server, codec, "GET", "/").body == CONTENT
            assert not shared.closed


def test_start_response_must_have_been_called_for_a_file(codec: str, running: Run, path: Path) -> None:
    files = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        files.append(path.open("rb"))
        return wrap(environ, files[0])

    with running(app, codec) as server:
        assert fetch(server, codec, "GET", "/").status == 500
        wait_for(lambda: files[0].closed)


def test_a_client_that_leaves_during_a_file(codec: str, running: Run, tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(1 << 30)  # takes no space
    app = Sending(OPENERS["buffered"], path, [("Content-Length", str((1 << 30) - SKIPPED))])
    with running(app, codec, threads=1) as server:
        client = server.client(codec, False)
        stream = client.begin("GET", "/", [], end=True)
        client.until(stream, lambda response: response.body)
        client.close()
        assert only_record(server).reason == "client_disconnected"
        wait_for(lambda: app.closed)
        assert fetch(server, codec, "HEAD", "/").status == 200
