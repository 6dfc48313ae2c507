"""Takes every record of one front and turns it into counts and an access-log line.

Where it stands: the last step of the request line; exchanges and connections call down into it. It owns the
meaning of a record (which status a request without a response counts as, when the clock stops); where a count
lives is the layout's business, and formatting a log line happens later, in ``AccessLog``.

``started`` and ``finished`` run for every request: offsets are worked out once, here in ``__init__``, and a
request costs a few dict hits and additions. Nothing raises; a route or reason that is not known counts in the
place kept for it.
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
from sidegate.observe.metrics import BUCKETS, NO_RESPONSE, PROTOCOLS, Layout
from sidegate.observe.queue_meter import QueueMeter
from sidegate.observe.record import Record, final_status
from sidegate.observe.thread_meter import ThreadMeter
from sidegate.observe.websocket_meter import WebSocketMeter

_FIRST_BUCKET = BUCKETS[0]


class RouteCells:
    """Where the counts of one route live. ``requests`` maps a backend to the cell of status 0 in HTTP/1.0."""

    __slots__ = ("bytes_in", "bytes_out", "duration", "errors", "requests", "unreached")

    def __init__(self, layout: Layout, name: str, backends: Iterable[str]) -> None:
        self.requests = {
            backend: layout.start(metrics.REQUESTS, name, backend, PROTOCOLS[0]) - NO_RESPONSE for backend in backends
        }
        self.unreached = self.requests[""]
        self.duration = layout.start(metrics.DURATION, name)
        self.bytes_in = layout.cell(metrics.REQUEST_BYTES, name)
        self.bytes_out = layout.cell(metrics.RESPONSE_BYTES, name)
        self.errors = {fault: layout.start(metrics.EXCHANGE_ERRORS, name, fault) for fault in Fault}


class Observer:
    """One for each front. ``cells`` is its area's; ``clock`` is the one that ``Record.started`` was read from."""

    def __init__(
        self,
        config: Config,
        cells: Cells,
        access_log: AccessLog | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        layout = Layout(config)
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
        self._routes = _route_cells(config, layout)
        self._websockets = [WebSocketMeter(name, layout, cells) for (name,) in metrics.ROUTE.values(config)]
        self._protocols = {version: index * len(metrics.CODES) for index, version in enumerate(PROTOCOLS)}
        self._reasons = {values[0]: index for index, values in enumerate(metrics.EXCHANGE_ERROR.values(config))}
        self._other = self._reasons[reasons.OTHER]
        self._sum = len(BUCKETS) + 1
        self.in_flight = 0
        """Records of this front that have started and not finished, over all listeners."""

    def listener(self, name: str) -> ListenerMeter:
        """The meter of one listener of the config. Raises ``KeyError`` for any other name."""
        return self._listeners[name]

    def pool(self, name: str) -> QueueMeter:
        """The meter of one backend of the axis ``QUEUED``. Raises ``KeyError`` for any other name."""
        return self._pools[name]

    def threads(self, name: str) -> ThreadMeter:
        """The meter of one application that may be a WSGI one. Raises ``KeyError`` for any other name."""
        return self._threads[name]

    def websocket(self, route: int) -> WebSocketMeter:
        """The meter of one route's WebSockets, by index; -1 is the one for no route."""
        return self._websockets[route]

    def started(self, record: Record) -> None:
        """A request's head is known."""
        self.in_flight += 1
        self._cells[record.listener.in_flight] += 1.0

    def finished(self, record: Record) -> None:
        """Its application is done, and its last byte was handed to the connection, or given up. Call it once."""
        self.in_flight -= 1
        self._cells[record.listener.in_flight] -= 1.0
        if not record.counted:
            self.count(record)

    def count(self, record: Record) -> None:
        """Count and log it; ``finished`` does, unless this was called before.

        Which is for one that is over for its client while its application goes on, perhaps for ever.
        """
        record.counted = True
        cells = self._cells
        duration = self._clock() - record.started
        route = self._routes[record.route]
        status = record.status
        if not 100 <= status <= 599:
            status = final_status(record) or NO_RESPONSE
        requests = route.requests.get(record.backend, route.unreached) + self._protocols[record.http_version]
        cells[requests + status] += 1.0
        bucket = 0 if duration <= _FIRST_BUCKET else bisect_left(BUCKETS, duration)  # the answer of most, for less
        cells[route.duration + bucket] += 1.0
        cells[route.duration + self._sum] += duration
        if record.bytes_in:
            cells[route.bytes_in] += record.bytes_in
        if record.bytes_out:
            cells[route.bytes_out] += record.bytes_out
        if record.fault is not None:
            cells[route.errors[record.fault] + self._reasons.get(record.reason, self._other)] += 1.0
        if self._access_log is not None:
            self._access_log.append(record, duration)


def _route_cells(config: Config, layout: Layout) -> list[RouteCells]:
    """By route index. The last entry is the one for no route, so that Python's index -1 finds it."""
    named = [RouteCells(layout, route.name, [*(ref.name for ref in route.backend_refs), ""]) for route in config.routes]
    return [*named, RouteCells(layout, "", [""])]
