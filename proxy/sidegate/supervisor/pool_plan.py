"""A pool's next actions, as a pure function of the wanted state, the states of its processes, and the time.

It shares states, back-off and time limits with ``plan``. It has every rule about the number of workers and about
replacing them. It uses no process, socket or clock.

Rules:

* A pool has ``size`` slots. It grows by one when requests wait and every slot serves, so one worker starts at a time;
  it shrinks by one when one worker less could have taken all requests in flight during ``idle_timeout``.
* A vacant slot is filled immediately, or with back-off after a child that failed or served too briefly. A worker that
  was retired does not count as a failure.
* A worker that is *retired* (age, requests, memory, changed files) goes on serving until its successor in the slot has
  served for ``HAND_OVER``; only then is it drained. At most a quarter of the slots, or one, is being replaced at the
  same time, until the old process has exited: the memory of a pool stays bounded even if old workers drain slowly.
* A pool that preloads has one more child, in the slot ``PRELOADER``: workers are forked from the newest one that is
  ready. Its exit has no effect on the workers. When it is retired (changed files), its successor starts before the
  workers' successors.
* A worker whose event loop is stuck gets SIGABRT, so that it prints its stacks and exits, and ``plan.DUMP_TIME`` later
  SIGKILL. A worker whose WSGI threads are all stuck is drained: its event loop still works, so it can return its
  waiting requests to the fronts, which send them to other workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from sidegate.ipc.control import front_drain_time
from sidegate.supervisor import plan
from sidegate.supervisor.child_state import ChildStatus, Event, State
from sidegate.supervisor.plan import RestartBackoff, Schedule, TimeLimits

PRELOADER = -1
"""The slot of the process that workers are forked from."""

HAND_OVER = 0.25
"""Seconds that a successor serves before the old worker drains: fronts connect to it meanwhile, so requests need not
wait."""

MAX_AGE = "max_age"
"""The cause of retiring a worker that has reached its age limit; other causes come from other modules."""

STUCK, STUCK_THREADS = "stuck", "stuck_threads"
"""The part of a worker that is stuck: its event loop; all threads of its WSGI application."""

WORKER_BACKOFF = RestartBackoff(stable=1.0)
"""Shorter than a front's: the out-of-memory killer and tests kill workers, and starting one is cheap."""


@dataclass(frozen=True, slots=True)
class Member:
    """A worker, or the preloader, as the plan sees it.

    ``lifetime``: seconds that it may serve (None: no limit). ``retired``: why it is to be replaced, in one word (empty:
    it is not). ``stuck``: which part of it is stuck, in one word (empty: none).
    """

    child: ChildStatus
    lifetime: float | None = None
    retired: str = ""
    stuck: str = ""


@dataclass(frozen=True, slots=True)
class WantedPool:
    """The state that a pool has to reach. Times are seconds, ``resized`` and ``changed`` on the supervisor's clock.

    ``queued``: requests wait for a worker. ``peak``: the largest number of exchanges in flight during the last
    ``idle_timeout`` seconds. ``resized``: when ``size`` changed last. ``changed``: when the application's files changed
    last; earlier failures to start are then ignored. ``kill_at``: the time by which all workers must have stopped,
    because the service stops (None: it does not).
    """

    minimum: int
    maximum: int
    size: int
    concurrency: int = 100
    idle_timeout: float = 60.0
    preload: bool = False
    queued: bool = False
    peak: int = 0
    resized: float = 0.0
    changed: float = float("-inf")
    start_timeout: float = 60.0
    stop_timeout: float = 30.0
    kill_at: float | None = None
    backoff: RestartBackoff = WORKER_BACKOFF


@dataclass(frozen=True, slots=True)
class Resize:
    """Set ``WantedPool.size`` to ``size``."""

    size: int


@dataclass(frozen=True, slots=True)
class Retire:
    """Note ``cause`` as the member's ``retired``."""

    serial: int
    cause: str


PoolAction: TypeAlias = (
    plan.Spawn | plan.Serve | plan.Drain | plan.Abort | plan.Dump | plan.Kill | plan.Wait | Resize | Retire
)
"""``Serve``: tell the fronts about the worker. ``Drain``: remove it from the fronts' lists, then let it finish."""


def plan_pool(wanted: WantedPool, members: Sequence[Member], now: float) -> list[PoolAction]:
    """The actions that are due at ``now``, in order; the last one is ``Wait``.

    ``members`` is in the order of spawning. It contains the running processes and at least the last exited one of each
    slot.
    """
    steps = Schedule[PoolAction](now)
    members = [_without_exhausted(steps, wanted, member) for member in members]
    alive = [member for member in members if member.child.state is not State.DEAD]
    if wanted.kill_at is None:
        _serve_and_retire(steps, alive)
        _resize(steps, wanted, alive)
        _keep_slots(steps, wanted, members)
    else:
        seconds = front_drain_time(max(0.0, wanted.kill_at - now))
        for member in alive:
            if member.child.left is None:
                steps.due(plan.Drain(member.child.serial, seconds))
    limits = TimeLimits(wanted.start_timeout, wanted.stop_timeout, wanted.kill_at)
    for member in alive:
        _enforce_time_limits(steps, member, limits)
    return [*steps.actions, plan.Wait(steps.until)]


def has_started(members: Iterable[Member]) -> bool:
    """Whether the pool has had a worker or has failed to start one: then the start need not wait for it any longer."""
    return any(
        member.child.left is not None or (member.child.state is not State.STARTING and member.child.slot != PRELOADER)
        for member in members
    )


def _without_exhausted(steps: Schedule[PoolAction], wanted: WantedPool, member: Member) -> Member:
    """``member``; if all its threads are stuck, add ``Drain`` and return its state after that."""
    if member.stuck != STUCK_THREADS or member.child.state is not State.SERVING:
        return member
    steps.due(plan.Drain(member.child.serial, wanted.stop_timeout))
    return replace(member, child=member.child.after(Event.DRAIN, steps.now))


def _serve_and_retire(steps: Schedule[PoolAction], alive: Iterable[Member]) -> None:
    for member in alive:
        child = member.child
        if child.state is State.READY:
            steps.due(plan.Serve(child.serial))
        elif child.state is State.SERVING and child.served is not None and member.lifetime and not member.retired:
            steps.add(Retire(child.serial, MAX_AGE), child.served + member.lifetime)


def _resize(steps: Schedule[PoolAction], wanted: WantedPool, alive: Iterable[Member]) -> None:
    """Resize by one, and only if every slot serves: before that, the effect of the last resize is not known."""
    serving = {member.child.slot for member in alive if member.child.state is State.SERVING}
    if not serving.issuperset(range(wanted.size)):
        return
    if wanted.queued:
        if wanted.size < wanted.maximum:
            steps.due(Resize(wanted.size + 1))
    elif wanted.size > wanted.minimum and wanted.peak <= (wanted.size - 1) * wanted.concurrency:
        steps.add(Resize(wanted.size - 1), wanted.resized + wanted.idle_timeout)


def _keep_slots(steps: Schedule[PoolAction], wanted: WantedPool, members: Sequence[Member]) -> None:
    """Fill vacant slots, replace retired workers, drain workers above ``size``."""
    slots: dict[int, list[Member]] = {slot: [] for slot in range(wanted.size)}
    if wanted.preload:
        slots[PRELOADER] = []
    for member in members:
        if member.child.slot in slots:
            slots[member.child.slot].append(member)
        elif member.child.left is None:
            steps.due(plan.Drain(member.child.serial, wanted.stop_timeout))
    can_spawn = not wanted.preload or any(_can_fork(member) for member in slots[PRELOADER])
    room = max(1, wanted.size // 4) - sum(_being_replaced(slots[slot]) for slot in range(wanted.size))
    for slot, known in slots.items():
        holders = [member for member in known if member.child.left is None]
        if _hand_over(steps, wanted, holders):
            continue
        if slot != PRELOADER:
            if not can_spawn or (holders and room <= 0):
                continue
            room -= len(holders)
        _fill(steps, wanted, slot, known[-1] if known else None)


def _can_fork(member: Member) -> bool:
    return member.child.state is State.SERVING and not member.retired


def _being_replaced(members: Sequence[Member]) -> bool:
    """Whether two workers of one slot run because one of them was retired."""
    alive = [member for member in members if member.child.state is not State.DEAD]
    return len(alive) > 1 and any(member.retired for member in alive)


def _hand_over(steps: Schedule[PoolAction], wanted: WantedPool, holders: Sequence[Member]) -> bool:
    """Drain the processes in a slot that are not needed any more. Returns False if the slot needs another process."""
    if not holders:
        return False
    *older, newest = holders
    if newest.child.served is not None:
        for member in older:
            steps.add(plan.Drain(member.child.serial, wanted.stop_timeout), newest.child.served + HAND_OVER)
        return bool(older) or not newest.retired
    if newest.retired:
        # It was retired before it served.
        steps.due(plan.Drain(newest.child.serial, wanted.stop_timeout))
    return True


def _fill(steps: Schedule[PoolAction], wanted: WantedPool, slot: int, last: Member | None) -> None:
    """Start a process in ``slot``; ``last`` is the previous one there."""
    if last is None or last.retired or last.child.left is None or last.child.left <= wanted.changed:
        steps.due(plan.Spawn(slot, failures=0))
        return
    child = last.child
    at, failures = wanted.backoff.after(child.served, last.child.left, child.failures)
    steps.add(plan.Spawn(slot, failures), at)


def _enforce_time_limits(steps: Schedule[PoolAction], member: Member, limits: TimeLimits) -> None:
    child = member.child
    if member.stuck == STUCK and child.state not in (State.ENDING, State.KILLED):
        steps.due(plan.Dump(child.serial))
    elif (limit := plan.time_limit(child, limits)) is not None:
        steps.add(*limit)
