"""Makes the request head that is sent upstream: pseudo-header fields, the checked fields, and the facts of the client.

The relay calls it. Path and fields come from the scope, so the head has what the route map matched. Sidegate's own
worker gets the client's facts in the fields of ``wire/hop.py``; a third-party server gets them in ``forwarded``
(RFC 7239) and ``x-forwarded-*``. These replace the fields of a trusted proxy in front: the upstream must see the facts
that were checked here, and could interpret a chain of addresses differently. It raises no error.
"""

from __future__ import annotations

from typing import Any

from sidegate.asgi import WEBSOCKET_SETTINGS_KEY, Headers, Scope
from sidegate.caches import remember
from sidegate.config.websocket import settings_of
from sidegate.observe.record import Record
from sidegate.wire import hop
from sidegate.wire.fields import FORWARDING

MAX_FACTS = 1024
MAX_TLS_FACTS = 128
"""How many encoded facts are cached: all requests of a connection have the same. The facts of TLS are fewer, because
they may hold certificates."""

Pair = tuple[bytes, bytes]

_HTTP_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_METHODS: dict[str, Pair] = {
    method: (b":method", method.encode()) for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}
_CONNECT: Pair = (b":method", b"CONNECT")
_PROTOCOL: Pair = (b":protocol", b"websocket")
"""A request for a WebSocket is an extended CONNECT (RFC 8441), whatever version of HTTP the client uses."""

_HANDSHAKE = {b"connection": hop.CONNECTION, b"upgrade": hop.UPGRADE}
_HTTP1_ONLY = frozenset([*_HANDSHAKE, b"sec-websocket-key"])  # RFC 8441 5


class HopFields:
    """One for each backend; it caches encoded facts. ``root_path``: the backend's.

    ``scheme``: that of the connections upstream. A server that does not trust this front refuses another ``:scheme``
    (RFC 9110 7.4); the client's is one of the facts, and for a third-party server in ``x-forwarded-proto``.
    """

    __slots__ = ("_peers", "_root_path", "_scheme", "_tls")

    def __init__(self, root_path: str, scheme: bytes = b"http") -> None:
        self._root_path = root_path
        self._scheme: Pair = (b":scheme", scheme)
        self._peers: dict[tuple[Any, ...], Pair] = {}
        self._tls: dict[int, tuple[Any, Pair]] = {}

    def build(self, scope: Scope, record: Record, to_worker: bool) -> Headers:
        """Make the whole head, in the order of transmission."""
        fields: Headers = scope["headers"]
        query: bytes = scope["query_string"]
        path: bytes = scope["raw_path"]
        websocket = scope["type"] == "websocket"
        head = [_CONNECT, _PROTOCOL] if websocket else [_method(scope["method"])]
        head.append(self._scheme)
        head.append((b":path", path + b"?" + query if query else path))
        if fields and fields[0][0] == b"host":  # the header policy puts it first
            head.insert(-1, (b":authority", fields[0][1]))
            fields = fields[1:]
        if websocket:
            handshake = [(_HANDSHAKE[name], value) for name, value in fields if name in _HANDSHAKE]
            fields = [pair for pair in fields if pair[0] not in _HTTP1_ONLY]
        if not to_worker:
            return head + _for_third_party(scope, fields)
        head += fields
        if websocket:
            head += handshake
        head.append(self._peer(scope))
        if websocket:
            settings = settings_of(scope[WEBSOCKET_SETTINGS_KEY], record.route.websocket)
            head.append((hop.WEBSOCKET, hop.encode_websocket(record.route.index, settings)))
        tls = scope["extensions"].get("tls")
        if tls is not None:
            head.append(self._tls_facts(tls))
        head.append((hop.REQUEST_ID, record.request_id.encode("ascii")))
        return head

    def _peer(self, scope: Scope) -> Pair:
        facts = (scope["client"], scope["server"], _http_scheme(scope), scope["http_version"])
        known = self._peers.get(facts)
        if known is None:
            known = (hop.PEER, hop.encode_peer(*facts, self._root_path))
            remember(self._peers, facts, known, MAX_FACTS)
        return known

    def _tls_facts(self, tls: dict[str, Any]) -> Pair:
        # By identity: all requests of a connection have the same object, and the cache's reference keeps its id unique.
        known = self._tls.get(id(tls))
        if known is None:
            known = (tls, (hop.TLS, hop.encode_tls(tls)))
            remember(self._tls, id(tls), known, MAX_TLS_FACTS)
        return known[1]


def _method(method: str) -> Pair:
    return _METHODS.get(method) or (b":method", method.encode("ascii"))


def _http_scheme(scope: Scope) -> str:
    """RFC 8441 5: a request for a WebSocket has a scheme of HTTP (``http`` or ``https``)."""
    return _HTTP_SCHEMES[scope["scheme"]]


def _for_third_party(scope: Scope, fields: Headers) -> Headers:
    """The fields for a third-party server.

    ``expect`` is left out: not every server sends 100. The relay reads the body at once, so the front itself sends 100.
    """
    kept = [pair for pair in fields if pair[0] not in FORWARDING and pair[0] != b"expect"]
    client, scheme = scope["client"], _http_scheme(scope).encode("ascii")
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    node = b"unknown"
    if client is not None:
        address = client[0].encode("ascii")
        node = b'"[' + address + b']"' if b":" in address else address
        kept.append((b"x-forwarded-for", address))
    forwarded = b"for=" + node + b";proto=" + scheme
    kept.append((b"x-forwarded-proto", scheme))
    if host:
        kept.append((b"x-forwarded-host", host))
        forwarded += b';host="' + host + b'"'
    kept.append((b"forwarded", forwarded))
    return kept
