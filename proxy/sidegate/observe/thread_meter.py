"""What the threads of one WSGI application do, added into cells.

Where it stands: below the observer, which makes one meter for each application that may be a WSGI one; called once and
again for each request, in the event loop's thread only: an addition to a cell is not one step.
"""

from __future__ import annotations

from sidegate.observe import metrics
from sidegate.observe.cells import Cells
from sidegate.observe.metrics import BUSY, STUCK, Layout


class ThreadMeter:
    """Counts for one backend's threads in this process."""

    __slots__ = ("_busy", "_cells", "_stuck", "name")

    def __init__(self, name: str, layout: Layout, cells: Cells) -> None:
        self.name = name
        self._cells = cells
        self._busy = layout.cell(metrics.WSGI_THREADS, name, BUSY)
        self._stuck = layout.cell(metrics.WSGI_THREADS, name, STUCK)

    def began(self) -> None:
        """A thread has got a request."""
        self._cells[self._busy] += 1.0

    def ended(self) -> None:
        """A thread that had begun, and is not stuck, is done with its request."""
        self._cells[self._busy] -= 1.0

    def stuck(self) -> None:
        """A thread that had begun works on, though nobody waits for it and it has had its time."""
        self._cells[self._busy] -= 1.0
        self._cells[self._stuck] += 1.0

    def unstuck(self) -> None:
        """A stuck thread has come back after all: it counts as busy again, until it has ended."""
        self._cells[self._stuck] -= 1.0
        self._cells[self._busy] += 1.0
