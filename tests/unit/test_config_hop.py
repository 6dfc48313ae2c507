"""What a worker runs: the Config that is made for it, and the limits of a trusted hop."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any

import pytest

from sidegate.config.hop import hop_limits, longest_request, streams_of_front, worker_config
from sidegate.config.limit import Limit, for_listener, kept
from sidegate.config.limits import FACTS_FIELDS, FACTS_SIZE
from sidegate.config.model import Integer, Model, model, setting
from sidegate.config.plain import pack, unpack
from sidegate.config.schema import Config, ConnectionTimeouts, Limits, PathConfig, Queue
from sidegate.config.structure import fields
from sidegate.config.validation import validate


def parent(**more: Any) -> Config:
    return validate(
        Config,
        {
            "listeners": [{"name": "http", "address": ":8080"}],
            "backends": {
                "shop": {
                    "app": "shop.asgi:app",
                    "directory": "/srv/lib",
                    "rootPath": "/shop",
                    "lifespan": "off",
                    "interface": "wsgi",
                    "pool": {"workers": 4, "threads": 7, "concurrency": 50, "startTimeout": "5s", "stopTimeout": "7s"},
                    "queue": {"size": 5},
                },
                "hello": {"respond": {}},
            },
            "routes": [{"path": "/shop", "backend": "shop"}, {"backend": "hello"}],
            "admin": {},
            "logging": {"level": "debug", "format": "json", "accessLog": "json", "skipPaths": ["/x"]},
            "trustedProxies": ["10.0.0.0/8"],
            "path": {"slashes": "refuse", "encodedSlash": "refuse"},
            "http2Engine": "h2",
            "shutdownDelay": "1s",
            "gracePeriod": "20s",
            **more,
        },
    )


def test_a_worker_runs_its_backend_behind_one_listener() -> None:
    config = worker_config(parent(), "shop")
    assert [(one.name, one.protocols, one.tls) for one in config.listeners] == [("worker", ("h2",), None)]
    assert config.listeners[0].addresses[0].startswith("unix:")
    assert [one.name for one in config.routes] == [one.name for one in parent().routes]
    assert {(one.backend_refs[0].name, one.hostnames, one.matches[0].path.value) for one in config.routes} == {
        ("shop", (), "/")
    }
    (backend,) = config.backends.values()
    original = parent().backends["shop"]
    own = dataclasses.replace(original, threads=7, pool=None, queue=Queue())
    assert backend == dataclasses.replace(own, body_buffering="off", response_buffering="off")
    assert backend.interface == "wsgi"


def test_a_worker_logs_as_its_parent_but_requests_only_once() -> None:
    logging = worker_config(parent(), "shop").logging
    assert (logging.level, logging.format, logging.access_log, logging.skip_paths) == ("debug", "json", "off", ())


def test_what_concerns_clients_is_the_fronts() -> None:
    config = worker_config(parent(), "shop")
    assert (config.admin, config.trusted_proxies, config.shutdown_delay) == (None, (), 0.0)
    assert config.path == PathConfig()
    assert (config.http2_engine, config.start_timeout, config.grace_period) == ("h2", 5.0, 7.0)


@pytest.mark.parametrize(
    ("drain", "own"), [({}, None), ({"websocketDrain": "3s"}, 3.0), ({"websocketDrain": "9s"}, 7.0)]
)
def test_a_worker_closes_websockets_in_the_time_it_has_to_stop(drain: dict[str, Any], own: float | None) -> None:
    assert worker_config(parent(**drain), "shop").websocket_drain == own


@pytest.mark.parametrize(
    ("pool", "processes"),
    [
        ({"workers": 1}, 1),
        ({"workers": 2}, 2),
        ({"workers": {"max": 2}}, 2),
        ({"maxRequests": 1000}, 2),
        ({"maxAge": "1h"}, 2),
        ({"maxMemory": "1Gi"}, 2),
        ({"reload": {"watch": ["."]}}, 2),
    ],
)
def test_a_worker_knows_whether_it_can_have_company(pool: dict[str, Any], processes: int) -> None:
    config = parent(backends={"shop": {"app": "a:b", "pool": pool}}, routes=[{"backend": "shop"}], processes=4)
    assert worker_config(config, "shop").processes == processes


def shares(*parts: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"name": name, "weight": weight} for name, weight in parts]


def test_the_longest_request_is_that_of_the_routes_that_lead_to_it() -> None:
    routes = [
        {"path": "/a", "backend": "shop", "timeouts": {"request": "5s"}},
        {"path": "/b", "backendRefs": shares(("hello", 1), ("shop", 1)), "timeouts": {"request": "30s"}},
        {"path": "/c", "backendRefs": shares(("hello", 1), ("shop", 0)), "timeouts": {"request": "1m"}},
        {"path": "/d", "backend": "shop"},
        {"path": "/e", "backend": "hello", "timeouts": {"request": "2m"}},
    ]
    config = parent(routes=routes)
    assert (longest_request(config, "shop"), longest_request(config, "hello")) == (30.0, 120.0)
    assert worker_config(config, "shop").routes[0].timeouts.request == 30.0


def test_without_a_timeout_no_request_is_too_long() -> None:
    assert longest_request(parent(), "shop") == 0.0
    assert longest_request(parent(), "nobody's") == 0.0
    assert worker_config(parent(), "shop").routes[0].timeouts.request == 0.0


@pytest.mark.parametrize(("processes", "streams"), [(1, 50), (2, 25), (3, 17), (50, 1), (64, 1)])
def test_the_fronts_share_the_concurrency(processes: int, streams: int) -> None:
    config = parent(processes=processes)
    pool = config.backends["shop"].pool
    assert pool is not None
    assert streams_of_front(pool, processes) == streams
    assert worker_config(config, "shop").limits.concurrent_streams == pool.concurrency


NAMES = {field.name for part in (Limits, ConnectionTimeouts) for field in fields(part).values()}
UNLIMITED = {"request_body", "concurrent_requests", "connection_requests", "min_rate"}  # 0 is no limit
UNLIMITED |= {"requests_per_client", "connections", "connections_per_client", "websockets", "websockets_per_client"}
KEPT = {"concurrent_streams", "tls_handshake", "queue_delay", "stream_window", "stream_reset_rate"}
KEPT |= {"control_frame_period", "proxy_fields", "proxy_header", "proxy_header_size"}


def bounds(part: type[Limits | ConnectionTimeouts], word: str) -> dict[str, Any]:
    return {field.name: field.metadata[word] for field in fields(part).values() if word in field.metadata}


def hop(config: Config) -> dict[str, Any]:
    limits, timeouts = hop_limits(config)
    return {**vars(limits), **vars(timeouts)}


@pytest.mark.parametrize("word", ["", "ge", "le"])
def test_a_hop_refuses_nothing_that_a_front_let_pass(word: str) -> None:
    limits = Limits(**bounds(Limits, word), keep_underscores=("x_id",))
    timeouts = ConnectionTimeouts(**bounds(ConnectionTimeouts, word))
    found = hop(dataclasses.replace(parent(), limits=limits, timeouts=timeouts))
    clients = {**vars(limits), **vars(timeouts)}
    assert found.keys() == clients.keys() == NAMES
    assert found["request_line"] == 3 * limits.request_line
    assert found["header_block"] == limits.header_block + found["request_line"] + FACTS_SIZE
    assert found["header_fields"] == limits.header_fields + FACTS_FIELDS
    assert found["continuation_frames"] * 16384 >= found["header_block"]
    assert found["keep_underscores"] == ("x_id",)
    assert {found[name] for name in UNLIMITED} == {0}
    assert all(found[name] == clients[name] for name in KEPT)
    for name in NAMES - UNLIMITED - KEPT - {"keep_underscores"}:
        assert found[name] >= clients[name]


def test_a_hop_refuses_nothing_that_any_listener_let_pass() -> None:
    wide = {"requestLine": "16Ki", "headerFields": 500, "keepUnderscores": ["x_b", "x_c"], "streamWindow": "1Mi"}
    listeners = [
        {"name": "wide", "address": ":1", "limits": wide, "timeouts": {"tlsHandshake": "1m"}},
        {"name": "narrow", "address": ":2", "limits": {"headerBlock": "1Ki", "continuationFrames": 90}},
    ]
    top = {"requestLine": "1Ki", "headerBlock": "64Ki", "headerFields": 20, "keepUnderscores": ["x_a"]}
    found = hop(parent(listeners=listeners, limits={**top, "streamWindow": "64Ki"}))
    assert found["request_line"] == 3 * 16384
    assert found["header_block"] == 65536 + 3 * 16384 + FACTS_SIZE
    assert found["header_fields"] == 500 + FACTS_FIELDS
    assert found["keep_underscores"] == ("x_b", "x_c", "x_a")
    assert found["continuation_frames"] * 16384 >= found["header_block"]
    assert (found["stream_window"], found["tls_handshake"]) == (65536, 10.0)


def test_a_limit_must_declare_what_a_worker_gets() -> None:
    @model
    class Forgotten(Model):
        known: Annotated[Integer, Limit(kept)] = setting(default=1, description="It says it.")
        forgotten: Integer = setting(default=1, description="It does not.")

    with pytest.raises(TypeError, match="the field 'forgotten' needs one Limit among its annotations"):
        for_listener(Forgotten)(type("OfListener", (Model,), {}))


def test_it_comes_through_the_control_socket() -> None:
    config = worker_config(parent(), "shop")
    assert unpack(Config, json.loads(json.dumps(pack(config), allow_nan=False))) == config


def test_a_backend_without_a_pool_has_no_workers() -> None:
    with pytest.raises(ValueError, match="the backend 'hello' has no pool"):
        worker_config(parent(), "hello")
