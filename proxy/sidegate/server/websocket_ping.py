"""Whether the peer of a WebSocket is still there: when to ask, and when not to wait any longer.

Where it stands: beside ``websocket.py``, which sends the pings. Times are arguments. No error leaves it.
"""

from __future__ import annotations


class WebSocketPing:
    """Of one WebSocket. ``interval``: seconds between pings, ``timeout``: for the answer to one; 0: none."""

    __slots__ = ("_asked", "_heard", "_interval", "_number", "_patient_since", "_timeout")

    def __init__(self, interval: float, timeout: float, now: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self._number = 0
        self._asked: float | None = None  # when, while there is no answer
        self._heard = self._patient_since = now

    def due(self, now: float) -> bytes | None:
        """The payload of the ping that it is time for; it counts as sent."""
        if self._asked is not None or not 0 < self._interval <= now - self._heard:
            return None
        self._asked = self._patient_since = now
        self._number += 1
        return b"%d" % self._number

    def answered(self, payload: bytes, now: float) -> float | None:
        """A pong came: seconds since its ping, None if it answers none that is asked."""
        if self._asked is None or payload != b"%d" % self._number:
            return None
        took = now - self._asked
        self._asked = None
        self._heard = now
        return took

    def excuse(self, now: float) -> None:
        """Until now the peer could not be heard, or it was busy with something else than the answer."""
        self._patient_since = now

    def is_late(self, now: float) -> bool:
        """Whether the answer has taken too long."""
        return self._asked is not None and 0 < self._timeout < now - self._patient_since
