"""The WSGI contract: ``bodyBuffering``, a body that is complete before its request takes a thread or a worker."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from sidegate.errors import Fault
from tests.support.clients import request
from tests.support.running import Run, fetch, only_record, record_of, wait_equal, wait_for
from tests.support.wsgi import Environ, StartResponse, echo, hello, respond

MEMORY = 64 * 1024
FILE = 5 * MEMORY
"""More than is buffered in memory."""

SIZES = [0, 1, MEMORY, MEMORY + 1, FILE]


@pytest.fixture(params=["wsgi", "auto"])
def interface(request: pytest.FixtureRequest) -> str:
    """In a pool with ``auto``, a front knows from its worker that the application runs on threads."""
    return str(request.param)


def open_files(folder: Path) -> int:
    """How many files in ``folder`` this process has open, with or without a name."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += str(Path("/proc/self/fd", name).readlink()).startswith(str(folder))
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return found


@pytest.mark.parametrize("size", SIZES)
def test_a_body_of_unknown_length_gets_one(codec: str, running: Run, interface: str, size: int) -> None:
    """Django and Flask read CONTENT_LENGTH bytes; without it a form is empty."""
    told: list[str | None] = []
    body = os.urandom(size)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        told.extend(environ.get(key) for key in ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_LENGTH"))
        return respond(start_response, environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))

    with running(app, codec, backend={"interface": interface}) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/", [], end=False)
        client.body(stream, body, end=True)
        response = client.finish(stream)
        assert (response.status, response.body) == (200, body)
        assert told == [str(size), None, None]
        record = only_record(server)
        assert (record.bytes_in, record.bytes_out) == (size, size)


@pytest.mark.parametrize("part", [b"x", b"x" * FILE], ids=["memory", "file"])
def test_slow_uploads_take_no_threads(codec: str, running: Run, part: bytes, tmp_path: Path) -> None:
    paths: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        paths.append(environ["PATH_INFO"])
        return echo(environ, start_response)

    folder = tmp_path / "bodies"
    folder.mkdir()
    length = [(b"content-length", b"%d" % (2 * len(part)))]
    with running(app, codec, threads=2, backend={"interface": "auto"}, tempDirectory=str(folder)) as server:
        slow = [server.client(codec) for _ in range(4)]
        fields = [length, length, [], []]
        streams = [client.begin("POST", "/slow", one, end=False) for client, one in zip(slow, fields, strict=True)]
        for client, stream in zip(slow, streams, strict=True):
            client.body(stream, part, end=False)
        wait_for(lambda: sum(record.bytes_in == len(part) for record in server.observer.open) == 4)
        assert fetch(server, codec, "POST", "/fast", b"fast").body == b"fast"
        assert paths == ["/fast"]
        for client, stream in zip(slow, streams, strict=True):
            client.body(stream, part, end=True)
            assert client.finish(stream).body == 2 * part
        assert not list(folder.iterdir())
        wait_for(lambda: not open_files(folder))


def test_who_leaves_during_an_upload_takes_no_thread_and_leaves_no_file(
    codec: str, running: Run, tmp_path: Path
) -> None:
    paths: list[str] = []
    folder = tmp_path / "bodies"
    folder.mkdir()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        paths.append(environ["PATH_INFO"])
        return hello(environ, start_response)

    with running(app, codec, threads=1, tempDirectory=str(folder)) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/leaves", [], end=False)
        client.body(stream, b"x" * FILE, end=False)
        wait_for(lambda: open_files(folder))
        assert not list(folder.iterdir())
        client.close()
        wait_for(lambda: not open_files(folder))
        assert fetch(server, codec, "GET", "/stays").status == 200
        assert paths == ["/stays"]


def test_a_server_that_stops_leaves_no_file(codec: str, running: Run, tmp_path: Path) -> None:
    folder = tmp_path / "bodies"
    folder.mkdir()
    with running(hello, codec, tempDirectory=str(folder)) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/", [], end=False)
        client.body(stream, b"x" * FILE, end=False)
        wait_for(lambda: open_files(folder))
    wait_for(lambda: not open_files(folder))
    assert not list(folder.iterdir())


def test_a_body_over_the_limit_reaches_no_application(codec: str, running: Run) -> None:
    paths: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        paths.append(environ["PATH_INFO"])
        return echo(environ, start_response)

    with running(app, codec, limits={"requestBody": FILE}) as server:
        for size, status in ((FILE, 200), (FILE + 1, 413)):
            client = server.client(codec)
            stream = client.begin("POST", f"/{size}", [], end=False)
            client.body(stream, b"x" * size, end=False)
            if status == 200:
                client.body(stream, b"", end=True)
            assert client.finish(stream).status == status
            client.close()
        record = record_of(server, f"/{FILE + 1}")
        assert (record.fault, record.reason) == (Fault.CLIENT, "body_too_large")
    assert paths == [f"/{FILE}"]


@pytest.mark.parametrize("size", [4, FILE])
@pytest.mark.parametrize("announced", [True, False])
def test_continue_is_sent_before_the_application_is_called(
    codec: str, running: Run, size: int, announced: bool
) -> None:
    seen: list[Any] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        seen.append(environ.get("HTTP_EXPECT"))
        return echo(environ, start_response)

    expect = [(b"expect", b"100-continue")]
    if announced:
        expect.append((b"content-length", b"%d" % size))
    with running(app, codec) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/", expect, end=False)
        client.until(stream, lambda response: response.informational)
        assert not seen
        client.body(stream, b"x" * size, end=True)
        response = client.finish(stream)
        assert (response.status, response.body) == (200, b"x" * size)
        assert [status for status, _ in response.informational] == [100]
        assert seen == [None]


def test_every_way_to_read_a_file(codec: str, running: Run) -> None:
    lines = [b"%d " % number + b"x" * 1000 + b"\n" for number in range(500)]
    body = b"".join(lines)
    found: list[Any] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        file = environ["wsgi.input"]
        found.extend([file.read(0), file.read(100), file.readline(), file.readline(5), next(iter(file))])
        found.append(file.readlines())
        found.append([file.read(), file.read(10), file.readline()])
        return respond(start_response)

    with running(app, codec) as server:
        assert fetch(server, codec, "POST", "/", body).status == 200
    expected = io.BytesIO(body)
    assert found[:5] == [b"", *(expected.read(100), expected.readline(), expected.readline(5), expected.readline())]
    assert found[5:] == [expected.readlines(), [b"", b"", b""]]


@pytest.mark.parametrize("failing", [1, 3], ids=["first", "later"])
def test_a_full_disk_makes_bodies_stream(
    codec: str, running: Run, failing: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was read is not lost, and one line says why threads are slow."""
    write, calls, body = os.pwrite, [0], os.urandom(1 << 20)

    def full(descriptor: int, data: Any, offset: int) -> int:
        calls[0] += 1
        if calls[0] >= failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data, offset)

    monkeypatch.setattr("sidegate.aio.temporary_files.os.pwrite", full)
    with running(echo, codec) as server:
        for _ in range(3):
            client = server.client(codec)
            stream = client.begin("POST", "/", [], end=False)
            client.body(stream, body, end=True)
            assert client.finish(stream).body == body
            client.close()
        assert calls[0] >= failing + 2
    assert caplog.text.count("cannot buffer in the temporary folder: [Errno 28]") == 1


def test_a_disk_that_fails_with_the_last_byte(codec: str, running: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The length is known, although the body is not kept in one place."""

    def read_only(descriptor: int, data: Any, offset: int) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("sidegate.aio.temporary_files.os.pwrite", read_only)
    size = MEMORY + 1

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return respond(start_response, environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))

    with running(app, codec) as server:
        assert fetch(server, codec, "POST", "/", b"x" * size).body == b"x" * size


@pytest.mark.pool_only("in a front, the request's thread reads the file")
def test_a_file_that_cannot_be_read(codec: str, running: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidegate.aio.temporary_files.os.pread", lambda descriptor, size, offset: b"")
    with running(echo, codec) as server:
        assert fetch(server, codec, "POST", "/", b"x" * FILE).status == 500
        record = only_record(server)
        assert (record.fault, record.reason) == (Fault.PROXY, "buffer_lost")


def test_off_lets_a_body_stream(codec: str, running: Run, interface: str) -> None:
    first = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        assert "CONTENT_LENGTH" not in environ
        line = environ["wsgi.input"].readline()
        first.set()
        return respond(start_response, line + environ["wsgi.input"].read())

    with running(app, codec, backend={"interface": interface, "bodyBuffering": "off"}) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/", [], end=False)
        client.body(stream, b"one\n", end=False)
        assert first.wait(10)
        client.body(stream, b"two\n", end=True)
        assert client.finish(stream).body == b"one\ntwo\n"


def test_a_connection_serves_on_after_a_buffered_body(codec: str, running: Run) -> None:
    with running(echo, codec) as server:
        client = server.client(codec)
        for size in (FILE, 3, FILE):
            assert request(client, "POST", "/", b"y" * size).body == b"y" * size


def test_a_body_that_comes_byte_by_byte(codec: str, running: Run) -> None:
    body = os.urandom(300)
    with running(echo, codec) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/", [], end=False)
        for place in range(len(body)):
            client.body(stream, body[place : place + 1], end=False)
            wait_equal(lambda: [record.bytes_in for record in server.observer.open], [place + 1])
        client.body(stream, b"", end=True)
        assert client.finish(stream).body == body
