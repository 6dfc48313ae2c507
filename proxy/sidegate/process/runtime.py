"""The Runtime: what one process runs, built from a Config. Its steps are build, start, serve, drain.

It combines server, routing and backends; a child or ``standalone`` calls the steps. The configuration of a Runtime is
never changed: another configuration needs another process. ``check`` finds the problems without starting anything.

Errors: ``BuildError`` with every problem that only building can find (certificates, applications), each with its
path in the configuration; ``StartError`` from ``start``.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import socket
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sidegate.aio.clock import Clock
from sidegate.aio.eager import EagerStarter, eager_starter
from sidegate.aio.event_loops import EventLoopName, ProcessLoop
from sidegate.aio.heap import glibc_heap
from sidegate.backends.app import loading
from sidegate.backends.app.loading import Applications
from sidegate.backends.backend import Backend
from sidegate.backends.context import Report
from sidegate.backends.kinds import build_backends, import_builders
from sidegate.backends.upstream.tls import check_contexts
from sidegate.backends.weighted import by_weight
from sidegate.config.schema import BackendConfig, Config, ConnectionLimits, ListenerConfig, TlsEngineName, limits_of
from sidegate.config.websocket import drain_seconds
from sidegate.errors import Problems, SidegateError
from sidegate.observe.observer import Observer
from sidegate.route import Route
from sidegate.routing.router import Router
from sidegate.server import timeouts
from sidegate.server.admission import Admission
from sidegate.server.backlog import Backlog
from sidegate.server.codecs import import_codecs
from sidegate.server.connection_shares import ConnectionShares
from sidegate.server.descriptors import Descriptors, most_connections
from sidegate.server.forwarded import TrustedProxies
from sidegate.server.https_redirect import root_app
from sidegate.server.listener import Listener
from sidegate.server.service import Bounds, FieldPolicies, ListenerService
from sidegate.server.tls.contexts import ServerTls
from sidegate.server.tls.engine import TicketKeys
from sidegate.server.tls.engines import load_tls_engine
from sidegate.server.tls.files import TlsError
from sidegate.server.upgrade import close_gradually
from sidegate.server.waiting_messages import WaitingMessages
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http2 import load_engine
from sidegate.wire.target import PathPolicy

logger = logging.getLogger("sidegate.runtime")

DRAIN_POLL = 0.02
"""Seconds between two checks whether the last connection has ended."""

ABORT_PAUSE = 1.0
"""Seconds that cancelled applications have to clean up."""


class BuildError(SidegateError):
    """The configuration is valid but cannot be used; ``problems`` contains all of the reasons."""

    def __init__(self, problems: Problems) -> None:
        super().__init__("; ".join(message for _, message in problems))
        self.problems = problems


def import_applications(config: Config, event_loop: ProcessLoop) -> Applications:
    """Import the applications that run in this process. Call it before the event loop runs."""
    import_builders(config.backends.values())
    return loading.import_applications(config.backends, event_loop.offer)


def _no_report(kind: str, **fields: Any) -> None:
    """The ``report`` of a process without a supervisor: it does nothing."""


class Runtime:
    """Listeners, root App and backends of one process."""

    def __init__(
        self,
        listeners: list[Listener],
        backends: Mapping[str, Backend],
        clock: Clock[Any],
        eager_starter: EagerStarter,
        *,
        tickets: TicketKeys,
        websocket_drain: float | None,
    ) -> None:
        self._listeners = listeners
        self._backends = backends
        self._clock = clock
        self._eager_starter = eager_starter
        self._tickets = tickets
        self._started: list[Backend] = []
        self._websocket_drain = websocket_drain

    @classmethod
    def build(
        cls,
        config: Config,
        sockets: Mapping[str, list[socket.socket]],
        observer: Observer,
        applications: Applications,
        *,
        fronts: TrustedProxies | None = None,
        report: Report = _no_report,
    ) -> Runtime:
        """Load certificates, compile routes, make the backends. Call it within a running event loop.

        ``fronts``: given in a worker only; the peers whose facts about a client it trusts. ``report``: sends the
        supervisor a message about a pool.
        """
        problems = applications.problems.copy()
        backends = build_backends(config, observer, report, applications.loaded, problems)
        tickets = TicketKeys()
        contexts = build_tls(dict(enumerate(config.listeners)), config.tls_engine, problems, tickets)
        if problems:
            raise BuildError(problems)
        loop = asyncio.get_running_loop()
        capacity = None if fronts is None else _put_behind_front(backends)
        clock = Clock(loop, timeouts.check, glibc_heap())
        starter = eager_starter(loop, contextvars.copy_context())  # as the imports have left it
        routes = _routes(config, backends)
        router = Router(routes)
        paths = PathPolicy(config.path.slashes, config.path.encoded_slash)
        engine = load_engine(config.http2_engine)
        trusted = TrustedProxies(config.trusted_proxies) if fronts is None else fronts
        bounds, descriptors = _bounds(config, loop, fronts)
        listeners = []
        for index, listener in enumerate(config.listeners):
            import_codecs(listener.protocols)
            limits = limits_of(config, listener)
            if capacity is not None:
                limits = replace(limits, concurrent_streams=capacity)
            service = ListenerService(
                app=root_app(config, listener, router, routes),
                limits=limits,
                observer=observer,
                meter=observer.listener(listener.name),
                engine=engine,
                protocols=listener.protocols,
                clock=clock,
                loop=loop,
                eager_starter=starter,
                bounds=bounds,
                policies=_policies(limits, behind_front=fronts is not None),
                paths=paths,
                tls=contexts.get(index),
                trusted=trusted,
                enforces_request_timeouts=fronts is None and any(route.timeouts.request for route in config.routes),
                threads=capacity is not None,
                websocket=listener.websocket,
            )
            listeners.append(Listener(service, sockets[listener.name], listener.proxy_protocol, descriptors))
        return cls(listeners, backends, clock, starter, tickets=tickets, websocket_drain=config.websocket_drain)

    async def start(self) -> None:
        """Start the backends in the order of the file. If it raises, the backends already started were stopped.

        :raises StartError: a backend does not start.
        """
        try:
            for backend in self._backends.values():
                await backend.start()
                self._started.append(backend)
        except BaseException:
            await self._stop_backends()
            raise

    def serve(self) -> None:
        """Begin to accept connections."""
        self._clock.start()
        for listener in self._listeners:
            listener.start()

    def set_workers(self, backend: str, workers: Iterable[tuple[int, str]]) -> None:
        """Set the workers of a pool that may get requests: serial and socket path of each."""
        self._backends[backend].set_workers(workers)

    def set_ticket_keys(self, keys: Iterable[bytes]) -> None:
        """Set the keys of TLS session tickets, which all fronts share; the first encrypts, all decrypt."""
        self._tickets.keys = tuple(keys)

    async def drain(self, delay: float, grace: float) -> None:
        """Stop without losing a request.

        Serve for ``delay`` seconds more (external load balancers notice), then accept no more connections, finish the
        requests in flight and stop the backends. Requests still in flight ``grace`` seconds from now are aborted.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        await asyncio.sleep(delay)
        for listener in self._listeners:
            listener.service.draining = True
            listener.close()
            close_gradually(listener.service, drain_seconds(self._websocket_drain, deadline - loop.time()))
            for connection in list(listener.service.connections):
                connection.wind_down()
        await self._until_idle(deadline)
        if self._busy:
            logger.warning("grace period of %g s exceeded: aborting the requests in flight", grace)
            self.abort()
            await self._until_idle(loop.time() + ABORT_PAUSE)
        try:
            async with asyncio.timeout_at(max(deadline, loop.time() + ABORT_PAUSE)):
                await self._stop_backends()
        except TimeoutError:
            logger.error("an application's lifespan shutdown did not end within the grace period")
        self._clock.stop()
        self._eager_starter.stop()

    def abort(self) -> None:
        """Abort all connections and requests now."""
        for listener in self._listeners:
            listener.close()
            listener.abort()

    @property
    def interfaces(self) -> dict[str, str]:
        """A description of each application in this process, by its backend's name."""
        return {name: backend.interface for name, backend in self._backends.items() if backend.interface}

    def statistics(self) -> dict[str, Any]:
        """Open connections by listener index; upstream connections or threads by backend's name. For ``/status``."""
        backends = {name: backend.statistics() for name, backend in self._backends.items()}
        return {
            "connections": [len(listener.service.connections) for listener in self._listeners],
            "backends": {name: found for name, found in backends.items() if found},
        }

    @property
    def _busy(self) -> bool:
        return any(listener.busy for listener in self._listeners)

    async def _until_idle(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        # With an event, every connection and handshake would have to set it, only for this moment.
        while self._busy and loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(DRAIN_POLL)

    async def _stop_backends(self) -> None:
        while self._started:
            await self._started.pop().stop()


def check(
    listeners: Mapping[int, ListenerConfig],
    backends: Mapping[str, BackendConfig],
    import_apps: bool,
    event_loop: EventLoopName = "auto",
    tls_engine: TlsEngineName = "auto",
) -> tuple[Problems, dict[str, str]]:
    """The problems that only building finds, and a description of each application. Nothing is started.

    Applications are imported into this process, before ``event_loop`` would run.

    :raises StartError: uvloop is required and cannot be imported.
    """
    problems: Problems = []
    served = {index: one for index, one in listeners.items() if one.tls is None or not one.tls.self_signed}
    build_tls(served, tls_engine, problems)
    check_contexts(backends, problems)
    if not import_apps:
        return problems, {}
    with ProcessLoop(event_loop) as loop:
        applications = loading.import_applications(backends, loop.offer)
    return problems + applications.problems, {name: app.kind for name, app in applications.loaded.items()}


def build_tls(
    listeners: Mapping[int, ListenerConfig],
    engine: TlsEngineName,
    problems: Problems,
    tickets: TicketKeys | None = None,
) -> dict[int, ServerTls]:
    """TLS by listener index. The engine is imported only if a listener has TLS."""
    contexts = {}
    for index, listener in listeners.items():
        if listener.tls is None:
            continue
        try:
            contexts[index] = ServerTls(load_tls_engine(engine), listener, tickets)
        except TlsError as error:
            problems.append((("listeners", index, "tls", *error.field), str(error)))
    return contexts


def _routes(config: Config, backends: Mapping[str, Backend]) -> list[Route]:
    """The routes in the order of the file, each with the App that answers its requests."""
    return [Route(index, route, by_weight(route.backend_refs, backends)) for index, route in enumerate(config.routes)]


def _bounds(
    config: Config, loop: asyncio.AbstractEventLoop, fronts: TrustedProxies | None
) -> tuple[Bounds, Descriptors]:
    """What the clients of the process share, and its descriptors."""
    has_clients = not _only_fronts_connect(config, fronts)
    connections = ConnectionShares(loop, config.limits, most_connections() if has_clients else 0)
    bounds = Bounds(Admission(loop, config.limits), connections, Backlog(), WaitingMessages())
    return bounds, Descriptors(loop, has_clients, connections)


def _only_fronts_connect(config: Config, fronts: TrustedProxies | None) -> bool:
    """Whether this is a worker that has the limits of the hop (``hop_limits``), because only fronts can reach it."""
    return fronts is not None and config.limits.concurrent_requests == 0


def _put_behind_front(backends: Mapping[str, Backend]) -> int | None:
    """Put a worker's backend behind the fronts. Returns how many requests it takes at once; None: it has no limit."""
    capacities = [backend.put_behind_front() for backend in backends.values()]
    return min((capacity for capacity in capacities if capacity is not None), default=None)


def _policies(limits: ConnectionLimits, behind_front: bool) -> FieldPolicies:
    return FieldPolicies(
        clients=_policy(limits, keep_forwarding=False),
        proxies=_policy(limits, keep_forwarding=True),
        fronts=_policy(limits, keep_forwarding=True, keep_own=True) if behind_front else None,
    )


def _policy(limits: ConnectionLimits, keep_forwarding: bool, keep_own: bool = False) -> FieldPolicy:
    return FieldPolicy(
        max_fields=limits.header_fields,
        max_block=limits.header_block,
        max_cookies=limits.cookies,
        keep_forwarding=keep_forwarding,
        keep_own=keep_own,
        proxy_fields=tuple(name.encode("ascii") for name in limits.proxy_fields),
        keep_underscores=frozenset(name.encode("ascii") for name in limits.keep_underscores),
    )
