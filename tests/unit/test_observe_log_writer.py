"""The writing thread against real files, pipes and terminals."""

from __future__ import annotations

import errno
import logging
import os
import pty
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sidegate.errors import StartError
from sidegate.observe import log_writer as module
from sidegate.observe.log_lines import MAX_LINE
from sidegate.observe.log_writer import LogWriter

LINE = b"x" * 99 + b"\n"
PATIENCE = 30.0


class Lost:
    """Counts lost lines, and waits for a number of them."""

    def __init__(self) -> None:
        self.lines = 0
        self._changed = threading.Condition()

    def __call__(self, lines: int) -> None:
        with self._changed:
            self.lines += lines
            self._changed.notify_all()

    def wait_for(self, lines: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.lines >= lines, PATIENCE), f"{self.lines} lost, not {lines}"


@pytest.fixture
def lost() -> Lost:
    return Lost()


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """A pipe whose writing end takes the place of standard output."""
    reading, writing = os.pipe()
    monkeypatch.setattr(module, "STDOUT", writing)
    yield reading, writing
    for fd in (reading, writing):
        try:
            os.close(fd)
        except OSError:
            continue


def test_a_file_is_appended_to(tmp_path: Path, lost: Lost) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"old\n")
    writer = LogWriter(str(path), lost)
    writer.write(LINE * 2)
    writer.write(b"last\n")
    writer.close()
    assert path.read_bytes() == b"old\n" + LINE * 2 + b"last\n"
    assert lost.lines == 0


def test_a_file_that_cannot_be_opened_stops_the_start(tmp_path: Path, lost: Lost) -> None:
    with pytest.raises(StartError, match=r"cannot open .*: No such file or directory; its folder must exist"):
        LogWriter(str(tmp_path / "no" / "access.log"), lost)


def test_a_fifo_that_nobody_reads_stops_the_start(tmp_path: Path, lost: Lost) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(StartError, match="No such device or address"):
        LogWriter(str(tmp_path / "fifo"), lost)


def test_a_rotated_file_is_reopened(tmp_path: Path, lost: Lost) -> None:
    path = tmp_path / "access.log"
    writer = LogWriter(str(path), lost)
    writer.write(b"before\n")
    writer.reopen()  # nothing was rotated: the same file
    writer.write(b"still before\n")
    writer.close()
    writer = LogWriter(str(path), lost)
    path.rename(tmp_path / "access.log.1")
    writer.write(b"between\n")
    writer.reopen()
    writer.write(b"after\n")
    writer.close()
    assert (tmp_path / "access.log.1").read_bytes() == b"before\nstill before\nbetween\n"
    assert path.read_bytes() == b"after\n"


def test_a_file_that_cannot_be_reopened_stays(tmp_path: Path, lost: Lost, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    writer = LogWriter(str(folder / "access.log"), lost)
    folder.rename(tmp_path / "moved")
    writer.reopen()
    writer.write(b"kept\n")
    writer.close()
    assert (tmp_path / "moved" / "access.log").read_bytes() == b"kept\n"
    assert "cannot reopen the access log" in caplog.text


def test_a_full_disk_is_told_once_and_counted(lost: Lost, caplog: pytest.LogCaptureFixture) -> None:
    writer = LogWriter("/dev/full", lost)
    writer.write(LINE * 3)
    writer.write(LINE)
    lost.wait_for(4)
    writer.close()
    assert [record.message for record in caplog.records] == [
        "access log lines are being dropped: /dev/full: No space left on device"
    ]


def test_writing_goes_on_when_the_disk_has_room_again(
    tmp_path: Path, lost: Lost, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "access.log"
    path.symlink_to("/dev/full")
    writer = LogWriter(str(path), lost)
    writer.write(LINE)
    lost.wait_for(1)
    path.unlink()
    writer.reopen()
    writer.write(LINE)
    writer.close()
    assert path.read_bytes() == LINE
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]


def stale(*_: object) -> Any:
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))


def test_a_stale_file_is_counted_until_it_is_opened_again(
    tmp_path: Path, lost: Lost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The server of a network file system has removed the file: no call on its descriptor works any more."""
    path = tmp_path / "access.log"
    writer = LogWriter(str(path), lost)
    with monkeypatch.context() as patched:
        patched.setattr("sidegate.observe.log_writer.os.fstat", stale)
        writer.write(LINE * 3)
        writer.write(LINE)
        lost.wait_for(4)
    writer.write(b"tried again\n")
    closed = threading.Event()

    def close(fd: int) -> None:
        closed.set()
        stale()

    with monkeypatch.context() as patched:
        patched.setattr("sidegate.observe.log_writer.os.close", close)
        writer.reopen()
        assert closed.wait(PATIENCE)
    writer.write(b"after\n")
    writer.close()
    assert path.read_bytes() == b"tried again\nafter\n"
    assert lost.lines == 4
    assert [record.message.partition(str(path))[0] for record in caplog.records] == [
        "access log lines are being dropped: ",
        "access log lines are written again: ",
        "the access log ",
    ]


def test_an_unexpected_error_does_not_end_the_thread(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(lines: int) -> None:
        raise RuntimeError("not foreseen")

    path = tmp_path / "access.log"
    path.symlink_to("/dev/full")
    writer = LogWriter(str(path), fail)
    for _ in range(3):  # the queue is not filled by what failed
        writer.write(LINE * (module.CAPACITY // len(LINE)))
        end = time.monotonic() + PATIENCE
        while writer._accepted != writer._done and time.monotonic() < end:
            time.sleep(0.001)
    path.unlink()
    writer.reopen()
    writer.write(LINE)
    writer.close()
    assert path.read_bytes() == LINE
    assert "not foreseen" in caplog.text


def test_a_torn_line_is_ended_before_the_next(tmp_path: Path, lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    results: list[Callable[[int, bytes], int]] = [lambda fd, data: real(fd, data[:4]), lambda fd, data: _no_space()]
    monkeypatch.setattr(os, "write", lambda fd, data: results.pop(0)(fd, data) if results else real(fd, data))
    path = tmp_path / "access.log"
    writer = LogWriter(str(path), lost)
    writer.write(b"first line\n")
    writer.write(b"second line\n")
    writer.close()
    assert path.read_bytes() == b"firs\nsecond line\n"
    assert lost.lines == 1


def _no_space() -> int:
    raise OSError(28, "No space left on device")


def accept_until_full(writer: LogWriter) -> int:
    accepted = 0
    try:
        while accepted * len(LINE) < 100 * module.CAPACITY:
            writer.write(LINE * 100)
            accepted += 100
    except BlockingIOError:
        return accepted
    raise AssertionError("the queue has no bound")


def test_a_reader_that_sleeps_never_stops_the_caller(pipe: tuple[int, int], lost: Lost) -> None:
    reading, writing = pipe
    writer = LogWriter(None, lost)
    accepted = accept_until_full(writer)
    assert accepted * len(LINE) >= module.CAPACITY - 100 * len(LINE)
    received = b""
    while len(received) < accepted * len(LINE):
        received += os.read(reading, 1 << 16)
    assert received == LINE * accepted
    writer.write(b"again\n")
    assert os.read(reading, 100) == b"again\n"
    writer.close()
    assert os.fstat(writing).st_size == 0, "standard output is not ours to close"


def wait_until_full(pipe: int) -> None:
    end = time.monotonic() + PATIENCE
    while select.select([], [pipe], [], 0)[1]:
        assert time.monotonic() < end, "the writer does not fill the pipe"
        time.sleep(0.001)


def test_a_pipe_somebody_made_non_blocking_is_waited_for(pipe: tuple[int, int], lost: Lost) -> None:
    reading, writing = pipe
    os.set_blocking(writing, False)
    writer = LogWriter(None, lost)
    writer.write(LINE * 2000)  # more than a pipe holds
    wait_until_full(writing)
    received = b""
    while len(received) < len(LINE) * 2000:
        received += os.read(reading, 1 << 16)
    writer.close()
    assert received == LINE * 2000
    assert lost.lines == 0


def test_a_reader_that_left_is_counted(pipe: tuple[int, int], lost: Lost) -> None:
    os.close(pipe[0])
    writer = LogWriter(None, lost)
    writer.write(LINE * 100)
    lost.wait_for(100)
    writer.close()
    assert lost.lines == 100


def test_closing_gives_up_on_a_destination_that_is_stuck(
    pipe: tuple[int, int], lost: Lost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.01)
    writer = LogWriter(None, lost)
    writer.write(LINE * 2000)
    writer.close()
    received = b""
    while len(received) < len(LINE) * 2000:
        received += os.read(pipe[0], 1 << 16)
    assert received == LINE * 2000


def test_reopening_standard_output_does_nothing(pipe: tuple[int, int], lost: Lost) -> None:
    writer = LogWriter(None, lost)
    writer.reopen()
    writer.write(b"x\n")
    assert os.read(pipe[0], 10) == b"x\n"
    writer.close()


def test_a_terminal_gets_its_lines(lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        pytest.skip(f"no pseudo-terminal is to be had here: {error}")
    monkeypatch.setattr(module, "STDOUT", theirs)
    writer = LogWriter(None, lost)
    writer.write(b"one\ntwo\n")
    received = b""
    while received.count(b"\n") < 2:
        received += os.read(ours, 100)
    assert received == b"one\r\ntwo\r\n"
    writer.close()
    os.close(ours)
    os.close(theirs)


WRITER = """
import sys
from sidegate.observe.log_writer import LogWriter
writer = LogWriter(None, lambda lines: None)
for number in range(30):
    writer.write(b"".join(sys.argv[1].encode() * (37 * (number + i) % 900 + 1) + b"\\n" for i in range(20)))
writer._jobs.put(None)
writer._thread.join()
"""


def test_processes_that_share_a_pipe_write_whole_lines() -> None:
    reading, writing = os.pipe()
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, letter], stdout=writing) for letter in "abc"]
    os.close(writing)
    received = b""
    while data := os.read(reading, 1 << 16):
        received += data
    assert [process.wait() for process in writers] == [0, 0, 0]
    os.close(reading)
    lines = received.split(b"\n")
    assert len(lines) == 3 * 600 + 1
    assert [line for line in lines if len(set(line)) > 1] == []


@pytest.mark.parametrize(
    "lines", [b"", LINE, LINE * 100, b"y" * (MAX_LINE - 1) + b"\n", (b"y" * (MAX_LINE - 1) + b"\n") * 3]
)
def test_pieces_end_at_lines(lines: bytes) -> None:
    pieces = list(module._pieces(lines))
    assert b"".join(pieces) == lines
    assert all(len(piece) <= MAX_LINE and piece.endswith(b"\n") for piece in pieces)
