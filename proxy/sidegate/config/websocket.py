"""WebSockets: limits, pings and compression; by listener and by route.

A key of a route replaces the same key of its listener. ``settings_of`` combines both with the defaults, so the rest of
the code sees plain values: ``WebSocketSettings``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from sidegate.config.model import Boolean, Integer, Model, model, setting
from sidegate.config.quantities import Duration, Size
from sidegate.config.rules import Before

MAX_MESSAGE = 1024**2
PING_INTERVAL = 20.0
PING_TIMEOUT = 20.0
MAX_QUEUE = 32
"""Defaults, used if neither the route nor its listener sets the key."""

LEAST_MESSAGE, LARGEST_MESSAGE = 64, 1024**3
LONGEST_PING = 3600.0
LONGEST_QUEUE = 10_000
WINDOW_BITS = (9, 15)
MEMORY_LEVELS = (1, 9)
"""Allowed values. zlib has no raw deflate with a window of 8 bits."""

MODES = ("deflate", "off")

MOST = 0.8
"""Default fraction of the stop time over which WebSockets are closed; the last of them need the rest."""


def _expand_mode(data: object) -> object:
    if data in MODES:
        return {"mode": data}
    if not isinstance(data, dict | Compression):
        written = f", not {data!r}" if isinstance(data, str) else ""
        raise ValueError(f"must be deflate, off, or a mapping with 'mode' and its parameters{written}")
    return data


@model
class Compression(Model):
    """What the server accepts when a client offers `permessage-deflate` (RFC 7692)."""

    mode: Literal["deflate", "off"] = setting(default="deflate", description="`off`: no message is compressed.")
    window_bits: Integer = setting(
        default=12,
        ge=WINDOW_BITS[0],
        le=WINDOW_BITS[1],
        description="zlib's window, as a power of two, in both directions. With 12 and `memoryLevel` 5 a compressed "
        "WebSocket needs some 40 KiB; with zlib's defaults, 15 and 8, 300 KiB.",
    )
    memory_level: Integer = setting(
        default=5,
        ge=MEMORY_LEVELS[0],
        le=MEMORY_LEVELS[1],
        description="zlib's memory for compression, in addition to the window.",
    )
    context_takeover: Boolean = setting(
        default=True,
        description="Whether the compression of a message uses earlier messages; `false` keeps no memory between "
        "messages, but compresses small messages badly.",
    )


COMPRESSION = Compression()


@model
class WebSocketConfig(Model):
    """WebSockets of one listener or one route. A key of the route replaces the same key of the listener."""

    max_message: Size | None = setting(
        default=None,
        ge=LEAST_MESSAGE,
        le=LARGEST_MESSAGE,
        description="Largest message after decompression; above it the WebSocket is closed with 1009. By default "
        "`1Mi`. uvicorn: 16Mi; websockets: 1Mi.",
    )
    ping_interval: Duration | None = setting(
        default=None,
        ge=0,
        le=LONGEST_PING,
        description="Time between two pings of the server, 0s for no pings. By default `20s`, which is below the idle "
        "timeout of most proxies. uvicorn: 20s.",
    )
    ping_timeout: Duration | None = setting(
        default=None,
        ge=0,
        le=LONGEST_PING,
        description="Longest wait for a pong; then the WebSocket is closed with 1011. 0s for no limit. "
        "By default `20s`. uvicorn: 20s.",
    )
    max_queue: Integer | None = setting(
        default=None,
        ge=1,
        le=LONGEST_QUEUE,
        description="Messages that may wait for the application, decoded; also at most 64Ki of one WebSocket and 4Mi "
        "of all WebSockets of a process, and one message more (text with an emoji takes four bytes for each "
        "character). Above it messages wait as they came, and no more are read from the client. By default `32`. "
        "uvicorn: 32, of 16Mi each; websockets: 16, of 1Mi each; no bound for a process.",
    )
    compression: Annotated[Compression, Before(_expand_mode)] | None = setting(
        default=None,
        description="Compression of messages. A route's value replaces the listener's as a whole. Short form: its "
        "`mode`. By default `deflate`.",
    )


@dataclass(frozen=True, slots=True)
class WebSocketSettings:
    """The effective settings of one WebSocket: bytes, seconds (0.0 for no ping, no limit), messages."""

    max_message: int = MAX_MESSAGE
    ping_interval: float = PING_INTERVAL
    ping_timeout: float = PING_TIMEOUT
    max_queue: int = MAX_QUEUE
    compression: Compression = COMPRESSION


def settings_of(listener: WebSocketConfig, route: WebSocketConfig) -> WebSocketSettings:
    """The effective settings for WebSockets of a route on a listener."""
    names = WebSocketSettings.__slots__
    written = ((name, getattr(part, name)) for part in (listener, route) for name in names)
    return WebSocketSettings(**{name: value for name, value in written if value is not None})


def drain_seconds(wanted: float | None, grace: float) -> float:
    """Seconds over which WebSockets are closed if ``grace`` seconds are left. ``wanted``: ``websocketDrain``."""
    return MOST * grace if wanted is None else min(wanted, grace)
