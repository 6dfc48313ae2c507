"""The supervisor's next actions, as a pure function of the wanted state, the children's states, and the time.

This module has every rule about starting, replacing and stopping fronts: the first start, back-off, time limits, the
order of a stop (``pool_plan`` has the rules for workers). It uses no process, socket or clock. The supervisor's loop
carries the actions out, applies the events, and calls ``plan`` again until the only action is ``Wait``.

Rules:

* The sockets begin to listen when every front of the first generation is ready and every pool has a worker or has
  failed to start one, so no client connects to a service that fails to start. If a front leaves before that moment, the
  whole start fails; if a pool cannot start, only its backend has no workers.
* After that moment every front that leaves is replaced. A front that served for ``RestartBackoff.stable`` seconds is
  replaced immediately. After a shorter service the slot waits, each time twice as long as before, up to
  ``RestartBackoff.cap``.
* A front that is *stuck* (its event loop has been blocked for ``livenessTimeout``) gets a successor in its slot. It is
  left alone until the successor serves, because it may still answer its requests: if its event loop runs again by then,
  it is drained. Otherwise it gets SIGABRT, so that it prints its stacks and exits, and ``DUMP_TIME`` later SIGKILL. At
  most a quarter of the fronts, or one, is replaced at a time, so that memory and start-up load stay bounded when all of
  them wait for the same database. A front that drains is not watched: the drain has a time limit.
* During a stop the fronts serve until ``drain_at`` (the readiness probe already fails); then the sockets are closed and
  the fronts drain. At ``kill_at`` the remaining requests are aborted. Workers are stopped after the fronts that need
  them, so if there are pools, the fronts have to finish earlier and leave the last part of the time to the workers.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sidegate.ipc.control import front_drain_time
from sidegate.supervisor.child_state import ChildStatus, State

END_TIME = 2.0
"""Seconds that a child always has between its last message and its exit (interpreter shutdown, log flush)."""

REACTION_TIME = 1.0
"""Seconds that a child has to react to SIGTERM while it starts. If its application blocks the event loop, it cannot;
nothing is lost by killing it."""

DUMP_TIME = 2.0
"""Seconds that a stuck child has to print the stacks of its threads."""

FAILED_START_GRACE = 5.0
"""Seconds that the other fronts of a failed first start have for their applications' lifespan shutdown."""


class Sockets(enum.Enum):
    """The state of the supervisor's listening sockets."""

    BOUND = "bound"
    LISTENING = "listening"
    CLOSED = "closed"


class PoolsState(enum.Enum):
    """The state of all pools together."""

    STARTING = "starting"  # some pool has neither had a worker nor failed to start one
    WORKING = "working"
    STOPPING = "stopping"
    NONE = "none"  # there are no pools, or their last process has ended


@dataclass(frozen=True, slots=True)
class RestartBackoff:
    """Seconds to wait before a slot is filled again: ``initial``, doubled for each further failure, at most ``cap``.

    A child that left before it had served for ``stable`` seconds counts as a failure. systemd and Kubernetes use the
    same scheme (10 s, doubled up to 5 min, for a container); the times are shorter here, because a front has no image
    to pull and every second without it loses capacity.
    """

    initial: float = 0.5
    cap: float = 30.0
    stable: float = 10.0

    def after(self, served: float | None, left: float, failures: int) -> tuple[float, int]:
        """The time at which a slot may be filled again, and the number of failures in a row by then.

        The last child in the slot began to serve at ``served`` (None: it never did) and left at ``left``; before it
        there were ``failures`` failures in a row.
        """
        if served is not None and left - served >= self.stable:
            return left, 0
        # 2.0 ** 1024 overflows; the cap is reached long before 64 doublings.
        return left + min(self.cap, self.initial * 2.0 ** min(failures, 64)), failures + 1


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop that has begun: drain at ``drain_at``, abort at ``kill_at``, then exit with ``exit_code``."""

    drain_at: float
    kill_at: float
    exit_code: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """The state that the supervisor has to reach. Times are seconds.

    ``stuck`` and ``blocked``: the serials of serving fronts whose event loop is blocked, those that are to be replaced
    for it and all of them (``liveness``).
    """

    processes: int
    sockets: Sockets = Sockets.BOUND
    workers: PoolsState = PoolsState.NONE
    stop: Stop | None = None
    stuck: frozenset[int] = frozenset()
    blocked: frozenset[int] = frozenset()
    start_timeout: float = 60.0
    grace_period: float = 30.0
    backoff: RestartBackoff = RestartBackoff()


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a child in ``slot``; ``failures`` goes into its ``ChildStatus``."""

    slot: int
    failures: int


@dataclass(frozen=True, slots=True)
class Listen:
    """Every front is ready: call ``listen()`` on all sockets."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the supervisor's copies of the listening sockets, so that the kernel completes no more handshakes."""


@dataclass(frozen=True, slots=True)
class StopWorkers:
    """The fronts have exited or their time limit has expired: stop the pools by ``kill_at``."""

    kill_at: float


@dataclass(frozen=True, slots=True)
class Serve:
    """Tell the child to accept connections."""

    serial: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Tell the child to finish its requests within ``seconds`` and exit."""

    serial: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Abort:
    """Tell the child to abort all requests and exit."""

    serial: int


@dataclass(frozen=True, slots=True)
class Dump:
    """Send SIGABRT to the stuck child: it prints its stacks and exits."""

    serial: int


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL the child."""

    serial: int
    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The first start failed: set ``Wanted.stop`` to ``stop``."""

    stop: Stop


@dataclass(frozen=True, slots=True)
class Exit:
    """All children have exited: exit with ``code``."""

    code: int


@dataclass(frozen=True, slots=True)
class Wait:
    """There is nothing to do before ``until`` (None: before the next event). Always the last action."""

    until: float | None


AnyAction = TypeVar("AnyAction")
Action = Spawn | Listen | Close | StopWorkers | Serve | Drain | Abort | Dump | Kill | GiveUp | Exit | Wait


def plan(wanted: Wanted, children: Sequence[ChildStatus], now: float) -> list[Action]:
    """The actions that are due at ``now``, in order; the last one is ``Wait`` or ``Exit``.

    ``children`` is in the order of spawning. It contains the running children and at least the last exited child of
    each slot.
    """
    alive = [child for child in children if child.state is not State.DEAD]
    stop = wanted.stop
    if stop is None and (lost := _failed_start(wanted, children)):
        return [GiveUp(Stop(now, now + FAILED_START_GRACE, lost.exit_code)), Wait(None)]
    schedule = Schedule[Action](now)
    if stop is not None and now >= stop.drain_at:
        _drain_fronts(schedule, wanted, alive, stop)
        if not alive and wanted.workers is PoolsState.NONE:
            return [*schedule.actions, Exit(stop.exit_code)]
    else:
        if stop is not None:
            schedule.wake(stop.drain_at)
        _keep_slots(schedule, wanted, children)
    end = None if stop is None else _end_of_fronts(wanted, stop)
    limits = TimeLimits(wanted.start_timeout, wanted.grace_period, end)
    for child in alive:
        if (limit := time_limit(child, limits)) is not None:
            schedule.add(*limit)
    return [*schedule.actions, Wait(schedule.until)]


class Schedule(Generic[AnyAction]):
    """The actions that are due at ``now``, and the earliest time at which another one will be due."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.actions: list[AnyAction] = []
        self.until: float | None = None

    def due(self, action: AnyAction) -> None:
        """``action`` is due now."""
        self.actions.append(action)

    def add(self, action: AnyAction, at: float) -> None:
        """``action`` is due at ``at``: add it if that time has been reached, else wake up then."""
        if at <= self.now:
            self.actions.append(action)
        else:
            self.wake(at)

    def wake(self, at: float) -> None:
        self.until = at if self.until is None else min(self.until, at)


def _failed_start(wanted: Wanted, children: Iterable[ChildStatus]) -> ChildStatus | None:
    """The front that left before the first start was complete, if there is one."""
    if wanted.sockets is not Sockets.BOUND:
        return None
    return next((child for child in children if child.left is not None), None)


def _end_of_fronts(wanted: Wanted, stop: Stop) -> float:
    """When the fronts abort: at ``kill_at``, or earlier if workers have to stop after them."""
    whole = stop.kill_at - stop.drain_at
    return stop.kill_at if wanted.workers is PoolsState.NONE else stop.drain_at + front_drain_time(max(0.0, whole))


def _drain_fronts(schedule: Schedule[Action], wanted: Wanted, alive: Sequence[ChildStatus], stop: Stop) -> None:
    """Close the sockets first: while the supervisor has a copy open, the kernel continues to complete handshakes."""
    if wanted.sockets is not Sockets.CLOSED:
        schedule.due(Close())
    end = _end_of_fronts(wanted, stop)
    seconds = front_drain_time(max(0.0, end - schedule.now))
    for child in alive:
        if child.left is None:
            schedule.due(Drain(child.serial, seconds))
    if wanted.workers in (PoolsState.STARTING, PoolsState.WORKING):
        schedule.add(StopWorkers(stop.kill_at), end if alive else schedule.now)


def _keep_slots(schedule: Schedule[Action], wanted: Wanted, children: Sequence[ChildStatus]) -> None:
    """Fill vacant slots, replace stuck fronts, let children that are ready serve."""
    slots = defaultdict[int, list[ChildStatus]](list)
    for child in children:
        slots[child.slot].append(child)
    room = max(1, wanted.processes // 4) - sum(_being_replaced(known) for known in slots.values())
    for slot in range(wanted.processes):
        holders = [child for child in slots[slot] if child.left is None]
        _hand_over(schedule, wanted, holders)
        if holders and holders[-1].serial not in wanted.stuck:
            continue
        at, failures = _next_start(wanted, slots[slot], schedule.now)
        if holders and at <= schedule.now:
            room -= 1
            if room < 0:
                continue
        schedule.add(Spawn(slot, failures), at)
    ready = [child for child in children if child.state is State.READY]
    if wanted.sockets is Sockets.LISTENING:
        schedule.actions += [Serve(child.serial) for child in ready]
    elif len(ready) == wanted.processes and wanted.workers is not PoolsState.STARTING:
        schedule.due(Listen())


def _hand_over(schedule: Schedule[Action], wanted: Wanted, holders: Sequence[ChildStatus]) -> None:
    """End the fronts whose successor in the slot, the last of ``holders``, serves.

    One that is blocked and not stuck is left alone: a debugger holds it, or it will be stuck or run again soon.
    """
    if not holders or holders[-1].state is not State.SERVING:
        return
    for child in holders[:-1]:
        if child.serial in wanted.stuck:
            schedule.due(Dump(child.serial))
        elif child.serial not in wanted.blocked:
            schedule.due(Drain(child.serial, wanted.grace_period))


def _being_replaced(known: Iterable[ChildStatus]) -> bool:
    """Whether a stuck front and its successor run in one slot, and one of them is about to serve or to end."""
    holders = [child for child in known if child.left is None]
    starting = len(holders) > 1 and holders[-1].state is not State.SERVING
    return starting or any(child.dumped and child.state is not State.DEAD for child in known)


def _next_start(wanted: Wanted, known: Sequence[ChildStatus], now: float) -> tuple[float, int]:
    """When the next front of a slot may start, and the number of failures in a row by then.

    ``known``: the fronts in the slot so far; the last of them has left, or is stuck.
    """
    last = known[-1] if known else None
    if last is None or last.left is None:
        return now, 0
    return wanted.backoff.after(last.served, last.left, last.failures)


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds to start and to drain, and the time (None: none) at which every child that has left is late."""

    start: float
    drain: float
    end: float | None = None


def time_limit(child: ChildStatus, limits: TimeLimits) -> tuple[Abort | Kill, float] | None:
    """The action against a child that exceeds the time limit of its state, and the time at which it is due.

    None if its state has no time limit.
    """
    if child.state is State.STARTING:
        return Kill(child.serial, f"not ready within {limits.start:g} s"), child.since + limits.start
    if child.left is None:
        return None
    if child.state is State.INTERRUPTED:
        return Kill(child.serial, "its start did not react to SIGTERM"), child.since + REACTION_TIME
    if child.dumped and child.state is State.ENDING:
        return Kill(child.serial, "it is stuck and did not exit after SIGABRT"), child.since + DUMP_TIME
    late = child.left + limits.drain
    late = late if limits.end is None else min(late, limits.end)
    if child.state is State.DRAINING:
        return Abort(child.serial), late
    if child.state is State.ENDING:
        # An application may use the rest of the drain time for the interpreter's exit, too.
        return Kill(child.serial, "it did not exit after it had drained"), max(child.since + END_TIME, late)
    return None
