"""All rows as a table, for a terminal and for a document, and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.attacks.answers import most
from tests.attacks.row import Row
from tests.attacks.servers import KINDS
from tests.attacks.table import BY_NAME
from tests.bench.report import aligned, markdown_of

HEADINGS = (
    *("server", "p99 quiet → attacked, ms", "max, ms", "honest failed", "KiB/connection", "peak, MiB", "after, MiB"),
    *("CPU", "the attacker's connections", "the attacker's answers", "counted by", "exceeded"),
)
EXPLAINED = """\
The honest client sends 200 requests a second on 8 connections, of which each is replaced after 20 requests, from
another address than the attacker; latency counts from the time at which a request falls due. *Quiet*: before the
attacker comes. *KiB/connection*: resident memory that the attacker's connections cost before the attack. *Peak*: beyond
that, at most under attack; *after*: what is left of it when the attacker is gone, one number for each round. *CPU*: of
all processes of the server, 100 % is one core. *The attacker's connections*: how the server ended them, and how many
were open at the end. A budget is exceeded only by Sidegate."""


@dataclass
class Report:
    """``facts`` is what a reader needs to repeat it."""

    facts: Mapping[str, str]
    rows: list[Row] = field(default_factory=list)

    @property
    def exceeding(self) -> list[tuple[Row, list[str]]]:
        """The rows of Sidegate that exceed a budget."""
        found = ((row, _excesses(row)) for row in self.rows)
        return [(row, excesses) for row, excesses in found if excesses]

    def as_json(self) -> dict[str, Any]:
        rows = [{**row.as_json(), "exceeded": _excesses(row)} for row in self.rows]
        return {"facts": dict(self.facts), "rows": rows}

    def text(self) -> str:
        """For a terminal."""
        return "\n".join([*self._lines("  "), *(f"  {name}: {fact}" for name, fact in self.facts.items())])

    def _lines(self, indent: str) -> list[str]:
        lines = []
        for name, rows in self._by_attack().items():
            noted = {row.server for row in rows if not row.rounds}
            lines += [f"{name}: {BY_NAME[name].title}"]
            lines += [indent + line for line in aligned([HEADINGS, *map(cells, rows)], noted)]
            lines += [""]
        return lines

    def markdown(self) -> str:
        """For a document."""
        parts = ["# Attacks", f"`make attacks` wrote this. {EXPLAINED}"]
        parts += ["\n".join(f"- {name}: {fact}" for name, fact in self.facts.items())]
        for name, rows in self._by_attack().items():
            title = f"**{name}**: {BY_NAME[name].title}"
            parts += [title, "\n".join(markdown_of([HEADINGS, *map(cells, rows)]))]
        parts += [f"Exceeded budgets: {len(self.exceeding)} of {sum(map(_is_ours, self.rows))} rows of Sidegate."]
        return "\n\n".join(parts) + "\n"

    def _by_attack(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.attack, []).append(row)
        return found


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, in the order of the headings."""
    title = KINDS[row.server].title
    if not row.rounds:
        return (title, row.note, *[""] * (len(HEADINGS) - 2))
    honest, last = row.honest, row.rounds[-1]
    ends = row.attacker("ends") + Counter({"open": sum(one.attacker["open"] for one in row.rounds)})
    return (
        title,
        f"{row.quiet.percentile_ms(0.99):.1f} → {honest.percentile_ms(0.99):.1f}",
        f"{honest.percentile_ms(1.0):.0f}",
        _words(honest.failed),
        f"{last.connection_kib:.0f} x {last.ready}",
        f"{row.growth_mib:+.0f}",
        ", ".join(f"{left:+.0f}" for left in row.left_mib),
        f"{100 * row.cpu:.0f} %",
        _words(ends),
        _words(row.attacker("answers")),
        _words({reason: round(count) for reason, count in row.reasons.items()}),
        "; ".join(_excesses(row)),
    )


def _words(counts: Mapping[str, int]) -> str:
    return ", ".join(most(Counter(counts)))


def _is_ours(row: Row) -> bool:
    return KINDS[row.server].ours


def _excesses(row: Row) -> list[str]:
    return list(row.excesses(none_refused=BY_NAME[row.attack].none_refused)) if _is_ours(row) else []
