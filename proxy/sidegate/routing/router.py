"""The route map: which App answers a request.

Step 5 of the request line. The exchange calls it as the root App; it stores the request's Route in the record and calls
the Route's App. It knows neither filters nor backends, never reads a body and never writes a response. It raises no
error: if no route matches, the App of ``NO_ROUTE`` does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from sidegate.asgi import RECORD_KEY, Receive, Scope, Send
from sidegate.observe.record import Record
from sidegate.route import Route
from sidegate.routing.index import RouteIndex


class Router:
    """The root App of a process."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._index = RouteIndex(routes)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._choose(scope).app(scope, receive, send)

    def _choose(self, scope: Scope) -> Route:
        record: Record = scope[RECORD_KEY]
        route = self._index.find(record.path, scope)
        record.route = route
        if route.index >= 0:
            record.listener.route_found(route.index)
        return route
