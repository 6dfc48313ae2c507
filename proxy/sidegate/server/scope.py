"""The ASGI HTTP connection scope (spec version 2.5) of one request.

Where it stands: called once at the start of an exchange. Errors: ``Refused`` for a request target that no
application should have to judge (``wire/target.py``), or a front's facts that cannot be read (``hop.py``).
"""

from __future__ import annotations

from sidegate.asgi import ASGI_VERSIONS, RECORD_KEY, Scope
from sidegate.observe.record import Record
from sidegate.server.forwarded import forwarded_scheme
from sidegate.server.hop import take_facts
from sidegate.server.peer import Peer
from sidegate.wire.events import RequestHead
from sidegate.wire.target import split_target

_asgi = ASGI_VERSIONS  # a name that has a type when it is compiled


def request_scope(peer: Peer, head: RequestHead, record: Record) -> Scope:
    """A fresh scope. ``state`` is the backend's to add, and ``root_path`` to change.

    A trusted peer's word on the client counts: a front's own, or else the forwarding fields of any proxy.
    """
    path, raw_path, query = split_target(head.target)
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
        scope["client"] = client = peer.trusted.client(head.headers, peer.client)
        scope["scheme"] = record.scheme = forwarded_scheme(head.headers, peer.scheme)
        record.client = client[0] if client else "unix"
    return scope
