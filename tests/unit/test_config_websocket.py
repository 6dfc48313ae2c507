"""Settings of WebSockets: which of listener, route and default counts, and over how long they are closed."""

from __future__ import annotations

from typing import Any

import pytest

from sidegate.config.plain import dump
from sidegate.config.schema import Compression, Config, WebSocketConfig
from sidegate.config.structure import fields
from sidegate.config.validation import validate
from sidegate.config.websocket import (
    MEMORY_LEVELS,
    MODES,
    WINDOW_BITS,
    WebSocketSettings,
    drain_seconds,
    settings_of,
)
from sidegate.route import NO_ROUTE


def a_config(listener: Any, *routes: Any, **more: Any) -> Config:
    return validate(
        Config,
        {
            "listeners": [{"name": "http", "address": ":8080", "websocket": listener}],
            "backends": {"hello": {"respond": {}}},
            "routes": [{"backend": "hello", "websocket": route} for route in routes],
            **more,
        },
    )


def test_the_defaults() -> None:
    expected = WebSocketSettings(1024**2, 20.0, 20.0, 32, Compression())
    assert settings_of(WebSocketConfig(), WebSocketConfig()) == expected
    assert (Compression().mode, Compression().window_bits, Compression().memory_level) == ("deflate", 12, 5)
    assert Compression().context_takeover


def test_a_key_of_the_route_counts_before_that_of_the_listener() -> None:
    listener = {"maxMessage": "2Mi", "pingInterval": "5s", "compression": {"windowBits": 15, "memoryLevel": 8}}
    routes = [{}, {"maxMessage": "64Ki", "pingTimeout": "0s", "maxQueue": 1, "compression": {"contextTakeover": False}}]
    config = a_config(listener, *routes)
    found = [settings_of(config.listeners[0].websocket, route.websocket) for route in config.routes]
    of_listener = WebSocketSettings(2 * 1024**2, 5.0, 20.0, 32, Compression(window_bits=15, memory_level=8))
    of_route = WebSocketSettings(65536, 5.0, 0.0, 1, Compression(context_takeover=False))
    assert found == [of_listener, of_route]
    assert settings_of(config.listeners[0].websocket, NO_ROUTE.websocket) == of_listener


@pytest.mark.parametrize("mode", MODES)
def test_compression_has_a_short_form(mode: str) -> None:
    config = a_config({"compression": mode}, {"compression": {"mode": mode}})
    assert config.listeners[0].websocket == config.routes[0].websocket
    assert dump(config.listeners[0].websocket, defaults=False)["compression"] in ({}, {"mode": mode})


def test_the_table_of_settings_has_every_key_that_may_be_written() -> None:
    assert [field.name for field in fields(WebSocketConfig).values()] == list(WebSocketSettings.__slots__)
    bounds = {
        field.name: (field.metadata.get("ge"), field.metadata.get("le")) for field in fields(Compression).values()
    }
    assert (bounds["window_bits"], bounds["memory_level"]) == (WINDOW_BITS, MEMORY_LEVELS)


@pytest.mark.parametrize(("wanted", "grace", "seconds"), [(None, 20.0, 16.0), (5.0, 20.0, 5.0), (30.0, 20.0, 20.0)])
def test_websockets_are_closed_within_the_grace_period(wanted: float | None, grace: float, seconds: float) -> None:
    assert drain_seconds(wanted, grace) == seconds


@pytest.mark.parametrize(
    ("times", "fits"),
    [
        ({"websocketDrain": "25s"}, True),
        ({"websocketDrain": "20s", "shutdownDelay": "5s"}, True),
        ({"websocketDrain": "0s", "shutdownDelay": "25s"}, True),
        ({"websocketDrain": "200ms", "shutdownDelay": "100ms", "gracePeriod": "300ms"}, True),
        ({"websocketDrain": "21s", "shutdownDelay": "5s"}, False),
    ],
)
def test_the_delay_and_the_drain_fit_into_the_grace_period(times: dict[str, str], fits: bool) -> None:
    if fits:
        assert a_config({}, {}, **times).websocket_drain is not None
    else:
        with pytest.raises(ValueError, match="websocketDrain: must not be longer than what shutdownDelay leaves"):
            a_config({}, {}, **times)
