"""What a connection knows of its two ends: addresses, TLS facts, trust.

Where it stands: made once when a connection opens, read by the scope of each of its requests.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

from proxy.server.forwarded import TrustedProxies
from proxy.server.tls import ServerTls

EXTENSIONS: dict[str, dict[str, Any]] = {
    "http.response.early_hint": {},
    "http.response.pathsend": {},
    "http.response.trailers": {},
    "http.response.zerocopysend": {},
}


@dataclass(frozen=True, slots=True)
class Peer:
    """What a connection knows of its two ends; the same for all its requests.

    ``client`` and ``server`` are (host, port); over a unix socket ``client`` is None and ``server`` (path, None).
    ``tls_version`` is empty in cleartext. ``trusted`` is set if the peer is a proxy whose forwarding fields count.
    """

    scheme: str
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    extensions: dict[str, dict[str, Any]]
    tls_version: str
    trusted: TrustedProxies | None


def peer_of(transport: asyncio.BaseTransport, tls: ServerTls | None, trusted: TrustedProxies) -> Peer:
    """The facts of an open transport."""
    client = _address(transport.get_extra_info("peername"))
    server = transport.get_extra_info("sockname")
    ssl_object = transport.get_extra_info("ssl_object")
    extensions = EXTENSIONS
    if tls is not None and ssl_object is not None:
        extensions = {**EXTENSIONS, "tls": tls.extension(ssl_object)}
    # By the socket's family: a TCP peer that has reset its connection already has no address either.
    is_unix = transport.get_extra_info("socket").family == socket.AF_UNIX
    is_trusted = trusted.unix if is_unix else client is not None and client[0] in trusted
    return Peer(
        scheme="http" if ssl_object is None else "https",
        client=client,
        server=_address(server) or (_path(server), None),
        extensions=extensions,
        tls_version="" if ssl_object is None else ssl_object.version() or "",
        trusted=trusted if is_trusted else None,
    )


def _address(name: Any) -> tuple[str, int] | None:
    """(host, port) of an INET or INET6 socket name; None for a unix socket's."""
    return (name[0], name[1]) if isinstance(name, tuple) else None


def _path(name: Any) -> str:
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name or "")
