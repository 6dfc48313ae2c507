"""The ASGI HTTP connection scope (spec version 2.5) of one request.

An exchange calls it once at its start. It raises ``Refused`` for a request target that no application should get
(``wire/target.py``), and for a front's facts that cannot be read (``hop.py``).
"""

from __future__ import annotations

from sidegate.asgi import ASGI_VERSIONS, RECORD_KEY, Scope
from sidegate.observe.record import Record
from sidegate.server.hop import take_facts
from sidegate.server.peer import Peer
from sidegate.wire.events import RequestHead

_asgi = ASGI_VERSIONS  # a name that has a type when it is compiled


def request_scope(peer: Peer, head: RequestHead, record: Record) -> Scope:
    """Create a scope. The backend adds ``state`` and may change ``root_path``.

    A trusted peer's information about the client is used: a front's facts, or else the forwarding fields and the scheme
    of any proxy.
    """
    path, raw_path, query, record.path = peer.paths.split(head.target)
    scope = peer.scope.copy()
    scope["asgi"] = _asgi.copy()
    scope["http_version"] = head.http_version
    scope["method"] = head.method
    scope["path"] = path
    scope["raw_path"] = raw_path
    scope["query_string"] = query
    scope["headers"] = head.headers
    scope["extensions"] = peer.extensions.copy()
    scope[RECORD_KEY] = record
    if peer.trusted is not None and not take_facts(head.headers, scope, record):
        client, scope["scheme"] = peer.trusted.origin(head.headers, peer.client, scope["scheme"])
        scope["client"] = client
        record.client = client[0] if client else "unix"
    return scope
