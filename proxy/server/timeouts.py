"""The timeout policy of a connection: what to do about peers that are silent or slow.

Where it stands: called for every connection at every tick of the clock; the times are the ``limits`` of the
configuration. It decides only; the connection and its exchanges act.
"""

from __future__ import annotations

from proxy.errors import ExchangeError, Fault
from proxy.server.connection import Connection

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
    if connection.lingering_since is not None:
        if now - connection.lingering_since > LINGER:
            connection.transport.abort()
        return
    deadline = connection.codec.next_deadline()
    if deadline is not None and now >= deadline:
        connection.on_deadline(now)
    _check_writing(connection, now)
    if connection.exchanges:
        _check_bodies(connection, now)
    elif connection.codec.idle and now - connection.last_active > limits.keep_alive:
        connection.wind_down()
    if now - connection.opened > limits.connection_life:
        connection.wind_down()


def _check_writing(connection: Connection, now: float) -> None:
    """A peer that takes no output holds memory here: after ``writeStall`` seconds it is let go."""
    stall = connection.service.limits.write_stall
    if connection.write_paused_since is not None and now - connection.write_paused_since > stall:
        connection.service.meter.violation("write_stall")
        connection.transport.abort()
        return
    failure = ExchangeError(Fault.CLIENT, 408, "write_stall")
    for stream_id in connection.blocked.overdue(now - stall):
        exchange = connection.exchanges.get(stream_id)
        if exchange is not None:
            exchange.give_up(failure)
    for exchange in connection.ended:
        if now - exchange.ended_at > stall:
            exchange.give_up(failure)


def _check_bodies(connection: Connection, now: float) -> None:
    """An application that waits for a body whose client has fallen silent gets the disconnect it would get."""
    idle = connection.service.limits.body_idle
    for exchange in list(connection.exchanges.values()):
        if exchange.waits_for_body and now - exchange.waiting_since > idle:
            exchange.give_up(ExchangeError(Fault.CLIENT, 408, "body_timeout"))
