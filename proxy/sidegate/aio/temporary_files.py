"""Temporary files that have no names, written and read by threads beside the event loop.

Buffers of bodies use them. A file is made with its first byte, and the kernel removes it when it is closed or when its
process ends in any way. No error of a write leaves this module: a full disk or a read-only file system makes ``write``
return False. A file that cannot be read is an ``ExchangeError``. Each kind of failure gives one line in the log, at
most once in ``LOG_PERIOD``.

Theory of operation. A disk may block for seconds, so every system call on a file is made in an executor. A coroutine
that is cancelled cannot stop the call that it waits for. So a file has a lock: ``close`` waits for it, and no later
call finds a descriptor, whose number may belong to another file by then.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, TypeVar

from sidegate.errors import ExchangeError, Fault

T = TypeVar("T")

THREADS = 4
"""Most threads for the files of one backend; a disk that blocks must not stop the executor that applications use."""

LOG_PERIOD = 60.0
"""Shortest time in seconds between two lines in the log about files that cannot be written, or be read."""

READ_AHEAD = 64 * 1024
"""Bytes that a file which a thread reads has in memory."""

SHORTER = "the file is shorter than what was written"

logger = logging.getLogger("sidegate.buffering")


class TemporaryFiles:
    """Makes the files of one backend in ``folder``, by default in the usual temporary folder."""

    def __init__(self, folder: str | None) -> None:
        self.folder = folder
        self._executor: ThreadPoolExecutor | None = None
        self._next_lines: dict[str, float] = {}  # by kind of failure

    def new(self) -> TemporaryFile:
        """An empty file."""
        return TemporaryFile(self)

    def submit(self, call: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Make a call in another thread."""
        return asyncio.get_running_loop().run_in_executor(self._threads(), call, *arguments)

    def close(self, file: TemporaryFile) -> None:
        """Close a file in another thread."""
        self._threads().submit(file.close_now)

    def report(self, error: OSError) -> None:
        """Log that a file could not be written."""
        self._log(logging.WARNING, "cannot buffer in %s: %s; slow clients occupy threads and workers", error)

    def lost(self, error: OSError) -> ExchangeError:
        """Log that a file cannot be read, and make the error of its request."""
        self._log(logging.ERROR, "what was buffered in %s cannot be read: %s; its requests fail", error)
        return ExchangeError(Fault.PROXY, 500, "buffer_lost")

    def _log(self, level: int, text: str, error: OSError) -> None:
        now = time.monotonic()
        if now >= self._next_lines.get(text, 0.0):
            self._next_lines[text] = now + LOG_PERIOD
            logger.log(level, text, self.folder or "the temporary folder", error)

    def stop(self) -> None:
        """Let the threads end when they have made the calls so far."""
        if self._executor is not None:
            self._executor.shutdown(wait=False)
            self._executor = None

    def _threads(self) -> ThreadPoolExecutor:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(THREADS, "buffering")
        return self._executor


class TemporaryFile:
    """One file. ``write`` and ``read`` are for the event loop, ``open`` for any other thread."""

    __slots__ = ("_closed", "_file", "_files", "_lock", "_size", "_used")

    def __init__(self, files: TemporaryFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._file: Any = None  # set and closed in other threads, with the lock
        self._used = self._closed = False
        self._size = 0

    async def write(self, data: bytes, offset: int) -> bool:
        """Write ``data`` at ``offset``. False if that was not possible."""
        self._used = True
        try:
            await self._files.submit(self._write, data, offset)
        except OSError as error:
            self._files.report(error)
            return False
        return True

    async def read(self, size: int, offset: int) -> bytes:
        """Read ``size`` bytes at ``offset``.

        :raises ExchangeError: 500; the disk failed.
        """
        try:
            return await self._files.submit(self._read, size, offset)
        except OSError as error:
            raise self._files.lost(error) from error

    def open(self) -> BinaryIO:
        """The whole file from its beginning, to be closed by the caller. It blocks.

        Its methods raise ``ExchangeError`` (500) if the disk fails. An OSError of ``wsgi.input`` means to frameworks
        that the client has disconnected.
        :raises OSError: ``close`` was called before.
        """
        with self._lock:
            return io.BufferedReader(_WholeFile(os.dup(self._descriptor()), self._size, self._files.lost), READ_AHEAD)

    def close(self) -> None:
        """Remove the file, after a call that is under way. A file that ``open`` gave stays usable."""
        if self._used and not self._closed:
            self._closed = True
            self._files.close(self)

    def close_now(self) -> None:
        """``close``; it may block."""
        with self._lock:
            if self._file is not None:
                self._file.close()

    def _write(self, data: bytes, offset: int) -> None:
        with self._lock:
            if self._file is None and not self._closed:
                self._file = tempfile.TemporaryFile(buffering=0, dir=self._files.folder)  # noqa: SIM115 - `close_now` does
            rest = memoryview(data)
            while rest:
                count = os.pwrite(self._descriptor(), rest, offset)
                rest, offset = rest[count:], offset + count
            self._size = max(self._size, offset)

    def _read(self, size: int, offset: int) -> bytes:
        with self._lock:
            data = os.pread(self._descriptor(), size, offset)
        if len(data) != size:  # pread of a regular file is not interrupted
            raise OSError(SHORTER)
        return data

    def _descriptor(self) -> int:
        if self._closed:
            raise OSError("the file is closed")
        number: int = self._file.fileno()
        return number


class _WholeFile(io.FileIO):
    """A file that was written up to ``size``: it must not end before. ``lost`` makes the errors of its methods."""

    def __init__(self, descriptor: int, size: int, lost: Callable[[OSError], ExchangeError]) -> None:
        super().__init__(descriptor)
        self._size = size
        self._lost = lost

    def readinto(self, buffer: Any) -> int:
        try:
            count = super().readinto(buffer)
            if not count:
                self._check_end()
        except OSError as error:
            raise self._lost(error) from error
        return count

    def readall(self) -> bytes:
        try:
            data = super().readall()
            self._check_end()
        except OSError as error:
            raise self._lost(error) from error
        return data

    def _check_end(self) -> None:
        if self.tell() < self._size:
            raise OSError(SHORTER)
