"""One peer socket and its codec: the bytes that arrive become events for the exchanges.

Steps 2 and 3 of the request line, between the event loop's transport and the exchanges. One class serves HTTP/1.1 and
HTTP/2, because the codec hides the difference. The connection owns the codec and the exchanges in flight. It never
waits for an application: body bytes go into the exchange's buffer, and reading pauses only when the codec reports that
the peer has sent as much as may be buffered. It raises no error: a broken connection is closed, and its exchanges are
disconnected.

Theory of operation. The first step of an application runs while its request is handled (``aio/eager.py``). One
``flush`` follows when all requests of one read are handled, so the responses of many streams leave in one write. Every
later change of the codec schedules a flush at the end of the loop's iteration (``writing_half.py``). A read with more
frames than one turn of the loop may handle (``FRAMES_A_TURN``) is continued in the next turns. Until it is handled,
reading is paused, so the transport reports no end of input before that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Any, cast

from sidegate.errors import ClientDisconnected, ExchangeError, Fault, Refused
from sidegate.observe.record import Origin, Record, open_record
from sidegate.server.backlog import WRITE_TIMEOUT
from sidegate.server.codecs import LABELS, make_codec
from sidegate.server.exchange import Exchange
from sidegate.server.files import OpenFile
from sidegate.server.lingering import LingeringTransport
from sidegate.server.peer import known_scheme, peer_of
from sidegate.server.service import GOAWAY_PATIENCE, GOAWAY_PAUSE, ListenerService
from sidegate.server.states import COMPLETE
from sidegate.server.tls.engine import Session
from sidegate.server.websocket import WebSocket
from sidegate.server.writing_half import WritingHalf
from sidegate.wire.events import Body, BodyRefused, End, Event, Rejected, RequestHead, Reset, Violation
from sidegate.wire.proxy_header import ProxyHeader
from sidegate.wire.sniff import sniff


class Connection(WritingHalf):
    """An ``asyncio.Protocol``, made by the listener for an accepted socket whose TLS handshake, if any, is done."""

    def __init__(self, service: ListenerService, header: ProxyHeader | None = None) -> None:
        """``header``: the PROXY header that preceded the connection."""
        super().__init__(service)
        self._header = header
        self._eager_starter = service.eager_starter
        self.protocol: str | None = None
        """``h2`` or ``http/1.1``; None until the first bytes have shown it."""
        self.opened = self.last_active
        self.requests = 0
        self.winding_down = False
        self.lingering_since: float | None = None
        self._first_bytes = b""
        self._reading_paused = self._body_open = self._continuing = False

    # From the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called when the socket is connected and its TLS handshake, if any, is done."""
        self.transport = cast(asyncio.Transport, transport)
        service = self.service
        self.peer = peer_of(transport, service.tls, service.trusted, service.paths, self._header)
        client = self.peer.client[0] if self.peer.client is not None else "unix"
        self.backlog.set_client(client, exempt=self.peer.trusted is not None)
        self._origin = Origin(client, self.peer.tls_version)
        self.service.connections.add(self)
        self.clock.add(self)
        if not service.bounds.connections.opened(self):
            self.transport.abort()
            return
        protocol = _known_protocol(self.service.protocols, transport.get_extra_info("tls_session"))
        if protocol is not None and protocol in self.service.protocols:
            self._choose_codec(protocol)
        elif protocol is not None:
            self.service.meter.violation("no_protocol")
            self.transport.abort()
        if self.service.draining:
            self.wind_down()

    def data_received(self, data: bytes) -> None:
        """Handle bytes from the peer; b"" continues with what is left of a long read."""
        if self.protocol is None:
            data = self._sniff(data)
            if not data:
                return
        elif self.lingering_since is not None:
            return
        self._handling = self._flush_scheduled = True
        self._handle(self.codec.receive(data, self._loop.time()), at_once=True)
        self._handling = False
        self._watch_reading()
        self.flush()

    def eof_received(self) -> bool:
        """The peer closed its sending side: it is gone (see ARCHITECTURE.md, decisions)."""
        if self.protocol is not None and self.lingering_since is None:
            self.flush()  # the transport writes the responses so far before it closes
            self._handle(self.codec.receive_eof())
            for exchange in list(self.exchanges.values()):
                exchange.disconnect()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Called when the socket is closed: disconnect every exchange."""
        self._lost = True
        self.clock.discard(self)
        self.service.bounds.connections.closed(self)
        if self.protocol is None:
            self.service.connections.discard(self)
            return
        self.service.meter.connection_closed(LABELS[self.protocol])
        for exchange in list(self.exchanges.values()):
            exchange.disconnect()
        self._sendfile.tell(lost=True)
        self._finish_exchanges()

    # The codec.

    def _sniff(self, data: bytes) -> bytes:
        """Detect the protocol from the first bytes. Return all bytes so far once it is known, else b""."""
        self._first_bytes += data
        version = sniff(self._first_bytes)
        if version is None:
            return b""
        self._choose_codec("h2" if version == "2" else "http/1.1")
        data, self._first_bytes = self._first_bytes, b""
        return data

    def _choose_codec(self, protocol: str) -> None:
        service = self.service
        self.protocol = protocol
        self.codec = make_codec(
            service, protocol, self.peer.trusted is not None, known_scheme(self.peer, self._header), self.opened
        )
        if self.winding_down:
            self.codec.goaway(False)
        service.meter.connection_opened(LABELS[protocol])
        self.schedule_flush()

    def _handle(self, events: list[Any], at_once: bool = False) -> None:
        # at_once: the caller is not a task, so applications may run their first step now.
        for event in events:
            kind = type(event)
            if kind is RequestHead:
                self._begin(event, at_once)
            elif kind is Body:
                self._feed(event)
            elif kind is End:
                self._end(event)
            else:
                self._handle_rare(event)

    def _begin(self, head: RequestHead, at_once: bool) -> None:
        service = self.service
        record = self._open_record(head)
        record.headers = head.headers
        exchange = Exchange(self, head, record) if not head.protocol else WebSocket(self, head, record)
        self.exchanges[head.stream_id] = exchange
        self._body_open = not (head.end_stream or head.protocol)
        self.requests += 1
        if self.requests == service.limits.connection_requests:
            self.wind_down()
        exchange.task = self._eager_starter.start(exchange.run(service.app), at_once)

    def _open_record(self, head: RequestHead | Rejected) -> Record:
        record = open_record(self.service.meter, self._origin, head, perf_counter())
        self.observer.started(record)
        return record

    def _feed(self, event: Body) -> None:
        exchange = self.exchanges.get(event.stream_id)
        if exchange is None:
            self.codec.acknowledge(event.stream_id, len(event.data))
        else:
            exchange.feed(event.data)

    def _end(self, event: End) -> None:
        self._body_open = False
        exchange = self.exchanges.get(event.stream_id)
        if exchange is not None:
            exchange.end()

    def _handle_rare(self, event: Event) -> None:
        if isinstance(event, Reset):
            exchange = self.exchanges.get(event.stream_id)
            if exchange is not None:
                exchange.disconnect()
        elif isinstance(event, Rejected):
            self._reject(event)
        elif isinstance(event, BodyRefused):
            _refuse_body(self, event)
        elif isinstance(event, Violation):
            self.service.meter.violation(event.reason)

    def _reject(self, event: Rejected) -> None:
        record = self._open_record(event)
        record.fault, record.reason = Fault.CLIENT, event.reason
        self.service.meter.refused(event.reason)
        self._body_open = True  # on HTTP/1.1 nothing that follows is read
        self.send_error(record, event.stream_id, event.status, event.detail, b"")
        self.observer.finished(record)
        self.codec.release(event.stream_id)

    def _watch_reading(self) -> None:
        paused = self._continuing or self.codec.read_paused()
        if paused is not self._reading_paused and not self._lost:
            self._reading_paused = paused
            (self.transport.pause_reading if paused else self.transport.resume_reading)()
        if self.codec.more and not self._continuing:
            self._continuing = True
            self._loop.call_soon(_continue, self)

    # For the exchanges.

    def credit_given(self) -> None:
        """Called when an application took part of a body: the peer may send more."""
        self._watch_reading()
        self.schedule_flush()

    def upgraded(self) -> None:
        """Called when a WebSocket is accepted: its client waits for the server to close (RFC 6455 7.1.1)."""
        self._body_open = True

    async def sendfile(self, file: OpenFile, record: Record) -> None:
        """Let the kernel write a file's ``sendable`` bytes to the socket; the transport is empty meanwhile.

        ``record``: the exchange's.
        :raises ClientDisconnected: the socket failed, or the client took no byte for ``timeouts.write``.
        :raises ExchangeError: 500; the file failed.
        """
        self.transport.set_write_buffer_limits(high=0)
        self.flush()
        try:
            await self._sendfile.write(self.transport, file, self.service.limits.write)
        except BaseException as error:  # also a cancellation or an error of the file: the response is incomplete
            if isinstance(error, TimeoutError):
                self.cut_stalled(WRITE_TIMEOUT)
            elif isinstance(error, ExchangeError) and record.fault is None:
                record.fault, record.reason = error.fault, error.reason  # before the end of the connection is noted
            self.cut()
            if isinstance(error, OSError):
                raise ClientDisconnected(record) from error
            raise
        self.transport.set_write_buffer_limits()

    def _go_on(self) -> None:
        self._handle(self.codec.receive(b"", self._loop.time()))
        self._watch_reading()
        self.schedule_flush()

    # The end.

    def _close(self) -> None:
        """Close after all output is written; linger if the peer may still be sending (ARCHITECTURE.md, decisions).

        The TLS transport does so itself: it ends its side, sends close_notify first, and reads on.
        """
        if self.lingering_since is not None:
            return
        if self.protocol == "h2":
            for exchange in list(self.exchanges.values()):
                exchange.disconnect()  # a violation has ended their streams
        if (self._body_open or self.protocol == "h2") and self.transport.can_write_eof():
            self.lingering_since = self._loop.time()
            self.transport = cast(asyncio.Transport, LingeringTransport(self.transport))
        else:
            self.transport.close()

    def wind_down(self) -> None:
        """Drain: announce the end, finish the requests in flight and those of the next ``GOAWAY_PAUSE``, then close."""
        if self._lost or self.winding_down:
            return
        self.winding_down = True
        if self.protocol is not None:
            self.codec.goaway(False)
            self.schedule_flush()
        self._loop.call_later(GOAWAY_PAUSE, self._final_goaway, self._loop.time() + GOAWAY_PATIENCE)

    def _final_goaway(self, latest: float) -> None:
        if self._lost:
            return
        if self.protocol is None:
            self.transport.close()
        elif not self.codec.goaway_noticed() and self._loop.time() < latest:
            self._loop.call_later(GOAWAY_PAUSE, self._final_goaway, latest)
        else:
            self.codec.goaway(True)
            self.schedule_flush()

    def cut_stalled(self, reason: str) -> None:
        """Abort because the peer took no byte for ``timeouts.write``, or too few."""
        self.service.meter.violation(reason)
        for exchange in list(self.exchanges.values()):
            exchange.disconnect(reason)
        self.cut()

    def abort(self) -> None:
        """Abort the connection and cancel its applications."""
        # In the next iteration: a task that is cancelled before its first step never closes its record.
        self._loop.call_soon(_cancel_all, self)

    def on_deadline(self, now: float) -> None:
        """Called at the codec's own deadline."""
        self._handle(self.codec.on_deadline(now))
        self.schedule_flush()


def _continue(connection: Connection) -> None:
    """Handle the next part of a read that was too long for one turn of the loop.

    Reading goes on one turn after the last part, so that an application that waits for it gets it before an end of
    input that follows.
    """
    if connection._lost:
        return
    if connection.codec.more:
        connection.data_received(b"")
        connection._loop.call_soon(_continue, connection)
    else:
        connection._continuing = False
        connection._watch_reading()


def _known_protocol(protocols: Sequence[str], session: Session | None) -> str | None:
    """Return the protocol that TLS or the configuration determines; None if the first bytes must show it."""
    if session is not None:
        # RFC 7301 3.1 lets a client come without ALPN; then it speaks HTTP/1.1.
        return session.facts().alpn or "http/1.1"
    return protocols[0] if len(protocols) == 1 else None


def _refuse_body(connection: Connection, event: BodyRefused) -> None:
    connection.service.meter.refused(event.reason)
    exchange = connection.exchanges.get(event.stream_id)
    if exchange is not None and exchange.sending is not COMPLETE:
        exchange.give_up(Refused(event.status, event.reason, event.detail))
        exchange.disconnect()  # this cancels a request that is only relayed


def _cancel_all(connection: Connection) -> None:
    for exchange in connection.exchanges.values():
        exchange.cancel()
    connection.cut()
