"""A request's body on its way to a worker, as fast as the worker takes it.

Where it stands: made by the relay for a request that has a body. It owns the only second task that a relayed request
can have, and the copy of what was sent so far: a request that a peer did not take is sent again elsewhere.

A body that is announced with at most ``KEPT`` bytes is read whole before a worker is chosen: a client that sends
slowly then takes no worker's place, and no second task is needed. Larger ones stream.

Errors: ``ClientDisconnected`` from ``gather``.
"""

from __future__ import annotations

import asyncio

from sidegate.asgi import Headers, Receive
from sidegate.backends.upstream.client_stream import Abandoned, ClientStream
from sidegate.errors import ClientDisconnected

KEPT = 64 * 1024
"""Bytes that are kept to be sent again."""


class Upload:
    """One request's body. ``replayable``: all that was read so far is still here."""

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
        """Whether the body turned out to have no bytes."""
        return self._ended and not self._size

    @property
    def consumed(self) -> bool:
        """Whether any of it was read."""
        return self._size > 0

    async def gather(self) -> None:
        """Read all of it. Raises ``ClientDisconnected``."""
        while not self._ended:
            if await self._next() is None:
                raise ClientDisconnected("the client disconnected")

    def start(self, stream: ClientStream) -> None:
        """Send what is here, then whatever comes."""
        if self._ended and self.replayable:
            stream.send_data(b"".join(self._kept), True)
        else:
            self._task = asyncio.get_running_loop().create_task(self._pump(stream))

    def stop(self) -> None:
        """Send no more. What was not read stays where it is."""
        if self._task is not None:
            self._task.cancel()

    async def stopped(self) -> None:
        """Wait until nothing reads any more."""
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
        """The next piece; None if the client went away."""
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
    """``content-length`` of judged fields."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return None
