"""Decides whether the service is ready (``/readyz``), by ``admin.ready``: a pure function of facts.

The admin server's view collects the facts. By default a service is ready when all that it runs itself is; a server that
somebody else runs may be down without taking this service out of its load balancer, because other routes still work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

REACHED_WITHIN = 30.0
"""Seconds since the last connection to a server after which it counts as not reached."""


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """``was_ready``: a worker of the pool has been ready once. ``serving``: number of workers that get requests."""

    was_ready: bool
    serving: int


@dataclass(frozen=True, slots=True)
class RemoteFacts:
    """``since_reached``: seconds since any front had a connection; None: never. ``problem``: why there is none."""

    since_reached: float | None
    problem: str = ""

    @property
    def is_reached(self) -> bool:
        return self.since_reached is not None and self.since_reached <= REACHED_WITHIN


@dataclass(frozen=True, slots=True)
class ReadinessFacts:
    """``serving``: number of fronts that serve; there should be ``fronts``.

    ``blocked``: how many of those that serve accept no connections, because their event loop is blocked. ``local``:
    whether a backend answers in the fronts themselves. ``pools`` and ``remotes`` (``h2c``, ``h2``): by the backend's
    name.
    """

    fronts: int
    serving: int
    blocked: int = 0
    local: bool = True
    pools: Mapping[str, PoolFacts] = field(default_factory=dict)
    remotes: Mapping[str, RemoteFacts] = field(default_factory=dict)


def readiness(mode: Literal["serving", "all", "any"], facts: ReadinessFacts) -> tuple[bool, str]:
    """Whether the service is ready, and the reasons why it is not."""
    if not facts.serving:
        return False, "no front process is serving yet"
    accepting = facts.serving - facts.blocked
    if not accepting:
        return False, "the event loops of all front processes are blocked"
    if mode == "any":
        answers = facts.local or any(pool.serving for pool in facts.pools.values())
        answers = answers or any(remote.is_reached for remote in facts.remotes.values())
        return (True, "") if answers else (False, "no backend can answer")
    reasons = []
    if accepting < facts.fronts:
        blocked = f", {facts.blocked} blocked" if facts.blocked else ""
        reasons.append(f"{accepting} of {facts.fronts} front processes are serving{blocked}")
    reasons += [f"backend {name}: no worker was ready yet" for name, pool in facts.pools.items() if not pool.was_ready]
    if mode == "all":
        reasons += [_unreached(name, remote) for name, remote in facts.remotes.items() if not remote.is_reached]
    return not reasons, "; ".join(reasons)


def _unreached(name: str, remote: RemoteFacts) -> str:
    problem = f" ({remote.problem})" if remote.problem else ""
    return f"backend {name}: not reached in the last {REACHED_WITHIN:g} s{problem}"
