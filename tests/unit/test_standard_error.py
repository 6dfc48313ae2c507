"""Standard error whose reader is slow, gone or absent: no writer waits, and what is lost is counted and reported."""

from __future__ import annotations

import errno
import os
import pty
import select
import socket
import threading
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from sidegate.observe.standard_error import CAPACITY, StandardError
from tests.support.running import wait_for

LINE = "x" * 99 + "\n"
PIPE = 64 * 1024

Ends = tuple[int, int]


def pipe() -> Ends:
    return os.pipe()


def sockets() -> Ends:
    reader, writer = socket.socketpair()
    return reader.detach(), writer.detach()


def terminal() -> Ends:
    master, slave = pty.openpty()
    return master, slave


@pytest.fixture(params=[pipe, sockets, terminal])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    """The reader's and the writer's descriptor of one kind."""
    reader, writer = request.param()
    yield reader, writer
    for fd in (reader, writer):
        if fd >= 0:
            os.close(fd)


class Reader:
    """Reads everything, in a thread, within the block."""

    def __init__(self, fd: int) -> None:
        self.data = b""
        self._fd = fd
        self._ended = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join()

    def _run(self) -> None:
        while not self._ended:
            if select.select([self._fd], [], [], 0.01)[0]:
                self.data += os.read(self._fd, 65536)

    @property
    def lines(self) -> list[str]:
        return self.data.decode().replace("\r\n", "\n").splitlines()


def threads() -> int:
    return sum(thread.name == "process-log" for thread in threading.enumerate())


def fill(stderr: StandardError, count: int = 0) -> int:
    """Write numbered lines until some are dropped; how many were written."""
    while not stderr.dropped:
        stderr.write(f"{count:04} {LINE}")
        count += 1
    return count


def test_a_line_is_written_at_once_without_a_thread(ends: Ends) -> None:
    reader, writer = ends
    stderr = StandardError(writer)
    stderr.write("one\n")
    stderr.write("two\n")
    assert threads() == stderr.has_thread == 0
    with Reader(reader) as got:
        wait_for(lambda: got.lines == ["one", "two"])


def test_nobody_reads(ends: Ends) -> None:
    """``fill`` returns, the lines are complete and in order when they are read, and one tells of those that are not."""
    reader, writer = ends
    stderr = StandardError(writer)
    written = fill(stderr)
    stderr.write(f"dropped, too {LINE}")
    assert stderr.dropped == 2
    assert not stderr.flush(0.01)
    assert threads() == stderr.has_thread == 1
    with Reader(reader) as got:
        assert stderr.flush(60.0)
        wait_for(lambda: got.lines[-1:] == ["2 lines were dropped"])
        assert [int(line[:4]) for line in got.lines[:-1]] == list(range(written - 1))
        assert {len(line) for line in got.lines[:-1]} == {5 + len(LINE) - 1}
        wait_for(lambda: threads() == 0)
        stderr.write("after\n")
        wait_for(lambda: got.lines[-1] == "after")


def test_dropped_lines_are_reported_where_they_are_missing() -> None:
    reader, writer = os.pipe()
    stderr = StandardError(writer)
    fill(stderr)
    got = bytearray()
    while stderr._size + 200 > CAPACITY:
        got += os.read(reader, PIPE)
    stderr.write("after\n")
    os.set_blocking(reader, False)
    while not got.endswith(b"after\n"):
        if select.select([reader], [], [], 0.05)[0]:
            got += os.read(reader, PIPE)
    assert got.endswith(b"\n1 lines were dropped\nafter\n")
    assert stderr.flush(60.0)
    os.close(reader)
    os.close(writer)


def test_dropped_lines_are_counted() -> None:
    reader, writer = os.pipe()
    stderr = StandardError(writer)
    fill(stderr)
    cells = cast("memoryview[float]", memoryview(array("d", [0.0, 0.0])))
    stderr.count_in(cells, 1)
    assert list(cells) == [0.0, 1.0]  # those from before, too
    stderr.write(LINE * 3000)
    assert list(cells) == [0.0, 3001.0]
    os.close(reader)  # this ends the thread
    assert stderr.flush(60.0)
    os.close(writer)


def test_the_reader_is_gone_and_another_comes(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    stderr = StandardError(writer)
    os.close(reader)
    stderr.write("lost\n")
    stderr.write("lost, too\n")
    assert stderr.dropped == 2
    again = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    os.dup2(again, writer)  # as an application may do
    stderr.write("here\n")
    assert (tmp_path / "log").read_text() == "2 lines were dropped\nhere\n"
    os.close(again)
    os.close(writer)


def test_a_pipe_that_cannot_be_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to another user, or there is no /proc: every line takes a thread."""

    def forbidden(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    reader, writer = os.pipe()
    stderr = StandardError(writer)
    monkeypatch.setattr(os, "open", forbidden)
    stderr.prepare()
    stderr.write("one\n")
    stderr.write("two\n")
    got = b""
    while got != b"one\ntwo\n":
        got += os.read(reader, 99)
    assert stderr.flush(60.0)
    os.close(reader)
    os.close(writer)


def test_a_pipe_that_another_process_has_made_non_blocking() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    stderr = StandardError(writer)
    written = fill(stderr)
    with Reader(reader) as got:
        assert stderr.flush(60.0)
        wait_for(lambda: len(got.lines) == written)
    os.close(reader)
    os.close(writer)


def test_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    reader, writer = os.pipe()
    stderr = StandardError(writer)
    monkeypatch.setattr(threading.Thread, "start", failing)
    fill(stderr)
    assert stderr._size == 0
    assert len(os.read(reader, 2 * PIPE)) > PIPE // 2
    stderr.write("again\n")
    assert os.read(reader, 2 * PIPE).endswith(b"lines were dropped\nagain\n")
    os.close(reader)
    os.close(writer)


def test_a_closed_descriptor_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    stderr = StandardError(writer)
    stderr.prepare()
    stderr.write("lost\n")
    assert stderr.dropped == 1


def test_a_forked_process_writes_its_own_lines_only() -> None:
    reader, writer = os.pipe()
    stderr = StandardError(writer)
    fill(stderr)
    got = in_fork(lambda: (stderr._size, stderr.dropped, stderr.flush(0.0)))
    assert got == "(0, 0, True)"
    os.close(reader)
    assert stderr.flush(60.0)
    os.close(writer)


def in_fork(function: Callable[[], object]) -> str:
    """What ``function`` returns in a forked process."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, repr(function()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    with os.fdopen(reader) as file:
        return file.read()
