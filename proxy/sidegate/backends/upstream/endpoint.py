"""The address of an upstream connection: a unix socket or a TCP address, with or without TLS.

The reconnector calls ``connect``.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Protocol

from sidegate.backends.upstream.connect_failure import WrongProtocolError
from sidegate.backends.upstream.connection import UpstreamConnection

CONNECT_TIMEOUT = 5.0
"""Seconds, TLS handshake included."""


class Endpoint(Protocol):
    """An address of an upstream server or worker. Equal objects are the same endpoint."""

    async def connect(self, connection: UpstreamConnection) -> None:
        """Connect ``connection`` to it.

        :raises OSError: the connection failed, or its TLS (``ssl.SSLError`` is an OSError).
        :raises TimeoutError: it took more than ``CONNECT_TIMEOUT``.
        """

    def __str__(self) -> str: ...


@dataclass(frozen=True, slots=True)
class UnixEndpoint:
    """A unix socket. ``serial`` distinguishes workers that use the same path one after another."""

    path: str
    serial: int = 0

    async def connect(self, connection: UpstreamConnection) -> None:
        """See ``Endpoint``."""
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await connection.loop.create_unix_connection(lambda: connection, self.path)  # type: ignore[type-var]

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """An IP address (not a name) and port. ``tls``: use TLS; the certificate must be for ``server_name``.

    ``alpn``: the protocol that the server must select (RFC 7301), which ``tls`` offers; else ``connect`` raises
    ``WrongProtocolError``. Empty if it need not select any.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    alpn: str = ""

    async def connect(self, connection: UpstreamConnection) -> None:
        """See ``Endpoint``."""
        name = self.server_name if self.tls is not None else None
        version = connection.codec.version
        wrong = f"the server does not speak {version}: it did not select {self.alpn} (ALPN)"
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                transport, _ = await connection.loop.create_connection(
                    lambda: connection,  # type: ignore[type-var]
                    self.host,
                    self.port,
                    ssl=self.tls,
                    server_hostname=name,
                )
        except ssl.SSLError as error:
            # RFC 7301 3.2: the alert of a server that has none of our protocols. Old Pythons have no name for it.
            if "no application protocol" in str(error).lower().replace("_", " "):
                raise WrongProtocolError(wrong) from error
            raise
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and self.alpn and tls.selected_alpn_protocol() != self.alpn:
            connection.abort()
            raise WrongProtocolError(wrong)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"
