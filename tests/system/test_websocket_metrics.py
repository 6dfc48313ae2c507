"""WebSockets in ``/metrics``: each under its route, wherever its application runs."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.conftest import Serve
from tests.support.lifecycle import wait_until
from tests.support.pools import wait_workers
from tests.support.server import APPS, Sidegate, listener

ROUTES = ("inside", "first", "second")


def values(server: Sidegate, name: str) -> dict[tuple[str, ...], float]:
    """Samples of one name by the values of their labels, the route first."""
    return {
        (sample.labels.pop("route"), *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(server.admin("/metrics")[1])
        for sample in family.samples
        if sample.name == name
    }


@pytest.fixture
def server(serve: Serve) -> Sidegate:
    """Two routes to one worker, one to an application in the front; a ping every 50 ms."""
    app: dict[str, Any] = {"app": "websocket_plain:app", "directory": str(APPS)}
    server = serve(
        {
            "listeners": [listener(websocket={"pingInterval": "50ms", "compression": "off"})],
            "backends": {"pooled": {**app, "pool": {"workers": 1}}, "inside": app},
            "routes": [
                {"name": name, "path": f"/{name}", "backend": "inside" if name == "inside" else "pooled"}
                for name in ROUTES
            ],
        }
    )
    wait_workers(server, 1, "pooled")
    return server


def talk(server: Sidegate, route: str, messages: int) -> None:
    """Echo so many messages of five characters, answer a ping, close."""
    url = server.url(f"/{route}/echo").replace("http", "ws", 1)
    with connect(url, compression=None, proxy=None) as client:
        for _ in range(messages):
            client.send("hello")
            assert client.recv() == "hello"
        assert values(server, "sidegate_websockets_open")[route,] == 1
        wait_until(lambda: values(server, "sidegate_websocket_ping_seconds_count").get((route,)), "a ping's answer")


def be_told(server: Sidegate, route: str) -> None:
    """The application closes."""
    url = server.url(f"/{route}/about").replace("http", "ws", 1)
    with connect(url, compression=None, proxy=None) as client:
        client.recv()
        with pytest.raises(ConnectionClosed):
            client.recv()


def test_they_are_counted_under_their_routes(server: Sidegate) -> None:
    assert not any(values(server, name) for name in ("sidegate_websockets_open", "sidegate_websocket_bytes_total"))
    for messages, route in enumerate(ROUTES, 1):
        talk(server, route, messages)
    be_told(server, "second")
    closes = {(route, "1000", "client"): 1 for route in ROUTES} | {("second", "other", "server"): 1}
    wait_until(lambda: values(server, "sidegate_websocket_closes_total") == closes, "every close to be counted")
    wait_until(lambda: not any(values(server, "sidegate_websockets_open").values()), "none to be open")
    assert values(server, "sidegate_websocket_messages_total") == {
        **{(route, "received"): count for count, route in enumerate(ROUTES, 1)},
        ("inside", "sent"): 1,
        ("first", "sent"): 2,
        ("second", "sent"): 4,
    }
    sizes = values(server, "sidegate_websocket_bytes_total")
    for messages, route in enumerate(ROUTES, 1):
        assert sizes[route, "received"] >= messages * (2 + 4 + 5)
        assert sizes[route, "sent"] >= messages * (2 + 5)


def test_what_a_worker_counted_outlives_it(server: Sidegate) -> None:
    talk(server, "first", 3)
    names = (
        "sidegate_websocket_messages_total",
        "sidegate_websocket_closes_total",
        "sidegate_websocket_ping_seconds_sum",
    )
    wait_until(lambda: values(server, names[1]), "the close to be counted")
    before = [values(server, name) for name in names]
    (worker,) = wait_workers(server, 1, "pooled")
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: wait_workers(server, 1, "pooled") != [worker], "another worker")
    assert [values(server, name) for name in names] == before
    talk(server, "first", 1)
    assert values(server, names[0])["first", "sent"] == 4
