"""Calls of ``send`` that wait until enough of their stream's output was written.

A connection owns one ``Waiters``. Few senders wait at the same time, so a list is enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Waiters:
    """Holds (stream id, future) of every ``send`` that waits."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, asyncio.Future[None]]] = []

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, stream_id: int, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Make a future that is done when the stream has drained or was released."""
        waiter = loop.create_future()
        self._entries.append((stream_id, waiter))
        return waiter

    def wake(self, drained: Callable[[int], bool]) -> None:
        """Wake the senders whose stream has drained: ``drained(stream_id)`` is true."""
        still = []
        for entry in self._entries:
            stream_id, waiter = entry
            if not waiter.done():  # the application may have cancelled it
                if drained(stream_id):
                    waiter.set_result(None)
                else:
                    still.append(entry)
        self._entries = still

    def release(self, stream_id: int) -> None:
        """Wake the senders of one stream that has ended."""
        self.wake(stream_id.__eq__)
