"""What a run of ``make bench-micro`` found: as a table, as JSON, and beside another run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.bench.micro.layers import Times
from tests.bench.report import aligned


@dataclass
class Result:
    """Of one setup, by layer. Without ``instructions`` its ``note`` says why there are none."""

    title: str
    seconds: Times
    instructions: Times = field(default_factory=dict)
    note: str = ""


@dataclass
class Results:
    """By name of the setup. ``facts``: what was measured, and on what."""

    facts: dict[str, str]
    setups: dict[str, Result]


def write(results: Results, path: Path) -> None:
    path.write_text(json.dumps(asdict(results), indent=2) + "\n")


def read(path: Path) -> Results:
    """What ``write`` wrote, of any revision."""
    data = json.loads(path.read_text())
    return Results(data["facts"], {name: Result(**result) for name, result in data["setups"].items()})


def table(results: Results) -> str:
    """Layers by setup: microseconds, then instructions or why there are none."""
    found = list(results.setups.values())
    cells = [("of one request", *(heading for result in found for heading in (f"{result.title}: µs", "instructions")))]
    for layer in _layers(found):
        numbers = [
            cell
            for result in found
            for cell in (_micro(result.seconds.get(layer)), _count(result.instructions.get(layer)) or result.note)
        ]
        cells.append((layer, *numbers))
    return "\n".join(aligned(_to_the_right(cells)))


def comparison(before: Results, now: Results) -> str:
    """A table for each setup that both have; the ratios are now / before, of what is more than nothing in both."""
    parts = [f"before: {_told(before)}\nnow:    {_told(now)}"]
    for name, result in now.setups.items():
        if name not in before.setups:
            parts.append(f"{result.title}: not measured before")
            continue
        parts.append("\n".join(aligned(_to_the_right(_compared(before.setups[name], result)))))
    return "\n\n".join(parts)


def _compared(before: Result, now: Result) -> list[tuple[str, ...]]:
    cells: list[tuple[str, ...]] = [(now.title, "instructions before", "now", "ratio", "µs before", "now", "ratio")]
    for layer in _layers([before, now]):
        counts = before.instructions.get(layer), now.instructions.get(layer)
        spent = before.seconds.get(layer), now.seconds.get(layer)
        cells.append((layer, *map(_count, counts), _ratio(*counts), *map(_micro, spent), _ratio(*spent)))
    notes = [f"{when}: {result.note}" for when, result in (("before", before), ("now", now)) if result.note]
    return [*cells, *((note, *("" for _ in cells[0][1:])) for note in notes)]


def _layers(results: Sequence[Result]) -> list[str]:
    """In the order of the first result that has each."""
    return list(dict.fromkeys(layer for result in results for layer in result.seconds))


def _ratio(before: float | None, now: float | None) -> str:
    if before is None or now is None or before <= 0 or now <= 0:
        return ""
    return f"{now / before:.3f}"


def _micro(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e6:.2f}"


def _count(instructions: float | None) -> str:
    return "" if instructions is None else f"{instructions:.0f}"


def _told(results: Results) -> str:
    return ", ".join(f"{name} {fact}" for name, fact in results.facts.items())


def _to_the_right(cells: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """All columns but the first, as numbers are written below each other."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [(line[0], *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))) for line in cells]
