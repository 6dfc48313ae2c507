"""The protocol of the hop between a front and a worker: how each knows the other, and the facts that fronts send.

The server reads these fields and the backends write them; both use this module so that they agree. In request fields
that only this hop may carry, a front tells a worker what the application's scope needs and HTTP/2 cannot express. Both
sides announce their role in their first SETTINGS frame. RFC 9113 5.5 requires that extensions are negotiated. A front
then knows the worker as soon as it may use the connection. A client behind a third-party proxy cannot pretend to be a
front, because it does not write the SETTINGS of that proxy.

It raises ``ValueError`` for a value that no front of this version wrote.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple, TypeVar

from sidegate.config.websocket import (
    LARGEST_MESSAGE,
    LEAST_MESSAGE,
    LONGEST_PING,
    LONGEST_QUEUE,
    MEMORY_LEVELS,
    MODES,
    WINDOW_BITS,
    Compression,
    WebSocketSettings,
)

HOP_SETTING: Final = 0xF0E5
"""A SETTINGS parameter with the value 1, from the range for experiments (RFC 9113 11.3); other peers ignore it."""

THREADS_SETTING: Final = 0xF0E6
"""A SETTINGS parameter with the value 1: the worker runs its application on threads, so its fronts should buffer."""

HEADER_TABLE: Final = 65536
"""Size of HPACK's table on a hop: room for the facts about the clients of hundreds of connections."""

PEER: Final = b"x-sidegate-peer"
TLS: Final = b"x-sidegate-tls"
WEBSOCKET: Final = b"x-sidegate-websocket"
CONNECTION: Final = b"x-sidegate-connection"
UPGRADE: Final = b"x-sidegate-upgrade"
"""The fields ``connection`` and ``upgrade`` of a request for a WebSocket, which HTTP/2 cannot carry."""

REQUEST_ID: Final = b"x-sidegate-request-id"
"""Never put into HPACK's table, because each request has another one."""

MAX_ROUTES: Final = 1_000_000
"""More routes than any configuration has."""

Number = TypeVar("Number", int, float)

Address = tuple[str, int | None]
"""Host and port; for a unix socket its path and None."""


class PeerFacts(NamedTuple):
    """The content of ``x-sidegate-peer``: values of an ASGI scope. ``client`` and ``server`` may be unknown."""

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
    """The arguments of ``encode_peer``. Raises ``ValueError``."""
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
    """The argument of ``encode_tls``. Raises ``ValueError``."""
    facts = _read(value)
    if type(facts) is not dict:
        raise ValueError("not the facts of a TLS connection")
    return facts


class WebSocketFacts(NamedTuple):
    """The content of ``x-sidegate-websocket``: the route's index in the front's configuration, and its settings."""

    route: int
    settings: WebSocketSettings


def encode_websocket(route: int, settings: WebSocketSettings) -> bytes:
    """The value of ``WEBSOCKET``: a JSON list in ASCII."""
    packing = settings.compression
    return _write(
        [
            route,
            *(settings.max_message, settings.ping_interval, settings.ping_timeout, settings.max_queue),
            *(packing.mode, packing.window_bits, packing.memory_level, packing.context_takeover),
        ]
    )


def decode_websocket(value: bytes) -> WebSocketFacts:
    """The arguments of ``encode_websocket``. Raises ``ValueError``, also if no configuration may have the value."""
    facts = _read(value)
    if type(facts) is not list or len(facts) != 9:
        raise ValueError("not the settings of a WebSocket")
    route, message, interval, timeout, queue, mode, window_bits, memory_level, context_takeover = facts
    if mode not in MODES or type(context_takeover) is not bool:
        raise ValueError("not the compression of a WebSocket")
    settings = WebSocketSettings(
        max_message=_within(message, LEAST_MESSAGE, LARGEST_MESSAGE),
        ping_interval=_within(interval, 0.0, LONGEST_PING),
        ping_timeout=_within(timeout, 0.0, LONGEST_PING),
        max_queue=_within(queue, 1, LONGEST_QUEUE),
        compression=Compression(
            mode=mode,
            window_bits=_within(window_bits, *WINDOW_BITS),
            memory_level=_within(memory_level, *MEMORY_LEVELS),
            context_takeover=context_takeover,
        ),
    )
    return WebSocketFacts(_within(route, 0, MAX_ROUTES), settings)


def _write(facts: object) -> bytes:
    return json.dumps(facts, separators=(",", ":")).encode("ascii")


def _read(value: bytes) -> Any:
    try:
        return json.loads(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _within(value: Any, least: Number, most: Number) -> Number:
    if type(value) is not type(least) or not least <= value <= most:
        raise ValueError("a setting of a WebSocket is out of its range")
    return value


def _address(value: Any) -> Address | None:
    if value is None:
        return None
    if type(value) is not list or len(value) != 2:
        raise ValueError("an address is a host and a port")
    host, port = value
    if type(host) is not str or not (port is None or type(port) is int):
        raise ValueError("an address is a host and a port")
    return host, port
