"""The state that all connections of one listener share.

The runtime makes one for each listener; connections and exchanges read it. It is immutable except for the connections
and the draining flag.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Protocol

from sidegate.aio.clock import Clock
from sidegate.aio.eager import EagerStarter
from sidegate.asgi import WEBSOCKET_KEY, App, Scope
from sidegate.config.schema import ConnectionLimits
from sidegate.config.websocket import WebSocketConfig, WebSocketSettings, settings_of
from sidegate.observe.meter import ListenerMeter
from sidegate.observe.observer import Observer
from sidegate.observe.record import Record
from sidegate.observe.websocket_meter import WebSocketMeter
from sidegate.server.admission import Admission
from sidegate.server.backlog import Backlog
from sidegate.server.forwarded import TrustedProxies
from sidegate.server.tls.contexts import ServerTls
from sidegate.server.waiting_messages import WaitingMessages
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.hop import WebSocketFacts
from sidegate.wire.http2 import EngineFactory
from sidegate.wire.target import PathPolicy

HIGH_WATER = 64 * 1024
"""Response bytes that an exchange may have queued before ``send`` waits (asyncio's own default for sockets)."""

LOW_WATER = 16 * 1024
"""``send`` continues when no more than this is queued."""

MANY_PIECES = 1024
"""Number of body pieces that are kept as separate objects; more are joined, because each object costs memory."""

GOAWAY_PAUSE = 0.5
"""Least number of seconds between the announcement of the end and the refusal of more requests.

It is more than a usual round trip, so that requests on their way are answered. HTTP/2: the two phases of GOAWAY (RFC
9113 6.8); HTTP/1.1: ``connection: close`` in a response.
"""

GOAWAY_PATIENCE = 5.0
"""Seconds after which an HTTP/2 client that has not acknowledged the announcement is not waited for any longer."""


class ServedConnection(Protocol):
    """A connection, as the listener and the runtime see it."""

    exchanges: dict[int, Any]

    def wind_down(self) -> None:
        """Drain: announce the end, finish the requests in flight, then close."""

    def abort(self) -> None:
        """Abort the connection now."""


class ConnectionCount(Protocol):
    """What connections report to when they open and close (``connection_shares.py``)."""

    def opened(self, connection: Any) -> bool:
        """Count a connection. Returns whether it may stay; otherwise the caller closes it."""

    def closed(self, connection: Any) -> None:
        """A connection is lost."""


@dataclass(frozen=True, eq=False, slots=True)
class FieldPolicies:
    """The header policies of one listener.

    ``clients``: for ordinary peers. ``proxies``: for trusted ones, whose forwarding fields are kept. ``fronts``: in a
    worker, for those of them that announced themselves as fronts; it keeps their facts. None elsewhere.
    """

    clients: FieldPolicy
    proxies: FieldPolicy
    fronts: FieldPolicy | None


@dataclass(frozen=True, eq=False, slots=True)
class Bounds:
    """What the clients of all listeners of a process share: requests, connections, and memory that waits for them."""

    admission: Admission
    connections: ConnectionCount
    backlog: Backlog
    waiting_messages: WaitingMessages


@dataclass(eq=False, slots=True)
class ListenerService:
    """The shared state of one listener: the root App, the limits, the meters and the clock."""

    app: App
    limits: ConnectionLimits
    observer: Observer
    meter: ListenerMeter
    engine: EngineFactory
    protocols: tuple[str, ...]
    clock: Clock[Any]
    loop: asyncio.AbstractEventLoop
    eager_starter: EagerStarter
    bounds: Bounds
    policies: FieldPolicies
    paths: PathPolicy
    tls: ServerTls | None
    trusted: TrustedProxies
    websocket: WebSocketConfig
    """The listener's settings; those of a route replace them."""
    enforces_request_timeouts: bool = False
    """Whether the routes' ``timeouts.request`` are enforced here. A front does it for its workers."""
    threads: bool = False
    """Whether this is a worker that runs its application on threads."""
    connections: set[ServedConnection] = field(default_factory=set)
    """Open connections, and closed ones whose applications are still running."""
    draining: bool = False

    def __post_init__(self) -> None:
        self.bounds.admission.watch(self.connections)

    def websocket_settings(self, record: Record, scope: Scope) -> WebSocketSettings:
        """The settings of a WebSocket once its route is known; in a worker, the front sends them."""
        facts: WebSocketFacts | None = scope.get(WEBSOCKET_KEY)
        return settings_of(self.websocket, record.route.websocket) if facts is None else facts.settings

    def websocket_meter(self, record: Record, scope: Scope) -> WebSocketMeter:
        """The meter of a WebSocket once its route is known; in a worker, the one of the front's route."""
        facts: WebSocketFacts | None = scope.get(WEBSOCKET_KEY)
        return self.observer.websocket(record.route.index if facts is None else facts.route)
