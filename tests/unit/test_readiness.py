"""When the service is ready, by ``admin.ready``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest

from sidegate.supervisor.readiness import REACHED_WITHIN, PoolFacts, ReadinessFacts, RemoteFacts, readiness

Mode = Literal["serving", "all", "any"]
MODES: tuple[Mode, ...] = ("serving", "all", "any")

GOOD = ReadinessFacts(
    fronts=2,
    serving=2,
    local=False,
    pools={"shop": PoolFacts(was_ready=True, serving=1)},
    remotes={"api": RemoteFacts(0.0)},
)
NO_POOL: dict[str, Any] = {"pools": {"shop": PoolFacts(was_ready=True, serving=0)}}
FAILED_POOL: dict[str, Any] = {"pools": {"shop": PoolFacts(was_ready=False, serving=0)}}
NO_REMOTE: dict[str, Any] = {"remotes": {"api": RemoteFacts(REACHED_WITHIN + 0.1, "unix:/a: refused")}}
UNREACHED = "backend api: not reached in the last 30 s"

YES = (True, "")


@pytest.mark.parametrize("mode", MODES)
def test_everything_is_well(mode: Mode) -> None:
    assert readiness(mode, GOOD) == YES


@pytest.mark.parametrize("mode", MODES)
def test_without_a_front_nothing_is_ready(mode: Mode) -> None:
    assert readiness(mode, replace(GOOD, serving=0, local=True)) == (False, "no front process is serving yet")


@pytest.mark.parametrize("mode", MODES)
def test_fronts_that_are_blocked_accept_nothing(mode: Mode) -> None:
    text = "the event loops of all front processes are blocked"
    assert readiness(mode, replace(GOOD, blocked=2, local=True)) == (False, text)
    assert readiness(mode, replace(GOOD, serving=1, blocked=1, local=True)) == (False, text)


def test_a_blocked_front_does_not_count() -> None:
    facts = replace(GOOD, blocked=1)
    no = (False, "1 of 2 front processes are serving, 1 blocked")
    assert readiness("serving", facts) == readiness("all", facts) == no
    assert readiness("any", facts) == YES
    assert readiness("serving", replace(GOOD, serving=3, blocked=1)) == YES, "its successor serves"


def test_every_front_has_to_accept_unless_one_is_enough() -> None:
    facts = replace(GOOD, serving=1)
    assert readiness("serving", facts) == readiness("all", facts) == (False, "1 of 2 front processes are serving")
    assert readiness("any", facts) == YES


def test_a_pool_has_to_have_been_ready_once() -> None:
    assert readiness("serving", replace(GOOD, **NO_POOL)) == YES
    facts = replace(GOOD, **FAILED_POOL)
    assert readiness("serving", facts) == readiness("all", facts) == (False, "backend shop: no worker was ready yet")
    assert readiness("any", facts) == YES


def test_a_remote_backend_that_is_down_counts_for_all_only() -> None:
    facts = replace(GOOD, **NO_REMOTE)
    assert readiness("serving", facts) == readiness("any", facts) == YES
    assert readiness("all", facts) == (False, f"{UNREACHED} (unix:/a: refused)")
    facts = replace(GOOD, remotes={"api": RemoteFacts(None)})
    assert readiness("all", facts) == (False, UNREACHED)
    assert readiness("all", replace(GOOD, remotes={"api": RemoteFacts(REACHED_WITHIN)})) == YES


def test_any_needs_one_backend() -> None:
    facts = replace(GOOD, **NO_POOL, **NO_REMOTE)
    assert readiness("any", facts) == (False, "no backend can answer")
    assert readiness("any", replace(facts, local=True)) == YES


def test_every_reason_is_given() -> None:
    facts = replace(GOOD, serving=1, **FAILED_POOL, **NO_REMOTE)
    assert readiness("all", facts)[1].count("; ") == 2
