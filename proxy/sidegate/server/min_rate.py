"""``limits.minRate``: ends requests whose clients are too slow, while the front is nearly full.

The timeout policy calls it at each tick for every connection while the requests in flight are counted by client.

Theory of operation. A client that sends or takes a byte now and then passes every timeout and holds a place for as long
as it likes. A slow client harms nobody while there is room, so the rate counts only while the clients have to share
(``Shares.pressed``), for clients that hold at least as many places as others, and only in the seconds in which the
client is the one to act:

* for a body, the seconds in which the application waits for more. All bytes of the body so far count, so an upload that
  was fast may pause.
* for a response, the seconds in which bytes of it have waited, without a break.

Time is counted in ticks that were seen. A loop that an application blocks for seconds makes no client look slow.
"""

from __future__ import annotations

from sidegate.aio.clock import TICK
from sidegate.errors import ExchangeError, Fault
from sidegate.server.connection import Connection
from sidegate.server.exchange import Exchange
from sidegate.server.shares import Holding
from sidegate.server.websocket import WebSocket

GRACE = 5.0
"""Seconds for which a client may be slower (Kestrel's ``gracePeriod``)."""

REASON = "min_rate"


def check_rates(connection: Connection) -> None:
    """End the requests of one connection whose clients were slower than ``limits.minRate`` for ``GRACE``."""
    shares, rate = connection.admission.requests, connection.service.limits.min_rate
    for exchange in list(connection.exchanges.values()):
        if not (rate and shares.pressed):
            return
        holding = shares.holdings.get(exchange.record)
        if holding is None or not shares.holds_much(holding.client) or _is_exempt(exchange):
            continue
        if _body_is_slow(exchange, holding, rate) or _response_is_slow(connection, exchange, holding, rate):
            connection.admission.released(exchange.record)  # at once, so that no more are ended than necessary
            action = f"ended a request whose bytes are fewer than {rate} in a second"
            shares.report(holding.client, f"limits.minRate: {rate}", action, connection.service.loop.time())
            _end(connection, exchange, holding)


def _is_exempt(exchange: Exchange) -> bool:
    """Whether silence is normal: a WebSocket, or gRPC, whose streams carry messages whenever there are any."""
    if isinstance(exchange, WebSocket):
        return True
    return any(
        name == b"content-type" and value.startswith(b"application/grpc") for name, value in exchange.record.headers
    )


def _body_is_slow(exchange: Exchange, holding: Holding, rate: int) -> bool:
    if not exchange.waits_for_body:
        return False
    holding.owed += TICK
    return holding.owed > GRACE and exchange.record.bytes_in < rate * holding.owed


def _response_is_slow(connection: Connection, exchange: Exchange, holding: Holding, rate: int) -> bool:
    """The bytes wait in the codec for the stream's window, or in the transport for the connection."""
    pending, unsent = connection.codec.pending(exchange.stream_id), connection.transport.get_write_buffer_size()
    by_connection = unsent > 0 and (pending > 0 or connection.protocol != "h2")
    if not (pending or by_connection):
        holding.waited = 0.0
        return False
    taken = connection.written - unsent if by_connection else exchange.record.bytes_out - pending
    if not holding.waited or by_connection is not holding.by_connection:
        holding.waited, holding.taken, holding.by_connection = 0.0, taken, by_connection
    holding.waited += TICK
    return holding.waited > GRACE and taken - holding.taken < rate * holding.waited


def _end(connection: Connection, exchange: Exchange, holding: Holding) -> None:
    if holding.waited and holding.by_connection:  # what waits in the transport can no longer be taken back
        connection.cut_stalled(REASON)
    else:
        exchange.end_with(ExchangeError(Fault.CLIENT, 408, REASON))
