"""A backend whose application runs in worker processes of this service.

Step 7 of the request line; an App. The front passes on the supervisor's list of workers. This backend makes endpoints
of them, and reports its queue and workers that do not answer to the supervisor. Its errors are those of a relay.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from sidegate.backends.buffering import Buffering
from sidegate.backends.context import BuildContext, Report
from sidegate.backends.upstream.backoff import EndpointBackoff
from sidegate.backends.upstream.balancer import Balancer
from sidegate.backends.upstream.codecs import codec_maker
from sidegate.backends.upstream.connection import UpstreamConnection
from sidegate.backends.upstream.endpoint import Endpoint, UnixEndpoint
from sidegate.backends.upstream.endpoint_connections import ConnectionPolicy
from sidegate.backends.upstream.request_fields import HopFields
from sidegate.backends.upstream.upstream_backend import UpstreamBackend
from sidegate.config.hop import streams_of_front
from sidegate.config.schema import BackendConfig, PoolConfig


def build(context: BuildContext) -> PoolBackend:
    """Make the backend; it has no endpoint until the supervisor has sent the list of workers."""
    config, backend = context.config, context.backend
    pool = cast(PoolConfig, backend.pool)
    balancer = Balancer(
        context.observer.pool(context.name),
        backend.queue,
        pool.liveness_timeout,
        ConnectionPolicy(EndpointBackoff(ejects=False)),
        codec_maker(config, streams_of_front(pool, config.processes)),
        fronts=config.processes,
    )
    return PoolBackend(balancer, Buffering(config, backend), backend, context.report)


class PoolBackend(UpstreamBackend):
    """An App whose requests go to the workers of one pool."""

    def __init__(self, balancer: Balancer, buffering: Buffering, config: BackendConfig, report: Report) -> None:
        super().__init__(balancer, buffering, HopFields(config.root_path))
        balancer.on_threads = config.interface == "wsgi"
        self._report = report
        balancer.wait_queue.on_pressure = self._on_pressure
        balancer.on_silence = self._on_silence

    def set_workers(self, workers: Iterable[tuple[int, str]]) -> None:
        """See ``Backend``."""
        self._balancer.set_endpoints(UnixEndpoint(path, serial) for serial, path in workers)

    def _on_pressure(self, queued: int) -> None:
        self._report("pressure", backend=self.name, queued=queued)

    def _on_silence(self, endpoint: Endpoint, connection: UpstreamConnection) -> None:
        # A worker that drains has the grace period for its requests, and the supervisor ends it afterwards.
        if isinstance(endpoint, UnixEndpoint) and not connection.leaving:
            self._report("stuck", backend=self.name, serial=endpoint.serial)
