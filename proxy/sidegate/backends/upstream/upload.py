"""Sends a request's body to an upstream, as fast as the upstream accepts it.

The relay makes one for a request that has a body. It owns the only second task that a relayed request can have, and a
copy of the bytes sent so far, because a request that a peer refused is sent again to another one.

A body whose content-length is at most ``KEPT`` bytes is read completely before a connection is selected: so a slow
client uses no capacity of a worker, and no second task is needed. Larger bodies are streamed.
"""

from __future__ import annotations

import asyncio

from sidegate.aio.tasks import internal_task
from sidegate.asgi import Headers, Receive
from sidegate.backends.upstream.client_stream import Abandoned, ClientStream

KEPT = 64 * 1024
"""Largest number of bytes that are kept to be sent again."""


class Upload:
    """One request's body. ``replayable``: whether all bytes read so far are still kept."""

    __slots__ = ("_ended", "_kept", "_receive", "_size", "_task", "replayable")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: list[bytes] = []
        self._size = 0
        self._ended = False
        self._task: asyncio.Task[None] | None = None
        self.replayable = True

    @property
    def empty(self) -> bool:
        """Whether the body has ended without any bytes."""
        return self._ended and not self._size

    @property
    def consumed(self) -> bool:
        """Whether any bytes of the body were read."""
        return self._size > 0

    async def gather(self) -> bool:
        """Read the whole body. False if the client disconnected before its end."""
        while not self._ended:
            if await self._next() is None:
                return False
        return True

    def start(self, stream: ClientStream) -> None:
        """Send the bytes that are kept, then, in a task, the rest of the body as it arrives."""
        if self._ended and self.replayable:
            stream.send_data(b"".join(self._kept), True)
        else:
            self._task = internal_task(self._pump(stream))

    def stop(self) -> None:
        """Stop sending. The rest of the body stays unread."""
        if self._task is not None:
            self._task.cancel()

    async def stopped(self) -> None:
        """Wait until the task has ended."""
        if self._task is not None:
            await asyncio.wait([self._task])
            self._task = None

    async def _pump(self, stream: ClientStream) -> None:
        for data in self._kept.copy():
            stream.send_data(data, False)
            await stream.drained()
        while not self._ended:
            piece = await self._next()
            if piece is None:
                stream.put(Abandoned())
                return
            if piece or self._ended:
                stream.send_data(piece, self._ended)
                await stream.drained()

    async def _next(self) -> bytes | None:
        """Read the next piece; None if the client disconnected."""
        message = await self._receive()
        if message["type"] != "http.request":
            return None
        data: bytes = message["body"]
        self._ended = not message["more_body"]
        self._size += len(data)
        if self.replayable:
            self._kept.append(data)
            if self._size > KEPT:
                self.replayable = False
                self._kept.clear()
        return data


def announced_length(headers: Headers) -> int | None:
    """The value of ``content-length`` in checked fields; None if there is no such field."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return None
