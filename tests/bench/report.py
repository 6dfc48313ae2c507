"""The samples of a comparison, and how they are shown: aligned text, Markdown, JSON."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench.case import Case, Column, Sample
from tests.bench.installation import Installation

SPREAD = "min · median · max"
RATIOS = "Ratios of the two revisions: median (min..max) of the rounds"


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

    ``facts`` is what a reader needs to repeat it: versions, machine, settings. ``against`` is the other revision that
    this tree is compared with, if any: the titles of its rows end with its suffix.
    """

    ours: Sequence[str]
    facts: dict[str, str]
    rows: dict[str, dict[str, Row]] = field(default_factory=dict)
    cases: dict[str, Case] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    against: Installation | None = None

    def row(self, case: Case, title: str, note: str | None = None) -> Row:
        """The row, made if it is new; a note replaces the last one."""
        self.cases[case.name] = case
        row = self.rows.setdefault(case.name, {}).setdefault(title, Row())
        row.note = note if note is not None else row.note
        return row

    def add(self, case: Case, title: str, sample: Sample) -> None:
        self.row(case, title).samples.append(sample)

    def is_other(self, title: str) -> bool:
        """Whether it is a row of the other revision."""
        return self.against is not None and title.endswith(self.against.suffix)

    def remark(self, case: Case, text: str) -> None:
        """A sentence under the case's title: what was found out on the way, such as a rate."""
        self.remarks[case.name] = text

    def as_json(self) -> dict[str, Any]:
        """Everything; ``chart.py`` reads it."""
        cases = {name: self._case_as_json(case) for name, case in self.cases.items()}
        return {"facts": self.facts, "against": self.against and self.against.commit, "cases": cases}

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
            "ratios": ratios(self, case),
        }

    def _is_ours(self, case: Case, title: str) -> bool:
        """A case that does not compare with peers has only us in it."""
        return title in self.ours or case.comparison.how != "ours"


def ratios(report: Report, case: Case) -> dict[str, list[float]]:
    """What each of this tree's rows measured, divided by what the other revision did in the same round; by title.

    Of the number that the case compares. A row without a pair of samples has an empty list.
    """
    found = {}
    for title, ours, theirs in _pairs(report, case):
        key = case.comparison.key
        divisors = {sample["round"]: sample[key] for sample in theirs.samples if sample[key]}
        found[title] = [
            sample[key] / divisors[sample["round"]] for sample in ours.samples if sample["round"] in divisors
        ]
    return found


def _pairs(report: Report, case: Case) -> list[tuple[str, Row, Row]]:
    """This tree's rows that the other revision has, too: the title, ours, theirs."""
    if report.against is None:
        return []
    rows, suffix = report.rows[case.name], report.against.suffix
    return [(title, row, rows[title + suffix]) for title, row in rows.items() if title + suffix in rows]


def table_of_ratios(report: Report, commit: str) -> list[tuple[str, ...]]:
    """The cells of the comparison with the other revision as text, headings first."""
    lines: list[tuple[str, ...]] = [("", "", "", f"this tree / {commit}", "")]
    for case in report.cases.values():
        measured = next(column.heading for column in case.columns if column.key == case.comparison.key)
        found = ratios(report, case)
        for title, ours, theirs in _pairs(report, case):
            values = found[title]
            notes = [f"{who}: {row.note}" for who, row in (("this tree", ours), (commit, theirs)) if row.note]
            lines.append((case.name, title, measured, _ratio(values), "; ".join(notes)))
    return lines


def _ratio(values: Sequence[float]) -> str:
    if not values:
        return "not comparable"
    return f"{statistics.median(values):.3f} ({min(values):.3f}..{max(values):.3f})"


def table(report: Report, case: Case) -> list[tuple[str, ...]]:
    """The cells of a case as text, headings first. A row without samples has its note in the first column."""
    lines = [("", *(column.heading for column in case.columns), case.comparison.heading, "")]
    rows = report.rows[case.name]
    for title, row in rows.items():
        if not row.samples:
            lines.append((title, row.note or "", *("" for _ in case.columns[1:]), "", ""))
            continue
        cells = (_spread(row, column) for column in case.columns)
        lines.append((title, *cells, _compared(report, case, title), row.note or ""))
    return lines


def text(report: Report) -> str:
    """For a terminal."""
    parts = [_text_of(report, case) for case in report.cases.values()]
    if report.against is not None:
        lines = aligned(table_of_ratios(report, report.against.commit))
        parts.append("\n".join([RATIOS, *(f"  {line}" for line in lines)]))
    return "\n\n".join([*parts, _facts(report, "  ")])


def _text_of(report: Report, case: Case) -> str:
    cells = table(report, case)
    # A note in the first column may run on: it is not counted into the width.
    noted = {title for title, row in report.rows[case.name].items() if not row.samples}
    return "\n".join([*_heading(report, case, str), *(f"  {line}" for line in aligned(cells, noted))])


def aligned(cells: Sequence[tuple[str, ...]], noted: Collection[str] = ()) -> list[str]:
    """Lines with columns below each other. Of lines that begin with one of ``noted`` only that is counted."""
    widths = [
        max(len(line[column]) for line in cells if column == 0 or line[0] not in noted)
        for column in range(len(cells[0]))
    ]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def markdown(report: Report) -> str:
    """For a document."""
    parts = [
        "\n".join([*_heading(report, case, _bold), "", *markdown_of(table(report, case))])
        for case in report.cases.values()
    ]
    if report.against is not None:
        lines = markdown_of(table_of_ratios(report, report.against.commit))
        parts.append("\n".join([_bold(RATIOS), "", *lines]))
    return "\n\n".join([*parts, _facts(report, "- ")]) + "\n"


def markdown_of(cells: Sequence[tuple[str, ...]]) -> list[str]:
    """The lines of a table, headings first."""
    headings, *rows = cells
    lines = [headings, tuple("---" for _ in headings), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


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


def _compared(report: Report, case: Case, title: str) -> str:
    rows, comparison = report.rows[case.name], case.comparison
    present = {other: row for other, row in rows.items() if row.samples}
    if comparison.how == "ours":
        base = next((present[title] for title in report.ours if title in present), None)
    else:
        # The first of its own revision.
        base = next(row for other, row in present.items() if report.is_other(other) == report.is_other(title))
    if base is None:
        return ""
    theirs, other = rows[title].median(comparison.key), base.median(comparison.key)
    if comparison.how == "more":
        return f"{theirs - other:+.1f}"
    above, below = (other, theirs) if comparison.how == "ours" else (theirs, other)
    return f"{above / below:.2f}" if below else ""
