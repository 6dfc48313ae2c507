"""A front's runtime before workers' runtimes, all on threads of the test process, and raw servers in their place."""

from __future__ import annotations

import contextlib
import itertools
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import uvloop

from sidegate.backends.upstream.balancer import Balancer
from sidegate.backends.upstream.upstream_backend import UpstreamBackend
from sidegate.config.hop import worker_config
from sidegate.config.schema import Config
from sidegate.config.validation import validate
from sidegate.errors import Fault
from sidegate.observe.metrics import WORKER_METRICS, WSGI_THREADS, Metric
from sidegate.observe.record import Record
from sidegate.process.runtime import Runtime
from sidegate.server.forwarded import TrustedProxies
from tests.support.running import LoopFactory, Running

_numbers = itertools.count()


class RunningWorker(Running):
    """A worker's runtime."""

    async def _start(self) -> Runtime:
        fronts = TrustedProxies(["unix"])
        runtime = Runtime.build(
            self.config, self._sockets, self.observer, self.applications, fronts=fronts, report=self._report
        )
        await runtime.start()
        runtime.serve()
        return runtime


class RunningFront(Running):
    """A front's runtime."""

    def set_workers(self, *workers: tuple[int, str]) -> None:
        """As the supervisor does by its message."""

        async def tell() -> None:
            self.runtime.set_workers("app", workers)

        self.run(tell())

    @property
    def balancer(self) -> Balancer:
        """The backend's; call it on the runtime's loop."""
        backend = self.runtime._backends["app"]
        assert isinstance(backend, UpstreamBackend)
        return backend._balancer

    def lose_connections(self) -> None:
        """End the backend's connections as if they had broken."""

        async def end() -> None:
            for connection in list(self.balancer._connections):
                connection.abort()

        self.run(end())

    def upstream_connections(self) -> list[dict[str, Any]]:
        """The statistics of the backend's connections."""
        found: list[dict[str, Any]] = self.runtime.statistics()["backends"]["app"]["connections"]
        return found


def pooled_config(app: str, codec: str, pool: dict[str, Any] | None = None, **top_level: Any) -> Config:
    """``app`` in a pool behind a cleartext listener; ``backend=…`` adds to the backend."""
    backend = top_level.pop("backend", {})
    return validate(
        Config,
        {
            "listeners": [{"name": "test", "address": "127.0.0.1:0", **top_level.pop("listener", {})}],
            "backends": {"app": {"app": app, "lifespan": "off", "pool": {"workers": 1, **(pool or {})}, **backend}},
            "routes": [{"name": "all", "path": "/", "backend": "app"}],
            "http2Engine": "h2" if codec == "http2-h2" else "auto" if codec == "http1" else "nghttp2",
            **top_level,
        },
    )


@contextlib.contextmanager
def running_front(
    codec: str = "http1",
    pool: dict[str, Any] | None = None,
    *,
    loop_factory: LoopFactory = uvloop.new_event_loop,
    **settings: Any,
) -> Iterator[RunningFront]:
    """A front with the pool ``app`` and no worker yet."""
    front = RunningFront(pooled_config("nobody:app", codec, pool, **settings), loop_factory)
    try:
        yield front
    finally:
        front.close()


@contextlib.contextmanager
def remote_front(engine: str, more: dict[str, Any] | None = None, **backend: Any) -> Iterator[RunningFront]:
    """A front whose only backend is somebody else's. ``more``: further keys of its configuration."""
    config = validate(
        Config,
        {
            "listeners": [{"name": "test", "address": "127.0.0.1:0"}],
            "backends": {"app": {"queue": {"timeout": "2s"}, **backend}},
            "routes": [{"name": "all", "path": "/", "backend": "app"}],
            "http2Engine": "h2" if engine == "http2-h2" else "auto" if engine == "http1" else "nghttp2",
            **(more or {}),
        },
    )
    front = RunningFront(config, uvloop.new_event_loop)
    try:
        yield front
    finally:
        front.close()


@contextlib.contextmanager
def running_worker(
    app: Callable[..., Any],
    folder: Path,
    codec: str = "http1",
    pool: dict[str, Any] | None = None,
    *,
    loop_factory: LoopFactory = uvloop.new_event_loop,
    **settings: Any,
) -> Iterator[RunningWorker]:
    """A worker that serves ``app``; its ``address`` is the socket's path."""
    number = next(_numbers)
    module = types.ModuleType(f"worker_under_test_{number}")
    module.app = app  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    config = worker_config(pooled_config(f"{module.__name__}:app", codec, pool, **settings), "app")
    listener = config.listeners[0]
    object.__setattr__(listener, "addresses", (f"unix:{folder / f'{number}.sock'}",))
    try:
        worker = RunningWorker(config, loop_factory)
        try:
            yield worker
        finally:
            worker.close()
    finally:
        del sys.modules[module.__name__]


@contextlib.contextmanager
def pooled(
    app: Callable[..., Any],
    folder: Path,
    codec: str = "http1",
    pool: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[tuple[RunningFront, RunningWorker]]:
    """A front with one worker that serves ``app``."""
    with (
        running_worker(app, folder, codec, pool, **settings) as worker,
        running_front(codec, pool, **settings) as front,
    ):
        front.set_workers((1, worker.address))
        yield front, worker


class Both:
    """Clients connect to the front; what an application does wrong is in the worker's records."""

    def __init__(self, front: RunningFront, worker: RunningWorker) -> None:
        self._front, self._worker = front, worker
        self.observer = Records(front, worker)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._front, name)

    def count(self, metric: Metric, *labels: str) -> float:
        """``Running.count`` for the front, but of what workers count: threads, and what WebSockets say."""
        return (self._worker if metric in (WSGI_THREADS, *WORKER_METRICS) else self._front).count(metric, *labels)

    @property
    def front(self) -> RunningFront:
        """What clients connect to."""
        return self._front

    @property
    def worker(self) -> RunningWorker:
        """What runs the application."""
        return self._worker

    def told(self, kind: str) -> list[dict[str, Any]]:
        """What the two reported."""
        return self._front.told(kind) + self._worker.told(kind)


class Records:
    """The front's records; of a request that it only relayed, the worker's."""

    def __init__(self, front: RunningFront, worker: RunningWorker) -> None:
        self._front, self._worker = front.observer, worker.observer

    @property
    def records(self) -> list[Record]:
        """Of the requests that have ended."""
        relayed = {record.request_id: record for record in self._worker.records}
        found = [
            record if self._is_fronts_own(record, relayed) else relayed.get(record.request_id)
            for record in self._front.records
        ]
        return [record for record in found if record is not None]

    @property
    def open(self) -> set[Record]:
        """Of the requests that have not ended, in both."""
        return self._front.open | self._worker.open

    @property
    def in_flight(self) -> int:
        """Requests under way in either."""
        return self._front.in_flight + self._worker.in_flight

    def _is_fronts_own(self, record: Record, relayed: dict[str, Record]) -> bool:
        if record.reason == "client_disconnected":  # the front knows first; it counts when the application was told
            return record.request_id in relayed
        return record.fault not in (None, Fault.UPSTREAM)


@contextlib.contextmanager
def behind_a_front(
    folder: Path,
    app: Callable[..., Any],
    codec: str = "http1",
    *,
    tls: dict[str, Any] | None = None,
    listener: dict[str, Any] | None = None,
    backend: dict[str, Any] | None = None,
    lifespan: str = "off",
    **settings: Any,
) -> Iterator[Both]:
    """``running.running``, but the application is in a worker, whose socket is in ``folder``."""
    clients = {**(listener or {}), **({} if tls is None else {"tls": tls})}
    own = {"lifespan": lifespan, **(backend or {})}
    with pooled(app, folder, codec, listener=clients, backend=own, **settings) as (front, worker):
        yield Both(front, worker)


class RunPool(Protocol):
    """``running.Run`` where the application is in a worker."""

    def __call__(
        self, app: Callable[..., Any], codec: str = "http1", **settings: Any
    ) -> contextlib.AbstractContextManager[Both]:
        """The settings are those of ``behind_a_front``."""
