"""The start-up summary: version and engines, addresses, routes and their backends.

``service`` uses it when the first fronts are ready, and ``sidegate check`` uses parts of it. It only turns values into
text.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from sidegate import __version__
from sidegate.config.backends import THREADS
from sidegate.config.schema import BackendConfig, Config, ListenerConfig, Match, RouteConfig
from sidegate.supervisor.sockets import ServiceSockets

BOLD, DIM, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Addresses:
    """URLs with the real ports: of the listeners, by name, and of the admin server."""

    listeners: Mapping[str, Sequence[str]]
    admin: Sequence[str]

    @classmethod
    def of(cls, config: Config, sockets: ServiceSockets) -> Addresses:
        """The URLs of sockets that are already bound."""
        urls = {listener.name: sockets.urls(listener.name, scheme(listener)) for listener in config.listeners}
        return cls(urls, sockets.urls("", "http"))


def scheme(listener: ListenerConfig) -> str:
    """``https`` or ``http``."""
    return "https" if listener.tls else "http"


def wants_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether to use colour: only on a terminal, and not if NO_COLOR is set and not empty (https://no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR")


def summary(config: Config, addresses: Addresses, engines: Mapping[str, str], colour: bool) -> str:
    """The lines that ``sidegate serve`` prints when the service has started."""
    bold, dim, plain = (BOLD, DIM, PLAIN) if colour else ("", "", "")
    used = ", ".join(engines[part] for part in ("loop", "http1", "http2", "tls") if part in engines)
    lines = [f"{bold}Sidegate {__version__}{plain} {dim}({used}){plain}"]
    for listener in config.listeners:
        speaks = f"{dim}{listener.name}: {describe_protocols(listener)}{plain}"
        lines += [f"  {bold}{url}{plain}  {speaks}" for url in addresses.listeners[listener.name]]
    lines += [f"  {bold}{url}{plain}  {dim}admin: /metrics /livez /readyz /status{plain}" for url in addresses.admin]
    lines += [f"  {line}" for line in route_lines(config)]
    fronts = "1 front process" if config.processes == 1 else f"{config.processes} front processes"
    lines.append(f"  {dim}{fronts}, supervisor pid {os.getpid()}; stop with ^C or SIGTERM{plain}")
    return "\n".join(lines)


def describe_protocols(listener: ListenerConfig) -> str:
    """``h2, http/1.1``, and whether cleartext requests are only redirected."""
    redirects = listener.https_redirect and listener.tls is None
    return ", ".join([*listener.protocols, *(["redirects to https"] if redirects else [])])


def route_lines(config: Config) -> Iterator[str]:
    """One line for each route, in columns: name, matches, backends."""
    rows = [(route.name, _conditions(route), _answers(route, config.backends)) for route in config.routes]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, conditions, answers in rows:
        yield f"{name:{widths[0]}}  {conditions:{widths[1]}}  -> {answers}"


def _conditions(route: RouteConfig) -> str:
    hosts = ",".join(route.hostnames)
    return " | ".join(_condition(hosts, match) for match in route.matches)


def _condition(hosts: str, match: Match) -> str:
    """One match, for example ``GET shop.example.com/cart*``; a star marks a prefix."""
    parts = [f"{hosts}{match.path.value}{'' if match.path.type == 'Exact' else '*'}"]
    if match.method:
        parts.insert(0, match.method)
    parts += [f"{header.name}: {header.value}" for header in match.headers]
    parts += [f"?{parameter.name}={parameter.value}" for parameter in match.query_params]
    return " ".join(parts)


def _answers(route: RouteConfig, backends: Mapping[str, BackendConfig]) -> str:
    total = sum(ref.weight for ref in route.backend_refs)
    described = []
    for ref in route.backend_refs:
        percentage = "" if len(route.backend_refs) == 1 else f" {100 * ref.weight / total:.3g} %"
        described.append(f"{ref.name} ({backends[ref.name].describe()}){percentage}")
    return ", ".join(described)


def describe_found(backend: BackendConfig, application: str | None) -> str:
    """The backend with a description of its application; empty: made by a factory; None: none was imported."""
    text = backend.describe()
    if application is None:
        return text
    if application.startswith("WSGI"):
        threads = (backend.threads if backend.pool is None else backend.pool.threads) or THREADS
        application += f", {threads} thread{'' if threads == 1 else 's'}{'' if backend.pool is None else ' each'}"
    return f"{text} ({application or 'made by a factory, which was not called'})"
