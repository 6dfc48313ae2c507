"""Backends that cannot speak WebSocket say so.

Where it stands: called first by each of them. Errors: ``ExchangeError`` (501), because over HTTP/2 an extended CONNECT
must not be answered as if it were a GET.
"""

from __future__ import annotations

from sidegate.asgi import Scope
from sidegate.errors import ExchangeError, Fault


def refuse_websocket(scope: Scope) -> None:
    """Raise if the client asks for a WebSocket."""
    if scope["type"] == "websocket":
        raise ExchangeError(Fault.CLIENT, 501, "no_websocket")
