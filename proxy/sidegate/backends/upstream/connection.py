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
from sidegate.backends.upstream.client_stream import Call, Carrier
from sidegate.wire.events import PIECE, GoAway, Pong, Violation
from sidegate.wire.http2.client import Http2ClientCodec
from sidegate.wire.http2.engine import NO_ERROR

logger = logging.getLogger("sidegate.backend")

LAST_STREAM = 1 << 30
"""Half of the stream numbers (RFC 9113 5.1.1): time to open another connection, without haste."""

PING = b"sidegate"


class Owner:
    """Who has the link made and is told of its states; it only says what there is."""

    __slots__ = ()

    def link_ready(self, link: Link) -> None:
        """Requests may be sent."""
        raise NotImplementedError

    def link_has_room(self, link: Link) -> None:
        """The peer takes more streams than before."""
        raise NotImplementedError

    def link_over(self, link: Link) -> None:
        """No further request may be sent. Told once, also if it was never ready."""
        raise NotImplementedError

    def link_lost(self, link: Link) -> None:
        """The connection is gone."""
        raise NotImplementedError


class Link(Carrier):
    """An ``asyncio.Protocol``. ``name`` is for logs; ``share``: so many fronts divide what the peer takes at a time."""

    __slots__ = (
        "_announced", "_flush_scheduled", "_heard", "_lost", "_owner", "_pinged", "_share", "_write_paused", "calls",
        "codec", "hop", "leaving", "name", "parted", "ready", "transport",
    )  # fmt: skip

    def __init__(
        self, owner: Owner, name: str, share: int, codec: Http2ClientCodec, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__()
        self.name = name
        self._share = share
        self._announced = 0
        self.codec = codec
        self.loop = loop
        self.transport: asyncio.Transport | None = None
        self.calls: dict[int, Call] = {}
        self.blocked = []
        self.batch = 0
        self.ready = self.leaving = self.hop = False
        self.parted = False  # one side has said GOAWAY: the end is no failure
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
            self._settle()
        self.schedule_flush()

    def eof_received(self) -> bool:
        """The peer says nothing more: whatever waits for it waits in vain."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        self._end()
        self._owner.link_lost(self)

    def pause_writing(self) -> None:
        """The transport's buffer is full: keep the output in the codec."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._write_paused = False
        self.flush()

    def _handle(self, events: list[Any]) -> None:
        calls = self.calls
        for event in events:
            kind = type(event)
            if kind is GoAway:
                self.parted = self.parted or event.code == NO_ERROR
                self._be_over()
            elif kind is Violation:
                logger.warning("%s breaks HTTP/2: %s", self.name, event.detail)
                self.close()
            elif kind is not Pong:
                call = calls.get(event.stream_id)
                if call is not None:
                    call.put(event)

    def _settle(self) -> None:
        """SETTINGS have come, for the first time or again."""
        codec = self.codec
        more = codec.max_streams > self._announced
        self._announced = codec.max_streams
        self.places = -(-self._announced // self._share)
        if not codec.ready or self.leaving:
            return
        if not self.ready:
            self.ready = True
            self.hop = codec.hop
            self._owner.link_ready(self)
        elif more:
            self._owner.link_has_room(self)

    # For the relays.

    def open(self, headers: Headers, end_stream: bool) -> Call | None:
        """Send a request head (pseudo-header fields first); None if no stream can be opened any more."""
        stream_id = self.codec.request(headers, end_stream)
        if not stream_id:
            return None
        call = Call(self, self.codec, stream_id, end_stream)
        self.calls[stream_id] = call
        self.schedule_flush()
        if stream_id > LAST_STREAM:
            self.leave()
        return call

    def forget(self, call: Call) -> None:
        """The call is over."""
        self.calls.pop(call.stream_id, None)
        if self.leaving and not self.calls:
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
        if self.leaving and not self.calls:
            self.close()

    def _wake_blocked(self) -> None:
        self.blocked = [call for call in self.blocked if not call.check_drained()]

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
            self.parted = True
            self._be_over()
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

    def _be_over(self) -> None:
        if not self.leaving:
            self.leaving = True
            self._owner.link_over(self)

    def _end(self) -> None:
        if self._lost:
            return
        output = self.codec.take_output()  # a last GOAWAY
        if output and self.transport is not None and not self._write_paused:
            self.transport.write(output)
        self._lost = True
        self._be_over()
        self._handle(self.codec.receive_eof())
        self._wake_blocked()
