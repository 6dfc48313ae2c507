"""The facts of the real client, taken from the request fields that a front adds (``wire/hop.py``).

The scope calls it on connections of trusted peers. Only the header policy of a peer that has announced itself as a
front lets such fields pass, so fields that are found here are genuine. A request without them (from another proxy or
another client) is served with what the connection itself knows.

It raises ``Refused`` for facts that cannot be read, for example those of another version of Sidegate.
"""

from __future__ import annotations

from typing import Any

from sidegate.asgi import WEBSOCKET_KEY, Headers
from sidegate.caches import remember
from sidegate.errors import Refused
from sidegate.observe.record import Record
from sidegate.wire.fields import OWN_PREFIX, SCHEME
from sidegate.wire.hop import (
    CONNECTION,
    PEER,
    REQUEST_ID,
    TLS,
    UPGRADE,
    WEBSOCKET,
    PeerFacts,
    WebSocketFacts,
    decode_peer,
    decode_tls,
    decode_websocket,
)

MAX_PEERS = 1024
MAX_PEER_SIZE = 512
MAX_TLS = 128
MAX_TLS_SIZE = 16 * 1024
MAX_WEBSOCKETS = 1024
MAX_WEBSOCKET_SIZE = 128
"""Bounds of the caches of decoded facts, in entries and in bytes of each.

The requests of one client connection share their facts, and to read JSON costs ten times as much as the rest of a
scope.
"""

_own, _peer, _tls = OWN_PREFIX, PEER, TLS  # names that have a type when they are compiled
_websocket, _request_id, _scheme = WEBSOCKET, REQUEST_ID, SCHEME
_handshake = {CONNECTION: b"connection", UPGRADE: b"upgrade"}

_peers: dict[bytes, PeerFacts] = {}
_tls_facts: dict[bytes, dict[str, Any]] = {}
_websockets: dict[bytes, WebSocketFacts] = {}


def take_facts(headers: Headers, scope: dict[str, Any], record: Record) -> bool:
    """Move a front's facts from the end of ``headers`` into scope and record. Returns false if there are none.

    So is the scheme of another proxy's request, which the codec reports there; it is no fact of a front.
    """
    found = False
    handshake: Headers = []
    while headers and headers[-1][0].startswith(_own):
        name, value = headers.pop()
        if name == _peer:
            _store_peer(_read_peer(value), scope, record)
            found = True
        elif name == _scheme:
            scope["scheme"] = value.decode("ascii")
        elif name == _tls:
            scope["extensions"]["tls"] = _read_tls(value).copy()
        elif name == _websocket:
            scope[WEBSOCKET_KEY] = _read_websocket(value)
        elif name == _request_id:
            record.request_id = value.decode("latin-1")
        elif name in _handshake:
            handshake.insert(0, (_handshake[name], value))
    headers += handshake
    return found


def _store_peer(facts: PeerFacts, scope: dict[str, Any], record: Record) -> None:
    client, server, scheme, http_version, root_path = facts
    scope["client"] = client
    scope["server"] = server
    scope["scheme"] = scheme
    scope["http_version"] = http_version
    scope["root_path"] = root_path
    record.client = client[0] if client else "unix"


def _read_peer(value: bytes) -> PeerFacts:
    known = _peers.get(value)
    if known is not None:
        return known
    try:
        facts = decode_peer(value)
    except ValueError as error:
        raise _unreadable(PEER, error) from error
    if len(value) <= MAX_PEER_SIZE:
        remember(_peers, value, facts, MAX_PEERS)
    return facts


def _read_tls(value: bytes) -> dict[str, Any]:
    known = _tls_facts.get(value)
    if known is not None:
        return known
    try:
        facts = decode_tls(value)
    except ValueError as error:
        raise _unreadable(TLS, error) from error
    if len(value) <= MAX_TLS_SIZE:
        remember(_tls_facts, value, facts, MAX_TLS)
    return facts


def _read_websocket(value: bytes) -> WebSocketFacts:
    known = _websockets.get(value)
    if known is not None:
        return known
    try:
        facts = decode_websocket(value)
    except ValueError as error:
        raise _unreadable(WEBSOCKET, error) from error
    if len(value) <= MAX_WEBSOCKET_SIZE:
        remember(_websockets, value, facts, MAX_WEBSOCKETS)
    return facts


def _unreadable(name: bytes, error: ValueError) -> Refused:
    return Refused(400, "bad_hop_facts", f"{name.decode()} of a front cannot be read: {error}")
