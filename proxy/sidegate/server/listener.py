"""Accepts connections on the sockets of one listener.

It is step 1 of the request line: it accepts, reads the PROXY header of a trusted proxy if the listener has
``proxyProtocol``, and gives the socket to a Connection, or to a TLS transport, which makes one after the handshake.
It owns the accept loop; it never reads a request.

It does not use ``loop.create_server``, which would accept all waiting connections at once.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sidegate.aio.tasks import internal_task
from sidegate.server.connection import Connection
from sidegate.server.descriptors import Descriptors
from sidegate.server.proxy_protocol import read_header
from sidegate.server.service import ListenerService
from sidegate.server.tls.handshakes import Handshakes
from sidegate.server.tls.transport import TlsTransport
from sidegate.wire.proxy_header import ProxyHeader, ProxyHeaderError

logger = logging.getLogger("sidegate.listener")

PAUSE = 0.1
"""Seconds without accepting when too few descriptors are left, or after it failed; the backlog keeps clients."""

REPORT_PERIOD = 10.0
"""Seconds after a line about a connection that could not be accepted in which there is no other one."""

SHORT_TURN = 0.001
"""Seconds: after a turn of the loop that lasted n times as long, n connections are accepted instead of one."""


class Listener:
    """The sockets of one listener in one process; they are inherited and stay open for other processes.

    ``proxy_protocol``: trusted proxies send a PROXY header before each connection.
    """

    def __init__(
        self,
        service: ListenerService,
        sockets: Sequence[socket.socket],
        proxy_protocol: bool,
        descriptors: Descriptors,
    ) -> None:
        self._service = service
        self._descriptors = descriptors
        self._sockets = list(sockets)
        self._proxy_protocol = proxy_protocol
        # Both have the methods of a protocol, but no base class from asyncio, which could not be compiled.
        self._make: Callable[[ProxyHeader | None], Any] = partial(Connection, service)
        self._handshakes: Handshakes | None = None
        if service.tls is not None:
            self._handshakes = Handshakes(service, service.tls)
            self._make = partial(TlsTransport, self._handshakes)
        self._opening: set[asyncio.Task[None]] = set()
        descriptors.watch(service, self._opening, self._handshakes)
        self._accepting = False
        self._warned = False  # of connections without a PROXY header
        self._silent_until = 0.0

    @property
    def service(self) -> ListenerService:
        """The state that the connections of this listener share."""
        return self._service

    def start(self) -> None:
        """Begin to accept. The sockets must be listening."""
        self._accepting = True
        for sock in self._sockets:
            sock.setblocking(False)
            self._service.loop.add_reader(sock.fileno(), self._accept, sock)

    def close(self) -> None:
        """Accept what the kernel already holds, then no more; close the sockets. Handshakes under way continue."""
        for sock in self._sockets:
            if self._accepting:
                self._service.loop.remove_reader(sock.fileno())
                while self._take(sock):
                    pass
            sock.close()
        self._accepting = False
        self._sockets.clear()
        self._descriptors.close()

    def abort(self) -> None:
        """Abort every connection and every handshake now."""
        for task in self._opening:
            task.cancel()
        if self._handshakes is not None:
            self._handshakes.abort()
        for connection in list(self._service.connections):
            connection.abort()

    @property
    def busy(self) -> bool:
        """Whether a connection is open or a handshake under way."""
        handshakes = self._handshakes
        return bool(self._service.connections or self._opening or (handshakes is not None and handshakes.busy))

    def _accept(self, listening: socket.socket) -> None:
        """Accept one connection.

        It accepts only one in a turn of the loop: the other fronts accept from the same socket, and a front that took
        all waiting connections would also have to serve them all (as nginx with ``multi_accept off``). But a turn in
        which applications compute is long, and no other front was free to take the connections that wait after it.
        """
        loop = self._service.loop
        if self._take(listening):
            loop.call_soon(self._catch_up, listening, loop.time())

    def _catch_up(self, listening: socket.socket, since: float) -> None:
        """Accept as many as short turns would have since then (uvloop's time is that of the turn's beginning)."""
        missed = int((self._service.loop.time() - since) / SHORT_TURN)
        while missed > 0 and self._accepting and self._take(listening):
            missed -= 1

    def _take(self, listening: socket.socket) -> bool:
        """Accept one connection. Returns true if there may be more."""
        descriptors = self._descriptors
        if descriptors.left <= 0 and not descriptors.make_room():
            self._pause(listening)
            return False
        try:
            sock, _ = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            if descriptors.short:
                descriptors.keep_spares()
            return False
        except OSError as error:
            self._accept_failed(listening, error)
            return False
        descriptors.left -= 1
        sock.setblocking(False)
        task = internal_task(self._open(sock), loop=self._service.loop)
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return True

    def _accept_failed(self, listening: socket.socket, error: OSError) -> None:
        now = self._service.loop.time()
        if error.errno == errno.EMFILE:
            self._descriptors.exhausted()
        elif now >= self._silent_until:
            self._silent_until = now + REPORT_PERIOD
            logger.error("cannot accept a connection: %s; trying again every %g s", error, PAUSE)
        self._pause(listening)

    def _pause(self, listening: socket.socket) -> None:
        loop = self._service.loop
        loop.remove_reader(listening.fileno())
        self._service.meter.violation("accept_failed")
        loop.call_later(PAUSE, self._accept_again, listening)

    def _accept_again(self, listening: socket.socket) -> None:
        if self._accepting:
            self._service.loop.add_reader(listening.fileno(), self._accept, listening)

    async def _open(self, sock: socket.socket) -> None:
        """Read the PROXY header, if it is wanted; then the connection manages itself."""
        service = self._service
        try:
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            header = None
            if self._proxy_protocol and service.trusted.trusts_socket(sock):
                header = await read_header(sock, service.loop, service.limits)
            await service.loop.connect_accepted_socket(partial(self._make, header), sock)
        except asyncio.CancelledError:
            sock.close()
            raise
        except ProxyHeaderError as error:
            self._refuse_header(sock, error)
        except (OSError, EOFError):  # it has disconnected
            sock.close()
        except Exception:
            logger.exception("cannot open a connection")
            sock.close()
            service.meter.violation("accept_failed")

    def _refuse_header(self, sock: socket.socket, error: ProxyHeaderError) -> None:
        """Close the connection of a trusted proxy without a valid PROXY header; the first time, tell the operator."""
        name, level = self._service.meter.name, logging.DEBUG if self._warned else logging.WARNING
        logger.log(level, "listener %s: refused a connection of a trusted proxy (%s): %s", name, _peer(sock), error)
        self._warned = True
        sock.close()
        self._service.meter.violation(error.reason)


def _peer(sock: socket.socket) -> str:
    try:
        return str(sock.getpeername()[0]) if sock.family != socket.AF_UNIX else "unix"
    except OSError:  # it has already disconnected
        return "unknown"
