"""Whether a peer takes what is queued for it."""

from __future__ import annotations

from sidegate.server.stall import StallDetector


def test_silence_begins_when_nothing_is_taken_any_more() -> None:
    progress = StallDetector()
    assert progress.silence(100, 100, 50_000.0) == 0
    assert progress.silence(100, 100, 50_010.0) == 10
    assert progress.silence(200, 150, 50_020.0) == 0
    assert progress.silence(300, 250, 50_023.0) == 3
    assert progress.silence(300, 0, 50_060.0) == 0


def test_more_may_wait_than_was_queued() -> None:
    """TLS adds its handshake and its records' overhead: at the first look that is no silence since the epoch."""
    progress = StallDetector()
    assert progress.silence(100, 400, 50_000.0) == 0
    assert progress.silence(100, 400, 50_005.0) == 5
