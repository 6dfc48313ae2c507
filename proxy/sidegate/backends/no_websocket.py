"""Refuses a WebSocket for a backend that does not support it.

Each of these backends calls it first, because over HTTP/2 an extended CONNECT must not be answered as if it were a GET.
"""

from __future__ import annotations

from sidegate.asgi import Scope
from sidegate.errors import ExchangeError, Fault


def refuse_websocket(scope: Scope) -> None:
    """Check that the client does not ask for a WebSocket.

    :raises ExchangeError: 501; the client asks for one.
    """
    if scope["type"] == "websocket":
        raise ExchangeError(Fault.CLIENT, 501, "no_websocket")
