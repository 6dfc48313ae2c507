"""Keeps the part of a response that its client has not taken yet, so that the application need not wait for it.

A WSGI backend, a relay or an ASGI backend makes a ``ResponseBuffer`` when ``send`` has something to wait for: the
client is slower than the application. Until then, every message passes at once, so nothing is ever delayed. It owns the
bytes that are kept, and the task that sends them. ``send`` and ``finish`` raise what the exchange's ``send`` raises.

Theory of operation. The bytes are a queue in three parts: the oldest in memory, then those in a temporary file, then
the newest in memory. Without a file, all of them are in memory, up to ``MEMORY``. The file begins when the client has
not made room within ``PATIENCE``: a client that is only a little slower needs none. The file is filled once, up to
``LARGEST_FILE`` bytes; then the application waits until the client has taken them, and the file begins anew. If the
file cannot be written, the application waits as soon as ``MEMORY`` is full.

All buffers of the process share ``ALL_MEMORY``. Beyond it, a buffer keeps nothing in memory but the bytes of its next
write, and a large message is not given to the client's connection as a whole: it would wait there, in memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from sidegate.aio.done import DONE, failed
from sidegate.aio.tasks import internal_task
from sidegate.aio.temporary_files import TemporaryFile, TemporaryFiles
from sidegate.asgi import Message, Send
from sidegate.errors import raise_kept

MEMORY = 1024 * 1024
"""Bytes of one response that are kept in memory; the bytes that are about to be written into the file come on top."""

ALL_MEMORY = 16 * 1024 * 1024
"""Bytes of all responses of the process that are kept in memory."""

LARGEST_FILE = 64 * 1024 * 1024
"""Size of the file of one response."""

PIECE = 256 * 1024
"""Bytes of one write to the file: so many that the switch to another thread does not matter."""

SMALL_PIECE = 64 * 1024
"""``PIECE`` while ``ALL_MEMORY`` is used up."""

READ = 64 * 1024
"""Bytes that are read from the file at a time: as many as a connection has queued for a client."""

SMALL = 4096
"""Bytes up to which pieces are joined, because each object costs memory."""

PATIENCE = 0.02
"""Seconds that a client may take to make room in memory before a file is written."""


def may_be_buffered(headers: Iterable[Any]) -> bool:
    """Whether a response with these fields may be buffered: it has no ``X-Accel-Buffering: no``, as nginx names it."""
    return not any(name.lower() == b"x-accel-buffering" and value.strip().lower() == b"no" for name, value in headers)


class AllKept:
    """What all buffers of the process keep in memory. ``size``: bytes."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0

    def is_full(self) -> bool:
        """Whether ``ALL_MEMORY`` is used up."""
        return self.size > ALL_MEMORY


ALL_KEPT = AllKept()
"""This process's."""


class Kept:
    """What one buffer keeps in memory. ``size``: bytes, without those of the message that the connection has."""

    __slots__ = ("_closed", "_given", "size")

    def __init__(self, given: int) -> None:
        """``given``: bytes of the message that the connection has."""
        self.size = 0
        self._given = 0
        self._closed = False
        self.give(given)

    def give(self, size: int) -> None:
        """The connection has got a message of ``size`` bytes."""
        if not self._closed:
            self._given += size
            ALL_KEPT.size += size

    def add(self, size: int) -> None:
        """``size`` bytes more are in memory, or fewer. An application may send after the end; that does not count."""
        if not self._closed:
            self.size += size
            ALL_KEPT.size += size

    def given_is_sent(self) -> None:
        """The connection has sent it, or never will."""
        ALL_KEPT.size -= self._given
        self._given = 0

    def fits(self) -> bool:
        """Whether all of it may stay in memory."""
        return self.size <= MEMORY and not ALL_KEPT.is_full()

    def close(self) -> None:
        """Nothing is kept any more."""
        self.given_is_sent()
        self.add(-self.size)
        self._closed = True


class ResponseBuffer:
    """One response whose client is slow. ``sent``: what ``send`` returned for the last message, of ``size`` bytes.

    ``on_error`` is called when nothing more can be sent, so that an application that waits for other things may end.
    """

    __slots__ = (
        "_ended", "_file", "_files", "_first", "_kept", "_last", "_lock", "_loop", "_may_write", "_on_error",
        "_patient", "_position", "_send", "_sent", "_task", "_then", "_waiter", "_waiting", "_written", "error",
    )  # fmt: skip

    def __init__(
        self,
        send: Send,
        sent: Awaitable[None],
        files: TemporaryFiles,
        size: int,
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        self._send = send
        self._kept = Kept(size)
        self._files = files
        self._on_error = on_error
        self._loop = asyncio.get_running_loop()
        self._first: deque[bytes] = deque()  # the oldest bytes
        self._file: TemporaryFile | None = None
        self._position = self._written = 0  # in the file, which has the next bytes
        self._last: list[bytes] = []  # the newest bytes
        self._waiting = 0  # number of these
        self._lock = asyncio.Lock()  # is held while the newest bytes are written into the file
        self._may_write = True
        self._patient = True
        self._ended = False  # the body is complete, and its end is not sent
        self._then: list[Message] = []  # the trailers
        self.error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None  # of the application
        self._sent: Any = sent  # None once the task awaits it
        self._task: asyncio.Task[None] | None = internal_task(self._pass_on())

    def send(self, message: Message) -> Awaitable[None]:
        """ASGI ``send``. There is nothing to wait for, unless no more can be kept."""
        if self.error is not None:
            return failed(self.error)
        kind = message["type"]
        if kind == "http.response.body":
            data = message.get("body", b"")
            if self._is_idle():
                return self._send_at_once(message)
            if isinstance(data, bytes | bytearray | memoryview) and not self._ended:
                return self._keep(bytes(data), message.get("more_body", False))
        elif kind == "http.response.trailers" and not self._is_idle():
            self._then.append(message)
            return DONE
        return self._send_after(message)

    async def finish(self) -> None:
        """Wait until everything was sent, and close the buffer."""
        try:
            if self._task is not None:
                await self._task
            raise_kept(self)
        finally:
            self.close()

    def close(self) -> None:
        """Drop what is kept. Whoever sends after that calls the exchange's ``send``, which raises its own errors."""
        if self._task is not None:
            self._task.cancel()
            self._task = None  # once it is cancelled, it refers to the frames of this buffer, as `error` does
        self.error = None
        self._kept.close()
        if self._sent is not None:  # the task has not run yet, and never will
            self._sent.close()
        if self._file is not None:
            self._file.close()

    # For the application.

    def _is_idle(self) -> bool:
        """Whether nothing is kept."""
        return self._task is None or self._task.done()

    def _send_at_once(self, message: Message) -> Awaitable[None]:
        sent = self._send(message)
        if sent is not DONE:
            self._kept.give(len(message.get("body", b"")))
            self._sent = sent
            self._task = internal_task(self._pass_on())
        return DONE

    async def _send_after(self, message: Message) -> None:
        """Send a message of another kind when everything before it was sent."""
        if self._task is not None:
            await self._task
        if self.error is not None:
            raise self.error
        await self._send(message)

    def _keep(self, data: bytes, more: bool) -> Awaitable[None]:
        self._ended = not more
        size = len(data)
        self._kept.add(size)
        if not self._filed and not self._waiting and self._kept.fits():
            _append(self._first, data)
            return DONE
        _append(self._last, data)
        self._waiting += size
        return DONE if self._waiting < (SMALL_PIECE if ALL_KEPT.is_full() else PIECE) else self._make_room()

    @property
    def _filed(self) -> int:
        """Bytes in the file that were not sent."""
        return self._written - self._position

    async def _make_room(self) -> None:
        """Write the newest bytes into the file, or wait until the client has made room for them in memory."""
        async with self._lock:
            if not self._filed and await self._has_room_soon():
                self._take_newest()
                return
            if self._may_write and await self._has_room_in_file():
                return
        while self._kept.size > MEMORY:
            await self._progress()

    async def _has_room_soon(self) -> bool:
        """Wait until memory suffices, at most ``PATIENCE`` seconds. Return whether it does."""
        self._patient = not ALL_KEPT.is_full()
        timer = self._loop.call_later(PATIENCE, self._lose_patience)
        try:
            while not self._kept.fits() and self._patient:
                await self._progress()
        finally:
            timer.cancel()
        return self._kept.fits()

    def _lose_patience(self) -> None:
        self._patient = False
        self._wake()

    async def _has_room_in_file(self) -> bool:
        """Write the newest bytes into the file. Return whether that was possible."""
        if self._file is None:
            self._file = self._files.new()
        while self._filed and self._written + self._waiting > LARGEST_FILE:
            await self._progress()
        if not self._filed:
            self._position = self._written = 0
        data, self._last = b"".join(self._last), []
        if not await self._file.write(data, self._written):
            self._may_write = False
            self._last.insert(0, data)
            return False
        self._written += len(data)
        self._waiting -= len(data)
        self._kept.add(-len(data))
        return True

    async def _progress(self) -> None:
        """Wait until the client has taken something."""
        self._waiter = self._loop.create_future()
        await self._waiter
        if self.error is not None:
            raise self.error

    # For the client.

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _pass_on(self) -> None:
        """Send everything that is kept, as fast as the client takes it."""
        sent, self._sent = self._sent, None
        try:
            await sent
            self._kept.given_is_sent()
            while (message := await self._next()) is not None:
                await self._send(message)
        except Exception as error:  # noqa: BLE001 - raised where the application sends
            self.error = error
            if self._on_error is not None:
                self._on_error(error)
        self._wake()

    async def _next(self) -> Message | None:
        """Take the next message that the client gets; None if nothing is kept."""
        while not self._first and not self._filed and self._waiting:
            if self._lock.locked():  # these bytes are being written, or wait for this
                self._wake()
                async with self._lock:
                    continue
            self._take_newest()
        data = await self._take()
        self._wake()
        if data or self._ended:
            more = not self._ended or self._kept.size > 0 or self._filed > 0
            self._ended = self._ended and more
            return {"type": "http.response.body", "body": data, "more_body": more}
        return self._then.pop(0) if self._then else None

    def _take_newest(self) -> None:
        """Let the newest bytes be the oldest ones: there are no others."""
        self._first.extend(self._last)
        self._last.clear()
        self._waiting = 0

    async def _take(self) -> bytes:
        if self._first:
            data = self._first.popleft()
            self._kept.add(-len(data))
        elif self._filed and self._file is not None:
            data = await self._file.read(min(READ, self._filed), self._position)
            self._position += len(data)
        else:
            data = b""
        return data


def _append(pieces: list[bytes] | deque[bytes], data: bytes) -> None:
    """Append ``data``; join it with the last piece if both are small."""
    if pieces and len(pieces[-1]) + len(data) <= SMALL:
        pieces[-1] += data
    elif data:
        pieces.append(data)


class BufferedSend:
    """``send`` of a response that is buffered as soon as its client is slow, for an application that calls it."""

    __slots__ = ("_buffer", "_files", "_headers", "_send")

    def __init__(self, send: Send, files: TemporaryFiles) -> None:
        self._send = send
        self._files = files
        self._buffer: ResponseBuffer | None = None
        self._headers: Iterable[Any] = ()

    def send(self, message: Message) -> Awaitable[None]:
        """ASGI ``send``."""
        if self._buffer is not None:
            return self._buffer.send(message)
        sent = self._send(message)
        if message["type"] == "http.response.start":
            self._headers = message.get("headers", ())
        elif sent is not DONE and message["type"] == "http.response.body" and may_be_buffered(self._headers):
            size = len(message.get("body", b""))
            if size <= SMALL_PIECE or not ALL_KEPT.is_full():  # else the application waits; it has the message anyway
                self._buffer = ResponseBuffer(self._send, sent, self._files, size)
                return DONE
        return sent

    async def finish(self) -> None:
        """See ``ResponseBuffer``."""
        if self._buffer is not None:
            await self._buffer.finish()

    def close(self) -> None:
        """See ``ResponseBuffer``."""
        if self._buffer is not None:
            self._buffer.close()
