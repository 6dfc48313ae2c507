"""Sends a request's body to an upstream, as fast as the upstream accepts it.

The relay makes one for a request that has a body. It owns the only second task that a relayed request can have, and a
copy of the bytes sent so far, because a request that a peer refused is sent again to another one.

A body that is buffered, or whose content-length is at most ``KEPT`` bytes, is read completely before a connection is
selected (``body_buffer.py``): so a slow client uses no capacity of a worker. Up to ``KEPT`` bytes need no second task.
Other bodies are streamed.
"""

from __future__ import annotations

import asyncio

from sidegate.aio.tasks import internal_task
from sidegate.aio.temporary_files import TemporaryFile
from sidegate.asgi import Receive
from sidegate.backends.body_buffer import KEPT, BodyBuffer
from sidegate.backends.upstream.client_stream import ClientStream
from sidegate.errors import ClientDisconnected
from sidegate.observe.record import Record


class Upload:
    """One request's body; ``buffer``: what was read of it. ``replayable``: whether all bytes read so far are kept."""

    __slots__ = ("_ended", "_file", "_kept", "_receive", "_record", "_size", "_task", "replayable")

    def __init__(self, receive: Receive, record: Record, buffer: BodyBuffer | None) -> None:
        self._record = record
        content = None if buffer is None else buffer.content
        self._receive = receive if buffer is None else buffer.receive
        self._kept = [content] if isinstance(content, bytes) else []
        self._ended = isinstance(content, bytes)
        self._file = buffer if isinstance(content, TemporaryFile) else None  # has the whole body
        self._size = 0 if buffer is None or content is None else buffer.size
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

    def start(self, stream: ClientStream) -> None:
        """Send the bytes that are kept, then, in a task, the rest of the body as it arrives, or from its file."""
        if self._file is not None:
            self._ended = False
            self._file.rewind()
        if self._ended and self.replayable:
            stream.send_data(b"".join(self._kept), True)
        else:
            self._task = internal_task(self._pump(stream))
            self._task.add_done_callback(self._forget)

    def stop(self) -> None:
        """Stop sending. The rest of the body stays unread."""
        if self._task is not None:
            self._task.cancel()

    async def stopped(self) -> None:
        """Wait until the task has ended."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def _forget(self, task: asyncio.Task[None]) -> None:
        """Drop a task that has ended: one that was cancelled keeps its error, which refers to the frames of this."""
        if self._task is task:
            self._task = None

    async def _pump(self, stream: ClientStream) -> None:
        try:
            await self._send_all(stream)
        except Exception as error:  # noqa: BLE001 - raised by the relay, which waits for the response
            stream.abandon(error)

    async def _send_all(self, stream: ClientStream) -> None:
        for data in self._kept.copy():
            stream.send_data(data, False)
            await stream.drained()
        while not self._ended:
            piece = await self._next()
            if piece or self._ended:
                stream.send_data(piece, self._ended)
                await stream.drained()

    async def _next(self) -> bytes:
        """Read the next piece."""
        message = await self._receive()
        if message["type"] != "http.request":
            raise ClientDisconnected(self._record)
        data: bytes = message["body"]
        self._ended = not message["more_body"]
        if self._file is not None:
            return data
        self._size += len(data)
        if self.replayable:
            self._kept.append(data)
            if self._size > KEPT:
                self.replayable = False
                self._kept.clear()
        return data
