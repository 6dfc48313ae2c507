"""One request of a WSGI application, shared by the event loop and the thread that runs it.

The loop's side (``backend.py``) makes it and waits for it; the thread's side (``response.py``, ``input.py``) runs it.
It owns the data that pass between the two, limited in both directions. In the thread it raises ``ClientDisconnected``
once the request was cancelled.

Theory of operation. Every attribute is written by one side only. The thread appends ASGI messages to ``out``, and the
loop appends pieces of the body. Each side wakes the other: the thread *posts* the job to the mailbox, which wakes the
loop's coroutine; the loop sets ``_changed``, which wakes the thread. ``_changed`` is made when a thread has to wait for
the first time. The thread checks its condition once more after that, so it misses no change. Most requests need no
``_changed``.

A thread posts its jobs in order, and the loop empties the mailbox in order. So the loop learns that a request has
ended, which frees its thread, before it learns of the thread's next request.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import BinaryIO, cast

from sidegate.aio.temporary_files import TemporaryFile
from sidegate.aio.wakeup import Wakeup
from sidegate.asgi import RECORD_KEY, Message, Scope
from sidegate.errors import ClientDisconnected
from sidegate.observe.record import Record

logger = logging.getLogger("sidegate.wsgi")

HIGH_WATER = 64 * 1024
"""Bytes that either side may be ahead of the other: of the response, produced and not sent; of the request, received
and not read."""

LOW_WATER = 16 * 1024
"""A waiting producer continues when at most this many bytes are left."""


class Mailbox:
    """Wakes the event loop for the changes that threads make: once for all changes until the loop handles them.

    ``release`` is called with each job when its thread is free again, even if the request was cancelled.
    """

    __slots__ = ("_context", "_loop", "_posted", "_release", "_scheduled")

    def __init__(self, loop: asyncio.AbstractEventLoop, release: Callable[[Job], None]) -> None:
        self._loop = loop
        self._release = release
        self._posted: deque[Job] = deque()
        self._scheduled = False
        self._context = contextvars.Context()
        """``deliver`` runs in it, because it must not run in the context of one of the requests."""

    def post(self, job: Job) -> None:
        """Report that ``job`` has changed. May be called in any thread."""
        self._posted.append(job)
        if not self._scheduled:
            self._scheduled = True
            try:
                self._loop.call_soon_threadsafe(self.deliver, context=self._context)
            except RuntimeError:  # the loop is closed: the process is about to exit, and no request waits
                return

    def deliver(self) -> None:
        """Release the posted jobs that have ended, and wake all of them. Called in the loop's thread."""
        self._scheduled = False  # first: a job that is posted from here on schedules the next call
        posted = self._posted
        while posted:
            job = posted.popleft()
            if job.ended and not job.released:
                job.released = True
                try:
                    self._release(job)
                except Exception:  # the other jobs are woken nevertheless
                    logger.exception("the thread of a request was not given back properly")
            job.wake()


class Incoming:
    """A request's body that arrives in pieces. ``wanted``: the thread waits for more of it, or soon will."""

    __slots__ = ("_fed", "_pieces", "_read", "ended", "wanted")

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._fed = self._read = 0  # bytes; written by the loop, and by the thread
        self.ended = False
        self.wanted = False

    @property
    def unread(self) -> int:
        """Bytes that the application has not read."""
        return self._fed - self._read

    def feed(self, data: bytes, more: bool) -> None:
        """Append the next piece; called by the loop. ``more``: whether another piece follows."""
        self._fed += len(data)
        self._pieces.append(data)
        self.ended = not more

    def take(self) -> bytes | None:
        """Return the next piece, b"" at the end, None if it has not arrived yet; called by the thread."""
        ended = self.ended  # read it before the pieces: the last piece may arrive in between
        if not self._pieces:
            return b"" if ended else None
        piece = self._pieces.popleft()
        self._read += len(piece)
        return piece

    def has_come(self) -> bool:
        """Whether ``take`` would not return None."""
        return bool(self._pieces) or self.ended


class Abandonment:
    """The cancellation of a job's request. ``timer``: fires when the thread becomes stuck; None if it never does."""

    __slots__ = ("stuck", "timer")

    def __init__(self, timer: asyncio.TimerHandle | None) -> None:
        self.timer = timer
        self.stuck = False


class Job(Wakeup):
    """One for each request: ``act`` runs the application for ``scope``.

    ``whole`` is the complete body, in memory or in a file; None if the body arrives in pieces. ``error`` is set if the
    request failed.
    """

    __slots__ = (
        "_act",
        "_changed",
        "_emitted",
        "_mailbox",
        "_passed",
        "_produced",
        "_sent",
        "abandonment",
        "began",
        "body",
        "counted",
        "ended",
        "error",
        "file",
        "gone",
        "out",
        "released",
        "scope",
        "taken",
        "whole",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        mailbox: Mailbox,
        act: Callable[[Job], None],
        scope: Scope,
        whole: bytes | TemporaryFile | None,
    ) -> None:
        super().__init__(loop)
        self.scope = scope
        self.whole = whole
        self.out: deque[Message] = deque()
        self.taken = self.ended = False  # written by the thread
        self.file: BinaryIO | None = None
        """The file that is the response, kept open until it is sent."""
        self.began = 0.0
        self.counted = self.released = False  # written by the loop
        self.abandonment: Abandonment | None = None
        self.error: BaseException | None = None
        self.gone = False
        self.body = Incoming() if whole is None else None
        self._mailbox = mailbox
        self._act = act
        self._changed: threading.Event | None = None
        self._emitted = self._passed = 0  # messages; written by the thread, and by the loop
        self._produced = self._sent = 0  # bytes of response; written by the thread, and by the loop

    @property
    def record(self) -> Record:
        """The exchange's."""
        record: Record = self.scope[RECORD_KEY]
        return record

    # For the loop.

    def passed(self, size: int) -> None:
        """A message with ``size`` bytes of body was sent."""
        self._passed += 1
        self._sent += size
        self._notify()

    def feed(self, data: bytes, more: bool) -> None:
        """Append the next piece of the request's body."""
        body = cast(Incoming, self.body)
        body.feed(data, more)
        self._notify()

    def abandon(self) -> None:
        """The request was cancelled: the application gets an error at its next read or write."""
        self.gone = True
        self._notify()

    def _notify(self) -> None:
        changed = self._changed
        if changed is not None:
            changed.set()

    # For the thread.

    def run(self) -> None:
        """Run the application. It raises nothing: an error becomes ``error``."""
        try:
            self._act(self)
        except BaseException as error:  # noqa: BLE001 - an application's SystemExit ends its request only
            self.error = error
        self.ended = True
        self._mailbox.post(self)

    def fail(self, error: BaseException) -> None:
        """End the job with ``error``, if no thread can run it."""
        self.error = error
        self.ended = True
        self._mailbox.post(self)

    def put(self, message: Message) -> None:
        """Queue ``message``; the loop sends it together with the next message.

        :raises ClientDisconnected: the request was cancelled.
        """
        self.check_present()
        self._emitted += 1
        self.out.append(message)

    def emit(self, message: Message, size: int = 0) -> None:
        """Let the loop send ``message``, which has ``size`` bytes of body, and wait until there is room for more.

        :raises ClientDisconnected: the request was cancelled.
        """
        self.put(message)
        self._produced += size
        self._mailbox.post(self)
        if self._produced - self._sent > HIGH_WATER:
            self._wait(self._has_room)

    def emit_last(self, message: Message) -> None:
        """Let the loop send the response's last message, without a wait.

        :raises ClientDisconnected: the request was cancelled.
        """
        self.put(message)
        self._mailbox.post(self)

    def emit_all(self) -> None:
        """Wait until all messages so far were sent.

        :raises ClientDisconnected: the request was cancelled.
        """
        self._wait(self._has_passed)

    def next_piece(self) -> bytes:
        """Return the next piece of the request's body, b"" at its end.

        :raises ClientDisconnected: the request was cancelled before the piece arrived.
        """
        body = cast(Incoming, self.body)
        while (piece := body.take()) is None:
            self._want_body(body)
            self._wait(body.has_come)
        if not body.ended and body.unread < LOW_WATER:
            self._want_body(body)
        return piece

    def check_present(self) -> None:
        """Check that the request was not cancelled.

        :raises ClientDisconnected: it was.
        """
        if self.gone:
            raise ClientDisconnected(self.record)

    def _want_body(self, body: Incoming) -> None:
        body.wanted = True
        self._mailbox.post(self)

    def _has_room(self) -> bool:
        return self._produced - self._sent <= LOW_WATER

    def _has_passed(self) -> bool:
        return self._passed == self._emitted

    def _wait(self, ready: Callable[[], bool]) -> None:
        if self._changed is None:
            self._changed = threading.Event()
        while True:
            self._changed.clear()
            self.check_present()
            if ready():
                return
            self._changed.wait()
