"""A backend whose requests go to third-party HTTP/2 servers, on this or another host.

Step 7 of the request line; an App. It makes endpoints of the configured addresses: one for each IP address of a name,
which ``name_lookup.py`` looks up. Its errors are those of a relay.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence

from sidegate.backends.buffering import Buffering
from sidegate.backends.context import BuildContext
from sidegate.backends.upstream.backoff import EndpointBackoff
from sidegate.backends.upstream.balancer import Balancer
from sidegate.backends.upstream.codecs import codec_maker
from sidegate.backends.upstream.connection import UpstreamConnection
from sidegate.backends.upstream.endpoint import Endpoint, TcpEndpoint, UnixEndpoint
from sidegate.backends.upstream.endpoint_connections import ConnectionPolicy
from sidegate.backends.upstream.name_lookup import NameLookup
from sidegate.backends.upstream.request_fields import HopFields
from sidegate.backends.upstream.tls import client_context, problem_of
from sidegate.backends.upstream.upstream_backend import UpstreamBackend
from sidegate.config.address import Address, parse_upstream
from sidegate.config.pem import PemError

logger = logging.getLogger("sidegate.backend")

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
        super().__init__(balancer, buffering, HopFields("", b"http" if tls is None else b"https"))
        self._addresses = [parse_upstream(address) for address in addresses]
        self._tls = tls
        self._server_name = server_name
        self._lookups = {
            address: NameLookup(self.name, address, self._set_endpoints)
            for address in self._addresses
            if address.kind == "tcp"
        }
        balancer.on_failure = self._on_failure
        balancer.on_silence = self._on_silence

    async def start(self) -> None:
        """See ``UpstreamBackend``. It returns after the first look-up of the addresses."""
        await super().start()
        self._set_endpoints()
        for lookup in self._lookups.values():
            lookup.start()
        for lookup in self._lookups.values():
            await lookup.began()

    async def stop(self) -> None:
        """Stop the look-ups and close every connection."""
        for lookup in self._lookups.values():
            await lookup.stop()
        await super().stop()

    def _on_failure(self) -> None:
        for lookup in self._lookups.values():
            lookup.repeat_soon()

    def _on_silence(self, endpoint: Endpoint, connection: UpstreamConnection) -> None:
        """Abort a connection whose peer does not answer a PING; its streams are lost."""
        logger.warning("%s did not answer a PING: closing the connection", connection.name)
        connection.abort()

    def _set_endpoints(self) -> None:
        self._balancer.set_endpoints(endpoint for address in self._addresses for endpoint in self._endpoints(address))

    def _endpoints(self, address: Address) -> list[Endpoint]:
        if address.kind == "unix":
            return [UnixEndpoint(address.path)]
        name = "" if self._tls is None else self._server_name or address.host
        hosts = self._lookups[address].hosts
        return [TcpEndpoint(host, address.port, self._tls, name, "h2") for host in hosts]
