"""Every metric of Sidegate in one table, and the layout: which cell holds which sample of a front.

The observer (which writes cells), the collector (which reads them) and the reference page use it. ``CellLayout`` is a
pure function of the Config: front and supervisor compute it separately and get the same result, so they need not
exchange names.

Label values come from the config or from small fixed sets, never from a client: a client must not be able to
create time series. Names, units and types follow https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, product
from typing import Literal, TypeAlias

from sidegate.config.backends import KINDS
from sidegate.config.schema import Config
from sidegate.errors import Fault
from sidegate.observe import reasons
from sidegate.observe.cells import Area, Cells

PROTOCOLS = ("1.0", "1.1", "2")
CONNECTION_PROTOCOLS = ("1.1", "2")
TLS_VERSIONS = ("TLSv1.2", "TLSv1.3", reasons.OTHER)

NO_RESPONSE = 99
"""Used instead of status 0 to compute a cell: the cell of code ``0`` is the one before that of ``100``."""

CODES = ("0", *map(str, range(100, 600)))

BUCKETS = (
    *(0.0001, 0.00025, 0.0005),
    *(0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0),
    *(10.0, 30.0, 60.0),
)
"""Upper bounds in seconds. In-process applications answer in fractions of a millisecond, long reports in a minute."""

LE = "le"
SUM = "sum"

BUSY, STUCK = "busy", "stuck"
"""States of a WSGI application's thread that runs a request."""

RECEIVED, SENT = "received", "sent"
CLIENT, SERVER = "client", "server"
FIRST_CLOSE = 1000
CLOSE_CODES = (*map(str, range(FIRST_CLOSE, 1016)), reasons.OTHER)
"""Close codes of RFC 6455 7.4.1 and its registry; applications and clients define all others themselves."""

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Axis:
    """Labels that vary together: ``values(config)`` has one tuple of values for each combination."""

    labels: tuple[str, ...]
    source: str
    values: Callable[[Config], list[tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table. Its samples are the product of its axes; the last axis has one label and varies fastest.

    ``zeros``: samples that are zero are exported too, so that the first event already is an increase; False if the
    labels have many combinations. A histogram's last axis is its buckets and its sum.
    """

    name: str
    kind: Kind
    help: str
    axes: tuple[Axis, ...]
    zeros: bool = True

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(label for axis in self.axes for label in axis.labels if label != LE)


def _fixed(*values: str) -> Callable[[Config], list[tuple[str, ...]]]:
    return lambda _: [(value,) for value in values]


def _listeners(config: Config) -> list[tuple[str, ...]]:
    return [(listener.name,) for listener in config.listeners]


def _routes(config: Config) -> list[tuple[str, ...]]:
    return [*((route.name,) for route in config.routes), ("",)]


def _route_backends(config: Config) -> list[tuple[str, ...]]:
    pairs: list[tuple[str, ...]] = []
    for route in config.routes:
        names = dict.fromkeys([*(ref.name for ref in route.backend_refs), ""])
        pairs.extend((route.name, name) for name in names)
    return [*pairs, ("", "")]


def _threaded(config: Config) -> list[tuple[str, ...]]:
    return [(name,) for name, backend in config.backends.items() if backend.may_have_threads]


def _queued(config: Config) -> list[tuple[str, ...]]:
    return [(name,) for name, backend in config.backends.items() if backend.may_queue]


def _queued_kinds() -> str:
    *others, last = (name for name, kind in KINDS.items() if kind.queued == "always")
    return f"{', '.join(others)} or {last}"


LISTENER = Axis(("listener",), "the listener's name in the config", _listeners)
ROUTE = Axis(("route",), "the route's name in the config; empty: no route matched", _routes)
ROUTE_BACKEND = Axis(
    ("route", "backend"), "names in the config; empty: no route matched, no backend was reached", _route_backends
)
PROTOCOL = Axis(("protocol",), "HTTP version: 1.0, 1.1, 2; empty: lost with its front", _fixed(*PROTOCOLS))
CONNECTION_PROTOCOL = Axis(("protocol",), "HTTP version spoken: 1.1 (also for 1.0), 2", _fixed(*CONNECTION_PROTOCOLS))
LOG_KIND = Axis(("kind",), "front, worker, supervisor", _fixed("front", "worker", "supervisor"))
CODE = Axis(
    ("code",),
    "status sent; 499: the client disconnected before a response began; 0: no response for another reason",
    _fixed(*CODES),
)
TLS_VERSION = Axis(("version",), "TLSv1.2, TLSv1.3, other", _fixed(*TLS_VERSIONS))
FAULT = Axis(("fault",), "who caused the error: " + ", ".join(Fault), _fixed(*Fault))
BUCKET = Axis((LE,), "of the histogram's buckets: upper bound in seconds", _fixed(*map(str, BUCKETS), "+Inf", SUM))


def _reason(known: dict[str, str]) -> Axis:
    return Axis(("reason",), "one of the reasons below", _fixed(*known))


REFUSAL = _reason(reasons.REFUSALS)
VIOLATION = _reason({**reasons.REFUSALS, **reasons.VIOLATIONS})
HANDSHAKE_FAILURE = _reason(reasons.HANDSHAKE_FAILURES)
EXCHANGE_ERROR = _reason({**reasons.REFUSALS, **reasons.EXCHANGE_ERRORS})
DROP = _reason(reasons.DROPS)
RETRY = _reason(reasons.RETRIES)
QUEUED = Axis(
    ("backend",),
    f"the name of a backend with {_queued_kinds()}, or with a WSGI application in the front's process",
    _queued,
)
THREADED = Axis(("backend",), "the name of a backend with a WSGI application", _threaded)
THREAD_STATE = Axis(
    ("state",), "busy: runs a request; stuck: still runs a request that has timed out",
    _fixed(BUSY, STUCK),
)  # fmt: skip
DIRECTION = Axis(("direction",), "received: from clients; sent: to them", _fixed(RECEIVED, SENT))
CLOSED_BY = Axis(("side",), "who closed first: client, server", _fixed(CLIENT, SERVER))
CLOSE_CODE = Axis(
    ("code",),
    "close code (RFC 6455 7.4.1): 1000 to 1015, other; 1006: no close frame was received, as when a connection breaks",
    _fixed(*CLOSE_CODES),
)

REQUESTS = Metric(
    "sidegate_requests_total", "counter", "Requests that ended, with or without a response.",
    (ROUTE_BACKEND, PROTOCOL, CODE), zeros=False,
)  # fmt: skip
DURATION = Metric(
    "sidegate_request_duration_seconds", "histogram",
    "Time from the request head to the last byte of the response, without WebSockets and event streams.",
    (ROUTE, BUCKET), zeros=False,
)  # fmt: skip
IN_FLIGHT = Metric("sidegate_requests_in_flight", "gauge", "Requests in flight.", (LISTENER,))
ROUTE_IN_FLIGHT = Metric(
    "sidegate_route_requests_in_flight", "gauge", "Requests in flight whose route is known, with WebSockets.",
    (ROUTE,), zeros=False,
)  # fmt: skip
REQUEST_BYTES = Metric(
    "sidegate_request_body_bytes_total", "counter", "Body bytes of ended requests, without framing.", (ROUTE,)
)
RESPONSE_BYTES = Metric(
    "sidegate_response_body_bytes_total", "counter", "Body bytes of ended responses, without framing.", (ROUTE,)
)
CONNECTIONS = Metric(
    "sidegate_connections_total",
    "counter",
    "Connections accepted whose protocol is known.",
    (LISTENER, CONNECTION_PROTOCOL),
)
OPEN_CONNECTIONS = Metric("sidegate_connections_open", "gauge", "Open connections.", (LISTENER, CONNECTION_PROTOCOL))
HANDSHAKES = Metric("sidegate_tls_handshakes_total", "counter", "TLS handshakes completed.", (LISTENER, TLS_VERSION))
HANDSHAKE_FAILURES = Metric(
    "sidegate_tls_handshake_failures_total", "counter", "TLS handshakes that failed.", (LISTENER, HANDSHAKE_FAILURE)
)
REFUSED = Metric(
    "sidegate_requests_refused_total", "counter", "Requests rejected by the header policy or a limit.",
    (LISTENER, REFUSAL),
)  # fmt: skip
CONNECTION_ERRORS = Metric(
    "sidegate_connection_errors_total", "counter",
    "Connections closed because the peer violated the protocol or a limit, or not accepted for lack of descriptors.",
    (LISTENER, VIOLATION),
)  # fmt: skip
EXCHANGE_ERRORS = Metric(
    "sidegate_exchange_errors_total", "counter", "Requests that ended in an error, by who caused it.",
    (ROUTE, FAULT, EXCHANGE_ERROR), zeros=False,
)  # fmt: skip
LOG_DROPPED = Metric("sidegate_access_log_dropped_total", "counter", "Access-log lines dropped.", (DROP,))
PROCESS_LOG_DROPPED = Metric(
    "sidegate_process_log_dropped_total", "counter",
    "Lines of the process log that were dropped, because standard error was not read or could not be written.",
    (LOG_KIND,),
)  # fmt: skip
BACKEND_IN_FLIGHT = Metric(
    "sidegate_backend_requests_in_flight", "gauge",
    "Requests in flight at the backend's workers, servers or threads, or in its queue.",
    (QUEUED,),
)  # fmt: skip
BACKEND_QUEUE = Metric("sidegate_backend_queue_length", "gauge", "Requests waiting in the backend's queue.", (QUEUED,))
BACKEND_QUEUE_WAIT = Metric(
    "sidegate_backend_queue_wait_seconds", "histogram",
    "Time that requests waited in the backend's queue; requests that did not wait are in the first bucket.",
    (QUEUED, BUCKET),
)  # fmt: skip
BACKEND_RETRIES = Metric(
    "sidegate_backend_retries_total", "counter", "Requests sent again, to another worker or server if there was one.",
    (QUEUED, RETRY),
)  # fmt: skip
WSGI_THREADS = Metric(
    "sidegate_wsgi_threads", "gauge",
    "Threads that run a request, in all fronts or in all workers of the pool; idle threads are not counted.",
    (THREADED, THREAD_STATE),
)  # fmt: skip
WEBSOCKETS_OPEN = Metric("sidegate_websockets_open", "gauge", "Open WebSockets.", (ROUTE,), zeros=False)
WEBSOCKET_MESSAGES = Metric(
    "sidegate_websocket_messages_total", "counter",
    "WebSocket messages, except those of h2c and h2 backends.",
    (ROUTE, DIRECTION), zeros=False,
)  # fmt: skip
WEBSOCKET_BYTES = Metric(
    "sidegate_websocket_bytes_total", "counter", "Bytes of WebSocket frames, without TLS.",
    (ROUTE, DIRECTION), zeros=False,
)  # fmt: skip
WEBSOCKET_CLOSES = Metric(
    "sidegate_websocket_closes_total", "counter",
    "WebSockets that were closed, by the code of the side that closed first, except those of h2c and h2 backends.",
    (ROUTE, CLOSED_BY, CLOSE_CODE), zeros=False,
)  # fmt: skip
WEBSOCKET_PING = Metric(
    "sidegate_websocket_ping_seconds", "histogram", "Time from a ping of the server to the client's pong.",
    (ROUTE, BUCKET), zeros=False,
)  # fmt: skip

WORKER_METRICS = (WEBSOCKET_MESSAGES, WEBSOCKET_CLOSES, WEBSOCKET_PING, PROCESS_LOG_DROPPED)
"""Metrics that workers count, too. Fronts cannot count them for WebSockets that they relay; the routes are theirs."""

FRONT_METRICS = (
    REQUESTS, DURATION, IN_FLIGHT, ROUTE_IN_FLIGHT, REQUEST_BYTES, RESPONSE_BYTES, CONNECTIONS, OPEN_CONNECTIONS,
    HANDSHAKES, HANDSHAKE_FAILURES, REFUSED, CONNECTION_ERRORS, EXCHANGE_ERRORS, LOG_DROPPED, PROCESS_LOG_DROPPED,
    BACKEND_IN_FLIGHT, BACKEND_QUEUE, BACKEND_QUEUE_WAIT, BACKEND_RETRIES, WSGI_THREADS, WEBSOCKETS_OPEN,
    WEBSOCKET_MESSAGES, WEBSOCKET_BYTES, WEBSOCKET_CLOSES, WEBSOCKET_PING,
)  # fmt: skip
"""Counted by fronts in their cells. The supervisor adds the workers' counts to threads and ``WORKER_METRICS``, and its
own to ``PROCESS_LOG_DROPPED``."""


def _facts(label: str, source: str) -> Axis:
    return Axis((label,), source, _fixed())


PROCESS_KIND = _facts("kind", "front, worker, preloader")
PROCESS_STATE = _facts("state", "starting, interrupted, ready, serving, draining, ending, killed, dead")
RESTART_CAUSE = _facts(
    "cause",
    "why it ended: exit_N, a signal's name, failed_start, start_timeout, drained (the process itself got SIGTERM), "
    "stuck (its event loop was blocked); of workers also: max_requests, max_age, max_memory, reload, stuck_threads "
    "(all its WSGI threads were blocked), not_forked (the preloader could not fork it)",
)
POOL = _facts("backend", "the name of a backend with a pool")
WORKER_STATE = _facts("state", "starting, interrupted, ready, serving, draining, ending, killed")
SLOT = _facts("slot", "the worker's number in its pool, from 0; a replacement has the same number")

BUILD_INFO = Metric(
    "sidegate_build_info", "gauge", "Always 1; the labels name the versions.",
    (
        _facts("version", "Sidegate"), _facts("python", "the interpreter"), _facts("http2_engine", "nghttp2, h2"),
        _facts("tls_engine", "openssl, ssl; empty if no listener has TLS"),
    ),
)  # fmt: skip
PROCESSES = Metric("sidegate_processes", "gauge", "Child processes by state.", (PROCESS_KIND, PROCESS_STATE))
RESTARTS = Metric(
    "sidegate_process_restarts_total", "counter", "Child processes that ended unexpectedly and were replaced.",
    (PROCESS_KIND, RESTART_CAUSE),
)  # fmt: skip
RESIDENT_MEMORY = Metric(
    "sidegate_process_resident_memory_bytes", "gauge",
    "Resident memory of all child processes; memory that they share is counted for each.", (PROCESS_KIND,),
)  # fmt: skip
POOL_WORKERS = Metric("sidegate_pool_workers", "gauge", "Workers by state.", (POOL, WORKER_STATE))
POOL_RESTARTS = Metric(
    "sidegate_pool_worker_restarts_total", "counter", "Workers that were replaced, or that ended unexpectedly.",
    (POOL, RESTART_CAUSE),
)  # fmt: skip
POOL_MEMORY = Metric(
    "sidegate_pool_resident_memory_bytes", "gauge",
    "Resident memory of all processes of a pool; memory that they share is counted for each.", (POOL,),
)  # fmt: skip
POOL_REQUESTS = Metric(
    "sidegate_pool_worker_requests_total", "counter", "Requests that ended in a worker.", (POOL, SLOT)
)
CERTIFICATE_EXPIRY = Metric(
    "sidegate_tls_certificate_expiry_timestamp_seconds", "gauge",
    "Unix time at which a listener's certificate expires, as it was read at the start. `selfSigned` has none.",
    (_facts("listener", "the listener's name in the config"), _facts("certificate", "the path of its file")),
)  # fmt: skip
LAST_RELOAD = Metric(
    "sidegate_config_last_reload_successful",
    "gauge",
    "1: the last configuration that was loaded is in use; 0: it was rejected.",
    (),
)
START_TIME = Metric("sidegate_start_time_seconds", "gauge", "Unix time at which the supervisor started.", ())

SUPERVISOR_METRICS = (
    BUILD_INFO, PROCESSES, RESTARTS, RESIDENT_MEMORY, POOL_WORKERS, POOL_RESTARTS, POOL_MEMORY, POOL_REQUESTS,
    CERTIFICATE_EXPIRY, LAST_RELOAD, START_TIME,
)  # fmt: skip
"""Metrics that the supervisor provides without cells."""


Places: TypeAlias = dict[tuple[str, ...], int]
"""The values of an axis and their places."""


@dataclass(frozen=True, slots=True)
class Block:
    """Adjacent cells of one metric: all labels but the last are fixed; there is one cell for each value in ``run``."""

    metric: Metric
    labels: tuple[str, ...]
    start: int
    run: tuple[str, ...]


class MetricCells:
    """Where the cells of one metric are: the product of its axes, of which the last varies fastest.

    Positions are computed, because a table of them would be large: there are thousands of routes.
    """

    def __init__(self, metric: Metric, start: int, places: Sequence[Places]) -> None:
        """``places``: of each axis."""
        self.metric = metric
        self.start = start
        self.leading = places[:-1]
        self.run = tuple(value for (value,) in places[-1])
        self.end = start + math.prod(map(len, places))

    def block(self, labels: tuple[str, ...]) -> int:
        """The first cell of the block with these leading labels. KeyError if there is no such block."""
        position = first = 0
        for axis, places in zip(self.metric.axes, self.leading, strict=False):
            end = first + len(axis.labels)
            position = position * len(places) + places[labels[first:end]]
            first = end
        if first != len(labels):
            raise KeyError(labels)
        return self.start + position * len(self.run)

    def blocks(self) -> Iterator[Block]:
        """All of them, in order."""
        start = self.start
        for combination in product(*self.leading):
            yield Block(self.metric, tuple(chain.from_iterable(combination)), start, self.run)
            start += len(self.run)


class CellLayout:
    """Which cell holds which sample of a front that runs ``config``. ``size`` is the number of cells."""

    def __init__(self, config: Config) -> None:
        self._cells: dict[str, MetricCells] = {}
        known: dict[Axis, Places] = {}
        end = 0
        for metric in FRONT_METRICS:
            for axis in metric.axes:
                if axis not in known:
                    known[axis] = {values: place for place, values in enumerate(axis.values(config))}
            self._cells[metric.name] = cells = MetricCells(metric, end, [known[axis] for axis in metric.axes])
            end = cells.end
        self.size = end
        self._route_backends = _route_backends(config)
        self._threaded = [name for (name,) in _threaded(config)]
        self._undeclared = [name for name in self._threaded if config.backends[name].interface == "auto"]

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks in order; only the collector of the supervisor needs them."""
        return tuple(block for cells in self._cells.values() for block in cells.blocks())

    @cached_property
    def worker_blocks(self) -> tuple[Block, ...]:
        """The blocks of ``WORKER_METRICS``."""
        return tuple(block for metric in WORKER_METRICS for block in self._cells[metric.name].blocks())

    def start(self, metric: Metric, *labels: str) -> int:
        """The first cell of the block with these leading labels.

        :raises KeyError: there is no such block.
        """
        return self._cells[metric.name].block(labels)

    def cell(self, metric: Metric, *labels: str) -> int:
        """The cell of one sample.

        :raises KeyError: there is no block with the leading labels.
        :raises ValueError: the last label does not have this value.
        """
        cells = self._cells[metric.name]
        return cells.block(labels[:-1]) + cells.run.index(labels[-1])

    def ended(self, cells: Cells, route: str) -> int:
        """The number of exchanges of a route that have ended."""
        size = len(PROTOCOLS) * len(CODES)
        pairs = (pair for pair in self._route_backends if pair[0] == route)
        starts = [self.start(REQUESTS, *pair, PROTOCOLS[0]) for pair in pairs]
        return int(sum(sum(cells[start : start + size]) for start in starts))

    def lost(self, area: Area) -> dict[str, float]:
        """The number of exchanges in flight by route, of a front that has exited; empty: it had none.

        The route is empty for those that had not reached the router.
        """
        known = {route: area.cells[cell] for route, cell in self.offsets(ROUTE_IN_FLIGHT).items()}
        known[""] = sum(area.cells[cell] for cell in self.offsets(IN_FLIGHT).values()) - sum(known.values())
        return {route: count for route, count in known.items() if count > 0}

    def cut(self, area: Area) -> int:
        """The number of exchanges that a stop has aborted, in a process that has exited."""
        cells = self._cells[EXCHANGE_ERRORS.name]
        values = area.read(cells.start, cells.end - cells.start) or []
        aborted = values[cells.run.index(reasons.SHUTDOWN) :: len(cells.run)]
        return int(sum(aborted) + sum(self.lost(area).values()))

    def without_threads(self, area: Area) -> set[str]:
        """The backends in this layout whose applications are not known to be WSGI.

        That is, their interface is not declared, and no request was ever given to a thread. Most are ASGI applications
        with ``interface: auto``, and their series would be useless.
        """
        size = len(BUCKETS) + 2
        return {name for name in self._undeclared if area.read(self.start(BACKEND_QUEUE_WAIT, name), size) is None}

    def threads(self, area: Area, backend: str) -> dict[str, int]:
        """The number of WSGI threads that run a request, by state; empty if the application is not known to be WSGI."""
        if backend not in self._threaded or backend in self.without_threads(area):
            return {}
        return {state: int(area.cells[cell]) for state, cell in self.offsets(WSGI_THREADS, backend).items()}

    def offsets(self, metric: Metric, *labels: str) -> dict[str, int]:
        """The cells of the block with these leading labels, by the value of the last label.

        :raises KeyError: there is no such block.
        """
        cells = self._cells[metric.name]
        start = cells.block(labels)
        return {value: start + index for index, value in enumerate(cells.run)}
