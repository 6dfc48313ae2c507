"""The samples of a comparison, and how they are shown: aligned text, Markdown, JSON."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench.case import Case, Column, Sample

SPREAD = "min · median · max"


@dataclass
class Row:
    """A server (or a setting of one) in one case; ``note`` is why it has no samples, or what is odd about them."""

    samples: list[Sample] = field(default_factory=list)
    note: str | None = None

    def median(self, key: str) -> float:
        return statistics.median(sample[key] for sample in self.samples)


@dataclass
class Report:
    """Rows by case and title, in the order in which they came. ``ours`` are the titles that stand for us, best first.

    ``facts`` is what a reader needs to repeat it: versions, machine, settings.
    """

    ours: Sequence[str]
    facts: dict[str, str]
    rows: dict[str, dict[str, Row]] = field(default_factory=dict)
    cases: dict[str, Case] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)

    def row(self, case: Case, title: str, note: str | None = None) -> Row:
        """The row, made if it is new; a note replaces the last one."""
        self.cases[case.name] = case
        row = self.rows.setdefault(case.name, {}).setdefault(title, Row())
        row.note = note if note is not None else row.note
        return row

    def add(self, case: Case, title: str, sample: Sample) -> None:
        self.row(case, title).samples.append(sample)

    def remark(self, case: Case, text: str) -> None:
        """A sentence under the case's title: what was found out on the way, such as a rate."""
        self.remarks[case.name] = text

    def as_json(self) -> dict[str, Any]:
        """Everything; ``chart.py`` reads it."""
        return {"facts": self.facts, "cases": {name: self._case_as_json(case) for name, case in self.cases.items()}}

    def _case_as_json(self, case: Case) -> dict[str, Any]:
        rows = self.rows[case.name]
        return {
            "title": case.title,
            "remark": self.remarks.get(case.name),
            "columns": {column.key: column.heading for column in case.columns},
            "servers": {
                title: {"samples": row.samples, "note": row.note, "ours": self._is_ours(case, title)}
                for title, row in rows.items()
            },
        }

    def _is_ours(self, case: Case, title: str) -> bool:
        """A case that does not compare with peers has only us in it."""
        return title in self.ours or case.comparison.how != "ours"


def table(report: Report, case: Case) -> list[tuple[str, ...]]:
    """The cells of a case as text, headings first. A row without samples has its note in the first column."""
    lines = [("", *(column.heading for column in case.columns), case.comparison.heading, "")]
    rows = report.rows[case.name]
    for title, row in rows.items():
        if not row.samples:
            lines.append((title, row.note or "", *("" for _ in case.columns[1:]), "", ""))
            continue
        cells = (_spread(row, column) for column in case.columns)
        lines.append((title, *cells, _compared(report, case, row), row.note or ""))
    return lines


def text(report: Report) -> str:
    """For a terminal."""
    return "\n\n".join([*(_text_of(report, case) for case in report.cases.values()), _facts(report, "  ")])


def _text_of(report: Report, case: Case) -> str:
    cells = table(report, case)
    # A note in the first column may run on: it is not counted into the width.
    noted = {title for title, row in report.rows[case.name].items() if not row.samples}
    widths = [
        max(len(line[column]) for line in cells if column == 0 or line[0] not in noted)
        for column in range(len(cells[0]))
    ]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([*_heading(report, case, str), *(f"  {line}" for line in lines)])


def markdown(report: Report) -> str:
    """For a document."""
    parts = []
    for case in report.cases.values():
        headings, *rows = table(report, case)
        lines = [headings, tuple("---" for _ in headings), *rows]
        parts.append("\n".join([*_heading(report, case, _bold), "", *(f"| {' | '.join(line)} |" for line in lines)]))
    return "\n\n".join([*parts, _facts(report, "- ")]) + "\n"


def _heading(report: Report, case: Case, emphasis: Callable[[str], str]) -> list[str]:
    remark = report.remarks.get(case.name)
    return [emphasis(f"{case.name}: {case.title}"), *([remark] if remark else [])]


def _bold(words: str) -> str:
    return f"**{words}**"


def _facts(report: Report, bullet: str) -> str:
    lines = [f"{bullet}{name}: {fact}" for name, fact in report.facts.items()]
    return "\n".join([f"Numbers are {SPREAD} of the rounds.", "", *lines])


def _spread(row: Row, column: Column) -> str:
    """The range with the median in the middle; one number where all are the same."""
    values = [sample[column.key] for sample in row.samples]
    shown = [column.form.format(value) for value in (min(values), statistics.median(values), max(values))]
    return " · ".join(shown) if len(set(shown)) > 1 else shown[0]


def _compared(report: Report, case: Case, row: Row) -> str:
    rows, comparison = report.rows[case.name], case.comparison
    present = {title: other for title, other in rows.items() if other.samples}
    if comparison.how == "ours":
        base = next((present[title] for title in report.ours if title in present), None)
    else:
        base = next(iter(present.values()))
    if base is None:
        return ""
    theirs, other = row.median(comparison.key), base.median(comparison.key)
    if comparison.how == "more":
        return f"{theirs - other:+.1f}"
    above, below = (other, theirs) if comparison.how == "ours" else (theirs, other)
    return f"{above / below:.2f}" if below else ""
