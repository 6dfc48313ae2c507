"""What the supervisor has to do next, as a pure function of what is wanted, what there is, and the time.

Where it stands: the supervisor's brain. It owns every rule about starting, replacing and ending fronts: the
first start, back-off, time limits, the order of a graceful stop (``pool_plan`` has the rules for workers). It never
touches a process, a socket or a clock; the supervisor's loop carries the actions out, applies the events and asks
again until only ``Wait`` is left. No error leaves it.

Rules:

* The sockets begin to listen when every front of the first generation is ready and every pool has a worker or has
  failed to start one, so nothing connects to a service that will not start. A front that leaves before that moment
  ends the whole start; a pool that cannot start leaves its backend without workers, and the rest serves.
* After that moment nothing gives up: a front that leaves is replaced. One that served for ``RestartBackoff.stable``
  seconds is replaced at once, a short life waits twice as long as the one before it, up to ``RestartBackoff.cap``.
* A stop lets the fronts work until ``drain_at`` (the readiness probe is already failing), then closes the
  sockets and drains; at ``kill_at`` what is left is cut. Workers are stopped when the fronts that need them have
  gone, so where there are pools the fronts leave them a last share of the time.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sidegate.ipc.control import share_of_front
from sidegate.supervisor.child_state import ChildStatus, State

END_TIME = 2.0
"""Seconds that a child always has between its last word and its exit (interpreter shutdown, log flush)."""

FAILED_START_GRACE = 5.0
"""Seconds that the other fronts of a failed first start have for their applications' lifespan shutdown."""


class Sockets(enum.Enum):
    """The listening sockets in the supervisor's hands."""

    BOUND = "bound"
    LISTENING = "listening"
    CLOSED = "closed"


class PoolsState(enum.Enum):
    """The workers of all pools together."""

    STARTING = "starting"  # some pool has neither had a worker nor failed to start one
    WORKING = "working"
    STOPPING = "stopping"
    NONE = "none"  # there are no pools, or their last process has ended


@dataclass(frozen=True, slots=True)
class RestartBackoff:
    """Seconds to wait before a slot is filled again: ``initial``, doubled for each further short life, at most ``cap``.

    systemd's and Kubernetes' shape (10 s doubling to 5 min for a container); shorter here, because a front has no
    image to pull and every second without it is lost capacity.
    """

    initial: float = 0.5
    cap: float = 30.0
    stable: float = 10.0

    def after(self, served: float | None, left: float, failures: int) -> tuple[float, int]:
        """When a slot may be filled again, and the count of short lives in a row by then.

        The child that was in it began to serve at ``served``, left at ``left``, and came after ``failures`` short
        lives.
        """
        if served is not None and left - served >= self.stable:
            return left, 0
        # 2.0 ** 1024 overflows; the cap is reached long before 64 doublings.
        return left + min(self.cap, self.initial * 2.0 ** min(failures, 64)), failures + 1


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop under way: drain at ``drain_at``, cut at ``kill_at``, then exit with ``exit_code``."""

    drain_at: float
    kill_at: float
    exit_code: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the supervisor is to bring about. Times are seconds."""

    processes: int
    sockets: Sockets = Sockets.BOUND
    workers: PoolsState = PoolsState.NONE
    stop: Stop | None = None
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
    """The fronts are gone or out of time: stop the pools by ``kill_at``."""

    kill_at: float


@dataclass(frozen=True, slots=True)
class Serve:
    """Tell the child to accept connections."""

    serial: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Tell the child to finish what it has begun within ``seconds`` and exit."""

    serial: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Abort:
    """Tell the child to cut everything and exit."""

    serial: int


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL the child."""

    serial: int
    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The first start failed: let ``stop`` be wanted from now on."""

    stop: Stop


@dataclass(frozen=True, slots=True)
class Exit:
    """Nothing is left to do: leave with ``code``."""

    code: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before ``until`` (None: before something happens). Always the last action."""

    until: float | None


AnyAction = TypeVar("AnyAction")
Action = Spawn | Listen | Close | StopWorkers | Serve | Drain | Abort | Kill | GiveUp | Exit | Wait


def plan(wanted: Wanted, children: Sequence[ChildStatus], now: float) -> list[Action]:
    """The actions that are due at ``now``, in order; the last one is ``Wait`` or ``Exit``.

    ``children`` is in the order of spawning and holds, besides the living, at least the last dead child of each slot.
    """
    alive = [child for child in children if child.state is not State.DEAD]
    stop = wanted.stop
    if stop is None and (lost := _failed_start(wanted, children)):
        return [GiveUp(Stop(now, now + FAILED_START_GRACE, lost.exit_code)), Wait(None)]
    schedule = Schedule[Action](now)
    if stop is not None and now >= stop.drain_at:
        _wind_down(schedule, wanted, alive, stop)
        if not alive and wanted.workers is PoolsState.NONE:
            return [*schedule.actions, Exit(stop.exit_code)]
    else:
        if stop is not None:
            schedule.wake(stop.drain_at)
        _keep_up(schedule, wanted, children)
    end = None if stop is None else _end_of_fronts(wanted, stop)
    limits = TimeLimits(wanted.start_timeout, wanted.grace_period, end)
    for child in alive:
        if (limit := time_limit(child, limits)) is not None:
            schedule.add(*limit)
    return [*schedule.actions, Wait(schedule.until)]


class Schedule(Generic[AnyAction]):
    """Actions due at ``now``, and the earliest time at which another one will be."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.actions: list[AnyAction] = []
        self.until: float | None = None

    def due(self, action: AnyAction) -> None:
        """``action`` is due now."""
        self.actions.append(action)

    def add(self, action: AnyAction, at: float) -> None:
        """``action`` is due at ``at``: take it if that time has come."""
        if at <= self.now:
            self.actions.append(action)
        else:
            self.wake(at)

    def wake(self, at: float) -> None:
        self.until = at if self.until is None else min(self.until, at)


def _failed_start(wanted: Wanted, children: Iterable[ChildStatus]) -> ChildStatus | None:
    """The front that left before the first start was done, if one did."""
    if wanted.sockets is not Sockets.BOUND:
        return None
    return next((child for child in children if child.left is not None), None)


def _end_of_fronts(wanted: Wanted, stop: Stop) -> float:
    """When the fronts are cut: at the end, or a last share of the time earlier if workers are to stop after them."""
    whole = stop.kill_at - stop.drain_at
    return stop.kill_at if wanted.workers is PoolsState.NONE else stop.drain_at + share_of_front(max(0.0, whole))


def _wind_down(schedule: Schedule[Action], wanted: Wanted, alive: Sequence[ChildStatus], stop: Stop) -> None:
    """Close the sockets first: while the supervisor holds a copy, the kernel goes on completing handshakes."""
    if wanted.sockets is not Sockets.CLOSED:
        schedule.due(Close())
    end = _end_of_fronts(wanted, stop)
    seconds = share_of_front(max(0.0, end - schedule.now))
    for child in alive:
        if child.left is None:
            schedule.due(Drain(child.serial, seconds))
    if wanted.workers in (PoolsState.STARTING, PoolsState.WORKING):
        schedule.add(StopWorkers(stop.kill_at), end if alive else schedule.now)


def _keep_up(schedule: Schedule[Action], wanted: Wanted, children: Sequence[ChildStatus]) -> None:
    """Fill vacant slots; begin to serve."""
    last = {child.slot: child for child in children}
    for slot in range(wanted.processes):
        child = last.get(slot)
        if child is None:
            schedule.due(Spawn(slot, failures=0))
        elif child.left is not None:
            at, failures = wanted.backoff.after(child.served, child.left, child.failures)
            schedule.add(Spawn(slot, failures), at)
    ready = [child for child in children if child.state is State.READY]
    if wanted.sockets is Sockets.LISTENING:
        schedule.actions += [Serve(child.serial) for child in ready]
    elif len(ready) == wanted.processes and wanted.workers is not PoolsState.STARTING:
        schedule.due(Listen())


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds to start and to drain, and the time (None: none) at which whatever has left is late in any case."""

    start: float
    drain: float
    end: float | None = None


def time_limit(child: ChildStatus, limits: TimeLimits) -> tuple[Abort | Kill, float] | None:
    """What is to happen at which time to a child in one of the states that it may not stay in for ever."""
    if child.state is State.STARTING:
        return Kill(child.serial, f"not ready within {limits.start:g} s"), child.since + limits.start
    if child.left is None:
        return None
    late = child.left + limits.drain
    late = late if limits.end is None else min(late, limits.end)
    if child.state is State.DRAINING:
        return Abort(child.serial), late
    if child.state is State.ENDING:
        # Until it is late, applications may take their time at the interpreter's exit too.
        return Kill(child.serial, "it did not exit after it had drained"), max(child.since + END_TIME, late)
    return None
