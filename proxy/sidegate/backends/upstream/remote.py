"""A backend whose requests go to third-party HTTP/2 servers, on this or another host.

Step 7 of the request line; an App. It makes endpoints of the configured addresses: one for each IP address of a name.
It looks names up every ``LOOKUP_PERIOD`` seconds and soon after a failure. If the look-up of a name fails, the name's
previous addresses stay in use. Its errors are those of a relay.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Sequence

from sidegate.aio.tasks import internal_task
from sidegate.backends.buffering import Buffering
from sidegate.backends.context import BuildContext
from sidegate.backends.upstream.backoff import EndpointBackoff
from sidegate.backends.upstream.balancer import Balancer
from sidegate.backends.upstream.codecs import codec_maker
from sidegate.backends.upstream.connection import UpstreamConnection
from sidegate.backends.upstream.endpoint import Endpoint, TcpEndpoint, UnixEndpoint
from sidegate.backends.upstream.endpoint_connections import ConnectionPolicy
from sidegate.backends.upstream.tls import client_context, problem_of
from sidegate.backends.upstream.upstream_backend import UpstreamBackend
from sidegate.config.address import Address, parse_upstream, upstream_text
from sidegate.config.pem import PemError

logger = logging.getLogger("sidegate.backend")

LOOKUP_PERIOD = 30.0
"""Seconds: the usual DNS time to live of a service's name within a cluster."""

LOOKUP_PAUSE = 1.0
"""Shortest time in seconds between two look-ups, however many connections fail."""

ASSUMED_STREAMS = 1 << 15
"""Assumed concurrency of a third-party server; it sizes the connection window."""

LIVENESS = 30.0
"""Seconds in which a third-party server must answer a PING."""


def build(context: BuildContext) -> RemoteBackend | None:
    """Make the backend of ``h2c`` or ``h2``; None: a file of its ``tls`` cannot be used."""
    config, backend, tls = context.config, context.backend, None
    if backend.h2:
        try:
            tls = client_context(backend.tls)
        except PemError as error:
            context.problems.append(problem_of(context.name, error))
            return None
    server_name = backend.tls.server_name if backend.tls is not None else None
    balancer = Balancer(
        context.observer.pool(context.name),
        backend.queue,
        LIVENESS,
        ConnectionPolicy(EndpointBackoff(ejects=True), refuses=True),
        codec_maker(config, ASSUMED_STREAMS),
        fronts=1,
    )
    return RemoteBackend(balancer, Buffering(config, backend), backend.h2 or backend.h2c, tls, server_name)


class RemoteBackend(UpstreamBackend):
    """An App whose requests go to servers at ``addresses`` (``unix:/path``, ``tcp://host:port``)."""

    def __init__(
        self,
        balancer: Balancer,
        buffering: Buffering,
        addresses: Sequence[str],
        tls: ssl.SSLContext | None,
        server_name: str | None,
    ) -> None:
        super().__init__(balancer, buffering, "")
        self._addresses = [parse_upstream(address) for address in addresses]
        self._tls = tls
        self._server_name = server_name
        self._known: dict[Address, list[Endpoint]] = {}
        self._task: asyncio.Task[None] | None = None
        self._failed = asyncio.Event()
        balancer.on_failure = self._failed.set
        balancer.on_silence = self._on_silence

    async def start(self) -> None:
        """See ``UpstreamBackend``. It returns after the first look-up of the addresses."""
        await super().start()
        await self._look_up()
        if any(address.kind == "tcp" for address in self._addresses):
            self._task = internal_task(self._look_up_again(), f"addresses of {self.name}")

    async def stop(self) -> None:
        """Stop the look-ups and close every connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await super().stop()

    def _on_silence(self, endpoint: Endpoint, connection: UpstreamConnection) -> None:
        """Abort a connection whose peer does not answer a PING; its streams are lost."""
        logger.warning("%s did not answer a PING: closing the connection", connection.name)
        connection.abort()

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
                logger.warning("backend %r: cannot resolve %s: %s", self.name, upstream_text(address), error)
        self._balancer.set_endpoints(endpoint for found in self._known.values() for endpoint in found)

    async def _endpoints(self, address: Address) -> list[Endpoint]:
        if address.kind == "unix":
            return [UnixEndpoint(address.path)]
        host, port = address.host, address.port
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        name = "" if self._tls is None else self._server_name or host
        return [TcpEndpoint(str(sockaddr[0]), port, self._tls, name, "h2") for *_, sockaddr in found]
