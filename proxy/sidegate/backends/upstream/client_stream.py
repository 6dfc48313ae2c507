"""One request on an upstream connection: the events of its response that have arrived, until the relay takes them.

The connection adds the events, and the relay waits for them. It owns its entry in the connection's ``streams`` and the
count of body bytes that the relay has not acknowledged yet. It raises no error.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from sidegate.aio.wakeup import Wakeup
from sidegate.backends.load_balancer import Target
from sidegate.wire.client_codec import ClientCodec
from sidegate.wire.codes import CANCEL
from sidegate.wire.events import Body, End, Reset

HIGH_WATER = 64 * 1024
"""Request bytes that a stream may have queued before its sender waits: the same limit as for a client's response."""

LOW_WATER = 16 * 1024
"""The sender continues when at most this many bytes are queued."""


class Abandoned:
    """An event: the relay must end, for the reason ``error``: a body cannot be read, or the response not be sent."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error


class UpstreamConnectionBase(Target):
    """The part of a connection that its client streams use; ``connection.py`` implements it."""

    __slots__ = ("batch", "blocked", "loop")

    loop: asyncio.AbstractEventLoop
    batch: int
    """Number of writes so far."""
    blocked: list[ClientStream]
    """The streams whose sender waits for the stream's window or for the transport."""

    def schedule_flush(self) -> None:
        """Write the codec's output at the end of this iteration of the loop."""
        raise NotImplementedError

    def forget(self, stream: ClientStream) -> None:
        """Remove a stream that has ended."""
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

    def __init__(self, connection: UpstreamConnectionBase, codec: ClientCodec, stream_id: int, whole: bool) -> None:
        """``whole``: the request has no body."""
        super().__init__(connection.loop)
        self.stream_id = stream_id
        self.events: deque[Any] = deque()
        self._connection = connection
        self._codec = codec
        self._batch = connection.batch
        self._drained: asyncio.Future[None] | None = None
        self._unread = 0
        self._ended = False  # no further event will come from the peer
        self._whole = whole

    @property
    def sent(self) -> bool:
        """Whether anything of the request may have left this process."""
        return self._batch != self._connection.batch

    # For the connection.

    def put(self, event: Any) -> None:
        """Add an event of this stream."""
        kind = type(event)
        if kind is Body:
            self._unread += len(event.data)
        elif kind is End or kind is Reset:
            self._ended = True
        self.events.append(event)
        self.wake()

    def check_drained(self) -> bool:
        """Continue the sender if its queue is short. True if no sender of this stream waits any more."""
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
        """Send a piece of the request's body."""
        self._codec.send_data(self.stream_id, data, end_stream)
        self._connection.schedule_flush()

    async def drained(self) -> None:
        """Wait until the stream's queue is short, or the stream has ended."""
        if self._codec.pending(self.stream_id) <= HIGH_WATER or self._ended:
            return
        self._drained = self.loop.create_future()
        self._connection.blocked.append(self)
        await self._drained

    def acknowledge(self, size: int, last: bool) -> None:
        """Let the peer send ``size`` more bytes: the client's side took as many of the response.

        ``last``: the stream needs no more credit, and the connection's credit can wait for the next output.
        """
        self._unread -= size
        self._codec.acknowledge(self.stream_id, size)
        if not last:
            self._connection.schedule_flush()

    def abandon(self, error: Exception) -> None:
        """Let the relay end with ``error`` when it next looks for an event."""
        self.put(Abandoned(error))

    def close(self) -> None:
        """End the stream: the response is complete, or the relay gives up. An incomplete stream is reset (CANCEL).

        It is incomplete, too, if the response has ended and the rest of the request waits for the peer to read it:
        a peer that has answered need not read on (RFC 9113 8.1), and the stream would count for ever.
        """
        self.events.clear()  # among them may be an error, which refers to the frames of the relay
        if self._unread:
            self._codec.acknowledge(self.stream_id, self._unread)
        if not (self._ended and self._whole) and self._codec.reset(self.stream_id, CANCEL):
            self._connection.schedule_flush()
        self._connection.forget(self)
