"""Accepts connections on the sockets of one listener.

It is step 1 of the request line: it accepts, reads the PROXY header of a trusted proxy if the listener has
``proxyProtocol``, does the TLS handshake, and gives the socket to a Connection. It owns the accept loop and the
handshakes in progress; it never reads a request.

It does not use ``loop.create_server``, because asyncio does not report the reason of a failed handshake, and an
operator must see it counted by reason. ``connect_accepted_socket`` raises it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sidegate.aio.tasks import internal_task
from sidegate.server.connection import Connection
from sidegate.server.proxy_protocol import read_header
from sidegate.server.service import ListenerService
from sidegate.server.tls.read_buffer import cover_used
from sidegate.wire.proxy_header import ProxyHeader, ProxyHeaderError

logger = logging.getLogger("sidegate.listener")

EXHAUSTED_PAUSE = 1.0
"""Seconds without accepting after it failed, mostly for lack of descriptors or memory; the backlog keeps clients."""

SHORT_TURN = 0.001
"""Seconds: after a turn of the loop that lasted n times as long, n connections are accepted instead of one."""

# OpenSSL's reasons for the failures that operators look for.
_REASONS = {
    "HTTP_REQUEST": "cleartext",
    "WRONG_VERSION_NUMBER": "cleartext",
    "UNSUPPORTED_PROTOCOL": "protocol_version",
    "VERSION_TOO_LOW": "protocol_version",
    "NO_SHARED_CIPHER": "no_shared_cipher",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no_client_certificate",
    "CERTIFICATE_VERIFY_FAILED": "client_certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "certificate_rejected",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "certificate_rejected",
    "SSLV3_ALERT_BAD_CERTIFICATE": "certificate_rejected",
    "UNEXPECTED_EOF_WHILE_READING": "disconnected",
}


class Listener:
    """The sockets of one listener in one process; they are inherited and stay open for other processes.

    ``proxy_protocol``: trusted proxies send a PROXY header before each connection.
    """

    def __init__(self, service: ListenerService, sockets: Sequence[socket.socket], proxy_protocol: bool) -> None:
        self._service = service
        self._sockets = list(sockets)
        self._proxy_protocol = proxy_protocol
        self._tls: dict[str, Any] = {}
        # It has the methods of a protocol, but no base class from asyncio, which could not be compiled.
        self._make: Callable[..., Any] = partial(Connection, service)
        if service.tls is not None:
            self._make = self._connection_for_tls
            self._tls = {"ssl": service.tls.context, "ssl_handshake_timeout": service.limits.tls_handshake}
        self._handshakes: set[asyncio.Task[None]] = set()
        self._accepting = False
        self._warned = False  # of connections without a PROXY header

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
        """Accept what the kernel already holds, then no more; close the sockets. Handshakes in progress continue."""
        for sock in self._sockets:
            if self._accepting:
                self._service.loop.remove_reader(sock.fileno())
                while self._take(sock):
                    pass
            sock.close()
        self._accepting = False
        self._sockets.clear()

    def abort(self) -> None:
        """Abort every connection and every handshake now."""
        for task in self._handshakes:
            task.cancel()
        for connection in list(self._service.connections):
            connection.abort()

    @property
    def busy(self) -> bool:
        """Whether a connection is open or a handshake in progress."""
        return bool(self._service.connections or self._handshakes)

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
        try:
            sock, _ = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            self._accept_failed(listening, error)
            return False
        sock.setblocking(False)
        task = internal_task(self._open(sock), loop=self._service.loop)
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)
        return True

    def _accept_failed(self, listening: socket.socket, error: OSError) -> None:
        logger.error("cannot accept a connection: %s; retrying in %g s", error, EXHAUSTED_PAUSE)
        loop = self._service.loop
        loop.remove_reader(listening.fileno())
        self._service.meter.violation("accept_failed")
        loop.call_later(EXHAUSTED_PAUSE, self._accept_again, listening)

    def _accept_again(self, listening: socket.socket) -> None:
        if self._accepting:
            self._service.loop.add_reader(listening.fileno(), self._accept, listening)

    async def _open(self, sock: socket.socket) -> None:
        """Read the PROXY header, do the TLS handshake, each if it is wanted; then the connection manages itself."""
        service = self._service
        try:
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            make = self._make
            if self._proxy_protocol and service.trusted.trusts_socket(sock):
                make = partial(make, await read_header(sock, service.loop, service.limits))
            transport, _ = await service.loop.connect_accepted_socket(make, sock, **self._tls)
        except asyncio.CancelledError:
            sock.close()
            raise
        except ProxyHeaderError as error:
            self._refuse_header(sock, error)
            return
        except (OSError, EOFError) as error:
            sock.close()
            if self._tls:
                service.meter.handshake_failed(handshake_reason(error))
                logger.debug("TLS handshake failed: %s", error)
            return
        except Exception:
            logger.exception("cannot open a connection")
            sock.close()
            service.meter.violation("accept_failed")
            return
        if self._tls:
            service.meter.handshake_done(transport.get_extra_info("ssl_object").version())

    def _refuse_header(self, sock: socket.socket, error: ProxyHeaderError) -> None:
        """Close the connection of a trusted proxy without a valid PROXY header; the first time, tell the operator."""
        name, level = self._service.meter.name, logging.DEBUG if self._warned else logging.WARNING
        logger.log(level, "listener %s: refused a connection of a trusted proxy (%s): %s", name, _peer(sock), error)
        self._warned = True
        sock.close()
        self._service.meter.violation(error.reason)

    def _connection_for_tls(self, header: ProxyHeader | None = None) -> Connection:
        """The loop calls this just before it makes the TLS transport with its read buffer, in the same step."""
        cover_used(self._service.loop)
        return Connection(self._service, header)


def _peer(sock: socket.socket) -> str:
    try:
        return str(sock.getpeername()[0]) if sock.family != socket.AF_UNIX else "unix"
    except OSError:  # it has already disconnected
        return "unknown"


def handshake_reason(error: BaseException) -> str:
    """One word for the reason of a failed handshake, from a fixed set (it becomes a metric's label)."""
    if isinstance(error, TimeoutError | ConnectionAbortedError):
        return "timeout"
    if not isinstance(error, ssl.SSLError):
        return "disconnected"
    return _REASONS.get(getattr(error, "reason", None) or "", "other")
