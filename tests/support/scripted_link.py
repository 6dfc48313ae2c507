"""An ``UpstreamConnection`` without a socket: the test is the event loop, the transport's peer and the balancer."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import struct
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, cast

from sidegate.backends.load_balancer import LoadBalancer
from sidegate.backends.upstream.client_stream import ClientStream
from sidegate.backends.upstream.connection import ConnectionOwner, UpstreamConnection
from sidegate.wire.client_codec import ClientCodec

Frame = tuple[int, int, int, bytes]
"""Type, flags, stream and payload."""


def frames(output: bytes) -> Iterator[Frame]:
    """The frames of HTTP/2 in ``output``, which ends with a whole one; header blocks are not decoded."""
    while output:
        high, low, kind, flags, stream = struct.unpack_from(">BHBBL", output)
        end = 9 + (high << 16 | low)
        yield kind, flags, stream, output[9:end]
        output = output[end:]


class ManualLoop:
    """An event loop whose iterations and whose time the test makes. Only what a connection uses of one is there."""

    def __init__(self) -> None:
        self.now = 0.0
        self._ready: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._timers: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> None:
        self._ready.append((callback, args))

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> None:
        heapq.heappush(self._timers, (self.now + delay, next(self._numbers), callback, args))

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=cast(Any, self))

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def turn(self) -> None:
        """One iteration: what was scheduled before it, and the timers that are due."""
        while self._timers and self._timers[0][0] <= self.now:
            _, _, callback, args = heapq.heappop(self._timers)
            self._ready.append((callback, args))
        for _ in range(len(self._ready)):
            callback, args = self._ready.popleft()
            callback(*args)

    def settle(self) -> None:
        """Iterations until nothing is scheduled."""
        self.turn()
        while self._ready:
            self.turn()


class ScriptedTransport(asyncio.Transport):
    """``written``: what left for the socket. ``stalled``: the peer reads nothing, so a write fills the buffer.

    ``state``: ``open``, ``closing`` (``close`` waits for the peer to read) or ``closed``. ``discarded``: a write came
    after a failure that the connection had not been told of; it went nowhere, as in a real transport.
    """

    def __init__(self, protocol: UpstreamConnection, loop: ManualLoop) -> None:
        super().__init__()
        self._protocol, self._loop = protocol, loop
        self.written = bytearray()
        self.state = "open"
        self.stalled = self.full = self.discarded = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.state == "closed":
            self.discarded = True
            return
        assert self.state == "open", "a write after the end"
        assert data
        assert not self.full, "a write while writing was paused"
        self.written += data
        if self.stalled:
            self.full = True
            self._protocol.pause_writing()

    def unstall(self) -> None:
        """The peer reads on."""
        self.stalled = False
        if self.full:
            self.full = False
            if self.state == "closing":
                self._end()
            else:
                self._protocol.resume_writing()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.state != "open"

    def close(self) -> None:
        if self.state == "open":
            self.state = "closing"
            if not self.full:
                self._end()

    def abort(self) -> None:
        if self.state != "closed":
            self._end()

    def _end(self) -> None:
        self.state = "closed"
        self._loop.call_soon(self._protocol.connection_lost, None)


class Owner(ConnectionOwner):
    """The balancer's part: ``in_use`` is counted by a real ``LoadBalancer``."""

    def __init__(self) -> None:
        self.load_balancer = LoadBalancer(0)
        self.unavailable = self.closed = 0

    def connection_ready(self, connection: UpstreamConnection) -> None:
        self.load_balancer.add(connection)

    def connection_has_room(self, connection: UpstreamConnection) -> None:
        pass

    def connection_unavailable(self, connection: UpstreamConnection) -> None:
        self.load_balancer.remove(connection)
        self.unavailable += 1

    def connection_closed(self, connection: UpstreamConnection) -> None:
        self.closed += 1


class Link:
    """A connection with its codec, its transport and its owner; the transport is connected."""

    def __init__(self, codec: ClientCodec) -> None:
        self.loop = ManualLoop()
        self.owner = Owner()
        self.codec = codec
        self.connection = UpstreamConnection(self.owner, "scripted", 1, codec, cast(Any, self.loop))
        self.transport = ScriptedTransport(self.connection, self.loop)
        self.connection.connection_made(self.transport)
        self.loop.settle()

    @property
    def written(self) -> bytes:
        """All that left for the socket."""
        return bytes(self.transport.written)

    def take_written(self) -> bytes:
        """What left since the last call."""
        taken = bytes(self.transport.written)
        self.transport.written.clear()
        return taken

    def open(self, headers: list[tuple[bytes, bytes]], end_stream: bool = True) -> ClientStream:
        """Open a stream as a relay does; there must be a place for it."""
        assert self.owner.load_balancer.take() is self.connection
        stream = self.connection.open(list(headers), end_stream)
        assert stream is not None
        return stream

    def close(self, stream: ClientStream) -> None:
        """End a stream as a relay does."""
        stream.close()
        self.owner.load_balancer.give_back(self.connection)
