"""The pings of a WebSocket: when to send one, and when the answer is late.

``websocket.py`` sends the pings and passes the times as arguments. It raises nothing.
"""

from __future__ import annotations


class WebSocketPing:
    """The pings of one WebSocket. ``interval``: seconds between pings, ``timeout``: for an answer; 0: none."""

    __slots__ = ("_heard", "_interval", "_number", "_sent_at", "_timeout", "_waiting_since")

    def __init__(self, interval: float, timeout: float, now: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self._number = 0
        self._sent_at: float | None = None  # the time of the unanswered ping
        self._heard = self._waiting_since = now

    def due(self, now: float) -> bytes | None:
        """The payload of the ping that is due, or None; it counts as sent."""
        if self._sent_at is not None or not 0 < self._interval <= now - self._heard:
            return None
        self._sent_at = self._waiting_since = now
        self._number += 1
        return b"%d" % self._number

    def answered(self, payload: bytes, now: float) -> float | None:
        """Handle a pong. Returns the seconds since its ping, None if it answers no unanswered ping."""
        if self._sent_at is None or payload != b"%d" % self._number:
            return None
        took = now - self._sent_at
        self._sent_at = None
        self._heard = now
        return took

    def restart_timeout(self, now: float) -> None:
        """Restart the timeout: until now the peer could not be read, or it was busy with other data than the answer."""
        self._waiting_since = now

    def is_late(self, now: float) -> bool:
        """Whether the answer has taken too long."""
        return self._sent_at is not None and 0 < self._timeout < now - self._waiting_since
