"""Makes the backends of a Config.

The runtime calls it; it imports every kind of backend. It raises no error: a backend that cannot be built becomes a
problem with its path in the configuration.
"""

from __future__ import annotations

from functools import partial

from sidegate.backends.app.asgi import AsgiBackend
from sidegate.backends.app.loading import LoadedApp, load_of_backend
from sidegate.backends.app.wsgi.backend import WsgiBackend
from sidegate.backends.app.wsgi.environ import base_environ
from sidegate.backends.app.wsgi.stuck import StuckThreads
from sidegate.backends.app.wsgi.threads import Threads
from sidegate.backends.backend import Backend
from sidegate.backends.respond import RespondBackend
from sidegate.backends.upstream.backoff import EndpointBackoff
from sidegate.backends.upstream.balancer import Balancer
from sidegate.backends.upstream.endpoint_connections import ConnectionPolicy
from sidegate.backends.upstream.pool import PoolBackend, Report
from sidegate.backends.upstream.remote import RemoteBackend
from sidegate.backends.upstream.tls import client_context
from sidegate.backends.wait_queue import WaitQueue
from sidegate.config.backends import THREADS
from sidegate.config.hop import longest_request, streams_of_front
from sidegate.config.schema import Config
from sidegate.errors import Problems
from sidegate.observe.observer import Observer
from sidegate.wire.hop import HEADER_TABLE
from sidegate.wire.http2 import EngineSettings, Http2ClientCodec, load_engine

RESPONSE_FIELDS = 1000
RESPONSE_BLOCK = 256 * 1024
"""Limits of a response's head: number of fields and bytes. They are far beyond what clients accept, because an
application in the front itself has no limit."""

FRAME = 16 * 1024
"""Bytes that a CONTINUATION frame holds if the peers have not agreed on more (RFC 9113 4.2)."""

ASSUMED_STREAMS = 1 << 15
"""Assumed concurrency of a third-party server; it sizes the connection window."""

LIVENESS = 30.0
"""Seconds in which a third-party server must answer a PING."""


def build_backends(config: Config, observer: Observer, report: Report, problems: Problems) -> dict[str, Backend]:
    """Make the backends, by name. A backend that cannot be built is added to ``problems``.

    It must be called within a running event loop.
    """
    backends: dict[str, Backend] = {}
    for name, backend in config.backends.items():
        if backend.respond is not None:
            backends[name] = RespondBackend(name, backend.respond)
        elif backend.pool is not None:
            balancer = _balancer(config, name, observer)
            backends[name] = PoolBackend(balancer, backend.root_path, report)
        elif backend.h2c or backend.h2:
            _add_remote(config, name, observer, backends, problems)
        elif (loaded := load_of_backend(name, backend, problems)) is not None:
            backends[name] = _with_application(config, name, loaded, observer, report)
    return backends


def _with_application(config: Config, name: str, loaded: LoadedApp, observer: Observer, report: Report) -> Backend:
    backend = config.backends[name]
    if loaded.interface == "asgi":
        return AsgiBackend(name, loaded, backend.root_path, backend.lifespan)
    return _on_threads(config, name, loaded, observer, report)


def _on_threads(config: Config, name: str, loaded: LoadedApp, observer: Observer, report: Report) -> WsgiBackend:
    backend = config.backends[name]
    threads = Threads(name, THREADS if backend.threads is None else backend.threads)
    base = base_environ(multithread=threads.capacity > 1, multiprocess=config.processes > 1)
    wait_queue = WaitQueue(observer.pool(name), backend.queue)
    on_exhausted = partial(report, "exhausted", backend=name)
    stuck = StuckThreads(name, threads.capacity, observer.threads(name), longest_request(config, name), on_exhausted)
    return WsgiBackend(loaded, base, wait_queue, threads, stuck, root_path=backend.root_path)


def _add_remote(
    config: Config, name: str, observer: Observer, backends: dict[str, Backend], problems: Problems
) -> None:
    backend = config.backends[name]
    tls = None
    if backend.h2:
        try:
            tls = client_context(backend.tls)
        except OSError as error:  # ssl.SSLError is one
            problems.append((("backends", name, "tls"), str(error)))
            return
    server_name = backend.tls.server_name if backend.tls is not None else None
    backends[name] = RemoteBackend(_balancer(config, name, observer), backend.h2 or backend.h2c, tls, server_name)


def _balancer(config: Config, name: str, observer: Observer) -> Balancer:
    backend = config.backends[name]
    pool = backend.pool
    settings = EngineSettings(
        concurrent_streams=ASSUMED_STREAMS if pool is None else streams_of_front(pool, config.processes),
        stream_window=config.limits.stream_window,
        header_fields=RESPONSE_FIELDS,
        header_block=RESPONSE_BLOCK,
        continuation_frames=RESPONSE_BLOCK // FRAME + 1,
        header_table=HEADER_TABLE,
        hop=True,
    )
    liveness = LIVENESS if pool is None else pool.liveness_timeout
    new_codec = partial(Http2ClientCodec, load_engine(config.http2_engine), settings)
    fronts = 1 if pool is None else config.processes
    policy = ConnectionPolicy(EndpointBackoff(ejects=pool is None))
    return Balancer(observer.pool(name), backend.queue, liveness, policy, new_codec, fronts=fronts)
