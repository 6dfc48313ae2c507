"""What the observer and the meters count, seen through the collector, as Prometheus sees it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sidegate.errors import Fault
from sidegate.observe.cells import Area
from sidegate.observe.observer import Observer
from sidegate.observe.record import OPEN_ENDED
from tests.support.observing import Service, client_left, make_config, make_record


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def observer(service: Service) -> Observer:
    return service.start(make_config())[1]


def finish(observer: Observer, times: int = 1, **fields: Any) -> None:
    for _ in range(times):
        record = make_record(observer.listener("http"), **{"route": 0, "backend": "b0", "status": 200, **fields})
        observer.started(record)
        observer.finished(record)


@pytest.mark.parametrize("version", ["1.0", "1.1", "2"])
@pytest.mark.parametrize("status", [100, 200, 404, 503, 599])
def test_a_request_counts_under_its_labels(service: Service, observer: Observer, version: str, status: int) -> None:
    finish(observer, 2, http_version=version, status=status)
    finish(observer, route=1, backend="b1", http_version=version, status=status)
    labels = {"protocol": version, "code": str(status)}
    assert service.requests(**labels) == 2
    assert service.requests(route="r1", backend="b1", **labels) == 1
    assert sum(s.value for f in service.registry.collect() if f.name == "sidegate_requests" for s in f.samples) == 3


def test_no_route_counts_under_an_empty_name(service: Service, observer: Observer) -> None:
    finish(observer, route=-1, backend="", status=404)
    assert service.requests(route="", backend="", code="404") == 1


def test_a_backend_the_route_does_not_have_counts_as_none(service: Service, observer: Observer) -> None:
    finish(observer, backend="b1")
    assert service.requests(backend="") == 1


def test_a_client_that_left_before_the_response_is_499(service: Service, observer: Observer) -> None:
    record = client_left(observer.listener("http"), route=0, backend="b0")
    observer.started(record)
    observer.finished(record)
    assert service.requests(code="499") == 1
    errors = {"route": "r0", "fault": "client", "reason": "client_disconnected"}
    assert service.value("sidegate_exchange_errors_total", **errors) == 1


@pytest.mark.parametrize("status", [0, 99, 600, 1000])
def test_no_response_for_another_cause_is_0(service: Service, observer: Observer, status: int) -> None:
    finish(observer, status=status, fault=Fault.APPLICATION, reason="no_response")
    assert service.requests(code="0") == 1


def test_a_reason_outside_the_table_is_other(service: Service, observer: Observer) -> None:
    finish(observer, status=500, fault=Fault.PROXY, reason="whatever the client said")
    name = "sidegate_exchange_errors_total"
    assert service.value(name, route="r0", fault="proxy", reason="other") == 1


def test_in_flight_rises_and_falls(service: Service, observer: Observer) -> None:
    record = make_record(observer.listener("local"))
    observer.started(record)
    assert service.value("sidegate_requests_in_flight", listener="local") == 1
    assert service.value("sidegate_requests_in_flight", listener="http") == 0
    observer.finished(record)
    assert service.value("sidegate_requests_in_flight", listener="local") == 0


def test_a_route_in_flight_rises_and_falls(service: Service, observer: Observer) -> None:
    name = "sidegate_route_requests_in_flight"
    record = make_record(observer.listener("local"), route=1, backend="b1", status=200)
    observer.started(record)
    assert (service.value(name, route="r1"), service.value(name, route="r0")) == (1, None)
    observer.finished(record)
    assert service.value(name, route="r1") == 0


def test_what_lasts_as_long_as_its_client_wants_is_no_latency(service: Service, observer: Observer) -> None:
    finish(observer, status=200, counting=OPEN_ENDED)
    finish(observer, status=200)
    assert service.requests(code="200") == 2
    assert service.value("sidegate_request_duration_seconds_count", route="r0") == 1


def test_a_dead_fronts_requests_in_flight_are_counted_as_lost(service: Service) -> None:
    area, dead = service.start(make_config())
    _, alive = service.start(make_config())
    for route in (0, 0, 1, -1):
        dead.started(make_record(dead.listener("http"), route=route))
    alive.started(make_record(alive.listener("http"), route=0))
    finish(dead)
    service.collector.retire(area)
    labels = {"fault": "proxy", "reason": "front_lost"}
    for name, count in (("r0", 2), ("r1", 1), ("", 1)):
        assert service.requests(route=name, code="0", protocol="", backend="") == count
        assert service.value("sidegate_exchange_errors_total", route=name, **labels) == count
    assert service.requests() == 1
    assert service.value("sidegate_route_requests_in_flight", route="r0") == 1
    assert service.value("sidegate_route_requests_in_flight", route="r1") == 0


def test_a_front_that_has_finished_its_requests_has_lost_none(service: Service) -> None:
    area, observer = service.start(make_config())
    finish(observer, 3)
    finish(observer, route=-1)
    service.collector.retire(area)
    assert service.requests(code="0", protocol="", backend="") is None


def test_what_is_over_for_its_client_counts_once_and_stays_in_flight(service: Service, observer: Observer) -> None:
    record = make_record(
        observer.listener("http"), route=0, backend="b0", status=504, fault=Fault.APPLICATION, reason="request_timeout"
    )
    observer.started(record)
    observer.count(record)
    counted = [service.requests(code="504"), service.value("sidegate_requests_in_flight", listener="http")]
    observer.finished(record)
    counted += [service.requests(code="504"), service.value("sidegate_requests_in_flight", listener="http")]
    assert counted == [1, 1, 1, 0]
    errors = {"route": "r0", "fault": "application", "reason": "request_timeout"}
    assert service.value("sidegate_exchange_errors_total", **errors) == 1


def test_the_number_in_flight_is_that_of_all_listeners(observer: Observer) -> None:
    records = [make_record(observer.listener(name)) for name in ("local", "http")]
    counts = [observer.in_flight]
    for step in (observer.started, observer.finished):
        for record in records:
            step(record)
            counts.append(observer.in_flight)
    assert counts == [0, 1, 2, 1, 0]


def test_body_bytes(service: Service, observer: Observer) -> None:
    finish(observer, bytes_in=10, bytes_out=1 << 40)
    finish(observer, bytes_in=1, route=-1)
    assert service.value("sidegate_request_body_bytes_total", route="r0") == 10
    assert service.value("sidegate_response_body_bytes_total", route="r0") == 1 << 40
    assert service.value("sidegate_request_body_bytes_total", route="") == 1
    assert service.value("sidegate_response_body_bytes_total", route="") == 0


def test_a_bound_is_part_of_its_bucket(service: Service, observer: Observer) -> None:
    for duration in (0.00009, 0.25, 0.2500001, 61.0):
        service.now = 100.0 + duration
        finish(observer, started=100.0)

    def bucket(bound: str) -> float | None:
        return service.value("sidegate_request_duration_seconds_bucket", route="r0", le=bound)

    # 100.25 - 100.0 is exact in binary; the others are far from a bound.
    assert [bucket(bound) for bound in ("0.0001", "0.1", "0.25", "0.5", "60.0", "+Inf")] == [1, 1, 2, 3, 3, 4]
    assert service.value("sidegate_request_duration_seconds_count", route="r0") == 4
    assert service.value("sidegate_request_duration_seconds_sum", route="r0") == pytest.approx(61.5000901)
    assert service.value("sidegate_request_duration_seconds_count", route="r1") is None


def test_connections_and_handshakes(service: Service, observer: Observer) -> None:
    meter = observer.listener("http")
    for protocol in ("1.1", "2", "2"):
        meter.connection_opened(protocol)
    meter.connection_closed("2")
    meter.handshake_done("TLSv1.3")
    meter.handshake_done("TLSv9")
    meter.handshake_failed("timeout")
    meter.handshake_failed("SOMETHING_NEW")
    meter.refused("bad_host")
    meter.refused("x" * 99)
    meter.violation("unheard_of")
    http = {"listener": "http"}
    assert service.value("sidegate_connections_total", protocol="2", **http) == 2
    assert service.value("sidegate_connections_open", protocol="2", **http) == 1
    assert service.value("sidegate_connections_open", protocol="1.1", **http) == 1
    assert service.value("sidegate_tls_handshakes_total", version="TLSv1.3", **http) == 1
    assert service.value("sidegate_tls_handshakes_total", version="other", **http) == 1
    assert service.value("sidegate_tls_handshake_failures_total", reason="timeout", **http) == 1
    assert service.value("sidegate_tls_handshake_failures_total", reason="other", **http) == 1
    assert service.value("sidegate_requests_refused_total", reason="bad_host", **http) == 1
    assert service.value("sidegate_requests_refused_total", reason="other", **http) == 1
    assert service.value("sidegate_connection_errors_total", reason="other", **http) == 1
    assert service.value("sidegate_connections_total", listener="local", protocol="2") == 0


def test_fronts_are_added_up(service: Service) -> None:
    for times in (1, 2):
        finish(service.start(make_config())[1], times)
    assert service.requests() == 3


def test_a_dead_front_keeps_its_counts_and_loses_its_gauges(service: Service) -> None:
    area, observer = service.start(make_config())
    finish(observer, 5)
    observer.started(make_record(observer.listener("http")))
    observer.listener("http").connection_opened("2")
    service.collector.retire(area)
    assert area.fd == -1
    assert service.requests() == 5
    assert service.value("sidegate_request_duration_seconds_count", route="r0") == 5
    assert service.value("sidegate_connections_total", listener="http", protocol="2") == 1
    assert service.value("sidegate_requests_in_flight", listener="http") is None
    successor = service.start(make_config())[1]
    finish(successor)
    assert service.requests() == 6
    assert service.value("sidegate_requests_in_flight", listener="http") == 0


def test_counts_survive_a_reload_with_other_routes(service: Service) -> None:
    area, observer = service.start(make_config(routes=3))
    finish(observer, 4, route=2, backend="b2")
    finish(observer, 2)
    service.collector.retire(area)
    finish(service.start(make_config(routes=1))[1])
    assert service.requests() == 3
    assert service.requests(route="r2", backend="b2") == 4


def test_an_area_of_another_config_is_refused() -> None:
    with pytest.raises(ValueError, match="has 8 cells"):
        Observer(make_config(), Area.create(8).cells)


def test_only_the_listeners_of_the_config_are_known(observer: Observer) -> None:
    with pytest.raises(KeyError):
        observer.listener("elsewhere")


def test_request_ids_are_made_on_first_use_and_differ(observer: Observer) -> None:
    records = [make_record(observer.listener("http")) for _ in range(3)]
    ids = [record.request_id for record in reversed(records)]
    assert len(set(ids)) == 3
    assert ids == sorted(ids), "they are numbered in the order of their first use"
    assert all(re.fullmatch("[0-9a-f]{32}", request_id) for request_id in ids)
    assert records[0].request_id == ids[2]


def test_a_request_with_the_id_of_another_process_is_relayed(observer: Observer) -> None:
    record = make_record(observer.listener("http"))
    assert not record.relayed
    assert record.request_id
    assert not record.relayed
    record.request_id = "0" * 32
    assert record.relayed
