"""The TLS transport: it stands between the event loop's transport and a Connection, over the session of an engine.

It is a protocol for the loop's transport, and a transport (as ``asyncio.Transport``) for the Connection, which it makes
when the handshake is done. It owns the order of the two: bytes of the handshake, plaintext, alerts, close_notify. It
never waits and raises no error. What a handshake may take, and what is counted and logged, ``handshakes.py`` knows.

Theory of operation. Nothing is buffered here: what arrives is decrypted at once, and what is written is encrypted at
once, so the buffer of the loop's transport is the only one, and its limits are those that the Connection sets.

The end. A side that closes sends close_notify, then ends the stream of TCP, and goes on reading for a while
(``LINGER``), without looking at what comes: the kernel would answer late bytes of the peer with a RST, which may
destroy what the peer has not read yet. That holds for the alert of a failed handshake as well. Half-close is not
offered: in TLS 1.2 the peer must answer close_notify with its own at once, and send no more (RFC 5246 7.2.1).
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from sidegate.server.connection import Connection
from sidegate.server.tls.cleartext import is_cleartext
from sidegate.server.tls.engine import CLEARTEXT, DISCONNECTED, ENDED, HANDSHAKE, OPEN, TIMEOUT, Failure
from sidegate.server.tls.handshakes import Handshakes
from sidegate.wire.proxy_header import ProxyHeader

LINGER = 5.0
"""Seconds that a peer may go on sending after this side has closed and all is written, as in ``timeouts.LINGER``."""


class TlsTransport:
    """One TLS connection. The listener makes it; the loop calls it as a protocol, the Connection as a transport.

    ``connection``: None until the handshake is done, and after the end.
    """

    __slots__ = (
        "_closing", "_first_bytes", "_handshakes", "_header", "_held", "_is_cleartext", "_loop", "_peer_paused",
        "_reading_paused", "_session", "_started", "_timer", "_transport", "connection",
    )  # fmt: skip

    _transport: asyncio.Transport

    def __init__(self, handshakes: Handshakes, header: ProxyHeader | None) -> None:
        """``header``: the PROXY header that preceded the connection."""
        self._handshakes = handshakes
        self.connection: Connection | None = None
        self._header = header
        self._loop = handshakes.loop
        self._session = handshakes.session()
        self._timer: asyncio.TimerHandle | None = None
        self._started = False  # the client has sent something
        self._is_cleartext = False  # it was a request line
        self._first_bytes = b""  # of a request in cleartext
        self._closing = False
        self._reading_paused = False  # by the Connection
        self._peer_paused = False  # the loop's transport has as much to write as it may
        self._held = False  # reading is paused, because the peer makes us write what it does not read

    # From the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected: the handshake begins."""
        self._transport = cast(asyncio.Transport, transport)
        self._timer = self._loop.call_later(self._handshakes.patience, self._out_of_time)
        self._handshakes.begun(self)

    def data_received(self, data: bytes) -> None:
        """Decrypt what has arrived, and pass it on."""
        if self._closing:
            return
        if not self._started:
            self._started, self._is_cleartext = True, is_cleartext(data)
            if self._is_cleartext:
                self._fail(CLEARTEXT, "plain HTTP")
        if self._is_cleartext:
            self._answer_cleartext(data)
            return
        session = self._session
        plain = session.receive(data)
        output = session.take_output()
        if output:
            self._send(output)
        connection = self.connection
        if connection is None:
            connection = self._advance()
            if connection is None:
                return
        if plain:
            connection.data_received(plain)
        if session.state != OPEN and not self._closing:
            self._session_ended(connection)

    def eof_received(self) -> bool:
        """The peer has ended its stream: without close_notify it may be cut short, which HTTP's own framing shows."""
        if not self._closing:
            self._peer_left()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is closed."""
        self._cancel_timer()
        if self.connection is not None:
            connection, self.connection = self.connection, None
            connection.connection_lost(error)
        elif not self._closing and not self._is_cleartext:
            self._fail(DISCONNECTED, self._left())
        self._closing = True
        self._handshakes.ended(self)

    def pause_writing(self) -> None:
        """The loop's transport has as much to write as it may."""
        self._peer_paused = True
        if self.connection is not None:
            self.connection.pause_writing()

    def resume_writing(self) -> None:
        """The loop's transport has room again."""
        self._peer_paused = False
        if self._held:
            self._held = False
            self._watch_reading()
        if self.connection is not None:
            self.connection.resume_writing()

    # The handshake.

    def _advance(self) -> Connection | None:
        """After input without a Connection: make it if the handshake is done. Returns None if it gets no data."""
        state, failure = self._session.state, self._session.failure
        if state == HANDSHAKE:
            return None
        if failure is not None:
            self._handshakes.failed(self, failure, self._header)
            self._finish(peer_may_send=True)
            return None
        self._cancel_timer()
        self.connection = connection = self._handshakes.done(self, self._session, self._header)
        connection.connection_made(cast(asyncio.Transport, self))
        if self._peer_paused:
            connection.pause_writing()
        return None if self._closing else connection

    def _answer_cleartext(self, data: bytes) -> None:
        """The client speaks plain HTTP: answer when enough of its request has arrived."""
        self._first_bytes += data
        answer = self._handshakes.cleartext_answer(self._first_bytes)
        if answer is not None:
            self._transport.write(answer)
            self._finish(peer_may_send=True)

    def _out_of_time(self) -> None:
        self._timer = None
        if not self._is_cleartext:
            self._fail(TIMEOUT, f"after {self._handshakes.patience:g} s")
        self.abort()

    def _fail(self, reason: str, detail: str) -> None:
        self._handshakes.failed(self, Failure(reason, detail), self._header)

    def _left(self) -> str:
        """The detail of a disconnection. A client that has sent nothing only looked whether the port is open."""
        return "end of the stream" if self._started else ""

    def _peer_left(self) -> None:
        if self.connection is not None:
            self.connection.eof_received()
        elif not self._is_cleartext:
            self._fail(DISCONNECTED, self._left())
        self.close()

    def _session_ended(self, connection: Connection) -> None:
        """The peer has sent close_notify, or something that is no TLS.

        As in the loop's transports, the end of input comes when the Connection reads again: it may have to handle what
        came before.
        """
        if self._reading_paused and self._session.state == ENDED:
            return
        connection.eof_received()
        self.close()

    def _reading_again(self) -> None:
        connection = self.connection
        if connection is not None and not self._closing and self._session.state != OPEN:
            self._session_ended(connection)

    # From the Connection.

    def write(self, data: bytes) -> None:
        """Encrypt and send. Ignored after ``close``, as by the loop's transports."""
        if data and not self._closing:
            self._transport.write(self._session.encrypt(data))

    def can_write_eof(self) -> bool:
        """TLS has no half-close here."""
        return False

    def close(self) -> None:
        """Send what was written, then close_notify; close when the peer has closed its side, or does not in time."""
        if not self._closing:
            peer_may_send = self._session.state != ENDED
            self._session.close()
            self._finish(peer_may_send)

    def abort(self) -> None:
        """Close at once, without close_notify."""
        self._closing = True
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether the connection is closed or about to be."""
        return self._closing or self._transport.is_closing()

    def pause_reading(self) -> None:
        """Let the socket's buffer fill."""
        self._reading_paused = True
        self._watch_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._reading_paused = False
        self._watch_reading()
        if self._session.state != OPEN:
            self._loop.call_soon(self._reading_again)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The limits of the only buffer; it holds encrypted bytes."""
        self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Encrypted bytes that the socket has not taken yet."""
        return self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As the loop's transport, which knows the addresses; and ``tls_session``."""
        if name == "tls_session":
            return self._session
        return self._transport.get_extra_info(name, default)

    # Both.

    def _send(self, output: bytes) -> None:
        """Send what the session itself has to say."""
        self._transport.write(output)
        if self._peer_paused and not self._held and self.connection is not None:
            self._held = True  # else a peer that updates its keys for ever, and reads nothing, would fill the memory
            self._watch_reading()

    def _watch_reading(self) -> None:
        """Let the loop's transport read, or not."""
        if self._transport.is_closing():
            return
        if (self._reading_paused or self._held) and not self._closing:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _finish(self, peer_may_send: bool) -> None:
        """Send the session's last output, end the stream, then drop what the peer still sends."""
        self._closing = True
        self._cancel_timer()
        transport = self._transport
        output = self._session.take_output()
        if transport.is_closing():
            return
        if output:
            transport.write(output)
        if not peer_may_send:
            transport.close()
            return
        self._watch_reading()
        try:
            transport.write_eof()
        except OSError:  # asyncio's own loop: the peer has reset the connection
            transport.abort()
        else:
            self._timer = self._loop.call_later(LINGER, self._lingered)

    def _lingered(self) -> None:
        if self._transport.get_write_buffer_size():
            self._timer = self._loop.call_later(LINGER, self._lingered)  # ``timeouts.write`` ends a stall
        else:
            self._timer = None
            self._transport.close()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
