"""Writes log lines to a file or to standard output, in a thread of its own.

``AccessLog`` passes it the lines. The thread is necessary because a write may block: a disk may stall, and a pipe
blocks its writer while its reader does not read. O_NONBLOCK on standard output is no solution, because it would apply
to every process that shares it. The thread may wait for any length of time. Its queue is bounded in bytes, and
``write`` raises ``BlockingIOError`` instead of waiting. No error ends the thread: lines that cannot be written are
lost, and it tries to write the next ones.

Several processes may write to one destination, so each line must be written in one piece. A regular file, opened with
O_APPEND, gets a batch in one write; any other destination (pipe, socket, terminal) gets pieces of at most ``MAX_LINE``
bytes, split between lines.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import queue
import select
import stat
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from sidegate.errors import AccessLogError
from sidegate.observe.log_lines import MAX_LINE

logger = logging.getLogger("sidegate.access")

CAPACITY = 1024 * 1024
"""Bytes of lines that may wait for the destination: about 5000 lines."""

CLOSE_TIMEOUT = 1.0
"""Seconds that ``close`` waits at most until the destination has taken the last lines."""

STDOUT = 1

_OPEN_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
"""O_NONBLOCK: opening a FIFO without a reader fails at once (ENXIO) instead of blocking the start."""


class LineWriter(Protocol):
    """The destination of the access log's lines (``LogWriter``)."""

    def write(self, lines: bytes) -> None:
        """Take complete lines without waiting.

        :raises BlockingIOError: the queue is full.
        :raises OSError: the destination does not work.
        """

    def reopen(self) -> None:
        """Open the destination again by its name."""

    def close(self) -> None:
        """Write the lines that were taken and close the destination."""


class LogWriter:
    """A ``LineWriter`` with a thread. ``path``: a file, or None for standard output.

    ``lost`` is called in the thread with the number of lines that could not be written.
    """

    def __init__(self, path: str | None, lost: Callable[[int], None]) -> None:
        """Open the destination and start the thread.

        :raises AccessLogError: the file cannot be opened.
        """
        self._path = path
        self._lost = lost
        try:
            self._fd = STDOUT if path is None else os.open(path, _OPEN_FLAGS, 0o640)
        except OSError as error:
            reason = f"cannot open {path}: {error.strerror}; its folder must exist and be writable"
            raise AccessLogError(reason) from error
        self._jobs: queue.SimpleQueue[bytes | Callable[[], None] | None] = queue.SimpleQueue()
        self._accepted = 0  # bytes; written by the callers' thread only
        self._done = 0  # bytes; written by the writing thread only
        self._torn = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def write(self, lines: bytes) -> None:
        """Queue complete lines.

        :raises BlockingIOError: more than ``CAPACITY`` bytes would wait for the destination.
        """
        if self._accepted - self._done + len(lines) > CAPACITY:
            raise BlockingIOError(errno.EAGAIN, "the access log's destination is too slow")
        self._accepted += len(lines)
        self._jobs.put(lines)

    def reopen(self) -> None:
        """Open the file again by its name, after a log rotation renamed it. If that fails, the old one stays in use."""
        if self._path is not None:
            self._jobs.put(functools.partial(self._reopen, self._path))

    def close(self) -> None:
        """Write the queued lines, for at most ``CLOSE_TIMEOUT`` seconds; then stop waiting for the destination."""
        self._jobs.put(None)
        self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if isinstance(job, bytes):
                    self._write_lines(job)
                else:
                    job()
            except Exception:
                logger.exception("the access log's thread goes on after an error")
            if isinstance(job, bytes):
                self._done += len(job)
        if self._path is not None:
            self._close(self._fd)

    def _reopen(self, path: str) -> None:
        try:
            fd = os.open(path, _OPEN_FLAGS, 0o640)
        except OSError as error:
            logger.error("cannot reopen the access log %s: %s", path, error.strerror)
            return
        old, self._fd = self._fd, fd
        self._close(old)

    def _close(self, fd: int) -> None:
        try:
            os.close(fd)
        except OSError as error:  # a network file system reports here that it has not stored lines
            logger.error("the access log %s was not closed properly: %s", self._path, error.strerror)

    def _write_lines(self, lines: bytes) -> None:
        try:
            whole = stat.S_ISREG(os.fstat(self._fd).st_mode)
        except OSError as error:  # ESTALE: the server of a network file system has removed the file
            self._lost(lines.count(b"\n"))
            self._report(error)
            return
        for piece in [lines] if whole else _pieces(lines):
            try:
                self._write_all(b"\n" + piece if self._torn else piece)
            except OSError as error:
                self._lost(piece.count(b"\n"))
                self._report(error)
            else:
                self._report(None)

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                self._wait_writable()
            else:
                self._torn = bool(rest)

    def _wait_writable(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        poll.poll()

    def _report(self, error: OSError | None) -> None:
        """Log when writing begins to fail and when it works again, not for every line."""
        if (error is not None) == self._failing:
            return
        self._failing = error is not None
        destination = self._path or "standard output"
        if error is not None:
            logger.error("access log lines are being dropped: %s: %s", destination, error.strerror)
        else:
            logger.warning("access log lines are written again: %s", destination)


def _pieces(lines: bytes) -> Iterator[bytes]:
    """Split complete lines into pieces of at most ``MAX_LINE`` bytes, between lines."""
    start = 0
    while start < len(lines):
        end = len(lines)
        if end - start > MAX_LINE:
            end = lines.rindex(b"\n", start, start + MAX_LINE) + 1
        yield lines[start:end]
        start = end
