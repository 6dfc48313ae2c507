"""What the meters of WebSockets count, and what workers count in the place of fronts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidegate.config.hop import worker_config
from sidegate.observe.cells import Area
from sidegate.observe.collector import PoolFact
from sidegate.observe.metrics import FRONT_METRICS, CellLayout
from sidegate.observe.observer import Observer
from sidegate.observe.worker_counts import Counts, add_counts, worker_counts
from tests.support.observing import Service, make_config

FAMILIES = {metric.name.removesuffix("_total") for metric in FRONT_METRICS if "websocket" in metric.name}


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def observer(service: Service) -> Observer:
    return service.start(make_config())[1]


def shown(service: Service) -> set[str]:
    """The families of WebSockets that have samples."""
    return {family.name for family in service.registry.collect() if family.name in FAMILIES and family.samples}


def closes(service: Service, side: str, code: str, route: str = "r0") -> float | None:
    return service.value("sidegate_websocket_closes_total", route=route, side=side, code=code)


def test_a_service_without_websockets_has_no_series_of_them(service: Service, observer: Observer) -> None:
    assert len(FAMILIES) == 5
    assert shown(service) == set()


def test_open_ones_by_route(service: Service, observer: Observer) -> None:
    for route in (0, 0, 1, -1):
        observer.websocket(route).opened()
    observer.websocket(0).ended()
    observer.websocket(-1).closed(1000, by_client=True)
    assert [service.value("sidegate_websockets_open", route=route) for route in ("r0", "r1")] == [1, 1]


def test_where_the_last_one_has_gone_there_are_none(service: Service, observer: Observer) -> None:
    meter = observer.websocket(0)
    meter.opened()
    meter.received(1, 9)
    assert service.value("sidegate_websockets_open", route="r0") == 1
    meter.closed(1000, by_client=True)
    assert service.value("sidegate_websockets_open", route="r0") == 0
    assert service.value("sidegate_websockets_open", route="r1") is None


def test_messages_and_bytes_each_way(service: Service, observer: Observer) -> None:
    meter = observer.websocket(1)
    meter.received(2, 100)
    meter.received(0, 1 << 40)
    meter.sent(1, 0)
    meter.sent(0, 7)
    observer.websocket(0).sent(5, 5)
    for direction, messages, size in (("received", 2, 100 + (1 << 40)), ("sent", 1, 7)):
        labels = {"route": "r1", "direction": direction}
        assert service.value("sidegate_websocket_messages_total", **labels) == messages
        assert service.value("sidegate_websocket_bytes_total", **labels) == size


@pytest.mark.parametrize(
    ("code", "label"),
    [
        (1000, "1000"), (1006, "1006"), (1015, "1015"), (999, "other"), (1016, "other"), (3000, "other"),
        (4999, "other"), (0, "other"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("side", ["client", "server"])
def test_who_closed_with_which_code(service: Service, observer: Observer, side: str, code: int, label: str) -> None:
    meter = observer.websocket(0)
    meter.opened()
    meter.closed(code, by_client=side == "client")
    assert closes(service, side, label) == 1
    families = [family for family in service.registry.collect() if family.name == "sidegate_websocket_closes"]
    assert sum(sample.value for sample in families[0].samples) == 1


def test_pings_fall_into_buckets(service: Service, observer: Observer) -> None:
    for seconds in (0.0, 0.0001, 0.02, 100.0):
        observer.websocket(0).ponged(seconds)
    bounds = ("0.0001", "0.01", "0.025", "60.0", "+Inf")
    found = [service.value("sidegate_websocket_ping_seconds_bucket", route="r0", le=bound) for bound in bounds]
    assert found == [2, 2, 3, 3, 4]
    assert service.value("sidegate_websocket_ping_seconds_sum", route="r0") == pytest.approx(100.0201)


def test_a_front_that_ends_leaves_counts_and_nothing_open(service: Service) -> None:
    area, observer = service.start(make_config())
    observer.websocket(0).opened()
    observer.websocket(0).sent(1, 10)
    service.collector.retire(area)
    assert service.value("sidegate_websocket_messages_total", route="r0", direction="sent") == 1
    assert service.value("sidegate_websockets_open", route="r0") == 0


def in_a_worker(route: int, code: int) -> Counts:
    """What one worker counts of one WebSocket."""
    backends = {"b0": {"app": "shop:app", "pool": {}}, "b1": {"respond": {}}}
    config = worker_config(make_config(backends=backends), "b0")
    layout = CellLayout(config)
    area = Area.create(layout.size)
    meter = Observer(config, area.cells).websocket(route)
    meter.opened()
    meter.received(3, 60)
    meter.ponged(0.5)
    meter.closed(code, by_client=False)
    return worker_counts(area, layout)


def test_a_worker_counts_under_the_routes_of_the_fronts(service: Service) -> None:
    total: Counts = {}
    for route, code in ((0, 1000), (1, 1001), (1, 1001)):
        add_counts(total, in_a_worker(route, code))
    _, observer = service.start(make_config())
    observer.websocket(1).received(1, 0)
    service.facts = replace(service.facts, pools=[PoolFact("b0", {}, {}, 0, {}, {}, total)])
    assert [closes(service, "server", "1001", route) for route in ("r0", "r1")] == [None, 2]
    assert closes(service, "server", "1000") == 1
    messages = [
        service.value("sidegate_websocket_messages_total", route=route, direction="received") for route in ("r0", "r1")
    ]
    assert messages == [3, 7]
    assert service.value("sidegate_websocket_ping_seconds_sum", route="r1") == 1.0
    # Its front has counted these.
    assert service.value("sidegate_websocket_bytes_total", route="r1", direction="received") is None
    assert service.value("sidegate_websockets_open", route="r1") is None
