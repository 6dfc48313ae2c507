"""What was measured of one attack on one server, and which budgets it exceeds."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

MIB = 2**20

PATIENCE_MS = 10_000.0
"""A failed request counts as one that took as long as the honest client waits."""

P99_BUDGETS = {"sidegate-h2": (10.0, 100.0)}
USUAL_P99_BUDGET = (3.0, 30.0)
"""How often the quiet p99, and at least how many milliseconds, by the server."""

MEMORY_MIB = 32.0
"""Growth under attack beside what the connections cost, and 10 s after it beside what there was before."""

NOISE_MIB = 4.0
"""By which a later round may be above the second: allocators differ by as much from round to round."""


@dataclass
class Honest:
    """Requests of the honest client."""

    latencies: Sequence[float] = ()
    failed: dict[str, int] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        return len(self.latencies) + self.failures

    @property
    def failures(self) -> int:
        return sum(self.failed.values())

    def percentile_ms(self, share: float) -> float:
        """Milliseconds in which ``share`` of all requests were answered."""
        if not self.requests:
            return math.nan
        position = max(0, math.ceil(share * self.requests) - 1)
        ordered = sorted(self.latencies)
        return 1000 * ordered[position] if position < len(ordered) else PATIENCE_MS

    def as_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "p50_ms": self.percentile_ms(0.5),
            "p99_ms": self.percentile_ms(0.99),
            "max_ms": self.percentile_ms(1.0),
            "failed": self.failed,
        }


@dataclass
class Round:
    """Resident bytes before the attacker, with its connections open, at most under attack, and after it has left.

    ``cpu``: of the server, in cores. ``attacker``: its own report.
    """

    before: int
    opened: int
    peak: int
    after: int
    ready: int
    cpu: float
    seconds: float
    honest: Honest
    attacker: dict[str, Any]

    @property
    def connection_kib(self) -> float:
        return max(0, self.opened - self.before) / max(1, self.ready) / 1024

    @property
    def growth_mib(self) -> float:
        return (self.peak - self.opened) / MIB

    def as_json(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in ("before", "opened", "peak", "after", "ready", "cpu", "seconds")},
            "connection_kib": self.connection_kib,
            "growth_mib": self.growth_mib,
            "honest": self.honest.as_json(),
            "attacker": self.attacker,
        }


@dataclass
class Row:
    """Of one attack on one server; ``note`` is why it has no rounds, or what is wrong with them."""

    attack: str
    server: str
    note: str = ""
    quiet: Honest = field(default_factory=Honest)
    before: int = 0
    rounds: list[Round] = field(default_factory=list)
    reasons: dict[str, float] = field(default_factory=dict)

    def noted(self, note: str) -> Row:
        self.note = note
        return self

    @property
    def honest(self) -> Honest:
        """Under attack, in all rounds."""
        failed: Counter[str] = Counter()
        for one in self.rounds:
            failed.update(one.honest.failed)
        return Honest([latency for one in self.rounds for latency in one.honest.latencies], dict(failed))

    @property
    def growth_mib(self) -> float:
        """Of the worst round."""
        return max(one.growth_mib for one in self.rounds)

    @property
    def left_mib(self) -> list[float]:
        """After each round, above what there was before the first."""
        return [(one.after - self.before) / MIB for one in self.rounds]

    @property
    def cpu(self) -> float:
        return statistics.mean(one.cpu for one in self.rounds)

    def attacker(self, key: str) -> Counter[str]:
        """``ends`` or ``answers`` of all rounds."""
        found: Counter[str] = Counter()
        for one in self.rounds:
            found.update(one.attacker[key])
        return found

    def excesses(self, *, none_refused: bool) -> Iterator[str]:
        """The budgets that it exceeds, in words."""
        if self.note:
            yield self.note
        if not self.rounds:
            return
        times, least = P99_BUDGETS.get(self.server, USUAL_P99_BUDGET)
        budget = max(times * self.quiet.percentile_ms(0.99), least)
        honest = self.honest
        if honest.percentile_ms(0.99) > budget:
            yield f"p99 {honest.percentile_ms(0.99):.0f} ms > {budget:.0f} ms"
        if none_refused and honest.failures:
            yield f"{honest.failures} honest requests failed"
        if self.growth_mib > MEMORY_MIB:
            yield f"memory +{self.growth_mib:.0f} MiB under attack"
        if self.left_mib[-1] > MEMORY_MIB:
            yield f"memory +{self.left_mib[-1]:.0f} MiB afterwards"
        if len(self.rounds) > 2 and self.left_mib[-1] > self.left_mib[1] + NOISE_MIB:
            yield f"memory grows from round to round: {', '.join(f'{left:.0f}' for left in self.left_mib)} MiB"

    def as_json(self) -> dict[str, Any]:
        return {
            "attack": self.attack,
            "server": self.server,
            "note": self.note,
            "quiet": self.quiet.as_json(),
            "before": self.before,
            "rounds": [one.as_json() for one in self.rounds],
            "reasons": self.reasons,
        }
