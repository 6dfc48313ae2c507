"""The route map: Gateway API precedence, matching by path element, hostnames, weights."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, NoReturn

import pytest

from sidegate.asgi import RECORD_KEY, App, Receive, Scope, Send
from sidegate.backends.weighted import WeightedChoice, by_weight
from sidegate.config.schema import BackendConfig, BackendRef, Config, ListenerConfig, Respond, RouteConfig
from sidegate.config.validation import validate
from sidegate.errors import ExchangeError
from sidegate.route import NO_ROUTE, Route
from sidegate.routing.index import RouteIndex
from sidegate.routing.router import Router


class Named:
    """A backend that notes who was called."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1


class Facts:
    """What a router reads from a record, and writes into it."""

    route = NO_ROUTE

    def __init__(self, path: str) -> None:
        self.path = path
        self.listener = self
        self.found: list[int] = []

    def route_found(self, route: int) -> None:
        self.found.append(route)


def compiled(*routes: dict[str, Any]) -> list[Route]:
    """Routes, checked by the schema like a file's, whose Apps are named after their backends: by default themselves."""
    described = [{"backend": route["name"], **route} for route in routes]
    config = validate(
        Config,
        {
            "listeners": [ListenerConfig(name="a", addresses=("127.0.0.1:0",))],
            "backends": {name: BackendConfig(respond=Respond()) for name in {route["backend"] for route in described}},
            "routes": [validate(RouteConfig, route) for route in described],
        },
    )
    return [Route(index, route, Named(route.backend_refs[0].name)) for index, route in enumerate(config.routes)]


def index_of(*routes: dict[str, Any]) -> RouteIndex:
    return RouteIndex(compiled(*routes))


def scope_for(path: str, host: str = "", method: str = "GET", query: bytes = b"", **headers: str) -> dict[str, Any]:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    if host:
        fields.append((b"host", host.encode()))
    return {"path": path, "method": method, "headers": fields, "query_string": query, RECORD_KEY: Facts(path)}


def answered_by(index: RouteIndex, scope: dict[str, Any]) -> str | None:
    return index.find(scope["path"], scope).name or None


PATHS = index_of(
    {"name": "root", "path": "/"},
    {"name": "shop", "path": "/shop"},
    {"name": "shop-cart", "path": "/shop/cart/"},
    {"name": "exact", "matches": [{"path": {"type": "Exact", "value": "/shop/cart"}}]},
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "root"),
        ("/shopping", "root"),
        ("/shop", "shop"),
        ("/shop/", "shop"),
        ("/shop/x", "shop"),
        ("/shop/cart", "exact"),
        ("/shop/cart/", "shop-cart"),
        ("/shop/cart/1", "shop-cart"),
        ("/shop/cartridge", "shop"),
        ("*", None),
    ],
)
def test_paths_match_by_element_and_the_most_specific_wins(path: str, expected: str | None) -> None:
    assert answered_by(PATHS, scope_for(path)) == expected


HOSTS = index_of(
    {"name": "any", "path": "/any"},
    {"name": "wild", "hostnames": ["*.example.com"], "path": "/"},
    {"name": "deeper", "hostnames": ["*.eu.example.com"], "path": "/"},
    {"name": "exact", "hostnames": ["www.example.com"], "path": "/"},
    {"name": "any-longer", "path": "/any/longer/than/others"},
)


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("www.example.com", "/", "exact"),
        ("WWW.Example.COM:8443", "/", "exact"),
        ("www.example.com.", "/any/longer/than/others", "exact"),
        ("shop.example.com", "/", "wild"),
        ("a.b.example.com", "/", "wild"),
        ("shop.eu.example.com", "/", "deeper"),
        ("example.com", "/", None),
        (".example.com", "/", None),
        ("example.org", "/any", "any"),
        ("[::1]:80", "/any/longer/than/others", "any-longer"),
        ("", "/any", "any"),
        ("", "/", None),
    ],
)
def test_hostnames_count_before_paths(host: str, path: str, expected: str | None) -> None:
    assert answered_by(HOSTS, scope_for(path, host, x_before="1")) == expected


CONDITIONS = index_of(
    {"name": "plain", "path": "/"},
    {"name": "post", "matches": [{"path": "/", "method": "POST"}]},
    {"name": "header", "matches": [{"path": "/", "headers": [{"name": "X-Team", "value": "a, b"}]}]},
    {
        "name": "headers",
        "matches": [
            {"path": "/", "headers": [{"name": "x-team", "value": "a, b"}, {"name": "x-canary", "value": "1"}]}
        ],
    },
    {"name": "query", "matches": [{"path": "/", "queryParams": [{"name": "v", "value": "2"}]}]},
    {"name": "query-later", "matches": [{"path": "/", "queryParams": [{"name": "v", "value": "2"}]}]},
)


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (scope_for("/"), "plain"),
        (scope_for("/", method="POST", x_team="a, b"), "post"),
        (scope_for("/", x_team="a, b"), "header"),
        (scope_for("/", x_team="a"), "plain"),
        (scope_for("/", x_team="a, b", x_canary="1"), "headers"),
        (scope_for("/", x_team="a, b", query=b"v=2"), "header"),
        (scope_for("/", query=b"v=2&v=1"), "query"),
        (scope_for("/", query=b"v=1&v=2"), "plain"),
    ],
)
def test_method_then_headers_then_query_then_order(scope: dict[str, Any], expected: str) -> None:
    assert answered_by(CONDITIONS, scope) == expected


def test_repeated_header_fields_are_compared_joined() -> None:
    scope = scope_for("/")
    scope["headers"] += [(b"x-team", b"a"), (b"x-team", b"b")]
    assert answered_by(CONDITIONS, scope) == "header"


def test_the_record_learns_the_route_and_its_app_is_called() -> None:
    routes = compiled({"name": "x", "path": "/x"}, {"name": "all", "path": "/"})
    scope = scope_for("/x")
    asyncio.run(_call(Router(routes), scope))
    assert [app.calls for route in routes if isinstance(app := route.app, Named)] == [1, 0]
    assert scope[RECORD_KEY].route is routes[0]
    assert scope[RECORD_KEY].found == [0]


def test_no_route_is_none_in_flight() -> None:
    scope = scope_for("/y")
    with pytest.raises(ExchangeError):
        asyncio.run(_call(Router(compiled({"name": "x", "path": "/x"})), scope))
    assert scope[RECORD_KEY].found == []


def test_the_route_is_that_of_the_path_in_the_record() -> None:
    """It is shorter than the application's."""
    routes = compiled({"name": "x", "path": "/x"}, {"name": "all", "path": "/"})
    scope = scope_for("//x")
    scope[RECORD_KEY].path = "/x"
    asyncio.run(_call(Router(routes), scope))
    assert scope[RECORD_KEY].route is routes[0]


async def _call(router: App, scope: dict[str, Any]) -> None:
    async def unused(*_: object) -> NoReturn:
        raise AssertionError("a router neither receives nor sends")

    await router(scope, unused, unused)


def test_no_route_is_a_404() -> None:
    scope = scope_for("/", "example.com")
    with pytest.raises(ExchangeError) as caught:
        asyncio.run(_call(Router(compiled({"name": "x", "path": "/x"})), scope))
    assert (caught.value.status, caught.value.reason) == (404, "no_route")
    assert (scope[RECORD_KEY].route.index, scope[RECORD_KEY].route.name) == (-1, "")


def test_weights_share_requests_in_proportion() -> None:
    old, new = Named("old"), Named("new")
    choice = WeightedChoice([old, new], [3, 1])
    counts = Counter(choice.pick() for _ in range(4000))
    assert set(counts) == {old, new}
    assert 2700 < counts[old] < 3300  # 3000 ± 11 standard deviations
    asyncio.run(_call(choice, scope_for("/")))
    assert old.calls + new.calls == 1


def test_a_weight_of_zero_gets_nothing() -> None:
    a, b, c = (Named(name) for name in "abc")
    refs = [BackendRef(name="a", weight=0), BackendRef(name="b"), BackendRef(name="c")]
    choice = by_weight(refs, {"a": a, "b": b, "c": c})
    assert isinstance(choice, WeightedChoice)
    assert {choice.pick() for _ in range(100)} == {b, c}
    assert by_weight(refs[:2], {"a": a, "b": b}) is b
