"""What every connection of one listener shares.

Where it stands: made once per listener by the runtime, read by its connections and exchanges. Immutable but for
the connections and the draining flag.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Protocol

from proxy.asgi import App
from proxy.config.schema import Limits
from proxy.observe.meter import ListenerMeter
from proxy.observe.observer import Observer
from proxy.server.admission import Admission
from proxy.server.clock import Clock
from proxy.server.first_step import FirstStep
from proxy.server.forwarded import TrustedProxies
from proxy.server.tls import ServerTls
from proxy.wire.fields import FieldPolicy
from proxy.wire.http2 import EngineFactory

HIGH_WATER = 64 * 1024
"""Response bytes that an exchange may have queued before ``send`` waits (asyncio's own default for sockets)."""

LOW_WATER = 16 * 1024
"""``send`` goes on when no more than this is queued."""

GOAWAY_PAUSE = 0.5
"""Seconds from announcing the end to taking no more requests: more than a round trip, so that what is on its way is
answered. HTTP/2: the two phases of GOAWAY (RFC 9113 6.8); HTTP/1.1: ``connection: close`` in a response."""


class Carried(Protocol):
    """A connection, seen from the listener and the runtime."""

    def wind_down(self) -> None:
        """Announce the end, finish what is under way, then close."""

    def abort(self) -> None:
        """Cut it now."""


@dataclass(eq=False, slots=True)
class Service:
    """One listener's share: the root App, the limits and what counts and keeps time."""

    app: App
    limits: Limits
    observer: Observer
    meter: ListenerMeter
    engine: EngineFactory
    protocols: tuple[str, ...]
    clock: Clock[Any]
    loop: asyncio.AbstractEventLoop
    first_step: FirstStep
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
    connections: set[Carried] = field(default_factory=set)
    """Open ones, and closed ones whose applications are still running."""
    draining: bool = False
