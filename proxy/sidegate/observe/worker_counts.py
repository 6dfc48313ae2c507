"""What workers count that no front can see, from their cells to the totals of a pool.

Where it stands: used by the supervisor, which reads living workers when it is asked and keeps what dead ones have left.
"""

from __future__ import annotations

from itertools import compress
from typing import TypeAlias

from sidegate.observe.cells import Area
from sidegate.observe.metrics import Layout

Counts: TypeAlias = dict[tuple[str, ...], float]
"""Values by the metric's name, followed by those of its labels."""


def worker_counts(area: Area, layout: Layout) -> Counts:
    """What is not zero in one worker's cells of ``WORKER_METRICS``."""
    counts: Counts = {}
    for block in layout.worker_blocks:
        values = area.read(block.start, len(block.run)) or []
        for label, value in compress(zip(block.run, values, strict=False), values):
            counts[block.metric.name, *block.labels, label] = value
    return counts


def add_counts(total: Counts, more: Counts) -> None:
    """Add ``more`` to ``total``."""
    for key, value in more.items():
        total[key] = total.get(key, 0.0) + value
