"""Files as response bodies: ``http.response.pathsend`` and ``http.response.zerocopysend``.

The exchange calls it. Files are opened and read on the loop's default executor, because a disk or a network file system
may block; ``sendfile`` needs no reading at all.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

from sidegate.aio.tasks import internal_task
from sidegate.asgi import Message
from sidegate.errors import ExchangeError, Fault
from sidegate.server.messages import bad_message

READ_SIZE = 256 * 1024
"""Bytes of one read: so many that the switch to the executor (about 50 µs) does not matter."""


class OpenFile:
    """A range of an open file: ``count`` bytes from ``offset``; its descriptor is closed at the end if it is ours."""

    def __init__(self, descriptor: int, offset: int, count: int, owned: bool) -> None:
        self.descriptor = descriptor
        self.offset = offset
        self.count = count
        self._owned = owned

    @classmethod
    def of_path(cls, path: Any) -> OpenFile:
        """Open the whole of a regular file. It blocks; call it in the executor."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise bad_message(f"pathsend: {os.fspath(path)!r} is no regular file")
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor, 0, facts.st_size, owned=True)

    @classmethod
    def of_message(cls, message: Message) -> OpenFile:
        """The range that ``zerocopysend`` names: an open file with optional ``offset`` and ``count``."""
        try:
            descriptor = message["file"] if isinstance(message["file"], int) else message["file"].fileno()
            offset, count = message.get("offset"), message.get("count")
            offset = os.lseek(descriptor, 0, os.SEEK_CUR) if offset is None else int(offset)
            rest = max(0, os.fstat(descriptor).st_size - offset)
            count = rest if count is None else min(int(count), rest)
            if offset < 0 or count < 0:
                raise ValueError(f"offset {offset} and count {count} must not be negative")
            return cls(descriptor, offset, count, owned=False)
        except (KeyError, AttributeError, TypeError, ValueError, OSError) as error:
            raise bad_message(f"zerocopysend: {error!r}") from error

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._owned:
            os.close(self.descriptor)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Read the range piece by piece."""
        loop = asyncio.get_running_loop()
        offset, end = self.offset, self.offset + self.count
        while offset < end:
            size = min(READ_SIZE, end - offset)
            data = await loop.run_in_executor(None, os.pread, self.descriptor, size, offset)
            if not data:
                raise _shrunk()
            offset += len(data)
            yield data

    async def splice_to(self, sock: int, stall: float, lost: asyncio.Future[None]) -> None:
        """Let the kernel copy the range to a non-blocking socket (sendfile(2)).

        ``sock`` must be a descriptor that no other code closes or watches; the transport whose descriptor it duplicates
        must have nothing left to write. ``lost`` is done when that transport is lost. Raises OSError as the socket
        does, TimeoutError (an OSError) if the peer takes nothing for ``stall`` seconds.
        """
        offset, end = self.offset, self.offset + self.count
        while offset < end:
            if lost.done():
                raise ConnectionAbortedError("the connection was closed")
            try:
                sent = os.sendfile(sock, self.descriptor, offset, end - offset)
            except BlockingIOError:
                await _writable(sock, stall, lost)
                continue
            if not sent:
                raise _shrunk()
            offset += sent


def _shrunk() -> ExchangeError:
    return ExchangeError(Fault.APPLICATION, 500, "content_length_mismatch", "the file became shorter while it was sent")


async def _writable(sock: int, stall: float, lost: asyncio.Future[None]) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    waiting = internal_task(ready.wait())
    loop.add_writer(sock, ready.set)
    try:
        done, _ = await asyncio.wait((waiting, lost), timeout=stall, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_writer(sock)
        waiting.cancel()
    if not done:
        raise TimeoutError(f"the peer took nothing for {stall:g} s")
