"""The events that ``frames.py`` makes of a WebSocket's frames and reports to the exchange."""

from __future__ import annotations

from sidegate.wire.events import Values


class Message(Values):
    """One whole message, text or binary. ``size``: bytes of memory that it takes, after inflation.

    Text with one emoji takes four bytes for each of its characters.
    """

    __slots__ = ("data", "size")

    def __init__(self, data: str | bytes, size: int) -> None:
        self.data = data
        self.size = size


class Pong(Values):
    """The peer answered a ping, or sent an unsolicited pong."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


class Closed(Values):
    """No event follows. ``code`` is the peer's (1005: it gave none), 1006 at an end without a close frame, or ours.

    Ours: 1002 protocol error, 1007 not UTF-8, 1008 too many control frames or fragments, 1009 message too big.
    """

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason


Event = Message | Pong | Closed
