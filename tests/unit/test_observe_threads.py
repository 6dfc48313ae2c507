"""Series of WSGI applications: who has them and from when on, and what the meter of threads counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sidegate.config.hop import worker_config
from sidegate.config.schema import Config
from sidegate.config.validation import validate
from sidegate.observe.cells import Area
from sidegate.observe.collector import PoolFact
from sidegate.observe.metrics import CellLayout
from sidegate.observe.observer import Observer
from tests.support.observing import Service, make_config

BACKENDS: dict[str, Any] = {
    "asgi": {"app": "shop:app", "interface": "asgi"},
    "auto": {"app": "shop:app"},
    "fixed": {"respond": {"status": 200}},
    "pooled": {"app": "shop:app", "pool": {}},
    "remote": {"h2c": "unix:/tmp/s"},
    "wsgi": {"app": "shop:app", "interface": "wsgi"},
}
QUEUED = (
    "sidegate_backend_requests_in_flight", "sidegate_backend_queue_length", "sidegate_backend_queue_wait_seconds",
    "sidegate_backend_retries",
)  # fmt: skip
THREADS = "sidegate_wsgi_threads"


def a_config() -> Config:
    return validate(
        Config,
        {
            "listeners": [{"name": "http", "address": "127.0.0.1:0"}],
            "backends": BACKENDS,
            "routes": [{"path": f"/{name}", "backend": name} for name in BACKENDS],
        },
    )


def shown(service: Service, family: str) -> list[str]:
    """The backends that a family of metrics has samples of."""
    (found,) = (known for known in service.registry.collect() if known.name == family)
    return sorted({sample.labels["backend"] for sample in found.samples})


@pytest.fixture
def service() -> Service:
    return Service()


def test_an_application_of_which_nobody_said_what_it_is_has_no_series(service: Service) -> None:
    service.start(a_config())
    for family in QUEUED:
        assert shown(service, family) == ["pooled", "remote", "wsgi"]
    assert shown(service, THREADS) == ["wsgi"]


@pytest.mark.parametrize("waited", [False, True])
def test_it_has_them_once_a_request_has_been_given_to_a_thread(service: Service, waited: bool) -> None:
    _, observer = service.start(a_config())
    meter = observer.pool("auto")
    meter.waited(0.25) if waited else meter.placed_at_once()
    for family in QUEUED:
        assert shown(service, family) == ["auto", "pooled", "remote", "wsgi"]
    assert shown(service, THREADS) == ["auto", "wsgi"]
    assert service.value("sidegate_backend_queue_wait_seconds_count", backend="auto") == 1
    assert service.value("sidegate_backend_requests_in_flight", backend="auto") == 0
    assert service.value(THREADS, backend="auto", state="stuck") == 0


def test_a_front_that_ends_leaves_no_series_of_an_asgi_application(service: Service) -> None:
    area, _ = service.start(a_config())
    service.collector.retire(area)
    assert shown(service, "sidegate_backend_queue_wait_seconds") == ["pooled", "remote", "wsgi"]
    assert shown(service, THREADS) == []


def test_threads_are_busy_stuck_and_free_again(service: Service) -> None:
    fronts = [service.start(a_config())[1] for _ in range(2)]
    meter, other = (front.threads("wsgi") for front in fronts)
    steps = (meter.began, meter.began, other.began, meter.stuck, meter.unstuck, meter.ended, meter.ended, other.ended)
    counts = []
    for step in steps:
        step()
        counts.append([service.value(THREADS, backend="wsgi", state=state) for state in ("busy", "stuck")])
    assert counts == [[1, 0], [2, 0], [3, 0], [2, 1], [3, 0], [2, 0], [1, 0], [0, 0]]


def test_threads_of_workers_are_in_the_same_family(service: Service) -> None:
    _, observer = service.start(a_config())
    observer.threads("wsgi").began()
    pool = PoolFact("pooled", {}, {}, 0, {}, {"busy": 3, "stuck": 1})
    service.facts = replace(service.facts, pools=[pool, PoolFact("other", {}, {}, 0, {})])
    assert shown(service, THREADS) == ["pooled", "wsgi"]
    assert service.value(THREADS, backend="wsgi", state="busy") == 1
    assert service.value(THREADS, backend="pooled", state="busy") == 3
    assert service.value(THREADS, backend="pooled", state="stuck") == 1


@pytest.mark.parametrize("name", ["asgi", "fixed", "pooled", "remote"])
def test_only_what_may_be_a_wsgi_application_here_has_a_meter_of_threads(service: Service, name: str) -> None:
    with pytest.raises(KeyError):
        service.start(a_config())[1].threads(name)


@pytest.mark.parametrize("name", ["asgi", "fixed"])
def test_only_what_may_wait_has_a_meter_of_a_queue(service: Service, name: str) -> None:
    with pytest.raises(KeyError):
        service.start(a_config())[1].pool(name)


@pytest.mark.parametrize(
    ("interface", "at_first", "later"),
    [
        ("asgi", {}, None),
        ("auto", {}, {"busy": 1, "stuck": 0}),
        ("wsgi", {"busy": 0, "stuck": 0}, {"busy": 1, "stuck": 0}),
    ],
)
def test_a_worker_counts_the_threads_of_its_own_application(
    interface: str, at_first: dict[str, int], later: dict[str, int] | None
) -> None:
    backends = {"b0": {"app": "shop:app", "interface": interface, "pool": {}}}
    config = worker_config(make_config(routes=1, backends=backends), "b0")
    layout = CellLayout(config)
    area = Area.create(layout.size)
    observer = Observer(config, area.cells)
    assert layout.threads(area, "b0") == at_first
    if later is not None:
        observer.pool("b0").placed_at_once()
        observer.threads("b0").began()
        assert layout.threads(area, "b0") == later
