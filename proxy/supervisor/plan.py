"""What the supervisor has to do next, as a pure function of what is wanted, what there is, and the time.

Where it stands: the supervisor's brain. It owns every rule about starting, replacing and ending children: the
first start, back-off, time limits, the order of a graceful stop. It never touches a process, a socket or a
clock; the supervisor's loop carries the actions out, applies the events and asks again until only ``Wait`` is
left. No error leaves it.

Rules:

* The sockets begin to listen when every front of the first generation is ready, so nothing connects to a
  service that will not start. A front that leaves before that moment ends the whole start.
* After that moment nothing gives up: a front that leaves is replaced. One that served for ``Backoff.stable``
  seconds is replaced at once, a short life waits twice as long as the one before it, up to ``Backoff.cap``.
* A stop lets the fronts work until ``drain_at`` (the readiness probe is already failing), then closes the
  sockets and drains; at ``kill_at`` what is left is cut.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from proxy.control import share_of_front
from proxy.supervisor.process import Child, State

END_TIME = 2.0
"""Seconds that a child always has between its last word and its exit (interpreter shutdown, log flush)."""

FAILED_START_GRACE = 5.0
"""Seconds that the other fronts of a failed first start have for their applications' lifespan shutdown."""


class Sockets(enum.Enum):
    """The listening sockets in the supervisor's hands."""

    BOUND = "bound"
    LISTENING = "listening"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Backoff:
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
    stop: Stop | None = None
    start_timeout: float = 60.0
    grace_period: float = 30.0
    backoff: Backoff = Backoff()


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a child in ``slot``; ``failures`` goes into its ``Child``."""

    slot: int
    failures: int


@dataclass(frozen=True, slots=True)
class Listen:
    """Every front is ready: call ``listen()`` on all sockets."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the supervisor's copies of the listening sockets, so that the kernel completes no more handshakes."""


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


Action = Spawn | Listen | Close | Serve | Drain | Abort | Kill | GiveUp | Exit | Wait


def plan(wanted: Wanted, children: Sequence[Child], now: float) -> list[Action]:
    """The actions that are due at ``now``, in order; the last one is ``Wait`` or ``Exit``.

    ``children`` is in the order of spawning and holds, besides the living, at least the last dead child of each slot.
    """
    alive = [child for child in children if child.state is not State.DEAD]
    stop = wanted.stop
    if stop is None and (lost := _failed_start(wanted, children)):
        return [GiveUp(Stop(now, now + FAILED_START_GRACE, lost.exit_code)), Wait(None)]
    schedule = _Schedule(now)
    if stop is not None and now >= stop.drain_at:
        _wind_down(schedule, wanted, alive, stop)
        if not alive:
            return [*schedule.actions, Exit(stop.exit_code)]
    else:
        if stop is not None:
            schedule.wake(stop.drain_at)
        _keep_up(schedule, wanted, children)
    _enforce_time_limits(schedule, wanted, alive, stop)
    return [*schedule.actions, Wait(schedule.until)]


class _Schedule:
    """Actions due at ``now``, and the earliest time at which another one will be."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.actions: list[Action] = []
        self.until: float | None = None

    def add(self, action: Action, at: float) -> None:
        """``action`` is due at ``at``: take it if that time has come."""
        if at <= self.now:
            self.actions.append(action)
        else:
            self.wake(at)

    def wake(self, at: float) -> None:
        self.until = at if self.until is None else min(self.until, at)


def _failed_start(wanted: Wanted, children: Iterable[Child]) -> Child | None:
    """The front that left before the first start was done, if one did."""
    if wanted.sockets is not Sockets.BOUND:
        return None
    return next((child for child in children if child.left is not None), None)


def _wind_down(schedule: _Schedule, wanted: Wanted, alive: Iterable[Child], stop: Stop) -> None:
    """Close the sockets first: while the supervisor holds a copy, the kernel goes on completing handshakes."""
    now = schedule.now
    if wanted.sockets is not Sockets.CLOSED:
        schedule.add(Close(), now)
    left = max(0.0, stop.kill_at - now)
    seconds = share_of_front(left)
    for child in alive:
        if child.left is None:
            schedule.add(Drain(child.serial, seconds), now)


def _keep_up(schedule: _Schedule, wanted: Wanted, children: Sequence[Child]) -> None:
    """Fill vacant slots; begin to serve."""
    last = {child.slot: child for child in children}
    for slot in range(wanted.processes):
        child = last.get(slot)
        if child is None:
            schedule.add(Spawn(slot, failures=0), schedule.now)
        elif child.left is not None:
            at, failures = wanted.backoff.after(child.served, child.left, child.failures)
            schedule.add(Spawn(slot, failures), at)
    ready = [child for child in children if child.state is State.READY]
    if wanted.sockets is Sockets.LISTENING:
        schedule.actions += [Serve(child.serial) for child in ready]
    elif len(ready) == wanted.processes:
        schedule.actions.append(Listen())


def _enforce_time_limits(schedule: _Schedule, wanted: Wanted, alive: Iterable[Child], stop: Stop | None) -> None:
    """The three states that a child may not stay in for ever: starting, draining, ending."""
    for child in alive:
        if child.state is State.STARTING:
            reason = f"not ready within {wanted.start_timeout:g} s"
            schedule.add(Kill(child.serial, reason), child.since + wanted.start_timeout)
        elif child.left is not None:
            late = child.left + wanted.grace_period
            late = late if stop is None else min(late, stop.kill_at)
            if child.state is State.DRAINING:
                schedule.add(Abort(child.serial), late)
            elif child.state is State.ENDING:
                # Until it is late, applications may take their time at the interpreter's exit too.
                schedule.add(
                    Kill(child.serial, "it said its last word and does not end"), max(child.since + END_TIME, late)
                )
