"""The samples of a comparison, and how they are shown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench.load import Case, Sample
from tests.bench.servers import KINDS

OURS = "sidegate"
HEADINGS = ("server", "CPU µs/request (min · median · max)", "beside ours", "req/s (min · median · max)", "failed")


@dataclass
class Report:
    """Samples by case and server; ``memory`` is what each server held before its first request."""

    versions: dict[str, str]
    memory: dict[str, list[tuple[str, int]]]
    samples: dict[Case, dict[str, list[Sample]]] = field(default_factory=dict)

    def add(self, case: Case, server: str, sample: Sample) -> None:
        self.samples.setdefault(case, {}).setdefault(server, []).append(sample)

    def as_json(self) -> dict[str, Any]:
        cases = {
            case.name: {server: [sample.as_json() for sample in samples] for server, samples in by_server.items()}
            for case, by_server in self.samples.items()
        }
        return {"versions": self.versions, "idle_memory_bytes": self.memory, "cases": cases}


def rows(report: Report, case: Case) -> list[tuple[str, ...]]:
    """One row a server, cells as text. A server that cannot do the case has a row that says so."""
    by_server = report.samples[case]
    ours = by_server.get(OURS)
    table: list[tuple[str, ...]] = []
    for server in report.memory:
        samples = by_server.get(server)
        if samples is None:
            table.append((server, f"has no {case.protocol}", "", "", ""))
            continue
        ratio = f"{_median(samples, _cpu) / _median(ours, _cpu):.2f} times" if ours else ""
        failed = str(sum(sample.failed for sample in samples))
        table.append((server, _spread(samples, _cpu, "{:.1f}"), ratio, _spread(samples, _rate, "{:.0f}"), failed))
    return table


def text(report: Report) -> str:
    """For a terminal."""
    parts = []
    for case in report.samples:
        table = [HEADINGS, *rows(report, case)]
        widths = [max(len(row[column]) for row in table) for column in range(len(HEADINGS))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        parts.append("\n".join([case.title, *(f"  {line}" for line in lines)]))
    return "\n\n".join([*parts, _memory(report), _versions(report)])


def markdown(report: Report) -> str:
    """For a document."""
    parts = []
    for case in report.samples:
        table = [HEADINGS, tuple("---" for _ in HEADINGS), *rows(report, case)]
        parts.append("\n".join([f"**{case.title}**", "", *(f"| {' | '.join(row)} |" for row in table)]))
    return "\n\n".join([*parts, _memory(report), _versions(report)]) + "\n"


def _memory(report: Report) -> str:
    """Idle resident memory. Uvicorn and granian need a second server for their second port; it counts too."""
    lines = []
    for server, held in report.memory.items():
        sizes = " + ".join(f"{size / 2**20:.0f}" for _, size in held)
        lines.append(f"- {server}: {sizes} = {sum(size for _, size in held) / 2**20:.0f} MiB")
    return "\n".join(["Idle resident memory, process by process:", "", *lines])


def _versions(report: Report) -> str:
    known = [kind.name for kind in KINDS]
    order = sorted(report.versions, key=lambda name: (name not in known, name))
    return ", ".join(f"{name} {report.versions[name]}" for name in order)


def _spread(samples: Sequence[Sample], of: Callable[[Sample], float], form: str) -> str:
    values = [of(sample) for sample in samples]
    return " · ".join(form.format(value) for value in (min(values), statistics.median(values), max(values)))


def _median(samples: Sequence[Sample], of: Callable[[Sample], float]) -> float:
    return statistics.median(of(sample) for sample in samples)


def _cpu(sample: Sample) -> float:
    return sample.cpu_microseconds


def _rate(sample: Sample) -> float:
    return sample.requests_per_second
