"""The index of the route map against a plain scan over all rules in the order of precedence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

from hypothesis import given
from hypothesis import strategies as st

from sidegate.config.schema import BackendRef, HeaderMatch, Match, PathMatch, QueryMatch, RouteConfig
from sidegate.route import NO_ROUTE, Route
from sidegate.routing.index import RouteIndex

# Few values, so that much matches. Elements may be empty: a path may have two slashes in a row.
LABELS = st.sampled_from(["a", "b", "example"])
ELEMENTS = st.sampled_from(["", "x", "y", "xy"])
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
PATHS = st.lists(ELEMENTS, max_size=4).map(lambda elements: "/" + "/".join(elements))
METHODS = st.sampled_from(["GET", "POST"])
VALUES = st.sampled_from(["1", "2"])
NAMES = st.sampled_from(["k", "l"])


@st.composite
def matches(draw: st.DrawFn) -> Match:
    return Match(
        path=PathMatch(type=draw(st.sampled_from(["Exact", "PathPrefix"])), value=draw(PATHS)),
        method=draw(st.none() | METHODS),
        headers=tuple(
            HeaderMatch(name=name, value=value) for name, value in draw(st.dictionaries(NAMES, VALUES)).items()
        ),
        query_params=tuple(
            QueryMatch(name=name, value=value) for name, value in draw(st.dictionaries(NAMES, VALUES)).items()
        ),
    )


HOSTNAMES = HOSTS | HOSTS.map(lambda host: f"*.{host}")
ROUTES = st.lists(
    st.builds(
        lambda hostnames, found: RouteConfig(
            hostnames=tuple(hostnames), matches=tuple(found), backend_refs=(BackendRef(name="a"),)
        ),
        st.lists(HOSTNAMES, max_size=2, unique=True),
        st.lists(matches(), min_size=1, max_size=3),
    ),
    max_size=12,
)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    fields = [(name.encode(), value.encode()) for name, value in draw(st.lists(st.tuples(NAMES, VALUES), max_size=3))]
    host = draw(st.none() | HOSTS)
    query = "&".join(f"{name}={value}" for name, value in draw(st.lists(st.tuples(NAMES, VALUES), max_size=3)))
    return {
        "path": draw(PATHS | st.just("*")),
        "method": draw(METHODS),
        "headers": fields if host is None else [(b"host", host.encode()), *fields],
        "query_string": query.encode(),
    }


async def unused(*_: object) -> None:
    raise AssertionError("nothing is called here")


@given(ROUTES, st.lists(requests(), min_size=1, max_size=5))
def test_the_index_finds_what_a_scan_finds(configs: list[RouteConfig], asked: list[dict[str, Any]]) -> None:
    routes = [Route(index, config, unused) for index, config in enumerate(configs)]
    index = RouteIndex(routes)
    for scope in asked:
        found = min(holding(routes, scope), key=lambda pair: pair[0], default=((), NO_ROUTE))
        assert index.find(scope["path"], scope) is found[1]


def holding(routes: list[Route], scope: dict[str, Any]) -> Iterator[tuple[tuple[object, ...], Route]]:
    """All routes that match, with their precedence (Gateway API, HTTPRouteRule)."""
    for route in routes:
        for hostname in route.hostnames or ("",):
            for match in route.settings.matches:
                if host_holds(hostname, scope) and path_holds(match.path, scope["path"]) and rest_holds(match, scope):
                    yield precedence(hostname, match, route), route


def precedence(hostname: str, match: Match, route: Route) -> tuple[object, ...]:
    exact = match.path.type == "Exact"
    length = len(match.path.value if exact else match.path.value.rstrip("/"))
    of_host = (not hostname, hostname.startswith("*"), -len(hostname))
    of_rest = (match.method is None, -len(match.headers), -len(match.query_params))
    return (*of_host, not exact, -length, *of_rest, route.index)


def host_holds(hostname: str, scope: dict[str, Any]) -> bool:
    host = next((value.decode() for name, value in scope["headers"] if name == b"host"), "")
    if hostname.startswith("*"):
        return host.endswith(hostname[1:]) and len(host) >= len(hostname)
    return not hostname or hostname == host


def path_holds(wanted: PathMatch, path: str) -> bool:
    if wanted.type == "Exact":
        return path == wanted.value
    return f"{path}/".startswith(wanted.value.rstrip("/") + "/")


def rest_holds(match: Match, scope: dict[str, Any]) -> bool:
    fields = {
        wanted.name: b", ".join(value for name, value in scope["headers"] if name == wanted.name.encode())
        for wanted in match.headers
    }
    query = dict(reversed(parse_qsl(scope["query_string"].decode())))
    return (
        match.method in (None, scope["method"])
        and all(fields[wanted.name] == wanted.value.encode() for wanted in match.headers)
        and all(query.get(wanted.name) == wanted.value for wanted in match.query_params)
    )
