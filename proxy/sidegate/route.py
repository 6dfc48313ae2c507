"""A route as a process runs it: one immutable object for each route of the configuration.

The runtime makes it when the configuration is loaded and puts the App into it that answers the route's requests. The
router maps a request to a Route, the record keeps it, and server and observer read the settings from it. A request that
no route matched has ``NO_ROUTE``, whose App answers 404, and ``OPTIONS *`` itself.
"""

from __future__ import annotations

from sidegate.asgi import App, Receive, Scope, Send
from sidegate.config.schema import BackendRef, RouteConfig, Timeouts
from sidegate.config.websocket import WebSocketConfig
from sidegate.errors import ExchangeError, Fault


class Route:
    """``index``: place in ``config.routes``, -1 for ``NO_ROUTE``. ``app``: answers the route's requests.

    ``settings``: the route in the configuration; what is read often stands here, too.
    """

    __slots__ = ("app", "hostnames", "index", "name", "settings", "timeouts", "websocket")

    def __init__(self, index: int, settings: RouteConfig, app: App) -> None:
        self.index = index
        self.settings = settings
        self.name = settings.name
        self.hostnames: tuple[str, ...] = settings.hostnames
        self.timeouts: Timeouts = settings.timeouts
        self.websocket: WebSocketConfig = settings.websocket
        self.app = app


_ALLOW = (b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")


async def _answer_without_route(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "*":  # OPTIONS of the server itself (RFC 9110 9.3.7); the path of a route begins with a slash
        await send({"type": "http.response.start", "status": 204, "headers": [_ALLOW]})
        await send({"type": "http.response.body"})
        return
    raise ExchangeError(Fault.CLIENT, 404, "no_route")


NO_ROUTE = Route(-1, RouteConfig(backend_refs=(BackendRef(name=""),)), _answer_without_route)
