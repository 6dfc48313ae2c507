"""What every connection of one listener shares.

Where it stands: made once per listener by the runtime, read by its connections and exchanges. Immutable but for
the connections and the draining flag.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Protocol

from sidegate.aio.clock import Clock
from sidegate.aio.eager import EagerStarter
from sidegate.asgi import WEBSOCKET_KEY, App, Scope
from sidegate.config.schema import ConnectionLimits
from sidegate.config.websocket import WebSocketSettings
from sidegate.observe.meter import ListenerMeter
from sidegate.observe.observer import Observer
from sidegate.observe.record import Record
from sidegate.observe.websocket_meter import WebSocketMeter
from sidegate.server.admission import Admission
from sidegate.server.forwarded import TrustedProxies
from sidegate.server.tls.contexts import ServerTls
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.hop import WebSocketFacts
from sidegate.wire.http2 import EngineFactory

HIGH_WATER = 64 * 1024
"""Response bytes that an exchange may have queued before ``send`` waits (asyncio's own default for sockets)."""

LOW_WATER = 16 * 1024
"""``send`` goes on when no more than this is queued."""

GOAWAY_PAUSE = 0.5
"""Seconds from announcing the end to taking no more requests: more than a round trip, so that what is on its way is
answered. HTTP/2: the two phases of GOAWAY (RFC 9113 6.8); HTTP/1.1: ``connection: close`` in a response."""


class ServedConnection(Protocol):
    """A connection, seen from the listener and the runtime."""

    exchanges: dict[int, Any]

    def wind_down(self) -> None:
        """Announce the end, finish what is under way, then close."""

    def abort(self) -> None:
        """Cut it now."""


@dataclass(eq=False, slots=True)
class Service:
    """One listener's share: the root App, the limits and what counts and keeps time."""

    app: App
    limits: ConnectionLimits
    observer: Observer
    meter: ListenerMeter
    engine: EngineFactory
    protocols: tuple[str, ...]
    clock: Clock[Any]
    loop: asyncio.AbstractEventLoop
    eager_starter: EagerStarter
    admission: Admission
    policy: FieldPolicy
    tls: ServerTls | None
    trusted: TrustedProxies
    trusted_policy: FieldPolicy
    """The policy for peers in ``trusted``: their forwarding fields are kept."""
    request_timeouts: tuple[float, ...] = ()
    """Seconds from a request's head to the end of its response, by route index, 0 for no limit. Empty where no route
    has one, and in a worker: the front judges."""
    hop_policy: FieldPolicy | None = None
    """In a worker, the policy for those of ``trusted`` that turn out to be fronts of ours; it keeps their facts."""
    websockets: tuple[WebSocketSettings, ...] = (WebSocketSettings(),)
    """By route index; the last entry is the one for no route, so that Python's index -1 finds it."""
    connections: set[ServedConnection] = field(default_factory=set)
    """Open ones, and closed ones whose applications are still running."""
    draining: bool = False

    def websocket_settings(self, record: Record, scope: Scope) -> WebSocketSettings:
        """What counts for a WebSocket once its route is known: in a worker, what its front says."""
        told: WebSocketFacts | None = scope.get(WEBSOCKET_KEY)
        return self.websockets[record.route] if told is None else told.settings

    def websocket_meter(self, record: Record, scope: Scope) -> WebSocketMeter:
        """Where a WebSocket is counted once its route is known: in a worker, under the front's route."""
        told: WebSocketFacts | None = scope.get(WEBSOCKET_KEY)
        # Another service's front may name a route that this worker does not know.
        known = told is not None and told.route < len(self.websockets) - 1
        return self.observer.websocket(told.route if told is not None and known else record.route)
