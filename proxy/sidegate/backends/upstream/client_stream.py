"""One request on a link: what has arrived of its response, and who waits for it.

Where it stands: between the link, which brings events, and the relay, which takes them. It owns the stream's place in
the link and the count of body bytes that nobody has taken yet. It decides nothing. No error leaves it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from sidegate.aio.wakeup import Wakeup
from sidegate.backends.load_balancer import Target
from sidegate.wire.events import Body, End, Reset
from sidegate.wire.http2.client import Http2ClientCodec
from sidegate.wire.http2.engine import CANCEL

HIGH_WATER = 64 * 1024
"""Request bytes that a stream may have queued before its sender waits: as much as a client's response may."""

LOW_WATER = 16 * 1024
"""The sender goes on when no more than this is queued."""


class Abandoned:
    """The event that the client went away while its request was being read."""


class UpstreamConnectionBase(Target):
    """A link, seen from one of its calls; it only says what there is, and ``connection.py`` has the rest."""

    __slots__ = ("batch", "blocked", "loop")

    loop: asyncio.AbstractEventLoop
    batch: int
    """Writes so far."""
    blocked: list[ClientStream]
    """Those whose sender waits for the stream's window or for the transport."""

    def schedule_flush(self) -> None:
        """Write what the codec has at the end of this iteration of the loop."""
        raise NotImplementedError

    def forget(self, stream: ClientStream) -> None:
        """The stream has ended."""
        raise NotImplementedError


class ClientStream(Wakeup):
    """One stream, made by ``UpstreamConnection.open``.

    ``events``: the codec's events in order, and ``Abandoned``. Each event wakes the relay.
    """

    __slots__ = (
        "_batch",
        "_codec",
        "_connection",
        "_drained",
        "_ended",
        "_unread",
        "_whole",
        "events",
        "stream_id",
    )  # fmt: skip

    def __init__(
        self, connection: UpstreamConnectionBase, codec: Http2ClientCodec, stream_id: int, whole: bool
    ) -> None:
        """``whole``: the request has no body, or no more of it."""
        super().__init__(connection.loop)
        self.stream_id = stream_id
        self.events: deque[Any] = deque()
        self._connection = connection
        self._codec = codec
        self._batch = connection.batch
        self._drained: asyncio.Future[None] | None = None
        self._unread = 0
        self._ended = False  # the peer will say nothing more
        self._whole = whole

    @property
    def sent(self) -> bool:
        """Whether anything of the request may have left this process."""
        return self._batch != self._connection.batch

    # From the link.

    def put(self, event: Any) -> None:
        """An event of this stream."""
        kind = type(event)
        if kind is Body:
            self._unread += len(event.data)
        elif kind is End or kind is Reset:
            self._ended = True
        self.events.append(event)
        self.wake()

    def check_drained(self) -> bool:
        """Let the sender go on if it may; True if nobody waits for this call any more."""
        waiter = self._drained
        if waiter is None:
            return True
        if self._codec.pending(self.stream_id) > LOW_WATER and not self._ended:
            return False
        self._drained = None
        if not waiter.done():
            waiter.set_result(None)
        return True

    # For the relay.

    def send_data(self, data: bytes, end_stream: bool) -> None:
        """Request body."""
        self._whole = end_stream
        self._codec.send_data(self.stream_id, data, end_stream)
        self._connection.schedule_flush()

    async def drained(self) -> None:
        """Wait until the stream's queue is short, or the stream is over."""
        if self._codec.pending(self.stream_id) <= HIGH_WATER or self._ended:
            return
        self._drained = self.loop.create_future()
        self._connection.blocked.append(self)
        await self._drained

    def acknowledge(self, size: int, last: bool) -> None:
        """The client's side took so much of the response: the peer may send as much again.

        ``last``: this stream needs no credit any more, and the connection's can wait for the next output.
        """
        self._unread -= size
        self._codec.acknowledge(self.stream_id, size)
        if not last:
            self._connection.schedule_flush()

    def close(self) -> None:
        """The relay has what it wanted, or gives up: the stream is over."""
        if self._unread:
            self._codec.acknowledge(self.stream_id, self._unread)
        if not (self._ended and self._whole):
            self._codec.reset(self.stream_id, CANCEL)
            self._connection.schedule_flush()
        self._connection.forget(self)
