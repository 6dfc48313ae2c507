"""The Config of a worker: one backend behind one listener, with the limits of a trusted hop.

It turns the operator's Config into a worker's, so that a worker is built as a front is. Its values need not be valid in
a file. It raises ValueError for a backend that has no pool.
"""

from __future__ import annotations

import dataclasses

from sidegate.config.limit import worker_values
from sidegate.config.schema import (
    BackendConfig,
    BackendRef,
    Config,
    ConnectionTimeouts,
    Limits,
    ListenerConfig,
    Logging,
    PoolConfig,
    Queue,
    RouteConfig,
    Timeouts,
    limits_of,
)
from sidegate.config.websocket import drain_seconds

NAME = "worker"
"""The name of the listener."""


def worker_config(config: Config, name: str) -> Config:
    """The Config of one worker of the backend ``name``. Raises ValueError if the backend has no pool.

    The listener's address is not bound: the worker gets the socket under the listener's name. The first of its routes
    takes every request. All the fronts' routes are there in their order, so that a worker can count under their names.
    ``processes`` is 2 if several of the pool's processes may run at the same time, for ``wsgi.multiprocess``.
    """
    backend = config.backends[name]
    pool = backend.pool
    if pool is None:
        raise ValueError(f"the backend {name!r} has no pool")
    drain, longest = config.websocket_drain, longest_request(config, name)
    limits, timeouts = hop_limits(config)
    return Config(
        listeners=(ListenerConfig(name=NAME, addresses=("unix:worker",), protocols=("h2",)),),
        backends={name: _worker_backend(backend, pool)},
        routes=tuple(_route(route.name, name, longest) for route in config.routes),
        logging=Logging(level=config.logging.level, format=config.logging.format),
        limits=dataclasses.replace(limits, concurrent_streams=pool.concurrency),
        timeouts=timeouts,
        processes=2 if _overlaps(pool) else 1,
        start_timeout=pool.start_timeout,
        grace_period=pool.stop_timeout,
        websocket_drain=None if drain is None else drain_seconds(drain, pool.stop_timeout),
        http2_engine=config.http2_engine,
        event_loop=config.event_loop,
    )


def _worker_backend(backend: BackendConfig, pool: PoolConfig) -> BackendConfig:
    """The backend in a worker. Its fronts have the queue, and buffer."""
    own = dataclasses.replace(backend, threads=pool.threads, pool=None, queue=Queue())
    return dataclasses.replace(own, body_buffering="off", response_buffering="off")


def longest_request(config: Config, name: str) -> float:
    """The longest ``timeouts.request`` of the routes that lead to the backend ``name``; 0.0 if none has one."""
    routes = (route for route in config.routes if any(ref.name == name and ref.weight for ref in route.backend_refs))
    return max((route.timeouts.request for route in routes), default=0.0)


def _route(name: str, backend: str, longest: float) -> RouteConfig:
    return RouteConfig(name=name, backend_refs=(BackendRef(name=backend),), timeouts=Timeouts(request=longest))


def _overlaps(pool: PoolConfig) -> bool:
    """Whether two workers may run at once: several are configured, or one that is replaced waits for its successor."""
    return pool.workers.max > 1 or bool(pool.max_requests or pool.max_age or pool.max_memory or pool.reload)


def streams_of_front(pool: PoolConfig, processes: int) -> int:
    """How many requests each of ``processes`` fronts may have in flight at one worker."""
    return -(-pool.concurrency // processes)


def hop_limits(config: Config) -> tuple[Limits, ConnectionTimeouts]:
    """The limits of a worker's connection to a front, which has already enforced those of ``config`` for every client.

    Each limit declares its own value. Limits of an application and of the memory of one stream stay.
    """
    listeners = [limits_of(config, listener) for listener in config.listeners]
    return worker_values(config.limits, listeners), worker_values(config.timeouts, listeners)
