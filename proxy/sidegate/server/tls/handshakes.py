"""The handshakes of one listener: how long they may take, what is counted, what the operator is told.

The listener makes one if it has TLS. Its transports report to it; it decides nothing about bytes.
"""

from __future__ import annotations

import logging
import socket
from itertools import chain, islice, takewhile
from typing import Any, Protocol

from sidegate.observe.reasons import HANDSHAKE_FAILURES
from sidegate.server.connection import Connection
from sidegate.server.service import ListenerService
from sidegate.server.tls import cleartext
from sidegate.server.tls.contexts import ServerTls
from sidegate.server.tls.engine import Failure, Session
from sidegate.wire.proxy_header import ProxyHeader

logger = logging.getLogger("sidegate.listener")

LOG_PERIOD = 10.0
"""Seconds after a line about a failed handshake in which there is no other one of the same listener."""


class Handshaking(Protocol):
    """A transport, as this module sees it."""

    def abort(self) -> None:
        """Close at once."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As ``asyncio.BaseTransport``."""


class Handshakes:
    """``session``: makes the session of one connection. ``patience``: seconds that a handshake may take."""

    def __init__(self, service: ListenerService, tls: ServerTls) -> None:
        self.session = tls.session
        self._redirects = tls.redirects
        self.loop = service.loop
        self.patience = service.limits.tls_handshake
        self._service = service
        self._under_way: dict[Handshaking, float] = {}  # since when, the oldest first
        self._failed: dict[Handshaking, float] = {}  # since when; their peers may still read the alert
        self._silent_until = 0.0
        self._unreported = 0

    @property
    def busy(self) -> bool:
        """Whether a handshake is under way."""
        return bool(self._under_way)

    @property
    def count(self) -> int:
        """The connections that have no Connection: their handshake is under way or has failed."""
        return len(self._under_way) + len(self._failed)

    def abort(self) -> None:
        """Abort every handshake, and close the connections of those that have failed."""
        for transport in [*self._under_way, *self._failed]:
            transport.abort()

    def abort_oldest(self, before: float, count: int) -> int:
        """Abort at most ``count`` that failed or began before then, to make room for others; return how many."""
        old = (takewhile(lambda item: item[1] <= before, group.items()) for group in (self._failed, self._under_way))
        found = list(islice(chain.from_iterable(old), count))
        for transport, _ in found:
            self.ended(transport)
            transport.abort()
            self._service.meter.violation("no_descriptors")
        return len(found)

    def begun(self, transport: Handshaking) -> None:
        """The socket is connected."""
        self._under_way[transport] = self.loop.time()

    def done(self, transport: Handshaking, session: Session, header: ProxyHeader | None) -> Connection:
        """The handshake is complete: the connection that gets the plaintext. ``header``: what preceded it."""
        self._under_way.pop(transport, None)
        self._service.meter.handshake_done(session.facts().version)
        return Connection(self._service, header)

    def failed(self, transport: Handshaking, failure: Failure, header: ProxyHeader | None) -> None:
        """The handshake has failed; the connection is not closed yet."""
        self._under_way.pop(transport, None)
        self._failed[transport] = self.loop.time()
        self._service.meter.handshake_failed(failure.reason)
        self._report(failure, client_of(transport, header))

    def cleartext_answer(self, head: bytes) -> bytes | None:
        """The response to plain HTTP of which ``head`` has arrived; None if more of it has to arrive."""
        return cleartext.answer(head, self._redirects, self._service.clock.date_field[1])

    def ended(self, transport: Handshaking) -> None:
        """The socket is closed."""
        self._under_way.pop(transport, None)
        self._failed.pop(transport, None)

    def _report(self, failure: Failure, client: str) -> None:
        now = self.loop.time()
        if not failure.detail or now < self._silent_until:
            self._unreported += bool(failure.detail)
            return
        more = f"; {self._unreported} more failed since the last such line" if self._unreported else ""
        meaning = HANDSHAKE_FAILURES.get(failure.reason, failure.reason)
        name = self._service.meter.name
        logger.info("listener %s: TLS handshake with %s failed: %s (%s)%s", name, client, meaning, failure.detail, more)
        self._silent_until, self._unreported = now + LOG_PERIOD, 0


def client_of(transport: Handshaking, header: ProxyHeader | None) -> str:
    """Whose handshake it is: the address that the PROXY header names, or the socket's peer."""
    if header is not None and header.client is not None:
        return header.client[0]
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_UNIX:
        return "unix"
    name = transport.get_extra_info("peername")
    return str(name[0]) if name else "unknown"  # it has already disconnected
