"""Counts for one backend whose requests wait for other processes or for threads, added to cells.

The observer makes one meter for each such backend. The modules that select targets for requests call it on the request
path, so its methods only add; call them in the event loop's thread only.
"""

from __future__ import annotations

from bisect import bisect_left

from sidegate.observe import metrics
from sidegate.observe.cells import Cells
from sidegate.observe.metrics import BUCKETS, SUM, CellLayout


class QueueMeter:
    """Counts for one backend."""

    __slots__ = ("_cells", "_in_flight", "_queued", "_retries", "_wait", "_wait_sum", "name")

    def __init__(self, name: str, layout: CellLayout, cells: Cells) -> None:
        self.name = name
        self._cells = cells
        self._in_flight = layout.cell(metrics.BACKEND_IN_FLIGHT, name)
        self._queued = layout.cell(metrics.BACKEND_QUEUE, name)
        waits = layout.offsets(metrics.BACKEND_QUEUE_WAIT, name)
        self._wait = waits[str(BUCKETS[0])]
        self._wait_sum = waits[SUM]
        self._retries = layout.offsets(metrics.BACKEND_RETRIES, name)

    def begun(self) -> None:
        """A request for this backend has begun."""
        self._cells[self._in_flight] += 1.0

    def ended(self) -> None:
        """A request for this backend has ended."""
        self._cells[self._in_flight] -= 1.0

    def placed_at_once(self) -> None:
        """A request got a target without waiting."""
        self._cells[self._wait] += 1.0

    def queued(self) -> None:
        """A request begins to wait for a target."""
        self._cells[self._queued] += 1.0

    def unqueued(self) -> None:
        """A request has stopped waiting, with or without a target."""
        self._cells[self._queued] -= 1.0

    def waited(self, seconds: float) -> None:
        """A request got a target after it had waited for ``seconds``."""
        self._cells[self._wait + bisect_left(BUCKETS, seconds)] += 1.0
        self._cells[self._wait_sum] += seconds

    def retried(self, reason: str) -> None:
        """A request is sent again. ``reason``: a key of ``reasons.RETRIES``."""
        self._cells[self._retries[reason]] += 1.0
