"""The workers' counts of metrics that fronts cannot count (``WORKER_METRICS``), read from their cells and summed.

The supervisor reads the counts of running workers for each scrape and keeps the sums of workers that have exited.
"""

from __future__ import annotations

from itertools import compress
from typing import TypeAlias

from sidegate.observe.cells import Area
from sidegate.observe.metrics import CellLayout

Counts: TypeAlias = dict[tuple[str, ...], float]
"""Values by a tuple: the metric's name, then the values of its labels."""


def worker_counts(area: Area, layout: CellLayout) -> Counts:
    """The counts of ``WORKER_METRICS`` in one worker's cells that are not zero."""
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
