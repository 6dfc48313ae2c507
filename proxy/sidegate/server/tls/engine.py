"""The interface between the TLS transport and an engine: bytes in, plaintext and bytes out, the facts of a handshake.

The transport uses one of the two engines, ``openssl_engine.py`` and ``ssl_engine.py``. An engine is sans-I/O: it never
waits, and it knows neither sockets nor the event loop. The contract suite (``tests/contract/tls``) runs over both.

Rules of every engine, whatever its library does by itself:

* Only the server's role; TLS 1.2 and 1.3. Renegotiation, compression and early data are refused.
* A failed handshake has its alert in the output (RFC 8446 6.2), and ``failure`` says why.
* ``receive`` raises nothing: what was decrypted before a failure or the peer's close_notify is still returned.
* After a failure or after ``close`` nothing is encrypted any more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from sidegate.config.schema import Certificate, Tls

HANDSHAKE: Final = 0  # under way
OPEN: Final = 1  # done: data may flow in both directions
ENDED: Final = 2  # the peer has sent close_notify; it may still read
CLOSED: Final = 3  # nothing more is read or encrypted: this side has closed it, or it failed; see ``failure``

DISCONNECTED: Final = "disconnected"
TIMEOUT: Final = "timeout"
CLEARTEXT: Final = "cleartext"


TICKET_NAME: Final = 16  # bytes of a ticket key: its name, then
TICKET_KEY: Final = 32  # the key of AES-256, and that of HMAC-SHA256
TICKET_LIFETIME: Final = 7200
"""Seconds in which a client may resume a session; OpenSSL's own default."""


class TicketKeys:
    """The keys of session tickets (RFC 5077 4), which all fronts share and the supervisor replaces.

    ``keys``: the first encrypts new tickets, all decrypt. Each is ``TICKET_NAME + 2 * TICKET_KEY`` random bytes. Until
    it is set, there is one that no other process has.
    """

    lifetime = TICKET_LIFETIME

    def __init__(self) -> None:
        self.keys: tuple[bytes, ...] = (os.urandom(TICKET_NAME + 2 * TICKET_KEY),)


class Failure(NamedTuple):
    """Why a session failed. ``reason``: a key of ``reasons.HANDSHAKE_FAILURES``.

    ``detail``: the library's words, or others for a log; empty if the operator need not know.
    """

    reason: str
    detail: str


class Session(Protocol):
    """TLS of one connection, in the server's role."""

    @property
    def state(self) -> int:
        """``HANDSHAKE``, ``OPEN``, ``ENDED`` or ``CLOSED``."""

    @property
    def failure(self) -> Failure | None:
        """Set if the handshake, or what followed it, has failed."""

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the peer and return what they contain. Afterwards there may be output and another state."""

    def encrypt(self, data: bytes) -> bytes:
        """Return the records that carry ``data``, behind all output that was not taken."""

    def close(self) -> None:
        """Put close_notify into the output, if the handshake is done and the session has not failed."""

    def take_output(self) -> bytes:
        """Take the bytes that have to be sent: the handshake's, alerts, answers to updates of keys."""

    def facts(self) -> Facts:
        """What the handshake has agreed on. Valid in the states ``OPEN`` and ``ENDED``."""

    def client_chain(self) -> Sequence[bytes]:
        """The peer's certificates in DER, leaf first; none if it sent none. A resumed session has only the leaf."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a handshake has agreed on.

    ``version``: ``TLSv1.2`` or ``TLSv1.3``. ``cipher_suite``: the number that IANA has assigned. ``alpn``: None without
    ALPN. ``server_name``: the SNI as the client sent it. ``certificate``: the position of the certificate that the
    server showed, or would have shown, among those of the listener. ``resumed``: whether a session was resumed.
    """

    version: str
    cipher_suite: int
    alpn: str | None
    server_name: str | None
    certificate: int
    resumed: bool


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What an engine needs to know of one listener.

    ``name``: the listener's. ``certificates``: those of ``tls``, or the self-signed one. ``protocols``: for ALPN, in
    the order of preference. ``choose``: the position of the certificate for a client's SNI, None without one.
    ``tickets``: None if no process but this one is to resume its sessions.
    """

    name: str
    tls: Tls
    certificates: tuple[Certificate, ...]
    protocols: tuple[str, ...]
    choose: Callable[[str | None], int]
    tickets: TicketKeys | None = None


@dataclass(frozen=True, slots=True)
class TlsEngine:
    """An available engine: its name and its library's version, for the start-up line, status and metric.

    ``prepare`` loads what the settings name and returns the function that makes the sessions of a listener.

    :raises TlsError: a file cannot be used.
    """

    name: str
    version: str
    prepare: Callable[[ServerSettings], Callable[[], Session]]
