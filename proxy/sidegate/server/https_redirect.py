"""``httpsRedirect``: cleartext requests are answered with a redirect to https.

The runtime puts an ``HttpsRedirect`` before the route map of a cleartext listener that has the key. ``https_location``
is a function of its own, because plain HTTP on the port of a TLS listener is answered before there is an exchange.

A route whose paths are all below ``/.well-known/acme-challenge`` is served in cleartext. Let's Encrypt follows the
redirect, but it cannot finish a handshake with a listener that requires client certificates. Caddy and Traefik do the
same for the challenges of their own ACME clients, and redirect all others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from sidegate.asgi import App, Headers, Receive, Scope, Send
from sidegate.config.address import parse_address
from sidegate.config.schema import BackendRef, Config, ListenerConfig, RouteConfig
from sidegate.errors import Refused
from sidegate.route import Route
from sidegate.routing.router import Router

PERMANENT_REDIRECT = 308
"""RFC 9110 15.4.9. With 301 clients repeat a POST as GET. nginx's examples use 301; Caddy uses 308."""

CHALLENGES = "/.well-known/acme-challenge"
"""RFC 8555 8.3."""

HTTP_PORT, HTTPS_PORT = b"80", b"443"

_SECURE = ("https", "wss")

_EVERYTHING = RouteConfig(backend_refs=(BackendRef(name=""),))


def https_location(host: bytes, target: bytes) -> bytes:
    """The value of ``location``. ``host``: valid (``valid_host``); ``target``: in origin-form, visible ASCII, or ``*``.

    ``OPTIONS *`` asks about a URI without a path (RFC 9112 3.2.4).
    """
    return b"https://" + host + (b"" if target == b"*" else target)


class HttpsPort:
    """The port in the location, computed from the host of a request.

    A request without ``:PORT`` in its host came to port 80. If the request came to the listener's own port, nothing has
    mapped the ports, and the location has the port of the first TLS listener. Otherwise, as with the Service of a
    container or behind a load balancer, the public port of https is not known here, and the location has none (443).
    """

    def __init__(self, config: Config, listener: ListenerConfig) -> None:
        tls = [port for other in config.listeners if other.tls is not None for port in _ports(other)]
        self._own = frozenset(_ports(listener))
        self._suffix = b":" + tls[0] if tls and tls[0] != HTTPS_PORT else b""

    def authority(self, host: bytes) -> bytes:
        """The location's host and port. ``host``: valid."""
        name, colon, port = host.rpartition(b":")
        if not colon or host.endswith(b"]"):  # an IPv6 address without a port
            name, port = host, b""
        return name + self._suffix if (port or HTTP_PORT) in self._own else name


class HttpsRedirect:
    """The root App of a cleartext listener with the key.

    ``routes``: the route map. It gets the requests that came to a trusted proxy by https: a redirect of those would
    never end. ``challenges``: the routes of ACME challenges.
    """

    def __init__(self, routes: App, challenges: Sequence[Route], port: HttpsPort) -> None:
        self._routes = routes
        self._challenges = Router([*challenges, Route(-1, _EVERYTHING, self._redirect)]) if challenges else None
        self._port = port

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["scheme"] in _SECURE:
            return self._routes(scope, receive, send)
        if self._challenges is not None and scope["path"].startswith(CHALLENGES):
            return self._challenges(scope, receive, send)
        return self._redirect(scope, receive, send)

    async def _redirect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer at once; the exchange drops the body of the request.

        :raises Refused: 400; an HTTP/1.0 request without a host.
        """
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        if not host:
            raise Refused(400, "bad_host", "a redirect to https needs a host field")
        query = scope["query_string"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        location = https_location(self._port.authority(host), target)
        fields: Headers = [(b"location", location), (b"content-length", b"0")]
        denial = "websocket." if scope["type"] == "websocket" else ""
        await send({"type": f"{denial}http.response.start", "status": PERMANENT_REDIRECT, "headers": fields})
        await send({"type": f"{denial}http.response.body", "body": b""})


def root_app(config: Config, listener: ListenerConfig, router: App, routes: Sequence[Route]) -> App:
    """The root App of ``listener``: ``router``, or a redirect before it."""
    if not listener.https_redirect or listener.tls is not None:
        return router
    challenges = [route for route in routes if _is_challenge(route.settings)]
    return HttpsRedirect(router, challenges, HttpsPort(config, listener))


def _is_challenge(route: RouteConfig) -> bool:
    """Whether all paths of the route are below ``CHALLENGES``."""
    return all(f"{match.path.value}/".startswith(f"{CHALLENGES}/") for match in route.matches)


def _ports(listener: ListenerConfig) -> list[bytes]:
    """The TCP ports that the configuration names; a socket of systemd, or port 0, has none."""
    addresses = [parse_address(address) for address in listener.addresses]
    return [b"%d" % address.port for address in addresses if address.port]
