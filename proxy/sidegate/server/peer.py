"""The two ends of a connection: addresses, TLS facts, trust.

It is made once when a connection opens; the scope of each of its requests reads it.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from sidegate.asgi import RECORD_KEY
from sidegate.server.forwarded import TrustedProxies
from sidegate.server.proxy_protocol import tls_extension
from sidegate.server.tls.contexts import ServerTls
from sidegate.wire.proxy_header import ProxyHeader
from sidegate.wire.target import PathPolicy

EXTENSIONS: dict[str, dict[str, Any]] = {
    "http.response.early_hint": {},
    "http.response.pathsend": {},
    "http.response.trailers": {},
    "http.response.zerocopysend": {},
}

SCOPE_KEYS = (
    "type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path", "headers",
    "client", "server", "extensions", RECORD_KEY,
)  # fmt: skip
"""In the order of the ASGI specification, our own last."""


class Peer:
    """The two ends of a connection; the same for all its requests.

    ``client`` and ``server`` are (host, port); over a unix socket ``client`` is None and ``server`` (path, None).
    ``tls_version`` is that of the client's connection, empty in cleartext. ``encrypted``: whether this connection uses
    TLS, because a proxy may have ended the client's. ``trusted`` is set if the peer is a proxy whose forwarding fields
    are used.
    ``paths``: what the paths of its requests may be. ``scope``: the beginning of every scope, because to copy it costs
    half as much as to name all its keys.
    """

    __slots__ = ("client", "encrypted", "extensions", "paths", "scheme", "scope", "server", "tls_version", "trusted")

    def __init__(
        self,
        client: tuple[str, int] | None,
        server: tuple[str, int | None] | None,
        trusted: TrustedProxies | None,
        paths: PathPolicy,
    ) -> None:
        """Create it for cleartext; ``peer_of`` adds the values of TLS."""
        self.paths = paths
        self.client = client
        self.server = server
        self.trusted = trusted
        self.scheme = "http"
        self.tls_version = ""
        self.encrypted = False
        self.extensions = EXTENSIONS
        self.scope: dict[str, Any] = {
            **dict.fromkeys(SCOPE_KEYS),
            "type": "http",
            "scheme": "http",
            "root_path": "",
            "client": client,
            "server": server,
        }


def peer_of(
    transport: asyncio.BaseTransport,
    tls: ServerTls | None,
    trusted: TrustedProxies,
    paths: PathPolicy,
    header: ProxyHeader | None,
) -> Peer:
    """The facts of an open transport. ``header``: what a trusted proxy said of its client before the connection."""
    client = _address(transport.get_extra_info("peername"))
    server = transport.get_extra_info("sockname")
    ends: tuple[Any, Any] = client, _address(server) or (_path(server), None)
    if header is None:
        # By the socket's family: a TCP peer that has already reset its connection has no address either.
        is_unix = transport.get_extra_info("socket").family == socket.AF_UNIX
        is_trusted = trusted.unix if is_unix else trusted.trusts(client)
    else:
        # A proxy that sends a header cannot remove forwarding fields: they are the client's own.
        ends = (header.client, header.server) if header.client is not None else ends
        is_trusted = trusted.trusts(header.client)
    peer = Peer(*ends, trusted if is_trusted else None, paths)
    session = transport.get_extra_info("tls_session")
    if session is not None and tls is not None:
        peer.encrypted = True
        facts = session.facts()
        _set_tls(peer, facts.version, tls.extension(session, facts))
    if header is not None and header.over_tls is not None:
        _set_tls_of_proxy(peer, header)
    return peer


def known_scheme(peer: Peer, header: ProxyHeader | None) -> str:
    """The scheme of the peer's connection, with which its requests' schemes are compared; empty if it is unknown.

    It is unknown if a balancer of TCP did not say whether it has ended TLS, or if it has not, but this connection has
    TLS: of the client or of the balancer. A trusted peer's own word is used in any case.
    """
    if header is None or peer.trusted is not None or header.over_tls:
        return peer.scheme
    return "" if header.over_tls is None or peer.encrypted else peer.scheme


def _set_tls(peer: Peer, version: str, extension: dict[str, Any] | None) -> None:
    peer.scheme = peer.scope["scheme"] = "https"
    peer.tls_version = version
    if extension is not None:
        peer.extensions = {**EXTENSIONS, "tls": extension}


def _set_tls_of_proxy(peer: Peer, header: ProxyHeader) -> None:
    """Store whether the client's connection used TLS. What this connection uses is the proxy's affair."""
    if header.tls is not None:
        _set_tls(peer, header.tls.version, tls_extension(header.tls))
    else:
        peer.scheme = peer.scope["scheme"] = "http"
        peer.tls_version = ""
        peer.extensions = EXTENSIONS


def _address(name: Any) -> tuple[str, int] | None:
    """(host, port) of an INET or INET6 socket name; None for a unix socket's."""
    return (name[0], name[1]) if isinstance(name, tuple) else None


def _path(name: Any) -> str:
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name or "")
