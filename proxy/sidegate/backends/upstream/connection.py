"""One connection to an endpoint: it passes the peer's events to the client streams, and writes their output.

The balancer makes it. It connects the event loop's transport with the relays. It owns the codec in the client's role,
the streams in flight and the order of writing. It never waits for a relay: events go into the client stream, and
flow-control credit goes back only after the relay has passed the bytes on. So a slow client blocks its stream and not
the connection. It raises no error: a connection that breaks is closed, and each of its streams gets a ``Reset``.

Theory of operation. A connection is *ready* when the codec knows how many streams the peer allows and whether the peer
is a worker; on HTTP/2 the peer's SETTINGS say it. It is *leaving* when no further request may begin (the codec is
``draining``, or few stream numbers are left); the streams in flight are finished, and ``endpoint_connections.py`` opens
another connection meanwhile. Reading pauses while the codec asks for it, also until the rest of a read is handled that
was too long for one turn of the loop. Output is written at the end of the loop's
iteration, so that the requests of many streams go into one write. ``batch`` counts the writes: it tells a stream
whether any of its bytes can have reached the peer. When the connection ends, a request that has not been written is
dropped with all other output, so that ``retry.py`` may send it elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

from sidegate.asgi import Headers
from sidegate.backends.upstream.client_stream import ClientStream, UpstreamConnectionBase
from sidegate.wire.client_codec import ClientCodec
from sidegate.wire.codes import NO_ERROR
from sidegate.wire.events import PIECE, GoAway, PingAck, Violation

logger = logging.getLogger("sidegate.backend")

LAST_STREAM = 1 << 30
"""Half of the stream numbers (RFC 9113 5.1.1). After it the connection is replaced, long before they are used up."""

CLOSE_TIMEOUT = 5.0
"""Seconds that a closed connection may take to write its last output: a peer that does not read would never end it."""

PING = b"sidegate"

LOST, UNUSED, EXPECTED = range(3)
"""``ending`` of a connection: ``LOST`` until one side has announced the end without an error. ``UNUSED``: the peer has,
and it has neither answered a request nor promised to. ``EXPECTED``: it is no failure."""

_RECEIVED, _QUIET = -2.0, -1.0
"""``_silence`` since the last check; a loop time instead: that of a PING, unanswered so far."""


class ConnectionOwner:
    """The interface by which a connection reports its states; ``Balancer`` implements it."""

    __slots__ = ()

    def connection_ready(self, connection: UpstreamConnection) -> None:
        """Requests may be sent."""
        raise NotImplementedError

    def connection_has_room(self, connection: UpstreamConnection) -> None:
        """The peer allows more streams than before."""
        raise NotImplementedError

    def connection_unavailable(self, connection: UpstreamConnection) -> None:
        """No further request may be sent. Called once, even if the connection was never ready."""
        raise NotImplementedError

    def connection_closed(self, connection: UpstreamConnection) -> None:
        """The socket is closed."""
        raise NotImplementedError


class UpstreamConnection(UpstreamConnectionBase):
    """An ``asyncio.Protocol``.

    ``name`` is for logs. ``fronts``: number of front processes that share the peer's stream limit.
    """

    __slots__ = (
        "_announced",
        "_flush_scheduled",
        "_fronts",
        "_lost",
        "_owner",
        "_read_paused",
        "_silence",
        "_write_paused",
        "codec",
        "ending",
        "leaving",
        "name",
        "ready",
        "streams",
        "transport",
        "violation",
    )  # fmt: skip

    def __init__(
        self, owner: ConnectionOwner, name: str, fronts: int, codec: ClientCodec, loop: asyncio.AbstractEventLoop
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
        self.ready = self.leaving = False
        self.ending = LOST
        self.violation = ""  # what the peer sent instead of this version of HTTP, before the connection was ready
        self._owner = owner
        self._flush_scheduled = self._write_paused = self._read_paused = self._lost = False
        self._silence = _QUIET

    # For the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        self.transport = cast(asyncio.Transport, transport)
        self.flush()
        if self.codec.ready:  # HTTP/1.1: the peer need not say anything first
            self._apply_settings()

    def data_received(self, data: bytes) -> None:
        """Handle bytes from the peer; b"" continues with what is left of a long read."""
        self._silence = _RECEIVED
        self._handle(self.codec.receive(data))
        if self._announced != self.codec.max_streams or not self.ready:
            self._apply_settings()
        if self.codec.read_paused():
            self._pause_reading()
        if self.codec.more:
            self.loop.call_soon(self.data_received, b"")
        self.schedule_flush()

    def eof_received(self) -> bool:
        """The peer will send nothing more. This may end one response; let the transport close."""
        self._end(True)
        self._abort_later()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is closed: end all streams."""
        self._end(False)
        self._owner.connection_closed(self)

    def pause_writing(self) -> None:
        """The transport's buffer is full: leave further output in the codec."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""
        self._write_paused = False
        self.flush()

    def _pause_reading(self) -> None:
        if self.transport is not None and not self._read_paused and not self._lost:
            self._read_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self.transport is not None and not self.codec.read_paused():
            self._read_paused = False
            self.transport.resume_reading()

    def _handle(self, events: list[Any]) -> None:
        streams = self.streams
        for event in events:
            kind = type(event)
            if kind is GoAway:
                if event.code == NO_ERROR and self.ending == LOST:
                    self.ending = UNUSED if self.codec.closed and not self.codec.answered else EXPECTED
                self._become_unavailable()
            elif kind is Violation:
                if self.ready:
                    logger.warning("%s: %s protocol violation: %s", self.name, self.codec.version, event.detail)
                else:
                    self.violation = f"the server does not speak {self.codec.version}: {event.detail}"
                self.close()
            elif kind is not PingAck:
                stream = streams.get(event.stream_id)
                if stream is not None:
                    stream.put(event)

    def _apply_settings(self) -> None:
        """Apply what the peer accepts (SETTINGS), which is known for the first time or has changed."""
        codec = self.codec
        more = codec.max_streams > self._announced
        self._announced = codec.max_streams
        self.capacity = -(-self._announced // self._fronts)
        if not codec.ready or self.leaving:
            return
        if not self.ready:
            self.ready = True
            self._owner.connection_ready(self)
        elif more:
            self._owner.connection_has_room(self)

    # For the relays.

    def open(self, headers: Headers, end_stream: bool) -> ClientStream | None:
        """Open a stream with a request head (pseudo-header fields first); None if no stream can be opened any more."""
        stream_id = self.codec.request(headers, end_stream)
        if not stream_id:
            if self.codec.draining:
                self.leave()  # else the balancer would select this connection again
            return None
        stream = ClientStream(self, self.codec, stream_id, end_stream)
        self.streams[stream_id] = stream
        self.schedule_flush()
        if stream_id > LAST_STREAM:
            self.leave()
        return stream

    def forget(self, stream: ClientStream) -> None:
        """Remove a stream that has ended."""
        self.streams.pop(stream.stream_id, None)
        if self.codec.draining and not self.leaving:
            self.leave()  # on HTTP/1.1 an unfinished stream has ended the connection
        if self._read_paused or (self.leaving and not self.streams):
            self.schedule_flush()  # `flush` resumes reading, or closes the connection

    def schedule_flush(self) -> None:
        """Write the codec's output at the end of this iteration of the loop."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write the codec's output; then continue the senders whose queue is short enough."""
        self._flush_scheduled = False
        transport = self.transport
        if self._lost or transport is None:
            return
        if self._read_paused:
            self._resume_reading()
        while not self._write_paused and (output := self.codec.take_output()):
            self.batch += 1
            transport.write(output)
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
        """Return the seconds since an unanswered PING. Send a PING if nothing was received since the last call.

        Any input counts as the answer, because it proves that the peer's event loop runs. 0 if the version has no PING.
        """
        if self._silence == _RECEIVED or not self.ready or self._lost:
            self._silence = _QUIET
            return 0.0
        if self._silence == _QUIET:
            if not self.codec.ping(PING):
                return 0.0
            self._silence = now
            self.schedule_flush()
        return now - self._silence

    def restart_silence_check(self) -> None:
        """Restart the check for silence: this process was blocked and may not have read the peer's answer."""
        self._silence = _RECEIVED

    def leave(self) -> None:
        """Send no further request, on HTTP/2 a GOAWAY; close when the streams in flight have ended."""
        if not self.leaving:
            self.codec.goaway()
            self.ending = EXPECTED
            self._become_unavailable()
        self.schedule_flush()

    def close(self) -> None:
        """Close after the output that is already written, or ``CLOSE_TIMEOUT``; open streams are lost."""
        self._end(False)
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
            self._abort_later()

    def abort(self) -> None:
        """Close at once; open streams and unwritten output are lost."""
        self._end(False)
        if self.transport is not None:
            self.transport.abort()

    def _abort_later(self) -> None:
        """Free the socket if its transport waits for ever for the peer to read; no effect on a closed transport."""
        if self.transport is not None:
            self.loop.call_later(CLOSE_TIMEOUT, self.transport.abort)

    def _become_unavailable(self) -> None:
        if not self.leaving:
            self.leaving = True
            self._owner.connection_unavailable(self)

    def _end(self, in_order: bool) -> None:
        """End all streams. ``in_order``: the peer has ended the connection, and it did not break."""
        if self._lost:
            return
        self._write_rest()
        self._lost = True
        self._handle(self.codec.receive_eof() if in_order else self.codec.connection_lost())
        self._become_unavailable()
        self._wake_blocked()

    def _write_rest(self) -> None:
        """Write the output, which may hold a GOAWAY, but no request that has not left yet: it can be sent elsewhere."""
        output = self.codec.take_output()
        if not output or self.transport is None or self._write_paused:
            return
        for stream in self.streams.values():
            if not stream.sent:
                return
        self.batch += 1
        self.transport.write(output)
