"""A backend whose requests go to HTTP/2 servers that somebody else runs, here or on another host.

Where it stands: step 7 of the request line; an App. It turns the addresses of the configuration into endpoints: a name
stands for all its addresses, looked up again every ``LOOKUP_PERIOD`` seconds and soon after a failure. A name that
cannot be looked up keeps the addresses that it had. No error leaves it but those of a relay.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Sequence
from typing import Any
from urllib.parse import urlsplit

from proxy.asgi import Receive, Scope, Send
from proxy.backends.balancer import Balancer
from proxy.backends.endpoint import Endpoint, TcpEndpoint, UnixEndpoint
from proxy.backends.hop_fields import HopFields
from proxy.backends.keeper import Keeper
from proxy.backends.relay import Relay

logger = logging.getLogger("sidegate.backend")

LOOKUP_PERIOD = 30.0
"""Seconds: the usual time to live of a service's name within a cluster."""

LOOKUP_PAUSE = 1.0
"""Seconds between two look-ups at least, however much fails."""


class RemoteBackend:
    """An App before servers at ``addresses`` (``unix:/path``, ``tcp://host:port``)."""

    def __init__(
        self, balancer: Balancer, addresses: Sequence[str], tls: ssl.SSLContext | None, server_name: str | None
    ) -> None:
        self.name = balancer.name
        self._balancer = balancer
        self._addresses = addresses
        self._tls = tls
        self._server_name = server_name
        self._fields = HopFields("")
        self._known: dict[str, list[Endpoint]] = {}
        self._task: asyncio.Task[None] | None = None
        self._failed = asyncio.Event()
        balancer.on_failure = self._failed.set
        balancer.on_silence = self._on_silence

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return Relay(self._balancer, self._fields, scope, receive, send).run()

    async def start(self) -> None:
        """Look the addresses up and begin to connect; whether anybody answers is not waited for."""
        self._balancer.start()
        await self._look_up()
        if any(not _is_unix(address) for address in self._addresses):
            self._task = asyncio.create_task(self._look_up_again(), name=f"addresses of {self.name}")

    async def stop(self) -> None:
        """Close every link."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._balancer.stop()

    def statistics(self) -> dict[str, Any]:
        """See ``Balancer``."""
        return self._balancer.statistics()

    def _on_silence(self, keeper: Keeper) -> None:
        """It neither answers PING nor ends its streams: what is under way there is lost."""
        if keeper.link is not None:
            logger.warning("%s does not answer", keeper.link.name)
            keeper.link.abort()

    async def _look_up_again(self) -> None:
        while True:
            await asyncio.sleep(LOOKUP_PAUSE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOKUP_PERIOD):
                    await self._failed.wait()
            self._failed.clear()
            await self._look_up()

    async def _look_up(self) -> None:
        for address in self._addresses:
            try:
                self._known[address] = await self._endpoints(address)
            except OSError as error:
                logger.warning("backend %r: %s cannot be looked up: %s", self.name, address, error)
        self._balancer.set_endpoints(endpoint for found in self._known.values() for endpoint in found)

    async def _endpoints(self, address: str) -> list[Endpoint]:
        if _is_unix(address):
            return [UnixEndpoint(address.removeprefix("unix:"))]
        host, port = host_and_port(address)
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        name = "" if self._tls is None else self._server_name or host
        return [TcpEndpoint(str(sockaddr[0]), port, self._tls, name) for *_, sockaddr in found]


def _is_unix(address: str) -> bool:
    return address.startswith("unix:")


def host_and_port(address: str) -> tuple[str, int]:
    """Of ``tcp://host:port``; an IPv6 address comes without its brackets. The configuration has checked it."""
    parts = urlsplit(address)
    return parts.hostname or "", parts.port or 0
