"""The admin server: metrics, probes and status for operators, orchestrators and Prometheus.

It runs in the supervisor's process, on a listener of its own, so that it answers while every front is busy. It changes
nothing: each handler reads the ``View`` that the supervisor implements. The supervisor imports this module only when
the config has an admin server, because aiohttp costs some 20 MB.

It has no authentication. Its default address is the loopback one; anybody who can reach it can read the names in
the config (routes, backends, addresses), and nothing about clients or requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

OPENMETRICS = "application/openmetrics-text"

TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"

INDEX = """Sidegate admin server

/metrics  metrics for Prometheus, as text or OpenMetrics
/livez    200 while the supervisor works, which replaces processes that end or are stuck
/readyz   200 while requests are served, 503 and the reason otherwise
/status   version, listeners, processes, routes and backends, as JSON
"""


MOST_CONNECTIONS = 64
"""Connections that stay open at once: several scrapers and probes, and some people."""


class View(Protocol):
    """The facts that the supervisor shows. Every method returns at once, from memory."""

    def metrics(self) -> CollectorRegistry:
        """The registry to expose (``collector.make_registry``)."""

    def alive(self) -> tuple[bool, str]:
        """Whether the supervisor itself works, and the reason if it does not."""

    def ready(self) -> tuple[bool, str]:
        """Whether the service accepts requests, and the reason if it does not."""

    def status(self) -> Mapping[str, Any]:
        """What runs, as values that JSON can represent."""


VIEW: web.AppKey[View] = web.AppKey("view")


def make_app(view: View) -> web.Application:
    """The application; the supervisor runs it with ``AppRunner(app, access_log=None)``."""
    app = web.Application(middlewares=[_plain_errors])
    app[VIEW] = view
    app.add_routes(
        [
            web.get("/", _index),
            web.get("/metrics", _metrics),
            web.get("/livez", _livez),
            web.get("/readyz", _readyz),
            web.get("/status", _status),
        ]
    )
    return app


def bounded(server: web.Server) -> Callable[[], asyncio.Protocol]:
    """A factory of protocols for ``loop.create_server`` that closes the oldest connections when there are too many.

    aiohttp waits for the first request of a connection without a limit. The supervisor needs its descriptors for its
    children.
    """

    def make() -> asyncio.Protocol:
        connections = server.connections
        for oldest in connections[: max(len(connections) - MOST_CONNECTIONS + 1, 0)]:
            oldest.force_close()
        return server()

    return make


@web.middleware
async def _plain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Make every response one that no cache stores and whose content type no browser guesses."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = error
    response.headers["cache-control"] = "no-store"
    response.headers["x-content-type-options"] = "nosniff"
    if isinstance(response, web.HTTPException):
        raise response
    return response


async def _index(request: web.Request) -> web.Response:
    return web.Response(text=INDEX)


async def _metrics(request: web.Request) -> web.Response:
    """OpenMetrics for a client that lists it in Accept (Prometheus lists it first), else the text format.

    prometheus_client's own ``choose_encoder`` raises an error if the version is not a number, and copies the requested
    version into the response unchecked.
    """
    encode: Callable[[CollectorRegistry], bytes]
    ranges = ",".join(request.headers.getall("accept", [])).split(",")
    if any(media.partition(";")[0].strip().lower() == OPENMETRICS for media in ranges):
        encode, content_type = openmetrics.generate_latest, openmetrics.CONTENT_TYPE_LATEST
    else:
        encode, content_type = generate_latest, TEXT_FORMAT
    return web.Response(body=encode(request.app[VIEW].metrics()), headers={"content-type": content_type})


async def _livez(request: web.Request) -> web.Response:
    return _health(*request.app[VIEW].alive())


async def _readyz(request: web.Request) -> web.Response:
    return _health(*request.app[VIEW].ready())


def _health(good: bool, reason: str) -> web.Response:
    return web.Response(status=200 if good else 503, text=f"{'ok' if good else reason}\n")


async def _status(request: web.Request) -> web.Response:
    return web.json_response(dict(request.app[VIEW].status()))
