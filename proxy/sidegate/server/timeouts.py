"""The timeout policy of a connection: what to do about peers that are silent or slow, and slow applications.

It is called for every connection at every tick of the clock; the times are the ``limits`` of the configuration and the
``timeouts`` of its routes. It only decides; the connection and its exchanges act.
"""

from __future__ import annotations

from time import perf_counter

from sidegate.aio.clock import TICK
from sidegate.errors import ExchangeError, Fault, SlowClient
from sidegate.observe.record import PROCESS
from sidegate.server.backlog import PATIENCE, SLOW_CLIENT, WRITE_TIMEOUT
from sidegate.server.connection import Connection
from sidegate.server.exchange import Exchange
from sidegate.server.min_rate import check_rates
from sidegate.server.service import LOW_WATER
from sidegate.server.stall import StallDetector
from sidegate.server.states import COMPLETE, GONE, OPEN
from sidegate.server.websocket import WebSocket

LINGER = 5.0
"""Seconds that a closing connection waits for the peer to stop sending (nginx's ``lingering_timeout``)."""


def check(connection: Connection, now: float) -> None:
    """Carry out what is due at ``now``, the loop's time in seconds."""
    limits = connection.service.limits
    if connection.protocol is None:
        if now - connection.opened > limits.request_head:
            connection.service.meter.violation("head_timeout")
            connection.transport.abort()
        return
    unsent = connection.transport.get_write_buffer_size()
    silence = connection.stall.silence(connection.written, unsent, now)
    if silence > limits.write:
        connection.cut_stalled(WRITE_TIMEOUT)
    elif silence > PATIENCE and connection.backlog.is_large():
        connection.backlog.report(now)
        connection.cut_stalled(SLOW_CLIENT)
    elif connection.lingering_since is not None:
        _check_lingering(connection, unsent, now)
    else:
        deadline = connection.codec.next_deadline()
        if deadline is not None and now >= deadline:
            connection.on_deadline(now)
        _check_streams(connection, now)
        _check_web_sockets(connection, now)
        _check_bodies(connection, now)
        _check_requests(connection, now)
        if connection.admission.counting:
            check_rates(connection)
        _check_age(connection, now)


def _check_lingering(connection: Connection, unsent: int, now: float) -> None:
    if unsent:
        connection.lingering_since = now  # it begins when the response is sent
    elif now - (connection.lingering_since or now) > LINGER:
        connection.transport.abort()


def _check_streams(connection: Connection, now: float) -> None:
    """Abort a stream whose window stays closed for ``timeouts.write``, or for less if too much waits for clients."""
    before, connection.stalled = connection.stalled, {}
    if connection.write_paused:
        return  # the connection itself is slow
    for stream_id, exchange in list(connection.exchanges.items()):
        pending = connection.codec.pending(stream_id)
        if pending:
            detector = before.get(stream_id) or StallDetector()
            connection.stalled[stream_id] = detector
            silence = detector.silence(exchange.record.bytes_out, pending, now)
            if silence > connection.service.limits.write:
                exchange.end_with(ExchangeError(Fault.CLIENT, 408, WRITE_TIMEOUT))
            elif silence > PATIENCE and connection.backlog.is_large(pending):
                connection.backlog.report(now)
                exchange.end_with(SlowClient())


def _check_web_sockets(connection: Connection, now: float) -> None:
    for exchange in list(connection.exchanges.values()):
        if isinstance(exchange, WebSocket):
            exchange.on_tick(now)


def _check_bodies(connection: Connection, now: float) -> None:
    """Disconnect an application that waits for a body if its client has sent nothing for too long."""
    idle = connection.service.limits.body_idle
    for exchange in list(connection.exchanges.values()):
        if exchange.waits_for_body and now - exchange.waiting_since > idle:
            exchange.end_with(ExchangeError(Fault.CLIENT, 408, "body_timeout"))


def _check_requests(connection: Connection, now: float) -> None:
    """End a request that has used up its route's timeout (Gateway API, HTTPRouteTimeouts.request).

    A response that is complete is not checked here: the client must take the rest of it within ``timeouts.write``.
    """
    if not connection.service.enforces_request_timeouts:
        return
    clock = perf_counter()  # the clock of ``Record.started``
    for exchange in list(connection.exchanges.values()):
        record = exchange.record
        if exchange.sending is COMPLETE or exchange.receiving is GONE:
            continue
        if isinstance(exchange, WebSocket) and exchange.accepted:
            continue  # the handshake was in time
        if 0 < record.route.timeouts.request < clock - record.started:
            exchange.end_with(ExchangeError(_slow_side(connection, exchange, now), 504, "request_timeout"))
            connection.observer.count(record)  # now, because the application may continue forever


def _slow_side(connection: Connection, exchange: Exchange, now: float) -> Fault:
    """The side that the exchange waited for when the timeout expired."""
    reading = exchange.waits_for_body or now - exchange.waiting_since < TICK  # it may just have got a piece
    if (reading and exchange.receiving is OPEN) or connection.codec.pending(exchange.stream_id) > LOW_WATER:
        return Fault.CLIENT
    return Fault.UPSTREAM if exchange.record.runner == PROCESS else Fault.APPLICATION


def _check_age(connection: Connection, now: float) -> None:
    limits = connection.service.limits
    if now - connection.opened > limits.connection_life:
        connection.wind_down()
    if connection.exchanges:
        return
    silence = now - connection.last_active
    # HTTP/2 may still hold an error page whose window is closed. No exchange waits for it, so it does not keep the
    # connection open.
    if silence > limits.keep_alive and (connection.codec.idle or connection.protocol == "h2"):
        connection.wind_down()
    if connection.winding_down and silence > limits.keep_alive + limits.write:
        connection.transport.abort()
