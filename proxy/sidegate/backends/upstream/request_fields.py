"""The request head that goes over the hop: pseudo-header fields, the judged fields, and the facts of the client.

Where it stands: called by the relay. What the route map judged is what is sent: path and fields come from the scope.
A worker of ours is told the client's facts by ``wire/hop.py``; any other server by ``forwarded`` (RFC 7239) and
``x-forwarded-*``. There they take the place of what a trusted proxy said: the facts that were judged here are the ones
to be seen behind, and a chain of addresses would leave room for another judgement.

No error leaves it.
"""

from __future__ import annotations

from typing import Any

from sidegate.asgi import TUNNEL_KEY, Headers, Scope
from sidegate.observe.record import Record
from sidegate.wire import hop
from sidegate.wire.fields import FORWARDING

MAX_FACTS = 1024
MAX_TLS_FACTS = 128
"""Encoded facts that are remembered: a connection's requests share theirs. Those of TLS may hold certificates."""

Pair = tuple[bytes, bytes]

_HTTP_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_SCHEMES: dict[str, Pair] = {word: (b":scheme", http.encode()) for word, http in _HTTP_SCHEMES.items()}
_METHODS: dict[str, Pair] = {
    word: (b":method", word.encode()) for word in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}
_CONNECT: Pair = (b":method", b"CONNECT")
_PROTOCOL: Pair = (b":protocol", b"websocket")
"""A WebSocket's request is an extended CONNECT (RFC 8441), whatever version of HTTP the client speaks."""


class HopFields:
    """One for each backend; it remembers what repeats. ``root_path``: of the backend."""

    __slots__ = ("_peers", "_root_path", "_tls")

    def __init__(self, root_path: str) -> None:
        self._root_path = root_path
        self._peers: dict[tuple[Any, ...], Pair] = {}
        self._tls: dict[int, tuple[Any, Pair]] = {}

    def build(self, scope: Scope, record: Record, to_worker: bool) -> Headers:
        """The whole head, in the order of the wire."""
        fields: Headers = scope["headers"]
        query: bytes = scope["query_string"]
        path: bytes = scope["raw_path"]
        websocket = scope["type"] == "websocket"
        head = [_CONNECT, _PROTOCOL] if websocket else [_method(scope["method"])]
        head.append(_SCHEMES[scope["scheme"]])
        head.append((b":path", path + b"?" + query if query else path))
        if fields and fields[0][0] == b"host":  # the header policy puts it first
            head.insert(-1, (b":authority", fields[0][1]))
            fields = fields[1:]
        if websocket:
            fields = [pair for pair in fields if pair[0] != b"sec-websocket-key"]  # RFC 8441 5
        if not to_worker:
            return head + _for_others(scope, fields)
        head += fields
        head.append(self._peer(scope))
        if websocket:
            head.append((hop.WEBSOCKET, hop.encode_websocket(record.route, scope[TUNNEL_KEY].settings())))
        tls = scope["extensions"].get("tls")
        if tls is not None:
            head.append(self._tls_facts(tls))
        head.append((hop.REQUEST_ID, record.request_id.encode("ascii")))
        return head

    def _peer(self, scope: Scope) -> Pair:
        facts = (scope["client"], scope["server"], _http_scheme(scope), scope["http_version"])
        known = self._peers.get(facts)
        if known is None:
            if len(self._peers) >= MAX_FACTS:
                self._peers.clear()
            known = self._peers[facts] = (hop.PEER, hop.encode_peer(*facts, self._root_path))
        return known

    def _tls_facts(self, tls: dict[str, Any]) -> Pair:
        # By identity: all requests of a connection have the same object, which the memory keeps alive.
        known = self._tls.get(id(tls))
        if known is None:
            if len(self._tls) >= MAX_TLS_FACTS:
                self._tls.clear()
            known = self._tls[id(tls)] = (tls, (hop.TLS, hop.encode_tls(tls)))
        return known[1]


def _method(method: str) -> Pair:
    return _METHODS.get(method) or (b":method", method.encode("ascii"))


def _http_scheme(scope: Scope) -> str:
    """RFC 8441 5: the scheme of the request for a WebSocket is that of HTTP."""
    return _HTTP_SCHEMES[scope["scheme"]]


def _for_others(scope: Scope, fields: Headers) -> Headers:
    """The fields for a server that is no worker of ours.

    ``expect`` is left out: not every server sends 100, and whoever asks for the body here gets it at once.
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
