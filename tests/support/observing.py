"""Configs and records for the tests of ``observe`` and ``admin``, and promtool."""

from __future__ import annotations

import subprocess
import time
from typing import Any

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.openmetrics import exposition, parser

from sidegate.asgi import Headers
from sidegate.config.schema import BackendRef, Config, RouteConfig
from sidegate.config.validation import validate
from sidegate.errors import Fault
from sidegate.observe.cells import Area
from sidegate.observe.collector import CellCollector, ServiceFacts, make_registry
from sidegate.observe.meter import ListenerMeter
from sidegate.observe.metrics import CellLayout
from sidegate.observe.observer import Observer
from sidegate.observe.record import Record
from sidegate.route import NO_ROUTE, Route
from sidegate.wire.events import RequestHead
from tests.support.programs import program


def make_config(routes: int = 2, **top_level: Any) -> Config:
    """Listeners ``http`` and ``local``, backends ``b0`` …, and routes ``r0`` … with one backend each."""
    names = [f"r{index}" for index in range(routes)]
    return validate(
        Config,
        {
            "listeners": [{"name": "http", "address": "127.0.0.1:0"}, {"name": "local", "address": "unix:/tmp/s"}],
            "backends": {f"b{index}": {"respond": {"body": "x"}} for index in range(routes)},
            "routes": [{"name": name, "path": f"/{name}", "backend": f"b{index}"} for index, name in enumerate(names)],
            **top_level,
        },
    )


def make_record(
    listener: ListenerMeter,
    target: bytes = b"/r0/x?q=1",
    headers: Headers | None = None,
    http_version: str = "1.1",
    route: int = -1,
    **fields: Any,
) -> Record:
    """A record of a GET from 192.0.2.1 to the route with the index ``route``, with ``fields`` set on it."""
    head = RequestHead(1, "GET", target, headers or [], http_version)
    record = Record(listener, "192.0.2.1", head, time.perf_counter())
    record.headers = head.headers
    record.route = route_at(route)
    if route >= 0:
        listener.route_found(route)
    for name, value in fields.items():
        setattr(record, name, value)
    return record


def route_at(index: int) -> Route:
    """A route with this index, named as in ``make_config``; ``NO_ROUTE`` for -1."""
    config = RouteConfig(name=f"r{index}", backend_refs=(BackendRef(name=f"b{index}"),))
    return NO_ROUTE if index < 0 else Route(index, config, NO_ROUTE.app)


def client_left(listener: ListenerMeter, **fields: Any) -> Record:
    """A record of a client that went away before a response began."""
    return make_record(listener, fault=Fault.CLIENT, reason="client_disconnected", **fields)


def openmetrics_of(registry: CollectorRegistry) -> str:
    """The exposition in OpenMetrics' text format."""
    return str(exposition.generate_latest(registry).decode())  # type: ignore[no-untyped-call]  # has no annotations


def openmetrics_families(text: str) -> list[Metric]:
    """What the OpenMetrics parser reads in ``text``."""
    return list(parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]  # has no annotations


class Service:
    """One collector, and an observer for each front that is started; ``facts`` are the supervisor's."""

    def __init__(self) -> None:
        self.facts = ServiceFacts("h2", "ssl", 1.0)
        self.collector = CellCollector(lambda: self.facts)
        self.registry = make_registry(self.collector)
        self.now = 0.0

    def start(self, config: Config) -> tuple[Area, Observer]:
        layout = CellLayout(config)
        area = Area.create(layout.size)
        self.collector.attach(area, layout)
        return area, Observer(config, area.cells, clock=lambda: self.now)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def requests(self, **labels: str) -> float | None:
        defaults = {"route": "r0", "backend": "b0", "protocol": "1.1", "code": "200"}
        return self.value("sidegate_requests_total", **{**defaults, **labels})


def promtool(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the real promtool; the test is skipped where it is not installed."""
    return subprocess.run([program("promtool"), *arguments], input=text, capture_output=True, text=True, check=False)
