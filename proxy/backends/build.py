"""Makes the backends that a Config names.

Where it stands: called by the runtime, above every kind of backend. What cannot be built is told by its path in the
configuration; no error leaves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from proxy.backends.balancer import Balancer
from proxy.backends.inprocess import InProcessBackend
from proxy.backends.loading import LoadError, load_app
from proxy.backends.pauses import Pauses
from proxy.backends.pool import PoolBackend, Report
from proxy.backends.remote import RemoteBackend
from proxy.backends.respond import RespondBackend
from proxy.backends.upstream_tls import client_context
from proxy.config.hop import streams_of_front
from proxy.config.schema import Backend, Config
from proxy.errors import Problems
from proxy.observe.observer import Observer
from proxy.wire.hop import HEADER_TABLE
from proxy.wire.http2 import EngineSettings, Http2ClientCodec, load_engine

AnyBackend = InProcessBackend | PoolBackend | RemoteBackend | RespondBackend

RESPONSE_FIELDS = 1000
RESPONSE_BLOCK = 256 * 1024
"""Bounds of a response's head, far beyond what clients take: an application in the front itself has none."""

FRAME = 16 * 1024
"""Bytes that a CONTINUATION frame holds if nothing else was agreed (RFC 9113 4.2)."""

ANY_STREAMS = 1 << 15
"""Of somebody else's server nobody knows how many streams it takes: room for the windows of more than there will be."""

LIVENESS = 30.0
"""Seconds for the answer to a PING of a server that is no worker of a pool."""


def build_backends(config: Config, observer: Observer, report: Report, problems: Problems) -> dict[str, AnyBackend]:
    """The backends by name; what cannot be built is added to ``problems``. Within a running event loop."""
    backends: dict[str, AnyBackend] = {}
    for name, backend in config.backends.items():
        if backend.respond is not None:
            backends[name] = RespondBackend(name, backend.respond)
        elif backend.pool is not None:
            balancer = _balancer(config, name, observer)
            backends[name] = PoolBackend(balancer, backend.root_path, report)
        elif backend.h2c or backend.h2:
            _add_remote(config, name, observer, backends, problems)
        elif (built := _in_process(name, backend, problems)) is not None:
            backends[name] = built
    return backends


def check_applications(configs: Mapping[str, Backend], problems: Problems) -> None:
    """Import every application that fronts run; what cannot be is added to ``problems``."""
    for name, backend in configs.items():
        if backend.pool is None:
            _in_process(name, backend, problems)


def _in_process(name: str, backend: Backend, problems: Problems) -> InProcessBackend | None:
    if backend.app is None:
        return None
    try:
        app = load_app(backend.app, backend.directory)
    except LoadError as error:
        problems.append((("backends", name, "app"), str(error)))
        return None
    return InProcessBackend(name, app, backend.root_path, backend.lifespan)


def _add_remote(
    config: Config, name: str, observer: Observer, backends: dict[str, AnyBackend], problems: Problems
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
        concurrent_streams=ANY_STREAMS if pool is None else streams_of_front(pool, config.processes),
        stream_window=config.limits.stream_window,
        header_fields=RESPONSE_FIELDS,
        header_block=RESPONSE_BLOCK,
        continuation_frames=RESPONSE_BLOCK // FRAME + 1,
        header_table=HEADER_TABLE,
        hop=True,
    )
    liveness = LIVENESS if pool is None else pool.liveness_timeout
    new_codec = partial(Http2ClientCodec, load_engine(config.http2_engine), settings)
    return Balancer(observer.pool(name), backend.queue, liveness, Pauses(ejects=pool is None), new_codec)
