"""One HTTP/2 connection to an endpoint: bytes to events to calls, and output back.

Where it stands: below the balancer, between the event loop's transport and the relays. It owns the codec in the
client's role, the calls that are under way and the order of writing. It never waits for a relay: what arrives goes
into the call, and flow-control credit goes back only when the relay has passed it on, so a slow client costs a window
and not the connection.

Theory of operation. A link is *ready* when the peer's SETTINGS have come: only then is it known how many streams the
peer takes and whether it is a worker of ours. It is *leaving* when no further request may begin (GOAWAY of either side,
or stream numbers running out); what is under way ends first. ``reconnector.py`` connects another one meanwhile. Output
is written at the end of the loop's iteration, so that requests of many streams leave in one write; ``batch`` counts the
writes, by which a call knows whether anything of it can have reached the peer.

No error leaves it: a connection that breaks is closed, its calls are told by a ``Reset``.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

from sidegate.asgi import Headers
from sidegate.backends.upstream.client_stream import ClientStream, UpstreamConnectionBase
from sidegate.wire.events import PIECE, GoAway, PingAck, Violation
from sidegate.wire.http2.client import Http2ClientCodec
from sidegate.wire.http2.engine import NO_ERROR

logger = logging.getLogger("sidegate.backend")

LAST_STREAM = 1 << 30
"""Half of the stream numbers (RFC 9113 5.1.1): time to open another connection, without haste."""

PING = b"sidegate"


class ConnectionOwner:
    """Who has the link made and is told of its states; it only says what there is."""

    __slots__ = ()

    def connection_ready(self, connection: UpstreamConnection) -> None:
        """Requests may be sent."""
        raise NotImplementedError

    def connection_has_room(self, connection: UpstreamConnection) -> None:
        """The peer takes more streams than before."""
        raise NotImplementedError

    def connection_unavailable(self, connection: UpstreamConnection) -> None:
        """No further request may be sent. Told once, also if it was never ready."""
        raise NotImplementedError

    def connection_closed(self, connection: UpstreamConnection) -> None:
        """The connection is gone."""
        raise NotImplementedError


class UpstreamConnection(UpstreamConnectionBase):
    """An ``asyncio.Protocol``.

    ``name`` is for logs. ``fronts``: number of front processes that share the peer's stream limit.
    """

    __slots__ = (
        "_announced",
        "_flush_scheduled",
        "_fronts",
        "_heard",
        "_lost",
        "_owner",
        "_pinged",
        "_write_paused",
        "codec",
        "hop",
        "leaving",
        "name",
        "ready",
        "said_goaway",
        "streams",
        "transport",
    )  # fmt: skip

    def __init__(
        self, owner: ConnectionOwner, name: str, fronts: int, codec: Http2ClientCodec, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__()
        self.name = name
        self._fronts = fronts
        self._announced = 0
        self.codec = codec
        self.loop = loop
        self.transport: asyncio.Transport | None = None
        self.streams: dict[int, ClientStream] = {}
        self.blocked = []
        self.batch = 0
        self.ready = self.leaving = self.hop = False
        self.said_goaway = False  # one side has said GOAWAY: the end is no failure
        self._owner = owner
        self._flush_scheduled = self._write_paused = self._lost = False
        self._heard = False  # since the last check
        self._pinged: float | None = None  # when, unless something has been heard since

    # From the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        self.transport = cast(asyncio.Transport, transport)
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer."""
        self._heard = True
        self._handle(self.codec.receive(data))
        if self._announced != self.codec.max_streams or not self.ready:
            self._apply_settings()
        self.schedule_flush()

    def eof_received(self) -> bool:
        """The peer says nothing more: whatever waits for it waits in vain."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        self._end()
        self._owner.connection_closed(self)

    def pause_writing(self) -> None:
        """The transport's buffer is full: keep the output in the codec."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._write_paused = False
        self.flush()

    def _handle(self, events: list[Any]) -> None:
        streams = self.streams
        for event in events:
            kind = type(event)
            if kind is GoAway:
                self.said_goaway = self.said_goaway or event.code == NO_ERROR
                self._become_unavailable()
            elif kind is Violation:
                logger.warning("%s: HTTP/2 protocol violation: %s", self.name, event.detail)
                self.close()
            elif kind is not PingAck:
                stream = streams.get(event.stream_id)
                if stream is not None:
                    stream.put(event)

    def _apply_settings(self) -> None:
        """SETTINGS have come, for the first time or again."""
        codec = self.codec
        more = codec.max_streams > self._announced
        self._announced = codec.max_streams
        self.capacity = -(-self._announced // self._fronts)
        if not codec.ready or self.leaving:
            return
        if not self.ready:
            self.ready = True
            self.hop = codec.hop
            self._owner.connection_ready(self)
        elif more:
            self._owner.connection_has_room(self)

    # For the relays.

    def open(self, headers: Headers, end_stream: bool) -> ClientStream | None:
        """Send a request head (pseudo-header fields first); None if no stream can be opened any more."""
        stream_id = self.codec.request(headers, end_stream)
        if not stream_id:
            return None
        stream = ClientStream(self, self.codec, stream_id, end_stream)
        self.streams[stream_id] = stream
        self.schedule_flush()
        if stream_id > LAST_STREAM:
            self.leave()
        return stream

    def forget(self, stream: ClientStream) -> None:
        """The call is over."""
        self.streams.pop(stream.stream_id, None)
        if self.leaving and not self.streams:
            self.schedule_flush()  # which closes

    def schedule_flush(self) -> None:
        """Write what the codec has at the end of this iteration of the loop."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what the codec has; let senders go on whose queue that shortens."""
        self._flush_scheduled = False
        transport = self.transport
        if self._write_paused or self._lost or transport is None:
            return
        while output := self.codec.take_output():
            self.batch += 1
            transport.write(output)
            if self._write_paused:
                return
            if len(output) < PIECE:
                break
        if self.blocked:
            self._wake_blocked()
        if self.leaving and not self.streams:
            self.close()

    def _wake_blocked(self) -> None:
        self.blocked = [stream for stream in self.blocked if not stream.check_drained()]

    # For the balancer.

    def silent_for(self, now: float) -> float:
        """For how many seconds a PING has waited for its answer. Sends one if nothing has come since the last call.

        Whatever comes is an answer, for the peer's event loop has sent it.
        """
        if self._heard or not self.ready or self._lost:
            self._heard = False
            self._pinged = None
            return 0.0
        if self._pinged is None:
            self._pinged = now
            self.codec.ping(PING)
            self.schedule_flush()
        return now - self._pinged

    def forgive(self) -> None:
        """Nothing can be said of the peer's silence: this process had no time to listen."""
        self._heard = True

    def leave(self) -> None:
        """Send no further request; close when those under way have ended."""
        if not self.leaving:
            self.codec.goaway()
            self.said_goaway = True
            self._become_unavailable()
        self.schedule_flush()

    def close(self) -> None:
        """Close now, after what is written already; calls that are open are lost."""
        self._end()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()

    def abort(self) -> None:
        """Cut it now."""
        self._end()
        if self.transport is not None:
            self.transport.abort()

    def _become_unavailable(self) -> None:
        if not self.leaving:
            self.leaving = True
            self._owner.connection_unavailable(self)

    def _end(self) -> None:
        if self._lost:
            return
        output = self.codec.take_output()  # a last GOAWAY
        if output and self.transport is not None and not self._write_paused:
            self.transport.write(output)
        self._lost = True
        self._become_unavailable()
        self._handle(self.codec.receive_eof())
        self._wake_blocked()
