"""Whether a peer takes what is queued for it.

The connection and each stream that waits have one; the timeout policy calls it at every tick.
"""

from __future__ import annotations


class StallDetector:
    """Remembers how much was taken, and since when that has not grown."""

    __slots__ = ("_since", "_taken")

    def __init__(self) -> None:
        self._taken: int | None = None
        self._since = 0.0

    def silence(self, queued: int, left: int, now: float) -> float:
        """Seconds in which nothing was taken of ``queued`` bytes (in total), ``left`` of which wait; 0 if none waits.

        ``left`` may be more than ``queued``: bytes below TLS are counted encrypted, with the overhead of TLS records.
        """
        taken = queued - left
        if not left or self._taken is None or taken > self._taken:
            self._taken, self._since = taken, now
        return now - self._since
