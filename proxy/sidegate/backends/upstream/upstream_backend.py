"""The base class of backends whose requests go to other processes: it has a balancer, and makes a relay per request.

Step 7 of the request line; an App. ``pool.py`` and ``remote.py`` set the endpoints. Its errors are those of a relay.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from sidegate.asgi import RECORD_KEY, Receive, Scope, Send
from sidegate.backends.backend import Backend
from sidegate.backends.buffering import Buffering
from sidegate.backends.upstream.balancer import Balancer
from sidegate.backends.upstream.relay import Relay
from sidegate.backends.upstream.request_fields import HopFields
from sidegate.backends.upstream.tunnel import Tunnel


class UpstreamBackend(Backend):
    """An App whose requests go to other processes; ``fields`` makes the heads of these requests."""

    def __init__(self, balancer: Balancer, buffering: Buffering, fields: HopFields) -> None:
        super().__init__(balancer.name)
        self._balancer = balancer
        self._buffering = buffering
        self._fields = fields

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        scope[RECORD_KEY].backend = self.name
        kind = Relay if scope["type"] == "http" else Tunnel
        return kind(self._balancer, self._fields, scope, receive, send, buffering=self._buffering).run()

    async def start(self) -> None:
        """Start the balancer, without waiting for a connection."""
        self._balancer.start()

    async def stop(self) -> None:
        """Close every connection."""
        await self._balancer.stop()
        self._buffering.files.stop()

    def statistics(self) -> dict[str, Any]:
        """See ``Balancer``."""
        return self._balancer.statistics()
