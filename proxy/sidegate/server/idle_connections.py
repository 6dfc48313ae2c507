"""Which connections can be closed without losing a request, and how: to make room for others.

The listener asks for them when few descriptors are left. It decides nothing about when and how many; it owns no state.

Theory of operation. A connection without an exchange answers no request. Closing it may still lose one that is under
way from the client (RFC 9112 9.3.1 lets a server close at any time, and clients retry), so three rules keep the loss
small: a connection that was in use within ``IDLE_AFTER`` is left alone, because most clients of a closed loop send
their next request by then; one whose next request waits in the socket is left alone; and HTTP/2 says by GOAWAY that it
has processed nothing more, so that clients may repeat any request (RFC 9113 6.8).
"""

from __future__ import annotations

import fcntl
import heapq
import termios
from collections.abc import Iterable
from typing import cast

from sidegate.server.connection import Connection
from sidegate.server.service import ServedConnection

IDLE_AFTER = 1.0
"""Seconds since a connection was opened, or since its last request ended, after which it counts as idle."""

CLOSING, IDLE, UNFINISHED = range(3)
"""What a connection without an exchange does, in the order in which they are closed: it waits only until its peer
closes its side; it waits for a request; it has received a part of a head, or the rest of a refused request."""


def oldest_idle(connections: Iterable[ServedConnection], now: float, count: int) -> list[Connection]:
    """At most ``count`` connections that have had no exchange for ``IDLE_AFTER``: the first to close comes first.

    ``now``: the loop's time. Its cost is proportional to the number of connections.
    """
    quiet = (one for one in cast("Iterable[Connection]", connections) if _is_quiet(one, now))
    return heapq.nsmallest(count, quiet, key=lambda one: (_state(one), one.last_active))


def close_idle(connection: Connection) -> bool:
    """Close one of ``oldest_idle`` at once; an HTTP/2 client gets a GOAWAY. Returns whether it was closed.

    It stays open if input has arrived that is not handled yet. Its descriptor is free in one of the next turns of the
    loop. With TLS and HTTP/2, the socket is open until the peer has closed its side too, as after every close; the next
    call aborts it.
    """
    state = _state(connection)
    if state != CLOSING and _has_unread_input(connection):
        return False
    if state != IDLE:
        connection.cut()
    elif connection.protocol is None:
        connection.transport.close()
    else:
        connection.codec.goaway(True)
        connection.flush()  # which closes the connection
    return True


def is_closing(connection: Connection) -> bool:
    """Whether this side has closed it already, and only waits for the peer."""
    return _state(connection) == CLOSING


def _is_quiet(connection: Connection, now: float) -> bool:
    if connection.exchanges or now - connection.last_active < IDLE_AFTER:
        return False
    return not connection.transport.get_write_buffer_size()  # else the end of a response is on its way


def _state(connection: Connection) -> int:
    if connection.lingering_since is not None or connection.transport.is_closing():
        return CLOSING
    # HTTP/2 may still hold an error page whose window is closed, as in ``timeouts.py``.
    if connection.protocol is None or connection.protocol == "h2" or connection.codec.idle:
        return IDLE
    return UNFINISHED


def _has_unread_input(connection: Connection) -> bool:
    if connection.protocol is not None and connection.codec.more:
        return True
    sock = connection.transport.get_extra_info("socket")
    unread = fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4))
    return any(unread)
