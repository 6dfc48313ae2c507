"""Draws CPU time per request by case and server: ``python chart.py FILE.svg|FILE.png < results.json``.

It runs in the peers' environment, which has matplotlib; the development environment, where mypy looks, has not. So it
is a program of its own, imports nothing of ours, and takes the JSON that ``--json`` writes.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
from typing import Any, NamedTuple

KEY = "cpu_us"
COLUMNS = 2
INCHES_WIDE, INCHES_A_BAR, INCHES_A_TITLE = 6.5, 0.24, 0.75
LONGEST_NOTE = 40
OURS, THEIRS = "#1f6f8b", "#b9c4c9"


class Bar(NamedTuple):
    """A server's median in µs and what is written beside it; nothing but the words for who has no samples."""

    value: float
    label: str
    colour: str


def main() -> None:
    results = json.load(sys.stdin)
    panels = bars(results)
    if not panels:
        sys.exit("no case of these results counts CPU time per request")
    draw(panels, sys.argv[1])


def bars(results: dict[str, Any]) -> dict[str, dict[str, Bar]]:
    """By title of the case and server."""
    counted = {name: case for name, case in results["cases"].items() if KEY in case["columns"]}
    panels = {}
    for name, case in counted.items():
        rows = {server: bar_of(row) for server, row in case["servers"].items()}
        if any(bar.value for bar in rows.values()):
            panels[f"{name}: {case['title']}"] = rows
    return panels


def bar_of(row: dict[str, Any]) -> Bar:
    colour = OURS if row["ours"] else THEIRS
    if not row["samples"]:
        return Bar(0.0, (row["note"] or "")[:LONGEST_NOTE], colour)
    median = statistics.median(sample[KEY] for sample in row["samples"])
    return Bar(median, f"{median:.1f}", colour)


def draw(panels: dict[str, dict[str, Bar]], path: str) -> None:
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    lines = -(-len(panels) // COLUMNS)
    tallest = max(len(rows) for rows in panels.values())
    size = (COLUMNS * INCHES_WIDE, lines * (tallest * INCHES_A_BAR + INCHES_A_TITLE))
    figure, axes = pyplot.subplots(lines, COLUMNS, figsize=size, squeeze=False, layout="constrained")
    for axis, (title, rows) in zip(axes.flat, panels.items(), strict=False):
        values, labels, colours = zip(*rows.values(), strict=True)
        drawn = axis.barh(list(rows), values, color=colours)
        axis.bar_label(drawn, labels=labels, padding=3, fontsize=8)
        axis.invert_yaxis()
        axis.margins(x=0.15)
        axis.set_title(title, fontsize=9, loc="left")
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in list(axes.flat)[len(panels) :]:
        axis.remove()
    figure.supxlabel("CPU µs per request, user and system, all processes of the server (median)", fontsize=9)
    figure.savefig(path)


if __name__ == "__main__":
    main()
