"""Senders that wait for their stream's queue to drain.

Where it stands: owned by a connection. Few wait at a time, so a list is enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Waiters:
    """(stream, future) of every ``send`` that waits."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, asyncio.Future[None]]] = []

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, stream_id: int, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """A future that is done when the stream has drained or was given up."""
        waiter = loop.create_future()
        self._entries.append((stream_id, waiter))
        return waiter

    def wake(self, drained: Callable[[int], bool]) -> None:
        """Free those whose stream has drained."""
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
        """Free those of one stream: it was given up."""
        self.wake(stream_id.__eq__)
