"""The words of the hop between a front and a worker: what makes a peer a worker of ours, and the facts it is told.

Where it stands: below the server (which reads) and the backends (which write), so that both mean the same. A front
tells a worker, in request fields that only this hop may carry, what the application's scope needs and HTTP/2 has no
word for. Both say in their first SETTINGS frame that they are such ends: RFC 9113 5.5 wants extensions negotiated, a
front then knows the worker as soon as it may use the connection, and whoever sends requests through a proxy of
somebody else cannot pass for a front, for he does not write that proxy's SETTINGS.

Errors that leave it: ``ValueError`` for a value that no front of this version wrote.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

HOP_SETTING: Final = 0xF0E5
"""A SETTINGS parameter with the value 1, from the range for experiments (RFC 9113 11.3); others ignore it."""

HEADER_TABLE: Final = 65536
"""HPACK's table on a hop: room for the facts of the clients of hundreds of connections."""

PEER: Final = b"x-sidegate-peer"
TLS: Final = b"x-sidegate-tls"
REQUEST_ID: Final = b"x-sidegate-request-id"
"""Never in HPACK's table: it is another one each time."""

Address = tuple[str, int | None]
"""Host and port; of a unix socket its path and None."""


class PeerFacts(NamedTuple):
    """What ``x-sidegate-peer`` says: values of an ASGI scope. ``client`` and ``server`` may be unknown."""

    client: Address | None
    server: Address | None
    scheme: str
    http_version: str
    root_path: str


def encode_peer(
    client: Address | None, server: Address | None, scheme: str, http_version: str, root_path: str
) -> bytes:
    """The value of ``PEER``: a JSON list in ASCII."""
    return _write([client, server, scheme, http_version, root_path])


def decode_peer(value: bytes) -> PeerFacts:
    """What ``encode_peer`` was given. Raises ``ValueError``."""
    facts = _read(value)
    if type(facts) is not list or len(facts) != len(PeerFacts._fields):
        raise ValueError("not the facts of a peer")
    client, server, *words = facts
    if not all(type(word) is str for word in words):
        raise ValueError("scheme, HTTP version and root path are strings")
    return PeerFacts(_address(client), _address(server), *words)


def encode_tls(tls: dict[str, Any]) -> bytes:
    """The value of ``TLS``: the values of ASGI's ``tls`` extension as JSON in ASCII."""
    return _write(tls)


def decode_tls(value: bytes) -> dict[str, Any]:
    """What ``encode_tls`` was given. Raises ``ValueError``."""
    facts = _read(value)
    if type(facts) is not dict:
        raise ValueError("not the facts of a TLS connection")
    return facts


def _write(facts: object) -> bytes:
    return json.dumps(facts, separators=(",", ":")).encode("ascii")


def _read(value: bytes) -> Any:
    try:
        return json.loads(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _address(value: Any) -> Address | None:
    if value is None:
        return None
    if type(value) is not list or len(value) != 2:
        raise ValueError("an address is a host and a port")
    host, port = value
    if type(host) is not str or not (port is None or type(port) is int):
        raise ValueError("an address is a host and a port")
    return host, port
