"""Files as response bodies: ``http.response.pathsend`` and ``http.response.zerocopysend``.

The exchange calls it. A disk or a network file system may block for seconds, so files are opened, read and copied to
sockets in the loop's default executor. The loop itself reads only what is in memory.

Errors: an OSError of the file becomes an ``ExchangeError``, because an OSError of ``send`` means that the client has
disconnected (ASGI HTTP spec 2.4). Only ``send_to`` raises OSError: the socket's.

Theory of operation. A task that is cancelled cannot stop the call in a thread that it waits for. So the ``OpenFile``
owns the descriptors that the call uses, and closes them when the call has ended.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from sidegate.asgi import Message
from sidegate.errors import ExchangeError, Fault
from sidegate.server.messages import bad_message

T = TypeVar("T")

FIRST_SIZE = 64 * 1024
"""Most bytes of the first read: so few that the loop may copy them, if they are in memory."""

READ_SIZE = 256 * 1024
"""Bytes of one read: so many that the switch to the executor (about 50 µs) does not matter."""

SLICE = 4 * 1024 * 1024
"""Bytes of one call of ``sendfile``: a peer that takes them as fast as they come must not keep a thread for itself."""

_FROM_MEMORY = getattr(os, "RWF_NOWAIT", None)
"""The flag of preadv2(2) for "fail instead of waiting for the disk"; Linux only."""


class OpenFile:
    """A range of an open file: its next ``count`` bytes. It owns its descriptor until ``close``."""

    def __init__(self) -> None:
        self.count = 0
        self._offset = 0
        self._descriptor = -1
        self._call: asyncio.Future[Any] | None = None
        """The last call in a thread."""

    async def open_path(self, path: Any) -> None:
        """Open the whole of a regular file.

        :raises ExchangeError: 500; it is none, or it cannot be opened.
        """
        try:
            await self._in_thread(self._open, path)
        except OSError as error:
            raise _failed(error) from error

    def _open(self, path: Any) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        facts = os.fstat(self._descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise bad_message(f"pathsend: {os.fspath(path)!r} is no regular file")
        self.count = facts.st_size

    def open_range(self, message: Message) -> None:
        """Take the range that ``zerocopysend`` names: an open file with optional ``offset`` and ``count``.

        The descriptor is duplicated: a thread may still read when the application closes its own.
        :raises ExchangeError: 500; there is no such range.
        """
        try:
            self._descriptor = os.dup(message["file"] if isinstance(message["file"], int) else message["file"].fileno())
            offset, count = message.get("offset"), message.get("count")
            offset = os.lseek(self._descriptor, 0, os.SEEK_CUR) if offset is None else int(offset)
            rest = max(0, os.fstat(self._descriptor).st_size - offset)
            count = rest if count is None else min(int(count), rest)
            if offset < 0 or count < 0:
                raise ValueError(f"offset {offset} and count {count} must not be negative")
        except (KeyError, AttributeError, TypeError, ValueError, OSError) as error:
            raise bad_message(f"zerocopysend: {error!r}") from error
        self._offset, self.count = offset, count

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._when_unused(self._close)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    async def first(self) -> bytes:
        """Read the beginning of the range; b"" if it is empty. A switch to a thread is needed only if the disk is.

        :raises ExchangeError: 500; the file cannot be read, or has become shorter.
        """
        size = min(FIRST_SIZE, self.count)
        data = _from_memory(self._descriptor, size, self._offset) if size else b""
        if size and not data:
            return await self.read(size)
        self._advance(len(data))
        return data

    async def read(self, most: int = READ_SIZE) -> bytes:
        """Read the next bytes of a range that is not empty.

        :raises ExchangeError: 500; the file cannot be read, or has become shorter.
        """
        data = await self._in_thread(self._read, most)
        self._advance(len(data))
        return data

    @property
    def sendable(self) -> int:
        """Bytes that ``send_to`` sends: all but the last ones.

        The loop writes those, after ``read``. Else a client could have the whole response, and close the connection,
        before the loop learned from the thread that all was sent.
        """
        return max(0, self.count - FIRST_SIZE)

    async def send_to(self, sock: int, stall: float, lost: asyncio.Future[None]) -> None:
        """Let the kernel copy ``sendable`` bytes to a non-blocking socket (sendfile(2)).

        The transport of ``sock`` must have nothing left to write. ``lost`` is done when that transport is lost.
        :raises OSError: the socket's; TimeoutError if the peer takes nothing for ``stall`` seconds.
        :raises ExchangeError: 500; the file cannot be read, or has become shorter.
        """
        # A descriptor of our own: after the transport is closed, its number may belong to another connection.
        try:
            sock = os.dup(sock)
        except OSError as error:
            raise ExchangeError(Fault.PROXY, 500, "file_failed", f"cannot send a file: {error.strerror}") from error
        try:
            while self.sendable:
                if lost.done():
                    raise ConnectionAbortedError("the connection was closed")
                wanted = min(SLICE, self.sendable)
                try:
                    sent = await self._in_thread(self._send, sock, wanted)
                except BlockingIOError:
                    sent = 0
                self._advance(sent)
                if sent < wanted:
                    await _writable(sock, stall, lost)
        finally:
            self._when_unused(lambda: os.close(sock))

    def _send(self, sock: int, size: int) -> int:
        """Send at most ``size`` bytes and return how many; called in a thread."""
        try:
            sent = os.sendfile(sock, self._descriptor, self._offset, size)
        except BlockingIOError:
            raise
        except OSError:  # of the file or of the socket
            return os.write(sock, self._read(min(READ_SIZE, size)))
        if not sent:
            raise _shrunk()
        return sent

    def _read(self, most: int) -> bytes:
        try:
            data = os.pread(self._descriptor, min(most, self.count), self._offset)
        except OSError as error:
            raise _failed(error) from error
        if not data:
            raise _shrunk()
        return data

    def _advance(self, size: int) -> None:
        self._offset += size
        self.count -= size

    async def _in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        self._call = made = asyncio.get_running_loop().run_in_executor(None, call, *arguments)
        try:
            return await asyncio.shield(made)
        except asyncio.CancelledError:
            made.add_done_callback(_ignore_error)
            raise
        finally:
            if made.done():
                self._call = None
            del made  # it may have an error, whose traceback refers to this frame and to `self`

    def _when_unused(self, close: Callable[[], None]) -> None:
        """Call ``close`` as soon as no thread uses the descriptors."""
        if self._call is None or self._call.done():
            close()
        else:
            self._call.add_done_callback(lambda _: close())


def _from_memory(descriptor: int, size: int, offset: int) -> bytes:
    """Read what is in the page cache at ``offset``, at most ``size`` bytes; b"" if that is nothing or not known."""
    if _FROM_MEMORY is None:
        return b""
    buffer = bytearray(size)
    try:
        count = os.preadv(descriptor, [buffer], offset, _FROM_MEMORY)
    except OSError:  # not in memory, a file system without this flag, or an error that `read` will meet, too
        return b""
    return bytes(memoryview(buffer)[:count])


def _ignore_error(call: asyncio.Future[Any]) -> None:
    """Take the error of a call whose task was cancelled; the event loop reports an error that nobody has taken."""
    call.exception()


def _failed(error: OSError) -> ExchangeError:
    return ExchangeError(Fault.APPLICATION, 500, "file_failed", f"cannot read the file of a response: {error.strerror}")


def _shrunk() -> ExchangeError:
    return ExchangeError(Fault.APPLICATION, 500, "content_length_mismatch", "the file became shorter while it was sent")


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _writable(sock: int, stall: float, lost: asyncio.Future[None]) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(sock, _resolve, ready)
    try:
        done, _ = await asyncio.wait((ready, lost), timeout=stall, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_writer(sock)
    if not done:
        raise TimeoutError(f"the peer took nothing for {stall:g} s")
