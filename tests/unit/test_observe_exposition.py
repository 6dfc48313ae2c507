"""The exposition as a whole: promtool, the OpenMetrics parser, what the supervisor adds, and its speed's reason."""

from __future__ import annotations

import os
import platform

import pytest
from prometheus_client import CollectorRegistry, generate_latest, openmetrics

from sidegate import __version__
from sidegate.errors import Fault
from sidegate.observe.cells import Area
from sidegate.observe.collector import CellCollector, PoolFact, ProcessFact, ServiceFacts, make_registry
from sidegate.observe.metrics import FRONT_METRICS, SUPERVISOR_METRICS, CellLayout
from sidegate.observe.observer import Observer
from sidegate.observe.resident import resident_bytes
from tests.support.observing import (
    client_left,
    make_config,
    make_record,
    openmetrics_families,
    openmetrics_of,
    promtool,
)

FACTS = ServiceFacts(
    http2_engine="nghttp2",
    tls_engine="openssl",
    start_time=1_700_000_000.5,
    last_reload_successful=False,
    processes=(
        ProcessFact("front", "serving", os.getpid()),
        ProcessFact("front", "serving"),
        ProcessFact("front", "dead"),
    ),
    restarts={("front", "crash"): 3},
    expiry={("https", "/etc/tls.crt"): 1_800_000_000.0},
    pools=(
        PoolFact(
            "shop",
            {"serving": 2, "starting": 0},
            {"max_requests": 5},
            1 << 20,
            {0: 7, 1: 8},
            {"busy": 2, "stuck": 1},
            {
                ("sidegate_websocket_messages_total", "r1", "sent"): 4.0,
                ("sidegate_websocket_ping_seconds", "r1", "0.0025"): 1.0,
                ("sidegate_websocket_ping_seconds", "r1", "sum"): 0.002,
            },
        ),
    ),
)


@pytest.fixture
def registry() -> CollectorRegistry:
    collector = CellCollector(lambda: FACTS)
    config = make_config()
    layout = CellLayout(config)
    area = Area.create(layout.size)
    collector.attach(area, layout)
    observer = Observer(config, area.cells)
    meter = observer.listener("http")
    records = [
        make_record(meter, route=0, backend="b0", status=200, bytes_out=5),
        make_record(meter, route=1, backend="b1", status=500, fault=Fault.APPLICATION, reason="exception"),
        make_record(meter, status=404, http_version="2"),
        client_left(meter, route=0, backend="b0"),
    ]
    for record in records:
        observer.started(record)
        observer.finished(record)
    websockets = observer.websocket(1)
    websockets.opened()
    websockets.opened()
    websockets.sent(1, 20)
    websockets.closed(1001, by_client=True)
    return make_registry(collector)


def test_promtool_finds_nothing_to_say(registry: CollectorRegistry) -> None:
    result = promtool("check", "metrics", text=generate_latest(registry).decode())
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_openmetrics_reads_back_the_same(registry: CollectorRegistry) -> None:
    families = openmetrics_families(openmetrics_of(registry))
    samples = {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}
    key = (("backend", "b1"), ("code", "500"), ("protocol", "1.1"), ("route", "r1"))
    assert samples["sidegate_requests_total", key] == 1
    assert samples["sidegate_request_duration_seconds_count", (("route", "r0"),)] == 2
    described = {family.name: family.documentation for family in families}
    for metric in (*FRONT_METRICS, *SUPERVISOR_METRICS):
        assert described[metric.name.removesuffix("_total")] == metric.help
    assert openmetrics.exposition.CONTENT_TYPE_LATEST.startswith("application/openmetrics-text")


def test_what_the_supervisor_knows(registry: CollectorRegistry) -> None:
    value = registry.get_sample_value
    engines = {"http2_engine": "nghttp2", "tls_engine": "openssl"}
    build = {"version": __version__, "python": platform.python_version(), **engines}
    assert value("sidegate_build_info", build) == 1
    assert value("sidegate_processes", {"kind": "front", "state": "serving"}) == 2
    assert value("sidegate_processes", {"kind": "front", "state": "dead"}) == 1
    assert value("sidegate_process_restarts_total", {"kind": "front", "cause": "crash"}) == 3
    expiry = "sidegate_tls_certificate_expiry_timestamp_seconds"
    assert value(expiry, {"listener": "https", "certificate": "/etc/tls.crt"}) == 1_800_000_000
    assert value("sidegate_config_last_reload_successful") == 0
    assert value("sidegate_start_time_seconds") == 1_700_000_000.5
    assert (value("sidegate_process_resident_memory_bytes", {"kind": "front"}) or 0) > 1 << 20
    assert (value("process_resident_memory_bytes") or 0) > 1 << 20


def test_what_the_supervisor_knows_of_pools(registry: CollectorRegistry) -> None:
    value = registry.get_sample_value
    assert value("sidegate_pool_workers", {"backend": "shop", "state": "serving"}) == 2
    assert value("sidegate_pool_workers", {"backend": "shop", "state": "starting"}) == 0
    assert value("sidegate_pool_worker_restarts_total", {"backend": "shop", "cause": "max_requests"}) == 5
    assert value("sidegate_pool_resident_memory_bytes", {"backend": "shop"}) == 1 << 20
    assert value("sidegate_pool_worker_requests_total", {"backend": "shop", "slot": "1"}) == 8
    assert value("sidegate_wsgi_threads", {"backend": "shop", "state": "busy"}) == 2
    assert value("sidegate_wsgi_threads", {"backend": "shop", "state": "stuck"}) == 1


def test_websockets_of_fronts_and_workers_are_added_up(registry: CollectorRegistry) -> None:
    value = registry.get_sample_value
    assert value("sidegate_websockets_open", {"route": "r1"}) == 1
    assert value("sidegate_websocket_messages_total", {"route": "r1", "direction": "sent"}) == 5
    assert value("sidegate_websocket_bytes_total", {"route": "r1", "direction": "sent"}) == 20
    assert value("sidegate_websocket_closes_total", {"route": "r1", "side": "client", "code": "1001"}) == 1
    assert value("sidegate_websocket_ping_seconds_count", {"route": "r1"}) == 1
    assert value("sidegate_websocket_ping_seconds_sum", {"route": "r1"}) == 0.002


def test_resident_memory_of_a_process_that_is_gone_is_zero() -> None:
    assert resident_bytes(2**22 + 1) == 0


def test_series_of_routes_without_traffic_are_not_made() -> None:
    collector = CellCollector(lambda: FACTS)
    layout = CellLayout(make_config(routes=50))
    area = Area.create(layout.size)
    collector.attach(area, layout)
    lines = generate_latest(make_registry(collector)).decode().splitlines()
    assert not [line for line in lines if line.startswith(("sidegate_requests_total", "sidegate_request_duration"))]
    assert 'sidegate_request_body_bytes_total{route="r49"} 0.0' in lines
