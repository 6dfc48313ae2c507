"""Takes every record of one front and turns it into counts and an access-log line.

Exchanges call it at the start and the end of each request. It decides what a record means (which status a request
without a response counts as, when the measured time ends). ``CellLayout`` decides which cell holds a count, and
``AccessLog`` formats log lines later.

``started`` and ``finished`` run for every request: ``__init__`` computes all offsets, so a request costs only a few
dict look-ups and additions. They raise no errors: an unknown backend counts as no backend, an unknown reason as
``other``.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable

from sidegate.config.schema import Config
from sidegate.errors import Fault
from sidegate.observe import metrics, reasons
from sidegate.observe.access_log import AccessLog
from sidegate.observe.cells import Cells
from sidegate.observe.meter import ListenerMeter
from sidegate.observe.metrics import BUCKETS, NO_RESPONSE, PROTOCOLS, CellLayout
from sidegate.observe.queue_meter import QueueMeter
from sidegate.observe.record import COUNTED, TIMED, Record, final_status
from sidegate.observe.thread_meter import ThreadMeter
from sidegate.observe.websocket_meter import WebSocketMeter

_FIRST_BUCKET = BUCKETS[0]


class RouteCells:
    """The cells of one route's counts.

    ``requests`` maps a backend's name to an index; ``Observer.count`` adds the offsets of protocol and status to it.
    """

    __slots__ = ("bytes_in", "bytes_out", "duration", "errors", "requests", "unreached")

    def __init__(self, layout: CellLayout, name: str, backends: Iterable[str]) -> None:
        self.requests = {
            backend: layout.start(metrics.REQUESTS, name, backend, PROTOCOLS[0]) - NO_RESPONSE for backend in backends
        }
        self.unreached = self.requests[""]
        self.duration = layout.start(metrics.DURATION, name)
        self.bytes_in = layout.cell(metrics.REQUEST_BYTES, name)
        self.bytes_out = layout.cell(metrics.RESPONSE_BYTES, name)
        self.errors = {fault: layout.start(metrics.EXCHANGE_ERRORS, name, fault) for fault in Fault}


class Observer:
    """Counts and logs one process's records. ``cells``: of its area. ``clock``: that of ``Record.started``."""

    def __init__(
        self,
        config: Config,
        cells: Cells,
        access_log: AccessLog | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        layout = CellLayout(config)
        if len(cells) < layout.size:
            raise ValueError(f"the area has {len(cells)} cells, and this config needs {layout.size}")
        self._cells = cells
        self._clock = clock
        self._access_log = access_log
        if access_log is not None:
            access_log.count_drops_in(cells, layout.offsets(metrics.LOG_DROPPED))
        self._listeners = {listener.name: ListenerMeter(listener.name, layout, cells) for listener in config.listeners}
        self._pools = {name: QueueMeter(name, layout, cells) for (name,) in metrics.QUEUED.values(config)}
        self._threads = {name: ThreadMeter(name, layout, cells) for (name,) in metrics.THREADED.values(config)}
        # By the route's index, the last for no route, so that the index -1 selects it. Each is made when it is needed:
        # a process that has thousands of routes starts faster.
        self._layout = layout
        self._backends = [*([ref.name for ref in route.backend_refs] for route in config.routes), []]
        self._names = [*(route.name for route in config.routes), ""]
        self._routes: list[RouteCells | None] = [None] * len(self._names)
        self._websockets: list[WebSocketMeter | None] = [None] * len(self._names)
        self._protocols = {version: index * len(metrics.CODES) for index, version in enumerate(PROTOCOLS)}
        self._reasons = {values[0]: index for index, values in enumerate(metrics.EXCHANGE_ERROR.values(config))}
        self._other = self._reasons[reasons.OTHER]
        self._sum = len(BUCKETS) + 1
        self.in_flight = 0
        """Number of records in this process that have started and not finished, over all listeners."""

    def listener(self, name: str) -> ListenerMeter:
        """The meter of one listener of the config.

        :raises KeyError: there is no such listener.
        """
        return self._listeners[name]

    def pool(self, name: str) -> QueueMeter:
        """The meter of one backend of the axis ``QUEUED``.

        :raises KeyError: the axis does not have this name.
        """
        return self._pools[name]

    def threads(self, name: str) -> ThreadMeter:
        """The meter of one backend whose application may be WSGI.

        :raises KeyError: there is no such backend.
        """
        return self._threads[name]

    def websocket(self, route: int) -> WebSocketMeter:
        """The meter of one route's WebSockets, by the route's index.

        An index of no route of the config gets the meter for no route: -1, or one that a front of another service sent.
        """
        if route >= len(self._websockets):
            route = -1
        meter = self._websockets[route]
        if meter is None:
            meter = self._websockets[route] = WebSocketMeter(self._names[route], self._layout, self._cells)
        return meter

    def process_log_cell(self, kind: str) -> int:
        """The cell of the dropped lines of the process log, of a process of this kind.

        :raises ValueError: there is no such kind.
        """
        return self._layout.cell(metrics.PROCESS_LOG_DROPPED, kind)

    def started(self, record: Record) -> None:
        """A request's head is known."""
        self.in_flight += 1
        self._cells[record.listener.in_flight] += 1.0

    def finished(self, record: Record) -> None:
        """Its application has ended, and the connection has taken or dropped its last byte. Call it once."""
        self.in_flight -= 1
        self._cells[record.listener.in_flight] -= 1.0
        index = record.route.index
        if index >= 0:
            self._cells[record.listener.routed + index] -= 1.0
        if record.counting != COUNTED:
            self.count(record)

    def count(self, record: Record) -> None:
        """Count and log the record. ``finished`` does it, unless this method was called before.

        Call it earlier if the exchange has ended for the client while its application still runs, perhaps for ever.
        """
        cells = self._cells
        duration = self._clock() - record.started
        route = self._routes[record.route.index]
        if route is None:
            route = self._route_cells(record.route.index)
        status = record.status
        if not 100 <= status <= 599:
            status = final_status(record) or NO_RESPONSE
        requests = route.requests.get(record.backend, route.unreached) + self._protocols[record.http_version]
        cells[requests + status] += 1.0
        if record.counting == TIMED:
            bucket = 0 if duration <= _FIRST_BUCKET else bisect_left(BUCKETS, duration)  # most need no bisection
            cells[route.duration + bucket] += 1.0
            cells[route.duration + self._sum] += duration
        record.counting = COUNTED
        if record.bytes_in:
            cells[route.bytes_in] += record.bytes_in
        if record.bytes_out:
            cells[route.bytes_out] += record.bytes_out
        if record.fault is not None:
            cells[route.errors[record.fault] + self._reasons.get(record.reason, self._other)] += 1.0
        if self._access_log is not None:
            self._access_log.append(record, duration)

    def _route_cells(self, index: int) -> RouteCells:
        cells = RouteCells(self._layout, self._names[index], [*self._backends[index], ""])
        self._routes[index] = cells
        return cells
