"""The index of the route map: host name, then path elements, then the few rules that remain.

The router asks it for the Route of each request. It knows matches only, and nothing of what answers a request. It
raises no error.

Theory of operation. A route is a Gateway API HTTPRoute rule. The precedence of its matches
(https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule) is: hostname (exact, then the longest wildcard, then
none), path (Exact, then the longest PathPrefix), method, number of header matches, number of query matches, order in
the file. The first two need no comparison of rules. Each hostname of the file has a ``PathIndex``; they are asked in
the order of precedence. Within one, exact paths are in a dict, and prefixes are in a tree with one node for each path
element, so the longest prefix is the deepest node on the request's path. So the number of routes does not matter: a
request costs a look-up for each label of its host, if there are wildcards, and for each element of its path that the
tree has. Only rules of one hostname and path are tried one after another, in the order of precedence.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl

from sidegate.asgi import Scope
from sidegate.config.schema import Match
from sidegate.route import NO_ROUTE, Route


class RequestFacts:
    """What rules compare: the method, and header fields and query parameters in the form in which they are compared.

    It is made when the first rule with conditions is tried; headers and query are parsed when one needs them.
    """

    __slots__ = ("_headers", "_query", "_scope", "method")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.method: str = scope.get("method", "GET")
        self._headers: dict[bytes, bytes] | None = None
        self._query: dict[str, str] | None = None

    def headers(self) -> dict[bytes, bytes]:
        """Values by name. Several fields of one name form one list (RFC 9110 5.3), so they are joined."""
        if self._headers is None:
            joined: dict[bytes, bytes] = {}
            for name, value in self._scope["headers"]:
                joined[name] = joined[name] + b", " + value if name in joined else value
            self._headers = joined
        return self._headers

    def query(self) -> dict[str, str]:
        """Values by name, decoded. Only the first value of a repeated parameter counts (Gateway API)."""
        if self._query is None:
            given: dict[str, str] = {}
            for name, value in parse_qsl(self._scope["query_string"].decode("latin-1"), keep_blank_values=True):
                given.setdefault(name, value)
            self._query = given
        return self._query


class Rule:
    """What one match of a route demands beside hostname and path."""

    __slots__ = ("headers", "method", "query", "route", "unconditional")

    def __init__(self, match: Match, route: Route) -> None:
        self.method = match.method
        self.headers = tuple((h.name.lower().encode("ascii"), h.value.encode("latin-1")) for h in match.headers)
        self.query = tuple((q.name, q.value) for q in match.query_params)
        self.unconditional = self.method is None and not self.headers and not self.query
        self.route = route

    def precedence(self) -> tuple[bool, int, int, int]:
        """Sort key among the rules of one hostname and path."""
        return (self.method is None, -len(self.headers), -len(self.query), self.route.index)

    def holds(self, facts: RequestFacts) -> bool:
        """Whether the request meets all conditions."""
        if self.method is not None and self.method != facts.method:
            return False
        if self.headers:
            fields = facts.headers()
            for name, value in self.headers:
                if fields.get(name) != value:
                    return False
        if self.query:
            parameters = facts.query()
            for parameter, wanted in self.query:
                if parameters.get(parameter) != wanted:
                    return False
        return True


class PathNode:
    """One element of a path; ``rules``: those whose prefix ends here."""

    __slots__ = ("children", "parent", "rules")

    def __init__(self, parent: PathNode | None) -> None:
        self.parent = parent
        self.children: dict[str, PathNode] = {}
        self.rules: list[Rule] = []

    def sort(self) -> None:
        """Bring the rules of this node and of all below it in order of precedence."""
        nodes = [self]
        while nodes:
            node = nodes.pop()
            node.rules.sort(key=Rule.precedence)
            nodes += node.children.values()


class PathIndex:
    """The rules of one hostname."""

    __slots__ = ("_exact", "_root")

    def __init__(self) -> None:
        self._exact: dict[str, list[Rule]] = {}
        self._root = PathNode(None)

    def add(self, match: Match, route: Route) -> None:
        """Add one match of a route. Call ``sort`` when all are there."""
        rule = Rule(match, route)
        path = match.path.value
        if match.path.type == "Exact":
            self._exact.setdefault(path, []).append(rule)
            return
        node = self._root
        # A trailing slash of a prefix has no meaning (Gateway API).
        for element in path.rstrip("/").split("/")[1:]:
            child = node.children.get(element)
            if child is None:
                child = node.children[element] = PathNode(node)
            node = child
        node.rules.append(rule)

    def sort(self) -> None:
        """Bring the rules of each path in order of precedence."""
        self._root.sort()
        for rules in self._exact.values():
            rules.sort(key=Rule.precedence)

    def find(self, path: str, scope: Scope) -> Route | None:
        """The route of highest precedence that matches; None if there is none."""
        if self._exact:
            rules = self._exact.get(path)
            if rules is not None:
                found = _first(rules, scope)
                if found is not None:
                    return found
        node = self._deepest(path)
        while node is not None:
            if node.rules:
                found = _first(node.rules, scope)
                if found is not None:
                    return found
            node = node.parent
        return None

    def _deepest(self, path: str) -> PathNode | None:
        """The node of the longest prefix of ``path`` that the tree has. A path that is none (``*``) has no node."""
        if path and path[0] != "/":
            return None
        node = self._root
        start = 1
        while node.children:
            end = path.find("/", start)
            child = node.children.get(path[start:] if end < 0 else path[start:end])
            if child is None:
                break
            node = child
            if end < 0:
                break
            start = end + 1
        return node


class RouteIndex:
    """All routes. ``find`` returns ``NO_ROUTE`` if none matches."""

    __slots__ = ("_any_host", "_by_host", "_by_suffix")

    def __init__(self, routes: Sequence[Route]) -> None:
        self._any_host = PathIndex()
        self._by_host: dict[str, PathIndex] = {}
        self._by_suffix: dict[str, PathIndex] = {}  # of wildcards: the hostname without its star
        for route in routes:
            for hostname in route.hostnames or ("",):
                paths = self._paths(hostname)
                for match in route.settings.matches:
                    paths.add(match, route)
        for paths in (self._any_host, *self._by_host.values(), *self._by_suffix.values()):
            paths.sort()

    def _paths(self, hostname: str) -> PathIndex:
        if not hostname:
            return self._any_host
        if hostname.startswith("*"):
            return self._by_suffix.setdefault(hostname[1:], PathIndex())
        return self._by_host.setdefault(hostname, PathIndex())

    def find(self, path: str, scope: Scope) -> Route:
        """The route of highest precedence that matches the request of ``scope``, whose path counts as ``path``."""
        found: Route | None = None
        if self._by_host or self._by_suffix:
            found = self._of_host(_hostname(scope), path, scope)
        if found is None:
            found = self._any_host.find(path, scope)
        return NO_ROUTE if found is None else found

    def _of_host(self, host: str, path: str, scope: Scope) -> Route | None:
        paths = self._by_host.get(host)
        found = None if paths is None else paths.find(path, scope)
        if found is None and self._by_suffix:
            dot = host.find(".", 1)
            while found is None and dot > 0:
                paths = self._by_suffix.get(host[dot:])
                if paths is not None:
                    found = paths.find(path, scope)
                dot = host.find(".", dot + 1)
        return found


def _first(rules: list[Rule], scope: Scope) -> Route | None:
    """The route of the first rule that holds."""
    facts: RequestFacts | None = None
    for rule in rules:
        if rule.unconditional:
            return rule.route
        if facts is None:
            facts = RequestFacts(scope)
        if rule.holds(facts):
            return rule.route
    return None


def _hostname(scope: Scope) -> str:
    """The request's host in lower case, without port and trailing dot; ``""`` if the request has no host.

    The result for an IPv6 literal is wrong, which has no effect: a route's hostname is never an address.
    """
    for name, value in scope["headers"]:
        if name == b"host":
            host: str = value.decode("ascii").lower()
            return host.partition(":")[0].removesuffix(".")
    return ""
