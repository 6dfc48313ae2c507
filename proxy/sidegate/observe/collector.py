"""Turns cells into metric families for each scrape of Prometheus.

It runs in the supervisor, and the admin server exposes its registry. It owns the areas of all running fronts and the
totals of fronts that have exited. Nothing in this module runs on a request's path.

The counters of a front that has exited are added to ``_retired``, by metric and label values and not by cell, because
the next generation may have another layout. Its gauges are dropped, because its connections and requests have ended
with it.
"""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import TypeAlias

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from sidegate import __version__
from sidegate.errors import Fault
from sidegate.observe import metrics
from sidegate.observe.cells import Area
from sidegate.observe.metrics import BUCKETS, FRONT_METRICS, SUM, CellLayout, Metric
from sidegate.observe.resident import resident_bytes
from sidegate.observe.worker_counts import Counts

Labels: TypeAlias = tuple[str, ...]
Totals: TypeAlias = defaultdict[str, defaultdict[Labels, float]]
"""Values by metric name and label values; a histogram's last label value is a bucket's bound or ``SUM``."""

BACKEND = ("backend",)
"""The labels of the first axis of metrics that only backends with workers or threads have."""


@dataclass(frozen=True, slots=True)
class ProcessFact:
    """One child: its kind (``front``, ``worker``, ``preloader``), its state, and its pid (None: not known yet)."""

    kind: str
    state: str
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class PoolFact:
    """One pool: workers by state, replaced workers by cause, resident bytes, requests by slot, threads by state.

    ``threads`` is empty unless the application is WSGI. ``counts``: its workers' counts of metrics that fronts cannot
    count, including workers that have exited.
    """

    backend: str
    workers: Mapping[str, int]
    restarts: Mapping[str, int]
    resident: int
    requests: Mapping[int, int]
    threads: Mapping[str, int] = field(default_factory=dict)
    counts: Counts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """Facts that only the supervisor knows. ``start_time`` in Unix seconds; ``restarts`` by kind and cause.

    ``log_dropped``: lines of the process log that the supervisor itself has dropped. ``expiry`` of certificates in Unix
    seconds, by listener and file.
    """

    http2_engine: str
    tls_engine: str
    start_time: float
    last_reload_successful: bool = True
    processes: Sequence[ProcessFact] = ()
    restarts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    pools: Sequence[PoolFact] = ()
    log_dropped: int = 0
    expiry: Mapping[tuple[str, str], float] = field(default_factory=dict)


class CellCollector(Collector):
    """Every metric of the service. ``facts`` is called at each scrape."""

    def __init__(self, facts: Callable[[], ServiceFacts]) -> None:
        self._facts = facts
        self._areas: dict[Area, CellLayout] = {}
        self._retired = _new_totals()

    def attach(self, area: Area, layout: CellLayout) -> None:
        """A child that counts into ``area`` is about to start."""
        self._areas[area] = layout

    def retire(self, area: Area) -> None:
        """The child has exited: keep its counters, count the requests that it had in flight, drop its gauges."""
        layout = self._areas.pop(area)
        _add_area(self._retired, area, layout, gauges=False)
        _add_lost(self._retired, layout.lost(area))
        area.close()

    def collect(self) -> Iterator[Family]:
        totals = _new_totals()
        for name, values in self._retired.items():
            totals[name].update(values)
        for area, layout in self._areas.items():
            _add_area(totals, area, layout, gauges=True)
        facts = self._facts()
        for pool in facts.pools:
            for state, count in pool.threads.items():
                totals[metrics.WSGI_THREADS.name][pool.backend, state] += count
            for (name, *labels), value in pool.counts.items():
                totals[name][tuple(labels)] += value
        totals[metrics.PROCESS_LOG_DROPPED.name]["supervisor",] += facts.log_dropped
        for route, _ in totals[metrics.WEBSOCKET_BYTES.name]:
            totals[metrics.WEBSOCKETS_OPEN.name][route,] += 0.0  # a route that had WebSockets shows 0 when none is open
        for route, *_ in totals[metrics.REQUESTS.name]:
            totals[metrics.ROUTE_IN_FLIGHT.name][route,] += 0.0
        for metric in FRONT_METRICS:
            yield _family(metric, totals[metric.name])
        for metric, known in _supervisor_values(facts):
            yield _family(metric, known)


def make_registry(collector: CellCollector) -> CollectorRegistry:
    """A new registry: the global one would also expose metrics that an application registers."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    return registry


def _new_totals() -> Totals:
    return defaultdict(lambda: defaultdict(float))


def _add_area(totals: Totals, area: Area, layout: CellLayout, *, gauges: bool) -> None:
    """Add every sample of one area, except those about threads and queues of applications not known to be WSGI."""
    threadless = layout.without_threads(area)
    for block in layout.blocks:
        zeros = block.metric.zeros
        if block.metric.kind == "gauge" and not gauges:
            continue
        values = area.read(block.start, len(block.run))
        if values is None:
            if not zeros:
                continue
            values = [0.0] * len(block.run)
        of_metric = totals[block.metric.name]
        left_out = threadless if block.metric.axes[0].labels == BACKEND else frozenset[str]()
        # compress: few of 501 status codes are in use, and a loop in Python over all of them takes ten times as long.
        pairs = zip(block.run, values, strict=True)
        for label, value in pairs if zeros else compress(pairs, values):
            labels = (*block.labels, label)
            if labels[0] not in left_out:
                of_metric[labels] += value


def _add_lost(totals: Totals, lost: Mapping[str, float]) -> None:
    """Count requests that ended with their front: their clients got no response, or not all of it."""
    for route, count in lost.items():
        totals[metrics.REQUESTS.name][route, "", "", "0"] += count
        totals[metrics.EXCHANGE_ERRORS.name][route, Fault.PROXY, "front_lost"] += count


def _family(metric: Metric, values: Mapping[Labels, float]) -> Family:
    if metric.kind == "histogram":
        return _histogram(metric, values)
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, values: Mapping[Labels, float]) -> Family:
    """A histogram. A cell counts only its own bucket; a bucket of Prometheus includes all lower buckets."""
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for leading in dict.fromkeys(labels[:-1] for labels in values):
        count = 0.0
        buckets: list[tuple[str, float]] = []
        for bound in (*map(str, BUCKETS), "+Inf"):
            count += values.get((*leading, bound), 0.0)
            buckets.append((bound, count))
        family.add_metric(leading, buckets, values.get((*leading, SUM), 0.0))
    return family


def _supervisor_values(facts: ServiceFacts) -> Iterator[tuple[Metric, Mapping[Labels, float]]]:
    processes: defaultdict[Labels, float] = defaultdict(float)
    memory: defaultdict[Labels, float] = defaultdict(float)
    for process in facts.processes:
        processes[process.kind, process.state] += 1
        memory[process.kind,] += 0 if process.pid is None else resident_bytes(process.pid)
    yield metrics.BUILD_INFO, {(__version__, platform.python_version(), facts.http2_engine, facts.tls_engine): 1.0}
    yield metrics.PROCESSES, processes
    yield metrics.RESTARTS, {labels: float(count) for labels, count in facts.restarts.items()}
    yield metrics.RESIDENT_MEMORY, memory
    yield from _pool_values(facts.pools)
    yield metrics.CERTIFICATE_EXPIRY, {(listener, file): time for (listener, file), time in facts.expiry.items()}
    yield metrics.LAST_RELOAD, {(): float(facts.last_reload_successful)}
    yield metrics.START_TIME, {(): facts.start_time}


def _pool_values(pools: Sequence[PoolFact]) -> Iterator[tuple[Metric, Mapping[Labels, float]]]:
    yield metrics.POOL_WORKERS, {(p.backend, state): float(n) for p in pools for state, n in p.workers.items()}
    yield metrics.POOL_RESTARTS, {(p.backend, cause): float(n) for p in pools for cause, n in p.restarts.items()}
    yield metrics.POOL_MEMORY, {(pool.backend,): float(pool.resident) for pool in pools}
    yield metrics.POOL_REQUESTS, {(p.backend, str(slot)): float(n) for p in pools for slot, n in p.requests.items()}
