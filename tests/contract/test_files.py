"""The ASGI contract: files as responses (``pathsend``, ``zerocopysend``) whose task, disk or client fails."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sidegate.errors import Fault
from sidegate.server import files
from tests.support.apps import Receive, Scope, Send, respond
from tests.support.clients import request
from tests.support.running import Run, fetch, only_record, wait_for

CONTENT = bytes(range(256)) * 8192  # 2 MiB: more than the first read, and than one read after it
START = {"type": "http.response.start", "status": 200, "headers": []}
KINDS = ["pathsend", "zerocopysend"]

System = Callable[..., Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return path


async def send_file(send: Send, path: Path, kind: str = "pathsend", **more: Any) -> None:
    if kind == "pathsend":
        await send({"type": "http.response.pathsend", "path": str(path)})
    else:
        with path.open("rb") as file:
            await send({"type": "http.response.zerocopysend", "file": file, **more})


def serving(path: Path, kind: str = "pathsend", threads: list[int] | None = None) -> Any:
    """An application that sends the file, and another answer at ``/other``."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if threads is not None:
            threads.append(threading.get_ident())
        if scope["path"] == "/other":
            await respond(send, b"other")
            return
        await send(START)
        await send_file(send, path, kind)

    return app


class Calls:
    """Replaces a system call on the files at ``path``: ``before`` is called first, with the offset in the file."""

    def __init__(self, path: Path) -> None:
        self.threads: list[int] = []
        self.before: Callable[[int], object] = lambda _: None
        self._path = str(path)

    def patch(self, monkeypatch: pytest.MonkeyPatch, name: str, descriptor: int, offset: int) -> None:
        """``descriptor``, ``offset``: positions of these arguments."""
        original = getattr(os, name)

        def call(*arguments: Any) -> Any:
            if self._concerns(arguments[descriptor]):
                self.threads.append(threading.get_ident())
                self.before(arguments[offset] if offset >= 0 else 0)
            return original(*arguments)

        monkeypatch.setattr(f"sidegate.server.files.os.{name}", call)

    def _concerns(self, file: Any) -> bool:
        if not isinstance(file, int):
            return str(file) == self._path
        return _target(str(file)) == self._path


@pytest.fixture
def calls(path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The calls that may wait for a disk."""
    calls = Calls(path)
    calls.patch(monkeypatch, "open", 0, -1)
    calls.patch(monkeypatch, "pread", 0, 2)
    calls.patch(monkeypatch, "sendfile", 1, 2)
    return calls


def descriptors(path: Path) -> int:
    """How many descriptors of this process are open on ``path``."""
    return sum(target == str(path) for target in _targets())


def _targets() -> Iterator[str]:
    return map(_target, os.listdir("/proc/self/fd"))


def _target(descriptor: str) -> str:
    try:
        return str(Path("/proc/self/fd", descriptor).readlink())
    except FileNotFoundError:  # such as the descriptor of the listing itself
        return ""


def sockets() -> int:
    """How many sockets this process has open."""
    return sum(target.startswith("socket:") for target in _targets())


class Gate:
    """Holds the calls at an offset from ``low`` on until ``open``."""

    def __init__(self, low: int = 0) -> None:
        self.reached, self._go, self._low = threading.Event(), threading.Event(), low

    def __call__(self, offset: int) -> None:
        if offset >= self._low:
            self.reached.set()
            assert self._go.wait(60)

    def open(self) -> None:
        self._go.set()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("low", [0, 1], ids=["open", "rest"])
def test_a_cancelled_send_leaves_no_descriptor(
    codec: str, running: Run, path: Path, calls: Calls, *, kind: str, low: int
) -> None:
    """The call in the thread is still under way when its task is cancelled: it opens, reads or sends the file."""
    if not low and kind == "zerocopysend":
        pytest.skip("the application has opened it")
    calls.before = gate = Gate(low)
    cancelled = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        sending = asyncio.ensure_future(send_file(send, path, kind))
        await asyncio.to_thread(gate.reached.wait, 60)
        sending.cancel()
        await asyncio.wait([sending])
        cancelled.set()

    with running(app, codec) as server:
        before = sockets()
        client = server.client(codec)
        client.begin("GET", "/", [], end=True)
        assert cancelled.wait(60)
        gate.open()
        wait_for(lambda: not descriptors(path))
        client.close()
        wait_for(lambda: not server.connections)
        wait_for(lambda: sockets() <= before + 2)  # a pool's connection, whose two ends are in this process
        only_record(server)


def test_sends_that_are_cancelled_at_once_leave_no_descriptor(codec: str, running: Run, path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        for _ in range(100):
            sending = asyncio.ensure_future(send_file(send, path))
            await asyncio.sleep(0)
            sending.cancel()
            await asyncio.wait([sending])

    with running(app, codec) as server:
        assert fetch(server, codec, "GET", "/").status == 500  # no byte of the response was sent
        wait_for(lambda: not descriptors(path))


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_blocks_does_not_block_the_loop(
    codec: str, running: Run, path: Path, calls: Calls, kind: str
) -> None:
    """Other requests are answered meanwhile, and no call that may wait for a disk is made in the loop's thread."""
    calls.before = gate = Gate(1)
    loops: list[int] = []
    with running(serving(path, kind, loops), codec) as server:
        client = server.client(codec)
        stream = client.begin("GET", "/", [], end=True)
        assert gate.reached.wait(60)
        assert fetch(server, codec, "GET", "/other").body == b"other"
        gate.open()
        assert client.finish(stream).body == CONTENT
        client.close()
    assert calls.threads
    assert not set(calls.threads) & set(loops)


@pytest.mark.parametrize("cold", ["absent", "first page", "no flag"])
def test_a_file_that_is_not_in_memory_is_read_in_a_thread(
    codec: str, running: Run, path: Path, calls: Calls, *, monkeypatch: pytest.MonkeyPatch, cold: str
) -> None:
    preadv = os.preadv

    def only_first_page(descriptor: int, buffers: list[Any], offset: int, flags: int) -> int:
        if cold == "absent":
            raise BlockingIOError(errno.EAGAIN, "not in memory")
        return preadv(descriptor, [memoryview(buffers[0])[:4096]], offset)

    monkeypatch.setattr("sidegate.server.files.os.preadv", only_first_page)
    if cold == "no flag":
        monkeypatch.setattr(files, "_FROM_MEMORY", None)
    loops: list[int] = []
    with running(serving(path, "zerocopysend", loops), codec) as server:
        assert fetch(server, codec, "GET", "/").body == CONTENT
    assert calls.threads
    assert not set(calls.threads) & set(loops)


def test_a_small_file_in_memory_needs_no_thread(codec: str, running: Run, path: Path, calls: Calls) -> None:
    path.write_bytes(CONTENT[:50_000])
    with running(serving(path, "zerocopysend"), codec) as server:
        response = fetch(server, codec, "GET", "/")
        assert (response.body, response.get(b"content-length")) == (CONTENT[:50_000], b"50000")
    assert not calls.threads or files._FROM_MEMORY is None


def broken(low: int) -> Callable[[int], None]:
    """A disk on which the bytes from ``low`` on cannot be read."""

    def fail(offset: int) -> None:
        if offset >= low:
            raise OSError(errno.EIO, "Input/output error")

    return fail


@pytest.fixture(params=["raised", "swallowed"])
def swallows(request: pytest.FixtureRequest) -> bool:
    """Whether the application goes on after the error."""
    return str(request.param) == "swallowed"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("low", [0, 1], ids=["first", "rest"])
def test_a_disk_that_fails_is_not_blamed_on_the_client(
    codec: str, running: Run, path: Path, calls: Calls, *, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, kind: str, low: int, swallows: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(files, "_FROM_MEMORY", None)
    calls.before = broken(low)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            await send_file(send, path, kind)
        except OSError as error:
            raise AssertionError("it means that the client has disconnected") from error
        except Exception:
            if not swallows:
                raise

    with running(app, codec) as server:
        response = fetch(server, codec, "GET", "/")
        record = only_record(server)
    assert record.fault is Fault.APPLICATION
    if low:
        assert (response.status, response.reset) == (200, True)
        assert response.body == CONTENT[: len(response.body)]
    else:
        assert response.status == 500
    assert record.reason in (["file_failed", "no_response"] if swallows else ["file_failed"])
    assert any(record.request_id in line.getMessage() and line.exc_info for line in caplog.records)


@pytest.mark.front_only("workers speak HTTP/2")
def test_the_loop_itself_writes_the_end(running: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client may close as soon as it has all bytes: then the loop must know that all were sent."""
    sendfile, ends = os.sendfile, [0]

    def noting(sock: int, file: int, offset: int, count: int) -> int:
        sent = sendfile(sock, file, offset, count)
        ends.append(offset + sent)
        return sent

    monkeypatch.setattr("sidegate.server.files.os.sendfile", noting)
    with running(serving(path), "http1") as server:
        assert fetch(server, "http1", "GET", "/").body == CONTENT
        record = only_record(server)
    assert max(ends) == len(CONTENT) - files.FIRST_SIZE
    assert (record.fault, record.bytes_out) == (None, len(CONTENT))


@pytest.mark.front_only("workers speak HTTP/2")
def test_what_sendfile_cannot_do_is_read_and_written(running: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("sidegate.server.files.os.sendfile", refuse)
    with running(serving(path), "http1") as server:
        client = server.client("http1")
        for _ in range(2):
            assert request(client, "GET", "/").body == CONTENT
        client.close()


@pytest.mark.front_only("workers speak HTTP/2")
def test_without_a_descriptor_for_the_socket_the_proxy_is_to_blame(
    running: Run, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("sidegate.server.files.os.dup", refuse)
    with running(serving(path), "http1") as server:
        assert fetch(server, "http1", "GET", "/").reset
        record = only_record(server)
        assert (record.fault, record.reason) == (Fault.PROXY, "file_failed")
