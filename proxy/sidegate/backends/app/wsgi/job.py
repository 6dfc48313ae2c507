"""One request of a WSGI application, between the event loop and the thread that runs it.

Where it stands: the loop's side (``backend.py``) makes it and waits for it; the thread's side (``response.py``,
``input.py``) runs it. It owns what passes between them, in both directions and bounded in both. It decides nothing.
Errors: ``ClientDisconnected`` in the thread, once nobody waits for the response any more.

Theory of operation. Every attribute is written by one side only. The thread appends ASGI messages to ``out`` and pieces
of body are appended to by the loop, which then look for each other: the thread *posts* the job, which wakes the loop's
coroutine; the loop sets ``_news``, which wakes the thread. ``_news`` is made when a thread has to wait for the first
time; whoever waits looks once more after it is there, so nothing is missed. Most requests never need one.

What a thread does is posted in order, and the mailbox is emptied in order: that a request has ended, which frees its
thread, is known before anything that this thread has done since.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from sidegate.aio.wakeup import Wakeup
from sidegate.asgi import Message, Scope
from sidegate.errors import ClientDisconnected

HIGH_WATER = 64 * 1024
"""Bytes that either side may be ahead of the other: response that was produced and not sent, request that came in and
was not read."""

LOW_WATER = 16 * 1024
"""A producer that waits goes on when no more than this is left."""


class Mailbox:
    """Wakes the loop for what threads have done: once for all that happens until it looks.

    ``release`` is called with each job when its thread is free again, whether anybody waits for that or not.
    """

    __slots__ = ("_context", "_loop", "_posted", "_release", "_told")

    def __init__(self, loop: asyncio.AbstractEventLoop, release: Callable[[Job], None]) -> None:
        self._loop = loop
        self._release = release
        self._posted: deque[Job] = deque()
        self._told = False
        self._context = contextvars.Context()
        """Of what the loop does for all of them; else it would do that in the context of one of the requests."""

    def post(self, job: Job) -> None:
        """From any thread."""
        self._posted.append(job)
        if not self._told:
            self._told = True
            try:
                self._loop.call_soon_threadsafe(self.deliver, context=self._context)
            except RuntimeError:  # the loop is closed: the process is about to end, and nobody waits
                return

    def deliver(self) -> None:
        """In the loop's thread: look."""
        self._told = False  # first: what is posted from here on is told again
        posted = self._posted
        while posted:
            job = posted.popleft()
            if job.ended and not job.released:
                job.released = True
                self._release(job)
            job.wake()


class Incoming:
    """A request's body that comes in pieces. ``wanted``: the thread waits for more of it, or soon will."""

    __slots__ = ("_fed", "_pieces", "_read", "ended", "wanted")

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._fed = self._read = 0  # bytes, by the loop and by the thread
        self.ended = False
        self.wanted = False

    @property
    def unread(self) -> int:
        """Bytes that the application has not taken."""
        return self._fed - self._read

    def feed(self, data: bytes, more: bool) -> None:
        """The next piece; called by the loop."""
        self._fed += len(data)
        self._pieces.append(data)
        self.ended = not more

    def take(self) -> bytes | None:
        """The next piece, b"" at the end, None if it has not come yet; called by the thread."""
        ended = self.ended  # before the look at what there is: the last piece may come in between
        if not self._pieces:
            return b"" if ended else None
        piece = self._pieces.popleft()
        self._read += len(piece)
        return piece

    def has_come(self) -> bool:
        """Whether ``take`` has an answer."""
        return bool(self._pieces) or self.ended


class Abandonment:
    """Nobody waits for a job's response any more. ``timer``: when its thread becomes a stuck one, if it ever does."""

    __slots__ = ("stuck", "timer")

    def __init__(self, timer: asyncio.TimerHandle | None) -> None:
        self.timer = timer
        self.stuck = False


class Job(Wakeup):
    """Made for one request: ``act`` does it, for ``scope`` and a body that is here whole or comes (None).

    ``error`` is what it came to, if it failed.
    """

    __slots__ = (
        "_act",
        "_emitted",
        "_mailbox",
        "_news",
        "_passed",
        "_produced",
        "_sent",
        "abandonment",
        "began",
        "body",
        "counted",
        "ended",
        "error",
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
        whole: bytes | None,
    ) -> None:
        super().__init__(loop)
        self.scope = scope
        self.whole = whole
        self.out: deque[Message] = deque()
        self.taken = self.ended = False  # by a thread
        self.began = 0.0
        self.counted = self.released = False  # by the loop
        self.abandonment: Abandonment | None = None
        self.error: BaseException | None = None
        self.gone = False
        self.body = Incoming() if whole is None else None
        self._mailbox = mailbox
        self._act = act
        self._news: threading.Event | None = None
        self._emitted = self._passed = 0  # messages, by the thread and by the loop
        self._produced = self._sent = 0  # bytes of response, by the thread and by the loop

    # For the loop.

    def passed(self, size: int) -> None:
        """A message with so many bytes of body was sent."""
        self._passed += 1
        self._sent += size
        self._tell()

    def feed(self, data: bytes, more: bool) -> None:
        """The next piece of the request's body."""
        body: Any = self.body
        body.feed(data, more)
        self._tell()

    def abandon(self) -> None:
        """Nobody waits for the response any more: the application learns of it where it next reads or writes."""
        self.gone = True
        self._tell()

    def _tell(self) -> None:
        news = self._news
        if news is not None:
            news.set()

    # For the thread.

    def run(self) -> None:
        """Do what there is to do. Nothing leaves it."""
        try:
            self._act(self)
        except BaseException as error:  # noqa: BLE001 - an application's SystemExit ends its request only
            self.error = error
        self.ended = True
        self._mailbox.post(self)

    def fail(self, error: BaseException) -> None:
        """In place of ``run``, if no thread can do it."""
        self.error = error
        self.ended = True
        self._mailbox.post(self)

    def put(self, message: Message) -> None:
        """Have the loop send ``message`` with what follows it. Raises ``ClientDisconnected``."""
        self.check_present()
        self._emitted += 1
        self.out.append(message)

    def emit(self, message: Message, size: int = 0) -> None:
        """Have the loop send ``message``, which has so many bytes of body, and wait until there is room for more.

        Raises ``ClientDisconnected``.
        """
        self.put(message)
        self._produced += size
        self._mailbox.post(self)
        if self._produced - self._sent > HIGH_WATER:
            self._wait(self._has_room)

    def emit_last(self, message: Message) -> None:
        """Have the loop send the response's last message; there is nothing to wait for."""
        self.put(message)
        self._mailbox.post(self)

    def emit_all(self) -> None:
        """Wait until all messages so far were sent. Raises ``ClientDisconnected``."""
        self._wait(self._has_passed)

    def next_piece(self) -> bytes:
        """The next piece of the request's body, b"" at its end. Raises ``ClientDisconnected``."""
        body = cast(Incoming, self.body)
        while (piece := body.take()) is None:
            self._want_body(body)
            self._wait(body.has_come)
        if not body.ended and body.unread < LOW_WATER:
            self._want_body(body)
        return piece

    def check_present(self) -> None:
        """Raise ``ClientDisconnected`` if nobody waits for the response any more."""
        if self.gone:
            raise ClientDisconnected("the client disconnected")

    def _want_body(self, body: Incoming) -> None:
        body.wanted = True
        self._mailbox.post(self)

    def _has_room(self) -> bool:
        return self._produced - self._sent <= LOW_WATER

    def _has_passed(self) -> bool:
        return self._passed == self._emitted

    def _wait(self, ready: Callable[[], bool]) -> None:
        if self._news is None:
            self._news = threading.Event()
        while True:
            self._news.clear()
            self.check_present()
            if ready():
                return
            self._news.wait()
