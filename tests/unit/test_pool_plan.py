"""The brain of a pool: its plan as a table, and under random histories."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sidegate.supervisor.child_state import TRANSITIONS, ChildStatus, Event, State
from sidegate.supervisor.plan import DUMP_TIME, END_TIME, Abort, Drain, Dump, Kill, Serve, Spawn, Wait
from sidegate.supervisor.pool_plan import (
    HAND_OVER,
    MAX_AGE,
    PRELOADER,
    STUCK,
    STUCK_THREADS,
    Member,
    PoolAction,
    Resize,
    Retire,
    WantedPool,
    has_started,
    plan_pool,
)
from tests.support.plans import carry_out

READY = (Event.READY,)
SERVING = (Event.READY, Event.SERVE)
DRAINING = (*SERVING, Event.DRAIN)
ENDING = (*DRAINING, Event.DRAINED)
DEAD = (*SERVING, Event.EXITED)
AT_A_STANDSTILL = (*SERVING, Event.DUMP)

ONE = WantedPool(1, 1, size=1)
TWO = WantedPool(2, 2, size=2)
PRELOADED = replace(ONE, preload=True)
ELASTIC = WantedPool(1, 3, size=2, concurrency=10, resized=0.0)


def a_member(
    serial: int,
    *events: Event,
    slot: int = 0,
    failures: int = 0,
    since: float = 0.0,
    lifetime: float | None = None,
    retired: str = "",
    stuck: str = "",
) -> Member:
    """A worker to which ``events`` happened at ``since``."""
    child = ChildStatus(serial, slot, failures, since)
    for event in events:
        child = child.after(event, since)
    return Member(child, lifetime, retired, stuck)


def retired(serial: int, *events: Event, slot: int = 0, since: float = 0.0) -> Member:
    return a_member(serial, *events, slot=slot, since=since, retired="reload")


# ---- start ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "actions"),
    [
        ([], [Spawn(0, 0), Spawn(1, 0), Wait(None)]),
        ([a_member(1), a_member(2, slot=1, since=5.0)], [Wait(60.0)]),
        ([a_member(1, *READY), a_member(2, slot=1)], [Serve(1), Wait(60.0)]),
        ([a_member(1, *SERVING), a_member(2, *SERVING, slot=1)], [Wait(None)]),
        (
            [a_member(1, since=-60.0), a_member(2, *SERVING, slot=1)],
            [Kill(1, "not ready within 60 s"), Wait(None)],
        ),
    ],
)
def test_start(members: list[Member], actions: list[PoolAction]) -> None:
    assert plan_pool(TWO, members, 0.0) == actions


@pytest.mark.parametrize(
    ("members", "done"),
    [
        ([], False),
        ([a_member(1)], False),
        ([a_member(1, *READY)], True),
        ([a_member(1), a_member(2, Event.FAILED, slot=1)], True),
        ([a_member(1, *SERVING, slot=PRELOADER)], False),
        ([a_member(1, Event.EXITED, slot=PRELOADER)], True),
    ],
)
def test_a_pool_is_waited_for_until_it_has_a_worker_or_failed_to(members: list[Member], done: bool) -> None:
    assert has_started(members) is done


# ---- replacement of what ended ----------------------------------------------------------------------------


@pytest.mark.parametrize(("failures", "delay"), [(0, 0.5), (1, 1.0), (6, 30.0)])
def test_a_worker_that_cannot_start_backs_off(failures: int, delay: float) -> None:
    failed = a_member(1, Event.FAILED, Event.EXITED, failures=failures)
    assert plan_pool(ONE, [failed], delay - 0.01) == [Wait(delay)]
    assert plan_pool(ONE, [failed], delay) == [Spawn(0, failures + 1), Wait(None)]


def test_a_worker_that_crashed_is_replaced_at_once() -> None:
    crashed = a_member(1, *DEAD)
    crashed = replace(crashed, child=replace(crashed.child, served=-1.0))
    assert plan_pool(ONE, [crashed], 0.0) == [Spawn(0, 0), Wait(None)]


def test_changed_files_make_earlier_failures_void() -> None:
    failed = a_member(1, Event.FAILED, Event.EXITED, failures=9)
    assert plan_pool(replace(ONE, changed=1.0), [failed], 1.0) == [Spawn(0, 0), Wait(None)]


# ---- replacement of the retired ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "actions"),
    [
        # The successor starts, and nothing else happens until it serves.
        ([retired(1, *SERVING)], [Spawn(0, 0), Wait(None)]),
        ([retired(1, *SERVING), a_member(2)], [Wait(60.0)]),
        ([retired(1, *SERVING), a_member(2, *READY)], [Serve(2), Wait(None)]),
        ([retired(1, *SERVING), a_member(2, *SERVING)], [Wait(HAND_OVER)]),
        ([retired(1, *SERVING), a_member(2, *SERVING, since=-HAND_OVER)], [Drain(1, 30.0), Wait(None)]),
        ([retired(1, *DRAINING), a_member(2, *SERVING)], [Wait(30.0)]),
        # A successor that fails is tried again, while the old one serves.
        ([retired(1, *SERVING), a_member(2, Event.FAILED, Event.EXITED)], [Wait(0.5)]),
        # A successor may be retired itself: outdated before it served, or after.
        ([retired(1, *SERVING), retired(2)], [Drain(2, 30.0), Wait(60.0)]),
        ([retired(1, *SERVING), retired(2, Event.DRAIN, Event.EXITED)], [Spawn(0, 0), Wait(None)]),
        ([retired(1, *SERVING), retired(2, *SERVING, since=-HAND_OVER)], [Drain(1, 30.0), Wait(None)]),
        # Whoever was to go anyway had no short life.
        ([retired(1, *DEAD)], [Spawn(0, 0), Wait(None)]),
    ],
)
def test_a_successor_serves_before_the_retired_one_drains(members: list[Member], actions: list[PoolAction]) -> None:
    assert plan_pool(ONE, members, 0.0) == actions


@pytest.mark.parametrize(("size", "at_once"), [(1, 1), (3, 1), (8, 2), (11, 2)])
def test_a_quarter_is_replaced_at_once(size: int, at_once: int) -> None:
    wanted = WantedPool(size, size, size=size)
    members = [retired(slot, *SERVING, slot=slot) for slot in range(size)]
    spawns = [Spawn(slot, 0) for slot in range(at_once)]
    assert plan_pool(wanted, members, 0.0) == [*spawns, Wait(None)]
    begun = [*members, *(a_member(100 + slot, slot=slot) for slot in range(at_once))]
    assert plan_pool(wanted, begun, 0.0) == [Wait(60.0)]


def test_an_old_process_counts_until_it_has_ended() -> None:
    old, new = retired(1, *DRAINING), a_member(3, *SERVING)
    other = retired(2, *SERVING, slot=1)
    assert plan_pool(TWO, [old, other, new], 0.0) == [Wait(30.0)]
    ended = replace(old, child=old.child.after(Event.EXITED, 1.0))
    assert plan_pool(TWO, [ended, other, new], 1.0) == [Spawn(1, 0), Wait(None)]


def test_a_vacant_slot_is_filled_whatever_is_being_replaced() -> None:
    members = [retired(1, *SERVING), a_member(2, *DEAD, slot=1), a_member(3)]
    assert plan_pool(TWO, members, 0.5) == [Spawn(1, 1), Wait(60.0)]


def test_a_worker_retires_with_its_age() -> None:
    member = a_member(1, *SERVING, since=1.0, lifetime=99.0)
    assert plan_pool(ONE, [member], 50.0) == [Wait(100.0)]
    assert plan_pool(ONE, [member], 100.0) == [Retire(1, MAX_AGE), Wait(None)]
    assert plan_pool(ONE, [replace(member, retired=MAX_AGE)], 100.0) == [Spawn(0, 0), Wait(None)]


# ---- number of workers ------------------------------------------------------------------------------------

FULL = [a_member(1, *SERVING), a_member(2, *SERVING, slot=1)]


@pytest.mark.parametrize(
    ("wanted", "members", "actions"),
    [
        (replace(ELASTIC, queued=True), FULL, [Resize(3), Wait(None)]),
        (replace(ELASTIC, queued=True, maximum=2), FULL, [Wait(None)]),
        # One starts at a time, and not beside one that cannot start.
        (replace(ELASTIC, queued=True), [FULL[0], a_member(2, slot=1)], [Wait(60.0)]),
        (replace(ELASTIC, queued=True), [FULL[0], a_member(2, Event.FAILED, Event.EXITED, slot=1)], [Wait(0.5)]),
        # Ten exchanges fit into one worker, eleven do not.
        (replace(ELASTIC, peak=10), FULL, [Wait(60.0)]),
        (replace(ELASTIC, peak=11), FULL, [Wait(None)]),
        (replace(ELASTIC, peak=10, resized=-60.0), FULL, [Resize(1), Wait(None)]),
        (replace(ELASTIC, minimum=2, resized=-60.0), FULL, [Wait(None)]),
        (replace(ELASTIC, size=1), FULL, [Drain(2, 30.0), Wait(None)]),
        (replace(ELASTIC, size=1), [FULL[0], a_member(2, *DRAINING, slot=1)], [Wait(30.0)]),
    ],
)
def test_a_pool_grows_with_its_queue_and_shrinks_when_idle(
    wanted: WantedPool, members: list[Member], actions: list[PoolAction]
) -> None:
    assert plan_pool(wanted, members, 0.0) == actions


# ---- preloading -------------------------------------------------------------------------------------------

PRELOADER_READY = a_member(1, *SERVING, slot=PRELOADER)


@pytest.mark.parametrize(
    ("members", "actions"),
    [
        ([], [Spawn(PRELOADER, 0), Wait(None)]),
        ([a_member(1, slot=PRELOADER)], [Wait(60.0)]),
        ([a_member(1, *READY, slot=PRELOADER)], [Serve(1), Wait(None)]),
        ([PRELOADER_READY], [Spawn(0, 0), Wait(None)]),
        # Its death concerns no worker, but nothing can be forked until there is another.
        ([a_member(1, Event.EXITED, slot=PRELOADER), a_member(2, *SERVING)], [Wait(0.5)]),
        ([a_member(1, Event.EXITED, slot=PRELOADER), a_member(2, *DEAD)], [Wait(0.5)]),
        # Reload: first another preloader, then another worker from it.
        ([retired(1, *SERVING, slot=PRELOADER), retired(2, *SERVING)], [Spawn(PRELOADER, 0), Wait(None)]),
        (
            [retired(1, *SERVING, slot=PRELOADER), retired(2, *SERVING), a_member(3, *SERVING, slot=PRELOADER)],
            [Spawn(0, 0), Wait(HAND_OVER)],
        ),
    ],
)
def test_workers_are_forked_from_a_preloader(members: list[Member], actions: list[PoolAction]) -> None:
    assert plan_pool(PRELOADED, members, 0.0) == actions


# ---- time limits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("member", "at", "action"),
    [
        (a_member(1, *DRAINING), 30.0, Abort(1)),
        (a_member(1, *ENDING), 30.0, Kill(1, "it did not exit after it had drained")),
        (a_member(1, *ENDING, stuck=STUCK), 30.0, Kill(1, "it did not exit after it had drained")),
        (a_member(1, *AT_A_STANDSTILL, stuck=STUCK), DUMP_TIME, Kill(1, "it is stuck and did not exit after SIGABRT")),
    ],
)
def test_no_worker_stays_in_a_passing_state_for_ever(member: Member, at: float, action: PoolAction) -> None:
    members = [member, a_member(2, *SERVING)]
    assert plan_pool(ONE, members, at - 0.1) == [Wait(at)]
    assert plan_pool(ONE, members, at) == [action, Wait(None)]


def test_a_worker_whose_threads_are_all_stuck_leaves_at_once() -> None:
    """Its successor starts meanwhile; whether somebody else drains it makes no difference."""
    member = a_member(1, *SERVING, since=-10.0, stuck=STUCK_THREADS)
    leaves = Drain(1, ONE.stop_timeout)
    assert plan_pool(ONE, [member], 0.0) == [leaves, Spawn(0, 0), Wait(ONE.stop_timeout)]
    assert plan_pool(replace(ONE, kill_at=10.0), [member], 0.0) == [leaves, Wait(10.0)]
    left = [a_member(1, *DRAINING, stuck=STUCK_THREADS), a_member(2, *SERVING)]
    assert plan_pool(ONE, left, 0.0) == [Wait(ONE.stop_timeout)]
    assert plan_pool(ONE, left, ONE.stop_timeout) == [Abort(1), Wait(None)]


def test_a_stuck_worker_prints_its_stacks_and_makes_room() -> None:
    assert plan_pool(ONE, [a_member(1, *SERVING, stuck=STUCK)], 0.0) == [Dump(1), Wait(None)]
    told = a_member(1, *AT_A_STANDSTILL, stuck=STUCK)
    assert plan_pool(ONE, [told], 0.5) == [Spawn(0, 1), Wait(DUMP_TIME)]
    killed = a_member(1, *AT_A_STANDSTILL, Event.KILL, stuck=STUCK)
    assert plan_pool(ONE, [killed, a_member(2, *SERVING)], 1e6) == [Wait(None)]


# ---- stop -------------------------------------------------------------------------------------------------


def test_a_stop_drains_everything_and_spawns_nothing() -> None:
    wanted = replace(PRELOADED, kill_at=10.0)
    members = [PRELOADER_READY, retired(2, *SERVING), a_member(3), a_member(4, *DEAD)]
    assert plan_pool(wanted, members, 0.0) == [Drain(1, 8.0), Drain(2, 8.0), Drain(3, 8.0), Wait(60.0)]
    assert plan_pool(wanted, [a_member(2, *DRAINING)], 9.0) == [Wait(10.0)]
    assert plan_pool(wanted, [a_member(2, *DRAINING)], 10.0) == [Abort(2), Wait(None)]
    ending = a_member(2, *ENDING, since=10.0)
    assert plan_pool(wanted, [ending], 10.0) == [Wait(10.0 + END_TIME)]


def test_a_stop_without_time_is_no_negative_one() -> None:
    assert plan_pool(replace(ONE, kill_at=-5.0), [a_member(1, *SERVING)], 0.0) == [Drain(1, 0.0), Wait(None)]


# ---- random histories -------------------------------------------------------------------------------------

MOST = 5


class Pooled(RuleBasedStateMachine):
    """The plan drives imaginary workers, which say and suffer what they like.

    Held: a worker that serves is drained only if another of its slot serves, it is too much, or everything stops; the
    number of processes is bounded; a pool that preloads forks only from a preloader that serves; whatever happened,
    quiet workers converge.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.members: dict[int, Member] = {}
        self.due: float | None = None
        self.spawned = 0

    @initialize(preload=st.booleans())
    def begin(self, preload: bool) -> None:
        self.wanted = WantedPool(2, MOST, size=2, concurrency=1, preload=preload)
        self.carry_out()

    def carry_out(self) -> None:
        last = carry_out(lambda: plan_pool(self.wanted, list(self.members.values()), self.now), self.act, self.now)
        assert isinstance(last, Wait)
        self.due = last.until

    def act(self, order: PoolAction) -> None:
        match order:
            case Spawn(slot, failures):
                self.spawn(slot, failures)
            case Serve(serial):
                self.happen(serial, Event.SERVE)
            case Drain(serial):
                assert self.may_be_drained(self.members[serial])
                self.happen(serial, Event.DRAIN)
            case Abort(serial):
                self.happen(serial, Event.ABORT)
            case Dump(serial):
                self.happen(serial, Event.DUMP)
            case Kill(serial):
                self.happen(serial, Event.KILL)
            case Retire(serial, cause):
                self.members[serial] = replace(self.members[serial], retired=cause)
            case Resize(size):
                assert self.wanted.minimum <= size <= self.wanted.maximum
                self.wanted = replace(self.wanted, size=size, resized=self.now)

    def may_be_drained(self, member: Member) -> bool:
        serving = [m for m in self.alive() if m.child.state is State.SERVING and m.child.slot == member.child.slot]
        needless = member.child.slot >= self.wanted.size or member.child.state is State.STARTING or member.stuck
        return bool(needless) or len(serving) > 1 or self.wanted.kill_at is not None

    def spawn(self, slot: int, failures: int) -> None:
        assert self.wanted.kill_at is None
        if slot != PRELOADER and self.wanted.preload:
            preloaders = [m for m in self.alive() if m.child.slot == PRELOADER and not m.retired]
            assert any(m.child.state is State.SERVING for m in preloaders)
        gone = [s for s, m in self.members.items() if m.child.slot == slot and m.child.state is State.DEAD]
        for serial in gone:
            del self.members[serial]
        self.spawned += 1
        self.members[self.spawned] = Member(ChildStatus(self.spawned, slot, failures, self.now), lifetime=600.0)

    def happen(self, serial: int, event: Event) -> None:
        member = self.members[serial]
        self.members[serial] = replace(member, child=member.child.after(event, self.now))

    def alive(self) -> list[Member]:
        return [member for member in self.members.values() if member.child.state is not State.DEAD]

    @precondition(lambda self: self.alive())
    @rule(data=st.data(), event=st.sampled_from([Event.READY, Event.FAILED, Event.DRAIN, Event.DRAINED, Event.EXITED]))
    def worker_speaks_or_dies(self, data: st.DataObject, event: Event) -> None:
        child = data.draw(st.sampled_from(self.alive())).child
        if event in TRANSITIONS[child.state]:
            self.happen(child.serial, event)
            self.carry_out()

    @precondition(lambda self: self.alive())
    @rule(data=st.data(), change=st.sampled_from([("stuck", STUCK), ("stuck", STUCK_THREADS), ("retired", "reload")]))
    def worker_is_retired_or_stuck(self, data: st.DataObject, change: tuple[str, str]) -> None:
        member = data.draw(st.sampled_from(self.alive()))
        what, word = change
        changed = replace(member, stuck=word) if what == "stuck" else replace(member, retired=word)
        self.members[member.child.serial] = changed
        self.carry_out()

    @rule()
    def files_change(self) -> None:
        self.wanted = replace(self.wanted, changed=self.now)
        for serial, member in self.members.items():
            if member.child.left is None:
                self.members[serial] = replace(member, retired="reload")
        self.carry_out()

    @rule(queued=st.booleans(), peak=st.integers(0, MOST))
    def load_changes(self, queued: bool, peak: int) -> None:
        self.wanted = replace(self.wanted, queued=queued, peak=peak)
        self.carry_out()

    @rule(seconds=st.floats(0.01, 100.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.carry_out()

    @precondition(lambda self: self.wanted.kill_at is None)
    @rule()
    def operator_stops(self) -> None:
        self.wanted = replace(self.wanted, kill_at=self.now + 10.0)
        self.carry_out()

    @invariant()
    def slots_hold_a_worker_and_a_successor_at_most(self) -> None:
        for slot in range(PRELOADER, MOST):
            holding = [m for m in self.members.values() if m.child.slot == slot and m.child.left is None]
            assert len(holding) <= 2

    def teardown(self) -> None:
        """From here every worker behaves: it starts, ends when told to, and dies when killed."""
        self.wanted = replace(self.wanted, queued=False, peak=MOST)
        for _ in range(500):
            if self.at_rest():
                return
            for member in self.alive():
                child = member.child
                if child.state is State.STARTING:
                    self.happen(child.serial, Event.READY)
                elif child.state is State.DRAINING:
                    self.happen(child.serial, Event.DRAINED)
                elif child.left is not None:
                    self.happen(child.serial, Event.EXITED)
            self.carry_out()
            if not self.at_rest() and self.due is not None:
                self.now = max(self.now, self.due)
                self.carry_out()
        raise AssertionError("does not converge")

    def at_rest(self) -> bool:
        alive = self.alive()
        if self.wanted.kill_at is not None:
            return not alive
        slots = sorted(member.child.slot for member in alive if member.child.state is State.SERVING)
        expected = [*([PRELOADER] if self.wanted.preload else []), *range(self.wanted.size)]
        return len(alive) == len(slots) and slots == expected and not any(member.retired for member in alive)


Pooled.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
TestPooled = Pooled.TestCase
