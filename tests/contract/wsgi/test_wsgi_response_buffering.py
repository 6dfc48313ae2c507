"""The WSGI contract: ``responseBuffering``, a response whose client is slow and occupies no thread."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sidegate.backends import response_buffer
from sidegate.errors import Fault
from sidegate.observe import metrics
from tests.contract.wsgi.test_wsgi_body_buffering import open_files
from tests.support.clients import Client, contains
from tests.support.running import Run, RunningServer, fetch, only_record, record_of, wait_for
from tests.support.wsgi import TEXT, Environ, StartResponse, hello, thread_states

MIB = 1 << 20
PIECE = 50_000
LARGE = 16 * MIB
"""More than the kernel's socket buffers and the memory of a buffer hold."""


def pattern(size: int) -> Iterator[bytes]:
    """Pieces that differ, ``size`` bytes at least."""
    for number in range(-(-size // PIECE)):
        yield b"%09d\n" % number * (PIECE // 10)


class Large:
    """An application with a large response; ``made``: bytes so far, ``closed``: responses that it has finished."""

    def __init__(self, size: int = LARGE, *headers: tuple[str, str], after: Callable[[], object] = int) -> None:
        self.size, self.headers, self.after = size, headers, after
        self.made = self.closed = 0

    @property
    def content(self) -> bytes:
        return b"".join(pattern(self.size))

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/large":
            return hello(environ, start_response)
        start_response("200 OK", [TEXT, *self.headers])
        return self.stream()

    def stream(self) -> Iterator[bytes]:
        try:
            for piece in pattern(self.size):
                self.made += len(piece)
                yield piece
            self.after()
        finally:
            self.closed += 1


def stalled(server: RunningServer, codec: str, number: int = 1) -> list[tuple[Client, int]]:
    """Clients that have asked for the large response and do not read."""
    clients = [server.client(codec) for _ in range(number)]
    return [(client, client.begin("GET", "/large", [], end=True)) for client in clients]


def until_still(app: Large) -> None:
    """Wait until nothing was made for half a second."""
    last = -1
    while last != app.made:
        last = app.made
        threading.Event().wait(0.5)


@pytest.mark.parametrize("interface", ["wsgi", "auto"])
def test_stalled_readers_occupy_no_threads(codec: str, running: Run, interface: str, tmp_path: Path) -> None:
    app, folder = Large(), tmp_path / "bodies"
    folder.mkdir()
    with running(app, codec, threads=2, backend={"interface": interface}, tempDirectory=str(folder)) as server:
        slow = stalled(server, codec, 4)
        wait_for(lambda: app.closed == 4)
        wait_for(lambda: thread_states(server) == (0, 0))
        wait_for(lambda: server.count(metrics.BACKEND_IN_FLIGHT, "app") == 0)
        assert fetch(server, codec, "GET", "/fast").body == b"/fast"
        assert open_files(folder) == 4
        assert not list(folder.iterdir())
        for client, stream in slow:
            response = client.finish(stream)
            assert (response.status, response.reset) == (200, False)
            assert response.body == app.content
            client.close()
        wait_for(lambda: not open_files(folder))
        assert only_record(server, 5).fault is None


@pytest.mark.parametrize("header", [(), ("Content-Length", str(LARGE))])
def test_large_messages_go_into_files_when_much_is_kept(
    codec: str, running: Run, header: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(response_buffer, "ALL_MEMORY", -1)
    content = Large().content[:LARGE]
    calls: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT, *([header] if header else [])])
        calls.append(environ["REQUEST_METHOD"])
        return [content]

    folder = tmp_path / "bodies"
    folder.mkdir()
    with running(app, codec, threads=2, tempDirectory=str(folder)) as server:
        slow = stalled(server, codec, 4)
        wait_for(lambda: len(calls) == 4)
        wait_for(lambda: thread_states(server) == (0, 0))
        wait_for(lambda: open_files(folder) == 4)
        assert response_buffer.ALL_KEPT.size < 4 * 600_000
        for client, stream in slow:
            response = client.finish(stream)
            assert (response.status, response.reset) == (200, False)
            assert response.get(b"content-length") == b"%d" % LARGE
            assert response.body == content
            client.close()
        assert fetch(server, codec, "HEAD", "/").get(b"content-length") == (b"%d" % LARGE if header else None)
        wait_for(lambda: response_buffer.ALL_KEPT.size == 0)


def test_a_client_that_reads_needs_no_file(codec: str, running: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given the time to make room in memory."""
    monkeypatch.setattr(response_buffer, "PATIENCE", 60.0)
    monkeypatch.setattr("sidegate.aio.temporary_files.os.pwrite", None)
    app = Large()
    with running(app, codec, threads=1) as server:
        assert fetch(server, codec, "GET", "/large").body == app.content


def test_more_than_can_be_kept_waits_for_the_client(codec: str, running: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is filled several times."""
    monkeypatch.setattr(response_buffer, "LARGEST_FILE", 3 * MIB)
    app = Large(64 * MIB)
    with running(app, codec, threads=1) as server:
        ((client, stream),) = stalled(server, codec)
        until_still(app)
        assert 4 * MIB < app.made < 32 * MIB
        assert client.finish(stream).body == app.content
        assert app.closed == 1


@pytest.mark.parametrize("failing", [1, 5], ids=["first", "later"])
def test_a_full_disk_makes_the_application_wait(
    codec: str, running: Run, failing: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write, calls = os.pwrite, [0]

    def full(descriptor: int, data: Any, offset: int) -> int:
        calls[0] += 1
        if calls[0] >= failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data, offset)

    monkeypatch.setattr("sidegate.aio.temporary_files.os.pwrite", full)
    app = Large(64 * MIB)
    with running(app, codec, threads=2) as server:
        ((client, stream), (other, second)) = stalled(server, codec, 2)
        until_still(app)
        assert app.made < 64 * MIB
        assert not app.closed
        assert client.finish(stream).body == other.finish(second).body == app.content
    assert caplog.text.count("cannot buffer in the temporary folder: [Errno 28]") == 1


@pytest.mark.parametrize("value", ["no", " NO"])
def test_a_response_may_refuse_to_be_buffered(codec: str, running: Run, value: str) -> None:
    app = Large(64 * MIB, ("X-Accel-Buffering", value))
    with running(app, codec, threads=1) as server:
        ((client, stream),) = stalled(server, codec)
        until_still(app)
        assert app.made < 32 * MIB
        response = client.finish(stream)
        assert response.body == app.content
        assert response.get(b"x-accel-buffering") == value.strip().encode()  # another proxy may be in front


def test_off_makes_the_application_wait(codec: str, running: Run) -> None:
    app = Large(64 * MIB)
    with running(app, codec, threads=1, backend={"responseBuffering": "off"}) as server:
        ((client, stream),) = stalled(server, codec)
        until_still(app)
        assert app.made < 32 * MIB
        assert client.finish(stream).body == app.content


def test_who_leaves_what_is_kept_leaves_no_file(codec: str, running: Run, tmp_path: Path) -> None:
    app, folder = Large(), tmp_path / "bodies"
    folder.mkdir()
    with running(app, codec, threads=1, tempDirectory=str(folder)) as server:
        ((client, _),) = stalled(server, codec)
        wait_for(lambda: app.closed)
        wait_for(lambda: open_files(folder))
        client.close()
        wait_for(lambda: not open_files(folder))
        assert fetch(server, codec, "GET", "/stays").status == 200
        record = record_of(server, "/large")
        assert (record.fault, record.reason) == (Fault.CLIENT, "client_disconnected")


def test_a_server_that_stops_leaves_no_file(codec: str, running: Run, tmp_path: Path) -> None:
    app, folder = Large(), tmp_path / "bodies"
    folder.mkdir()
    with running(app, codec, threads=1, tempDirectory=str(folder)) as server:
        stalled(server, codec)
        wait_for(lambda: app.closed)
        wait_for(lambda: open_files(folder))
    wait_for(lambda: not open_files(folder))
    assert not list(folder.iterdir())


def fails() -> None:
    raise LookupError("after the last piece")


def test_what_came_before_an_error_is_sent(codec: str, running: Run, caplog: pytest.LogCaptureFixture) -> None:
    app = Large(after=fails)
    with running(app, codec, threads=1) as server:
        ((client, stream),) = stalled(server, codec)
        wait_for(lambda: app.closed)
        response = client.finish(stream)
        assert (response.status, response.reset) == (200, True)
        assert app.content.startswith(response.body)
        if codec == "http1":
            assert response.body == app.content  # an RST_STREAM may overtake what the client's window holds back
        wait_for(lambda: "after the last piece" in caplog.text)
        record = record_of(server, "/large")
        assert record.fault is not None


def test_an_error_in_close_does_not_spoil_the_response(
    codec: str, running: Run, caplog: pytest.LogCaptureFixture
) -> None:
    class Closing:
        def __init__(self, blocks: Iterator[bytes]) -> None:
            self._blocks = blocks

        def __iter__(self) -> Iterator[bytes]:
            return self._blocks

        def close(self) -> None:
            closed.set()
            raise LookupError("in close")

    closed, large = threading.Event(), Large()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return Closing(iter(large(environ, start_response)))

    with running(app, codec, threads=1) as server:
        ((client, stream),) = stalled(server, codec)
        assert closed.wait(30)
        response = client.finish(stream)
        assert (response.status, response.reset, response.body) == (200, False, large.content)
        wait_for(lambda: "in close" in caplog.text)


@pytest.mark.parametrize("leaves", [False, True])
def test_a_file_is_the_applications_no_longer_than_it_runs(
    codec: str, running: Run, leaves: bool, tmp_path: Path
) -> None:
    path = tmp_path / "large"
    content = b"".join(pattern(LARGE))
    path.write_bytes(content)
    files: list[Any] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/large":
            return hello(environ, start_response)
        start_response("200 OK", [TEXT])
        files.append(path.open("rb"))
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](files[-1])
        return wrapped

    with running(app, codec, threads=2) as server:
        slow = stalled(server, codec, 4)
        wait_for(lambda: len(files) == 4 and all(file.closed for file in files))
        wait_for(lambda: thread_states(server) == (0, 0))
        assert fetch(server, codec, "GET", "/fast").body == b"/fast"
        for client, stream in slow:
            if not leaves:
                assert client.finish(stream).body == content
            client.close()
        only_record(server, 5)
        wait_for(lambda: not open_files(path))


def test_events_come_one_by_one(codec: str, running: Run) -> None:
    """Each is made only when the client has told that it has the one before."""
    gates = [threading.Event() for _ in range(4)]

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        for number, gate in enumerate(gates):
            yield b"data: %d\n\n" % number
            assert gate.wait(30)

    with running(app, codec, threads=1) as server:
        client = server.client(codec)
        stream = client.begin("GET", "/", [], end=True)
        for number, gate in enumerate(gates):
            client.until(stream, contains(b"data: %d\n\n" % number))
            gate.set()
        assert client.finish(stream).body == b"data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\n"


def test_write_and_large_blocks(codec: str, running: Run) -> None:
    """PEP 3333's ``write``, one block larger than everything that is kept in memory, and many small ones."""
    done = threading.Event()
    expected = b"w" * 100_000 + b"x" * (5 * MIB) + b"".join(b"%d," % number for number in range(200_000)) + b"y" * LARGE

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [TEXT])
        write(b"w" * 100_000)
        write(b"x" * (5 * MIB))
        for number in range(200_000):
            write(b"%d," % number)
        done.set()
        return [b"y" * LARGE]

    with running(app, codec, threads=1) as server:
        client = server.client(codec)
        stream = client.begin("GET", "/", [], end=True)
        assert done.wait(60)
        assert client.finish(stream).body == expected
