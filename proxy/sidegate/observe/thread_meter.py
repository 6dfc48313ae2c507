"""Counts for the threads of one WSGI application, added to cells.

The observer makes one meter for each application that may be WSGI. Its methods are called at the start and the end of
each request. Call them in the event loop's thread only, because an addition to a cell is not atomic.
"""

from __future__ import annotations

from sidegate.observe import metrics
from sidegate.observe.cells import Cells
from sidegate.observe.metrics import BUSY, STUCK, CellLayout


class ThreadMeter:
    """Counts for one backend's threads in this process."""

    __slots__ = ("_busy", "_cells", "_stuck", "name")

    def __init__(self, name: str, layout: CellLayout, cells: Cells) -> None:
        self.name = name
        self._cells = cells
        self._busy = layout.cell(metrics.WSGI_THREADS, name, BUSY)
        self._stuck = layout.cell(metrics.WSGI_THREADS, name, STUCK)

    def began(self) -> None:
        """A thread begins to run a request."""
        self._cells[self._busy] += 1.0

    def ended(self) -> None:
        """A thread that began a request, and is not stuck, has finished it."""
        self._cells[self._busy] -= 1.0

    def stuck(self) -> None:
        """A thread has run a cancelled request for too long."""
        self._cells[self._busy] -= 1.0
        self._cells[self._stuck] += 1.0

    def unstuck(self) -> None:
        """A stuck thread has finished its request: it counts as busy again, until ``ended`` is called."""
        self._cells[self._stuck] -= 1.0
        self._cells[self._busy] += 1.0
