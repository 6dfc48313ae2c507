"""Limits on how often a peer may do what costs the peer little and this side much.

``server.py`` calls it for each frame, in the order of frames, with the current time. It raises nothing.

WINDOW_UPDATE counts as a control frame only beyond one for each stream and ten for each DATA frame sent (Envoy's
ratio), because a fast download needs many. Resets count whether the client sends or provokes them (CVE-2025-8671).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sidegate.config.schema import Limits


UPDATES_PER_DATA: Final = 10


class Bucket:
    """``burst`` tokens, refilled at ``rate`` tokens a second."""

    __slots__ = ("_at", "_burst", "_level", "_rate")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._level = burst
        self._at = now

    def take(self, now: float) -> bool:
        """Take one token; false when there is none."""
        level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        if level < 1:
            self._level = level
            return False
        self._level = level - 1
        return True


class FloodCounters:
    """The counters of one connection. Each method counts one frame and says whether it is still allowed."""

    __slots__ = ("_control", "_empty", "_most_continuations", "_resets", "_updates", "continuations", "streams")

    def __init__(self, limits: Limits, now: float) -> None:
        period = limits.control_frame_period
        self._control = Bucket(limits.control_frames, limits.control_frames / period, now)
        self._empty = Bucket(limits.empty_data_frames, limits.empty_data_frames / period, now)
        self._resets = Bucket(limits.stream_reset_burst, limits.stream_reset_rate, now)
        self._most_continuations = limits.continuation_frames
        self._updates = 0
        self.continuations = 0  # of the header block being received
        self.streams = 0  # opened so far

    def control(self, now: float) -> bool:
        """Count a SETTINGS, PING or PRIORITY frame or one of an unknown type."""
        return self._control.take(now)

    def window_update(self, now: float, data_frames: int) -> bool:
        """Count a WINDOW_UPDATE; ``data_frames``: DATA frames sent so far."""
        self._updates += 1
        return self._updates <= self.streams + UPDATES_PER_DATA * data_frames or self._control.take(now)

    def empty_data(self, now: float) -> bool:
        """Count a DATA frame with neither data nor END_STREAM."""
        return self._empty.take(now)

    def reset(self, now: float) -> bool:
        """Count a stream that the client has reset, or that was reset because of the client."""
        return self._resets.take(now)

    def continuation(self) -> bool:
        """Count a CONTINUATION frame."""
        self.continuations += 1
        return self.continuations <= self._most_continuations
