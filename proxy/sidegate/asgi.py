"""The ASGI types that every part of Sidegate shares, and ``send_response`` for short responses.

An App is an ASGI 3 application (https://asgi.readthedocs.io/en/latest/specs/main.html). The router,
the backends and the error page are Apps too, so this module is the lowest row of the layout.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

Headers = list[tuple[bytes, bytes]]
"""Header fields in order: lower-case names, values without surrounding white space."""

ASGI_VERSIONS = {"version": "3.0", "spec_version": "2.5"}

RECORD_KEY = "sidegate.record"
"""The scope key under which an exchange's record travels from the exchange to routes and backends.

Every filter and middleware passes the scope on, so the record needs no further parameter; the ASGI
specification allows a server's own keys if their names are unique.
"""

WEBSOCKET_KEY = "sidegate.websocket"
"""In a worker, the scope key of the facts that the front sends about a WebSocket: its route and its settings."""

WEBSOCKET_SETTINGS_KEY = "sidegate.websocket_settings"
"""The scope key of a WebSocket's ``WebSocketConfig``: that of its listener, which the route's replaces key by key."""

TUNNEL_KEY = "sidegate.tunnel"
"""The key of ``websocket.accept`` under which a relay sends a ``Handover``."""


class ByteStream(Protocol):
    """The bytes of an accepted WebSocket, unparsed. Both methods raise ``ClientDisconnected``."""

    async def receive_bytes(self) -> bytes:
        """The bytes that the client has sent; empty at their end."""

    def send_bytes(self, data: bytes, last: bool) -> Awaitable[None]:
        """Send bytes to the client; ``last``: nothing follows."""


class Handover:
    """Asks the exchange for a WebSocket's bytes: another process has answered the handshake and handles the frames.

    A relay puts it into its ``websocket.accept``. The exchange sets ``stream``; it stays None if a filter has answered
    in another way. The exchange requires this very type, which is in no scope and which no plain value equals, so an
    application opens no tunnel with what the server gives it. Filters pass the key on like every key that they do not
    know, and the bytes take no way through them.
    """

    __slots__ = ("stream",)

    def __init__(self) -> None:
        self.stream: ByteStream | None = None


async def send_response(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Send a complete response; ``content-length`` is added."""
    fields = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
