"""The ASGI HTTP connection scope (spec version 2.5) of one request.

Where it stands: called once at the start of an exchange. Errors: ``Refused`` for a request target that no
application should have to judge (``wire/target.py``).
"""

from __future__ import annotations

from proxy.asgi import ASGI_VERSIONS, RECORD_KEY, Scope
from proxy.observe.record import Record
from proxy.server.forwarded import forwarded_scheme
from proxy.server.peer import Peer
from proxy.wire.events import RequestHead
from proxy.wire.target import split_target


def request_scope(peer: Peer, head: RequestHead, record: Record) -> Scope:
    """A fresh scope. ``state`` is the backend's to add, and ``root_path`` to change."""
    target = split_target(head.target)
    client, scheme = peer.client, peer.scheme
    if peer.trusted is not None:
        client = peer.trusted.client(head.headers, client)
        scheme = forwarded_scheme(head.headers, scheme)
        record.client = client[0] if client else "unix"
        record.scheme = scheme
    return {
        "type": "http",
        "asgi": ASGI_VERSIONS.copy(),
        "http_version": head.http_version,
        "method": head.method,
        "scheme": scheme,
        "path": target.path,
        "raw_path": target.raw_path,
        "query_string": target.query,
        "root_path": "",
        "headers": head.headers,
        "client": client,
        "server": peer.server,
        "extensions": peer.extensions.copy(),
        RECORD_KEY: record,
    }
