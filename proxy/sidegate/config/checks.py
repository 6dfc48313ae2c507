"""Rules between the parts of a configuration: unique names and addresses, backends that exist.

They get the parts that are valid by themselves, each with its path in the file, so that the loader can report their
problems together with the mistakes inside other parts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from sidegate.config.listeners import ListenerConfig
from sidegate.config.routes import RouteConfig

Path = tuple[str | int, ...]
"""The path of a value: keys as written (camelCase) and indices in lists, from 0."""

Found = Iterator[tuple[Path, str]]


@dataclass(frozen=True, slots=True)
class Delays:
    """The times of a drain, in seconds."""

    shutdown_delay: float
    websocket_drain: float | None
    grace_period: float


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that are compared: listeners and routes by index, names of backends, the admin server's address.

    ``trusts``: whether there are trusted proxies. A part that is not valid by itself is missing here.
    """

    listeners: Mapping[int, ListenerConfig]
    routes: Mapping[int, RouteConfig]
    backends: Collection[str]
    admin: str | None
    delays: Delays | None
    trusts: bool


def problems(parts: Parts) -> Found:
    """Check every rule between the parts of a configuration, for files and for Configs that are made in Python."""
    yield from _listener_problems(parts.listeners, parts.admin)
    if not parts.trusts:
        yield from _proxy_protocol_problems(parts.listeners)
    yield from _route_problems(parts.routes, parts.backends)
    if parts.delays is not None:
        yield from _delay_problems(parts.delays)


def shadowed(routes: Mapping[int, RouteConfig]) -> Iterator[tuple[Path, Path, str]]:
    """Matches that no request reaches, because an earlier one has the same conditions.

    The path of each, the path of the earlier one, and the host names for which both are the same (empty: every host).
    """
    first: dict[object, Path] = {}
    for place, route in routes.items():
        for number, match in enumerate(route.matches):
            path: Path = ("routes", place, "matches", number)
            conditions = (match.path, match.method, frozenset(match.headers), frozenset(match.query_params))
            hosts = [host for host in route.hostnames or ("",) if (host, *conditions) in first]
            by_earlier: dict[Path, list[str]] = {}
            for host in hosts:
                by_earlier.setdefault(first[(host, *conditions)], []).append(host)
            for earlier, shared in by_earlier.items():
                yield path, earlier, ", ".join(shared)
            for host in route.hostnames or ("",):
                first.setdefault((host, *conditions), path)


def route_name(route: RouteConfig, place: int) -> str:
    """The route's name, or the one that a route without a name at index ``place`` gets."""
    return route.name or f"route-{place + 1}"


def suggestion(word: str, known: Iterable[str], least: float = 0.65) -> str:
    """``; did you mean 'x'?`` for the nearest of ``known``, or nothing. ``least``: how near it has to be, up to 1."""
    import difflib  # noqa: PLC0415 - fronts have no mistakes to explain

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=least)
    return f"; did you mean {near[0]!r}?" if near else ""


def _listener_problems(listeners: Mapping[int, ListenerConfig], admin: str | None) -> Found:
    """Names used twice, and addresses used twice, among the listeners and the admin server's ``admin``."""
    yield from _repeated({("listeners", place, "name"): item.name for place, item in listeners.items()}, "name")
    addresses: dict[Path, str] = {
        ("listeners", place, "addresses", number): address
        for place, item in listeners.items()
        for number, address in enumerate(item.addresses)
        if not _any_port(address)
    }
    if admin is not None and not _any_port(admin):
        addresses[("admin", "address")] = admin
    yield from _repeated(addresses, "address")


def _proxy_protocol_problems(listeners: Mapping[int, ListenerConfig]) -> Found:
    """Without a trusted proxy nobody may send a PROXY header."""
    for place, item in listeners.items():
        if item.proxy_protocol:
            yield (
                ("listeners", place, "proxyProtocol"),
                "needs trustedProxies, the address blocks of the load balancers: from nobody else it is believed",
            )


def _route_problems(routes: Mapping[int, RouteConfig], backends: Collection[str]) -> Found:
    """Names used twice, and references to names that are not in ``backends``."""
    names: dict[Path, str] = {("routes", place, "name"): route_name(item, place) for place, item in routes.items()}
    yield from _repeated(names, "name")
    for place, route in routes.items():
        for number, ref in enumerate(route.backend_refs):
            if ref.name not in backends:
                hint = suggestion(ref.name, backends)
                yield ("routes", place, "backendRefs", number, "name"), f"there is no backend {ref.name!r}{hint}"


def _delay_problems(delays: Delays) -> Found:
    """The delay and the closing of WebSockets, which follows it, are parts of the grace period."""
    drain = delays.websocket_drain
    if delays.shutdown_delay > delays.grace_period:
        yield ("shutdownDelay",), "must not be longer than gracePeriod, of which it is a part"
    elif drain is not None and round(delays.shutdown_delay + drain, 3) > delays.grace_period:  # rounded to milliseconds
        yield ("websocketDrain",), "must not be longer than what shutdownDelay leaves of gracePeriod"


def _any_port(address: str) -> bool:
    return address.endswith(":0")


def _repeated(found: Mapping[Path, str], what: str) -> Found:
    first: dict[str, Path] = {}
    for path, value in found.items():
        if value in first:
            where = path_text(first[value][:2])
            yield path, f"the {what} {value!r} is already used by {where}"
        first.setdefault(value, path)


def path_text(path: Path) -> str:
    """``routes[0].matches[1].path.value``; a key that is not a plain word is in brackets and quotes."""
    plain = (isinstance(part, str) and re.fullmatch(r"[\w-]+", part) for part in path)
    text = "".join(f".{part}" if word else f"[{part!r}]" for part, word in zip(path, plain, strict=True))
    return text.removeprefix(".")
