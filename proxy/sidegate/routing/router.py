"""The route map: which backend answers a request.

Where it stands: step 5 of the request line; called by the exchange as the root App, calls one backend. It owns
the compiled rules; it never reads a body and never writes a response: no route is an ``ExchangeError`` (404).

Theory of operation. A route is a Gateway API HTTPRoute rule. All its (hostname, match) pairs become Rules, put
in order of precedence once at load: hostname (exact, then the longest wildcard, then none), path (Exact, then
the longest PathPrefix), method, number of header matches, number of query matches, order in the file
(https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule). For every hostname that the file names there is
one table with all rules that could apply to it, so a request is one dict look-up and a walk to the first rule
that holds. A host that is not named uses the table of the longest wildcard that covers it, or the nameless one.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Awaitable, Mapping, Sequence
from itertools import accumulate
from typing import Protocol
from urllib.parse import parse_qsl

from sidegate.asgi import RECORD_KEY, Receive, Scope, Send
from sidegate.config.schema import Match, Route
from sidegate.errors import ExchangeError, Fault
from sidegate.observe.record import Record


class Backend(Protocol):
    """An App with a name, which the record and the metrics show."""

    name: str

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]: ...


class WeightedChoice:
    """The weighted backends of one route; most have a single one."""

    def __init__(self, backends: Sequence[Backend], weights: Sequence[int]) -> None:
        self._backends = backends
        self._bounds = list(accumulate(weights))
        self._only = backends[0] if len(backends) == 1 else None

    def pick(self) -> Backend:
        """A backend, at random in proportion to the weights."""
        if self._only is not None:
            return self._only
        return self._backends[bisect_right(self._bounds, random.random() * self._bounds[-1])]  # noqa: S311 - no secret


class Rule:
    """One (hostname, match) of one route. Conditions that are empty hold for every request."""

    __slots__ = ("choice", "exact", "headers", "hostname", "method", "path", "query", "route")

    def __init__(self, hostname: str, match: Match, route: int, choice: WeightedChoice) -> None:
        """``route``: its place in the file."""
        self.hostname = hostname
        self.exact = match.path.type == "Exact"
        # A trailing slash of a prefix means nothing (Gateway API); without it, elements compare in one step.
        self.path = match.path.value if self.exact else match.path.value.rstrip("/")
        self.method = match.method
        self.headers = tuple((h.name.lower().encode("ascii"), h.value.encode("latin-1")) for h in match.headers)
        self.query = tuple((q.name, q.value) for q in match.query_params)
        self.route = route
        self.choice = choice

    def precedence(self) -> tuple[object, ...]:
        """Sort key: the first rule in this order that holds is the one that counts.

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
        """Does the request meet every condition but the hostname?"""
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
        # Several fields of one name are one list (RFC 9110 5.3), so they are compared joined.
        joined: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            joined[name] = joined[name] + b", " + value if name in joined else value
        return all(joined.get(name) == value for name, value in self.headers)

    def _query_holds(self, scope: Scope) -> bool:
        # Gateway API: of a repeated parameter the first value counts.
        given: dict[str, str] = {}
        for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
            given.setdefault(name, value)
        return all(given.get(name) == value for name, value in self.query)


class Router:
    """The root App: finds the rule, notes route and backend in the record, hands the exchange on."""

    def __init__(self, routes: Sequence[Route], backends: Mapping[str, Backend]) -> None:
        rules = sorted(_compile(routes, backends), key=Rule.precedence)
        names = {rule.hostname for rule in rules}
        self._by_host = {name: _table(rules, name) for name in names if name and not name.startswith("*")}
        wildcards = sorted((name for name in names if name.startswith("*")), key=len, reverse=True)
        self._by_suffix = [(name[1:], _table(rules, name)) for name in wildcards]
        self._nameless = _table(rules, "")
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
        """The rule of highest precedence that holds for ``scope``."""
        for rule in self._nameless if self._any_host else self._table_for(scope):
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
        return self._nameless


def _compile(routes: Sequence[Route], backends: Mapping[str, Backend]) -> list[Rule]:
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
    """The request's host in lower case, without port and trailing dot; ``""`` if it names none.

    An IPv6 literal comes out mangled, which does no harm: a route's hostname is never an address.
    """
    for name, value in scope["headers"]:
        if name == b"host":
            host: str = value.decode("ascii").lower()
            return host.partition(":")[0].removesuffix(".")
    return ""
