"""A route as a process runs it: one immutable object for each route of the configuration.

The runtime makes it when the configuration is loaded and puts the App into it that answers the route's requests. The
router maps a request to a Route, the record keeps it, and server and observer read the settings from it. A request that
no route matched has ``NO_ROUTE``, whose App answers 404.
"""

from __future__ import annotations

from sidegate.asgi import App, Receive, Scope, Send
from sidegate.config.schema import BackendRef, Match, RouteConfig, Timeouts
from sidegate.config.websocket import WebSocketConfig
from sidegate.errors import ExchangeError, Fault


class Route:
    """``index``: place in ``config.routes``, -1 for ``NO_ROUTE``. ``app``: answers the route's requests.

    ``name``, ``hostnames``, ``matches``, ``timeouts`` and ``websocket`` are those of the configuration.
    """

    __slots__ = ("app", "hostnames", "index", "matches", "name", "timeouts", "websocket")

    def __init__(self, index: int, config: RouteConfig, app: App) -> None:
        self.index = index
        self.name = config.name
        self.hostnames: tuple[str, ...] = config.hostnames
        self.matches: tuple[Match, ...] = config.matches
        self.timeouts: Timeouts = config.timeouts
        self.websocket: WebSocketConfig = config.websocket
        self.app = app


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    raise ExchangeError(Fault.CLIENT, 404, "no_route")


NO_ROUTE = Route(-1, RouteConfig(backend_refs=(BackendRef(name=""),)), _not_found)
