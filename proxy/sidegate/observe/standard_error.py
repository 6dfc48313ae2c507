"""Writes lines to standard error without waiting for its reader.

The process log writes here (``process_log.py``), and so does all else that Sidegate says on standard error while it
serves. A pipe that nobody reads is full after 64 KiB, and a terminal stops with ^S; an ordinary write would then stop
the process, its event loop first. No error leaves this module.

Theory of operation. A line is written at once, by the thread that logs it, if standard error takes it without waiting.
So what was logged before a crash is there, in order with what the application prints, and there is no other thread: a
preloader forks. Only when standard error takes no more, a thread begins to write the lines that wait; it ends with the
last of them. What would exceed ``CAPACITY`` is dropped and counted, and a line says how many were dropped at the place
where they are missing.

O_NONBLOCK on descriptor 2 itself would apply to every process that shares it, so there is another open file for the
same pipe or terminal (Linux, through /proc). A socket has a flag for each call. A regular file is written directly: it
has no reader. Where neither is possible (macOS; a pipe that belongs to another user), every line takes the thread.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import socket
import stat
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable

from sidegate.observe.cells import Cells

STDERR = 2

CAPACITY = 256 * 1024
"""Bytes of lines that may wait for the reader: some 2000 lines."""

FLUSH_TIMEOUT = 1.0
"""Seconds that the end of the process waits at most until the reader has taken the last lines."""


Take = Callable[[bytes], int]
"""Writes without waiting and returns how many bytes were written; BlockingIOError: none."""


class StandardError:
    """Standard error of a process: ``process_log.stderr``, or that of a test.

    ``dropped``: lines that were dropped since the start. ``notice``: makes the line that says how many were.
    """

    def __init__(self, fd: int = STDERR) -> None:
        self._fd = fd
        self._identity: tuple[int, int] | None = None
        self._own: int | None = None  # another open file for what descriptor 2 is
        self._waiting: deque[bytes] = deque()
        self._size = 0  # of all that is not written yet, in bytes
        self._writes = False  # a thread writes what waits
        self._unreported = 0
        self.dropped = 0
        self._cells = _private_cells()
        self._cell = 0
        self.notice: Callable[[int], str] = lambda count: f"{count} lines were dropped\n"
        self._make_lock()
        os.register_at_fork(after_in_child=self._forget)

    def prepare(self) -> None:
        """Find out how to write without waiting. After a change of the user that may be forbidden."""
        with self._changed, contextlib.suppress(OSError):
            self._taker()

    def count_in(self, cells: Cells, cell: int) -> None:
        """Count dropped lines there, too, with those that were dropped before."""
        with self._changed:
            self._cells, self._cell = cells, cell
            cells[cell] += self.dropped

    def write(self, text: str) -> None:
        """Write one or more whole lines, now or later; drop them if too many lines wait already."""
        data = text.encode("utf-8", "backslashreplace")
        with self._changed:
            if not self._writes:
                self._write_now(data)
            elif self._size + len(data) > CAPACITY:
                self._drop(data)
            else:
                self._report_dropped()
                self._keep(data)

    @property
    def has_thread(self) -> bool:
        """Whether lines wait for the reader, so that there is a thread."""
        return self._writes

    def flush(self, timeout: float = FLUSH_TIMEOUT) -> bool:
        """Wait until all lines are written, at most ``timeout`` seconds. Returns whether they are."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._writes and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            return not self._writes

    def _write_now(self, data: bytes) -> None:
        """Write ``data`` as far as that is possible without waiting; a thread writes the rest."""
        text = data
        if self._unreported:
            data = self.notice(self._unreported).encode() + data
        try:
            written = self._taker()(data)
        except BlockingIOError:
            written = 0
        except OSError:  # the reader is gone, or the disk is full
            self._drop(text)
            return
        self._unreported = 0
        if written == len(data):
            return
        self._keep(data[written:])
        self._writes = True
        try:
            threading.Thread(target=self._run, name="process-log", daemon=True).start()
        except RuntimeError:  # the system has no thread for us, or the interpreter ends
            self._writes = False
            self._size = 0
            self._drop(self._waiting.pop())

    def _taker(self) -> Take:
        """How to write without waiting to what descriptor 2 is now: an application may redirect it."""
        status = os.fstat(self._fd)
        if (status.st_dev, status.st_ino) != self._identity:
            self._identity = status.st_dev, status.st_ino
            if self._own is not None:
                os.close(self._own)
            self._take, self._own = _make_taker(self._fd, status.st_mode)
        return self._take

    def _run(self) -> None:
        while (data := self._next()) is not None:
            try:
                _write_all(self._fd, data)
            except OSError:
                self._give_up(data)
                return

    def _give_up(self, data: bytes) -> None:
        """The reader is gone: drop what waits and end the thread. The next line shows whether another reader came."""
        with self._changed:
            for lines in (data, *self._waiting):
                self._drop(lines)
            self._waiting.clear()
            self._size = 0
            self._end()

    def _next(self) -> bytes | None:
        """What the thread writes next; None if nothing waits."""
        with self._changed:
            if not self._waiting:
                self._report_dropped()
            if self._waiting:
                data = self._waiting.popleft()
                self._size -= len(data)
                return data
            self._end()
            return None

    def _end(self) -> None:
        self._writes = False
        self._changed.notify_all()

    def _keep(self, data: bytes) -> None:
        self._waiting.append(data)
        self._size += len(data)

    def _drop(self, data: bytes) -> None:
        lines = data.count(b"\n")
        self._unreported += lines
        self.dropped += lines
        self._cells[self._cell] += lines

    def _report_dropped(self) -> None:
        if self._unreported:
            count, self._unreported = self._unreported, 0
            self._keep(self.notice(count).encode())

    def _make_lock(self) -> None:
        # An RLock, because the handler of a signal may log while its thread is in here.
        self._changed = threading.Condition(threading.RLock())

    def _forget(self) -> None:
        """In a forked process: the lines that wait are the parent's, and the thread is not here."""
        self._make_lock()
        self._waiting.clear()
        self._size = self._unreported = self.dropped = 0
        self._writes = False
        self._cells, self._cell = _private_cells(), 0


def _private_cells() -> Cells:
    return memoryview(array("d", [0.0]))


def _make_taker(fd: int, mode: int) -> tuple[Take, int | None]:
    """How to write to ``fd`` without waiting, and the descriptor that was opened for it."""
    if stat.S_ISREG(mode):
        return functools.partial(_write_all, fd), None
    if stat.S_ISSOCK(mode):
        return functools.partial(_send, fd), None
    try:
        own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return lambda _: 0, None
    return functools.partial(os.write, own), own


def _send(fd: int, data: bytes) -> int:
    with socket.socket(fileno=os.dup(fd)) as sock:
        return sock.send(data, socket.MSG_DONTWAIT)


def _write_all(fd: int, data: bytes) -> int:
    """Write all, however long it takes. Descriptor 2 may be non-blocking: another process has made it so."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
    return len(data)
