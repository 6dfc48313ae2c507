"""The route map: which backend answers a request.

Step 5 of the request line. The exchange calls it as the root App, and it calls one backend. It owns the compiled
rules. It never reads a body and never writes a response: if no route matches, it raises ``ExchangeError`` (404).

Theory of operation. A route is a Gateway API HTTPRoute rule. Each of its (hostname, match) pairs becomes a Rule. The
rules are sorted by precedence once, at load: hostname (exact, then the longest wildcard, then none), path (Exact, then
the longest PathPrefix), method, number of header matches, number of query matches, order in the file
(https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule). For every hostname in the file there is one table with
all rules that could apply to it. So a request costs one dict look-up and a search for the first rule that holds. A
host that the file does not name uses the table of the longest wildcard that covers it, or else the table of the rules
without a hostname.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Awaitable, Mapping, Sequence
from itertools import accumulate
from typing import Protocol
from urllib.parse import parse_qsl

from sidegate.asgi import RECORD_KEY, Receive, Scope, Send
from sidegate.config.schema import Match, RouteConfig
from sidegate.errors import ExchangeError, Fault
from sidegate.observe.record import Record


class Backend(Protocol):
    """An App with a name that the record and the metrics show."""

    name: str

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]: ...


class WeightedChoice:
    """The weighted backends of one route; most routes have only one."""

    def __init__(self, backends: Sequence[Backend], weights: Sequence[int]) -> None:
        self._backends = backends
        self._bounds = list(accumulate(weights))
        self._only = backends[0] if len(backends) == 1 else None

    def pick(self) -> Backend:
        """Select a backend at random, in proportion to the weights."""
        if self._only is not None:
            return self._only
        return self._backends[bisect_right(self._bounds, random.random() * self._bounds[-1])]  # noqa: S311 - no secret


class Rule:
    """One (hostname, match) pair of one route. An empty condition holds for every request."""

    __slots__ = ("choice", "exact", "headers", "hostname", "method", "path", "query", "route")

    def __init__(self, hostname: str, match: Match, route: int, choice: WeightedChoice) -> None:
        """``route``: its index in the file."""
        self.hostname = hostname
        self.exact = match.path.type == "Exact"
        # A trailing slash of a prefix has no meaning (Gateway API); without it, one comparison matches whole elements.
        self.path = match.path.value if self.exact else match.path.value.rstrip("/")
        self.method = match.method
        self.headers = tuple((h.name.lower().encode("ascii"), h.value.encode("latin-1")) for h in match.headers)
        self.query = tuple((q.name, q.value) for q in match.query_params)
        self.route = route
        self.choice = choice

    def precedence(self) -> tuple[object, ...]:
        """Sort key: the first rule in this order that holds is used.

        An exact hostname comes before a wildcard and a longer one before a shorter (more characters match);
        ``route`` is the order in the file.
        """
        wildcard = self.hostname.startswith("*")
        return (
            not self.hostname,
            wildcard,
            -len(self.hostname),
            not self.exact,
            -len(self.path),
            self.method is None,
            -len(self.headers),
            -len(self.query),
            self.route,
        )

    def holds(self, scope: Scope) -> bool:
        """Whether the request meets all conditions; the hostname is not checked."""
        path = scope["path"]
        if self.exact:
            if path != self.path:
                return False
        elif not path.startswith(self.path) or (len(path) > len(self.path) and path[len(self.path)] != "/"):
            return False
        if self.method is not None and scope.get("method", "GET") != self.method:
            return False
        return (not self.headers or self._headers_hold(scope)) and (not self.query or self._query_holds(scope))

    def _headers_hold(self, scope: Scope) -> bool:
        # Several fields of one name form one list (RFC 9110 5.3), so their joined values are compared.
        joined: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            joined[name] = joined[name] + b", " + value if name in joined else value
        return all(joined.get(name) == value for name, value in self.headers)

    def _query_holds(self, scope: Scope) -> bool:
        # Gateway API: only the first value of a repeated parameter is compared.
        given: dict[str, str] = {}
        for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
            given.setdefault(name, value)
        return all(given.get(name) == value for name, value in self.query)


class Router:
    """The root App: finds the rule, stores route and backend in the record, and calls the backend."""

    def __init__(self, routes: Sequence[RouteConfig], backends: Mapping[str, Backend]) -> None:
        rules = sorted(_compile(routes, backends), key=Rule.precedence)
        names = {rule.hostname for rule in rules}
        self._by_host = {name: _table(rules, name) for name in names if name and not name.startswith("*")}
        wildcards = sorted((name for name in names if name.startswith("*")), key=len, reverse=True)
        self._by_suffix = [(name[1:], _table(rules, name)) for name in wildcards]
        self._without_host = _table(rules, "")
        self._any_host = not self._by_host and not self._by_suffix

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._choose(scope)(scope, receive, send)

    def _choose(self, scope: Scope) -> Backend:
        rule = self.match(scope)
        if rule is None:
            raise ExchangeError(Fault.CLIENT, 404, "no_route")
        backend = rule.choice.pick()
        record: Record = scope[RECORD_KEY]
        record.route = rule.route
        record.backend = backend.name
        return backend

    def match(self, scope: Scope) -> Rule | None:
        """The rule of highest precedence that holds for ``scope``; None if there is none."""
        for rule in self._without_host if self._any_host else self._table_for(scope):
            if rule.holds(scope):
                return rule
        return None

    def _table_for(self, scope: Scope) -> Sequence[Rule]:
        host = _hostname(scope)
        table = self._by_host.get(host)
        if table is not None:
            return table
        for suffix, rules in self._by_suffix:
            if host.endswith(suffix) and len(host) > len(suffix):
                return rules
        return self._without_host


def _compile(routes: Sequence[RouteConfig], backends: Mapping[str, Backend]) -> list[Rule]:
    rules = []
    for index, route in enumerate(routes):
        refs = [ref for ref in route.backend_refs if ref.weight > 0]
        choice = WeightedChoice([backends[ref.name] for ref in refs], [ref.weight for ref in refs])
        rules += [
            Rule(hostname, match, index, choice) for hostname in route.hostnames or ("",) for match in route.matches
        ]
    return rules


def _table(rules: Sequence[Rule], hostname: str) -> list[Rule]:
    """The rules, in order, that may apply to a request for ``hostname`` (a name, a wildcard or ``""``)."""
    return [rule for rule in rules if _covers(rule.hostname, hostname)]


def _covers(pattern: str, hostname: str) -> bool:
    if not pattern or pattern == hostname:
        return True
    return pattern.startswith("*") and hostname.endswith(pattern[1:])


def _hostname(scope: Scope) -> str:
    """The request's host in lower case, without port and trailing dot; ``""`` if the request has no host.

    The result for an IPv6 literal is wrong, which has no effect: a route's hostname is never an address.
    """
    for name, value in scope["headers"]:
        if name == b"host":
            host: str = value.decode("ascii").lower()
            return host.partition(":")[0].removesuffix(".")
    return ""
