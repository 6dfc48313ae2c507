"""The supervisor's brain: the table of a child's states, the plan, and both together under random histories."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sidegate.supervisor.child_state import TRANSITIONS, ChildStatus, Event, ImpossibleEventError, State
from sidegate.supervisor.plan import (
    DUMP_TIME,
    END_TIME,
    FAILED_START_GRACE,
    REACTION_TIME,
    Abort,
    Action,
    Close,
    Drain,
    Dump,
    Exit,
    GiveUp,
    Kill,
    Listen,
    PoolsState,
    RestartBackoff,
    Serve,
    Sockets,
    Spawn,
    Stop,
    StopWorkers,
    Wait,
    Wanted,
    plan,
)
from tests.support.plans import carry_out


def a_child(serial: int, *events: Event, slot: int = 0, failures: int = 0, since: float = 0.0) -> ChildStatus:
    """A child to which ``events`` happened at ``since``."""
    child = ChildStatus(serial, slot, failures, since)
    for event in events:
        child = child.after(event, since)
    return child


READY = (Event.READY,)
SERVING = (Event.READY, Event.SERVE)
DRAINING = (*SERVING, Event.DRAIN)
ENDING = (*DRAINING, Event.DRAINED)
DUMPED = (*SERVING, Event.DUMP)
DEAD = (*SERVING, Event.EXITED)
LISTENING = Wanted(processes=1, sockets=Sockets.LISTENING)


# ---- states -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_every_event_in_every_state_follows_the_table(state: State, event: Event) -> None:
    child = replace(a_child(1), state=state)
    target = TRANSITIONS[state].get(event)
    if target is None:
        with pytest.raises(ImpossibleEventError, match=f"{event.value} while {state.value}"):
            child.after(event, 1.0)
    else:
        assert child.after(event, 1.0).state is target


def test_no_transition_leads_back() -> None:
    order = list(State)
    for source, row in TRANSITIONS.items():
        for target in row.values():
            assert order.index(target) >= order.index(source)


def test_every_living_state_can_die_and_none_ends_before_exit() -> None:
    for state, row in TRANSITIONS.items():
        if state is not State.DEAD:
            assert row[Event.EXITED] is State.DEAD
            assert [event for event, target in row.items() if target is State.DEAD] == [Event.EXITED]


def test_a_child_keeps_when_it_served_and_when_it_first_left() -> None:
    child = ChildStatus(1, 0, 0, 1.0).after(Event.READY, 2.0).after(Event.SERVE, 3.0)
    assert (child.since, child.served, child.left) == (3.0, 3.0, None)
    child = child.after(Event.DRAIN, 4.0).after(Event.DRAIN, 5.0).after(Event.EXITED, 6.0)
    assert (child.since, child.served, child.left) == (6.0, 3.0, 4.0)


# ---- first start ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("children", "actions"),
    [
        ([], [Spawn(0, 0), Spawn(1, 0), Wait(None)]),
        ([a_child(1)], [Spawn(1, 0), Wait(60.0)]),
        ([a_child(1, *READY), a_child(2, slot=1, since=5.0)], [Wait(65.0)]),
        ([a_child(1, *READY), a_child(2, *READY, slot=1)], [Listen(), Wait(None)]),
        ([a_child(1, *READY), a_child(2, slot=1, since=-60.0)], [Kill(2, "not ready within 60 s"), Wait(None)]),
    ],
)
def test_first_start(children: list[ChildStatus], actions: list[Action]) -> None:
    assert plan(Wanted(processes=2), children, 10.0 if children else 0.0) == actions


def test_listening_children_are_told_to_serve() -> None:
    wanted = Wanted(processes=2, sockets=Sockets.LISTENING)
    children = [a_child(1, *READY), a_child(2, *READY, slot=1)]
    assert plan(wanted, children, 1.0) == [Serve(1), Serve(2), Wait(None)]


@pytest.mark.parametrize("events", [(Event.FAILED,), (Event.KILL,), (Event.EXITED,), (Event.READY, Event.EXITED)])
def test_a_front_that_leaves_before_the_service_listens_ends_the_start(events: tuple[Event, ...]) -> None:
    lost = replace(a_child(1, *events), exit_code=2)
    other = a_child(2, slot=1)
    wanted = Wanted(processes=2)
    stop = Stop(0.0, FAILED_START_GRACE, 2)
    assert plan(wanted, [lost, other], 0.0) == [GiveUp(stop), Wait(None)]

    wanted = replace(wanted, stop=stop)
    assert plan(wanted, [other], 0.0) == [Close(), Drain(2, FAILED_START_GRACE - 1.25), Wait(60.0)]


def test_a_start_that_the_operator_interrupts_ends_with_his_code() -> None:
    wanted = Wanted(processes=1, stop=Stop(0.0, 10.0, 0))
    assert plan(wanted, [a_child(1, Event.EXITED)], 0.0) == [Close(), Exit(0)]


# ---- replacement ------------------------------------------------------------------------------------------


def test_a_front_that_served_long_enough_is_replaced_at_once() -> None:
    child = replace(a_child(1, *DEAD, failures=5), served=0.0, left=10.0)
    assert plan(LISTENING, [child], 10.0) == [Spawn(0, 0), Wait(None)]


@pytest.mark.parametrize(("failures", "delay"), [(0, 0.5), (1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (5000, 30.0)])
def test_short_lives_back_off_exponentially_up_to_the_cap(failures: int, delay: float) -> None:
    child = a_child(1, *DEAD, failures=failures)
    assert plan(LISTENING, [child], delay - 0.01) == [Wait(delay)]
    assert plan(LISTENING, [child], delay) == [Spawn(0, failures + 1), Wait(None)]


def test_a_slow_start_is_no_stable_life() -> None:
    child = ChildStatus(1, 0, 0, 0.0).after(Event.FAILED, 50.0).after(Event.EXITED, 50.0)
    assert plan(LISTENING, [child], 50.0) == [Wait(50.5)]


def test_the_other_slots_go_on_while_one_backs_off() -> None:
    wanted = Wanted(processes=2, sockets=Sockets.LISTENING)
    children = [a_child(1, *SERVING), a_child(2, *DEAD, slot=1)]
    assert plan(wanted, children, 0.1) == [Wait(0.5)]


def test_a_front_that_drains_by_itself_is_replaced_while_it_drains() -> None:
    child = replace(a_child(1, *DRAINING), served=-20.0)
    assert plan(LISTENING, [child], 0.0) == [Spawn(0, 0), Wait(30.0)]
    assert plan(LISTENING, [child, a_child(2, *SERVING)], 0.0) == [Wait(30.0)]


# ---- stuck fronts -----------------------------------------------------------------------------------------

STUCK = replace(LISTENING, stuck=frozenset({1}), blocked=frozenset({1}))
BLOCKED = replace(LISTENING, blocked=frozenset({1}))
TWO_SERVE = [a_child(1, *SERVING), a_child(2, *SERVING)]


@pytest.mark.parametrize(
    ("wanted", "children", "actions"),
    [
        # A front that is blocked is not stuck yet; one that is gets a successor at once, and one only.
        (BLOCKED, [a_child(1, *SERVING)], [Wait(None)]),
        (STUCK, [a_child(1, *SERVING)], [Spawn(0, 0), Wait(None)]),
        (STUCK, [a_child(1, *SERVING), a_child(2)], [Wait(60.0)]),
        (STUCK, [a_child(1, *SERVING), a_child(2, *READY)], [Serve(2), Wait(None)]),
        # The successor serves: what follows depends on the event loop of the front now.
        (STUCK, TWO_SERVE, [Dump(1), Wait(None)]),
        (LISTENING, TWO_SERVE, [Drain(1, 30.0), Wait(None)]),
        (BLOCKED, TWO_SERVE, [Wait(None)]),
        # It runs again before the successor serves: both go on until then.
        (LISTENING, [a_child(1, *SERVING), a_child(2)], [Wait(60.0)]),
        (LISTENING, [a_child(1, *SERVING), a_child(2, *READY)], [Serve(2), Wait(None)]),
        # The successor fails to start: another one follows after the back-off, if the front is still stuck.
        (STUCK, [a_child(1, *SERVING), a_child(2, Event.FAILED)], [Wait(0.5)]),
        (STUCK, [a_child(1, *SERVING), a_child(2, *DEAD, since=-0.5)], [Spawn(0, 1), Wait(None)]),
        (LISTENING, [a_child(1, *SERVING), a_child(2, Event.FAILED)], [Wait(30.0)]),
        # The successor is stuck, too, while a debugger holds its predecessor.
        (replace(BLOCKED, stuck=frozenset({2})), TWO_SERVE, [Spawn(0, 0), Wait(None)]),
        # A front that drains is not watched, and has its own time limit.
        (LISTENING, [a_child(1, *DRAINING), a_child(2, *SERVING)], [Wait(30.0)]),
    ],
)  # fmt: skip
def test_a_stuck_front_gets_a_successor_first(
    wanted: Wanted, children: list[ChildStatus], actions: list[Action]
) -> None:
    assert plan(wanted, children, 0.0) == actions


def test_a_stuck_front_is_no_reason_to_touch_the_others() -> None:
    wanted = replace(STUCK, processes=2)
    children = [a_child(1, *SERVING), a_child(2, *SERVING, slot=1), a_child(3, *SERVING)]
    assert plan(wanted, children[:2], 0.0) == [Spawn(0, 0), Wait(None)]
    assert plan(wanted, children, 0.0) == [Dump(1), Wait(None)]


@pytest.mark.parametrize(("processes", "most"), [(2, 1), (7, 1), (8, 2), (9, 2)])
def test_not_all_stuck_fronts_are_replaced_at_once(processes: int, most: int) -> None:
    everyone = frozenset(range(1, processes + 1))
    wanted = replace(LISTENING, processes=processes, stuck=everyone, blocked=everyone)
    children = [a_child(slot + 1, *SERVING, slot=slot) for slot in range(processes)]
    spawned = [Spawn(slot, 0) for slot in range(most)]
    assert plan(wanted, children, 0.0) == [*spawned, Wait(None)]
    successors = [a_child(101 + slot, slot=slot) for slot in range(most)]
    assert plan(wanted, [*children, *successors], 0.0) == [Wait(60.0)]

    # The next one follows when the first has ended, or when its successor failed to start.
    dumped = [a_child(1, *DUMPED), *children[1:], a_child(101, *SERVING), *successors[1:]]
    assert Spawn(most, 0) not in plan(wanted, dumped, 0.0)
    ended = [a_child(1, *DUMPED, Event.EXITED), *dumped[1:]]
    assert plan(wanted, ended, 0.0)[0] == Spawn(most, 0)
    failed = [*children, a_child(101, Event.FAILED), *successors[1:]]
    assert plan(wanted, failed, 0.0)[0] == Spawn(most, 0)


def test_a_front_that_a_debugger_holds_keeps_nobody_from_being_replaced() -> None:
    wanted = replace(LISTENING, processes=2, stuck=frozenset({2}), blocked=frozenset({1, 2}))
    children = [a_child(1, *SERVING), a_child(2, *SERVING, slot=1), a_child(3, *SERVING)]
    assert plan(wanted, children, 0.0) == [Spawn(1, 0), Wait(None)]


def test_a_stop_drains_stuck_fronts_and_their_successors_alike() -> None:
    """``gracePeriod`` is the time limit of both; the one that is blocked will not have drained by then."""
    wanted = replace(STUCK, sockets=Sockets.CLOSED, stop=Stop(0.0, 8.0, 0))
    assert plan(wanted, [a_child(1, *SERVING), a_child(2)], 0.0) == [Drain(1, 6.0), Drain(2, 6.0), Wait(60.0)]
    assert plan(wanted, [a_child(1, *DRAINING)], 8.0) == [Abort(1), Wait(None)]
    assert plan(wanted, [a_child(1, *DUMPED, since=8.0)], 8.0) == [Wait(8.0 + DUMP_TIME)]


# ---- time limits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("child", "at", "action"),
    [
        (a_child(1), 60.0, Kill(1, "not ready within 60 s")),
        (a_child(1, Event.INTERRUPT), REACTION_TIME, Kill(1, "its start did not react to SIGTERM")),
        (a_child(1, Event.INTERRUPT, Event.DRAIN), 30.0, Abort(1)),
        (a_child(1, *DRAINING), 30.0, Abort(1)),
        (a_child(1, *ENDING), 30.0, Kill(1, "it did not exit after it had drained")),
        (a_child(1, *DUMPED), DUMP_TIME, Kill(1, "it is stuck and did not exit after SIGABRT")),
        (replace(a_child(1, *ENDING), left=-60.0), END_TIME, Kill(1, "it did not exit after it had drained")),
    ],
)
def test_no_child_stays_in_a_passing_state_for_ever(child: ChildStatus, at: float, action: Action) -> None:
    successor = a_child(2, *SERVING)
    children = [child, successor] if child.left is not None else [child]
    assert plan(LISTENING, children, at - 0.1) == [Wait(at)]
    assert plan(LISTENING, children, at) == [action, Wait(None)]


def test_a_killed_child_is_waited_for() -> None:
    killed = a_child(1, *SERVING, Event.KILL)
    assert plan(LISTENING, [killed, a_child(2, *SERVING)], 1e6) == [Wait(None)]


# ---- stop -------------------------------------------------------------------------------------------------


def test_until_the_drain_begins_fronts_serve_and_are_replaced() -> None:
    wanted = replace(LISTENING, stop=Stop(drain_at=5.0, kill_at=30.0, exit_code=0))
    assert plan(wanted, [a_child(1, *SERVING)], 4.0) == [Wait(5.0)]
    assert plan(wanted, [a_child(1, *DEAD)], 4.0) == [Spawn(0, 1), Wait(5.0)]


def test_the_drain_closes_the_sockets_first_and_leaves_the_front_a_margin() -> None:
    wanted = replace(LISTENING, stop=Stop(drain_at=5.0, kill_at=30.0, exit_code=0))
    children = [a_child(1, *SERVING)]
    assert plan(wanted, children, 5.0) == [Close(), Drain(1, 23.0), Wait(None)]
    wanted = replace(wanted, sockets=Sockets.CLOSED)
    assert plan(wanted, children, 29.0) == [Drain(1, 0.75), Wait(None)]


def test_a_drain_ends_at_the_services_deadline_not_at_its_own() -> None:
    wanted = replace(LISTENING, sockets=Sockets.CLOSED, stop=Stop(drain_at=0.0, kill_at=7.0, exit_code=0))
    children = [a_child(1, *DRAINING, since=1.0)]
    assert plan(wanted, children, 6.0) == [Wait(7.0)]
    assert plan(wanted, children, 7.0) == [Abort(1), Wait(None)]


def test_nothing_is_spawned_after_the_drain_and_the_last_death_is_the_exit() -> None:
    wanted = replace(LISTENING, sockets=Sockets.CLOSED, stop=Stop(drain_at=0.0, kill_at=7.0, exit_code=130))
    assert plan(wanted, [a_child(1, *DEAD), a_child(2, *ENDING, slot=1)], 1.0) == [Wait(7.0)]
    assert plan(wanted, [a_child(1, *DEAD)], 1.0) == [Exit(130)]


# ---- pools ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workers", "actions"),
    [(PoolsState.NONE, [Listen()]), (PoolsState.STARTING, []), (PoolsState.WORKING, [Listen()])],
)
def test_nobody_may_connect_until_every_pool_has_a_worker_or_failed_to(
    workers: PoolsState, actions: list[Action]
) -> None:
    assert plan(Wanted(processes=1, workers=workers), [a_child(1, *READY)], 0.0) == [*actions, Wait(None)]


def test_workers_stop_after_the_fronts_that_need_them() -> None:
    stop = Stop(drain_at=0.0, kill_at=30.0, exit_code=0)
    wanted = replace(LISTENING, sockets=Sockets.CLOSED, stop=stop, workers=PoolsState.WORKING)
    assert plan(wanted, [a_child(1, *SERVING)], 0.0) == [Drain(1, 26.0), Wait(28.0)]
    assert plan(wanted, [a_child(1, *DRAINING)], 5.0) == [Wait(28.0)]
    assert plan(wanted, [a_child(1, *DEAD)], 5.0) == [StopWorkers(30.0), Wait(None)]


def test_workers_do_not_wait_longer_for_fronts_than_their_share() -> None:
    stop = Stop(drain_at=0.0, kill_at=30.0, exit_code=0)
    wanted = replace(LISTENING, sockets=Sockets.CLOSED, stop=stop, workers=PoolsState.WORKING)
    assert plan(wanted, [a_child(1, *DRAINING)], 28.0) == [StopWorkers(30.0), Abort(1), Wait(None)]
    stopping = replace(wanted, workers=PoolsState.STOPPING)
    assert plan(stopping, [a_child(1, *ENDING, since=28.0)], 28.0) == [Wait(30.0)]


def test_the_service_ends_when_its_last_worker_has_ended() -> None:
    stop = Stop(drain_at=0.0, kill_at=30.0, exit_code=0)
    wanted = replace(LISTENING, sockets=Sockets.CLOSED, stop=stop, workers=PoolsState.STOPPING)
    assert plan(wanted, [a_child(1, *DEAD)], 5.0) == [Wait(None)]
    assert plan(replace(wanted, workers=PoolsState.NONE), [a_child(1, *DEAD)], 5.0) == [Exit(0)]


# ---- random histories -------------------------------------------------------------------------------------

PROCESSES = 3


class Supervised(RuleBasedStateMachine):
    """The plan drives imaginary children, which say and suffer what they like.

    Held: one child per slot that has not left, or a stuck one and its successor; back-off between two spawns of a
    slot; no spawn and no serving before the sockets listen or after they close; a front is ended for being stuck only
    if it is stuck and another one serves; whatever happened, quiet children converge.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.children: dict[int, ChildStatus] = {}
        self.wanted = Wanted(processes=PROCESSES)
        self.exit_code: int | None = None
        self.due: float | None = None
        self.spawned = 0
        self.replaced: set[int] = set()

    @initialize()
    def begin(self) -> None:
        self.carry_out()

    def carry_out(self) -> None:
        last = carry_out(lambda: plan(self.wanted, list(self.children.values()), self.now), self.act, self.now)
        if isinstance(last, Exit):
            self.exit_code = last.code
            assert not self.alive()
        else:
            self.due = last.until

    def act(self, order: Action) -> None:
        match order:
            case Spawn(slot, failures):
                self.spawn(slot, failures)
            case Listen():
                assert self.wanted.sockets is Sockets.BOUND
                self.wanted = replace(self.wanted, sockets=Sockets.LISTENING)
            case GiveUp(stop):
                assert self.wanted.sockets is Sockets.BOUND
                self.wanted = replace(self.wanted, stop=stop)
            case Close():
                self.wanted = replace(self.wanted, sockets=Sockets.CLOSED)
            case Serve(serial):
                assert self.wanted.sockets is Sockets.LISTENING
                self.happen(serial, Event.SERVE)
            case Drain(serial, seconds):
                assert seconds >= 0
                starts = self.children[serial].state is State.STARTING
                assert self.wanted.stop or self.has_successor(serial)
                assert self.wanted.stop or serial not in self.wanted.blocked
                self.happen(serial, Event.INTERRUPT if starts else Event.DRAIN)
            case Abort(serial):
                self.happen(serial, Event.ABORT)
            case Dump(serial):
                assert serial in self.wanted.stuck
                assert self.has_successor(serial)
                self.happen(serial, Event.DUMP)
            case Kill(serial):
                self.happen(serial, Event.KILL)

    def spawn(self, slot: int, failures: int) -> None:
        before = [child for child in self.children.values() if child.slot == slot]
        assert self.wanted.sockets is not Sockets.CLOSED
        last = before[-1] if before else None
        if last is not None and last.left is None:
            assert last.serial in self.wanted.stuck
            assert failures == 0
            self.replaced.add(last.serial)
        elif last is not None:
            assert last.left is not None
            stable = last.served is not None and last.left - last.served >= self.wanted.backoff.stable
            assert failures == (0 if stable else last.failures + 1)
            assert stable or self.now - last.left >= self.wanted.backoff.initial
        self.children = {k: c for k, c in self.children.items() if c.slot != slot or c.state is not State.DEAD}
        self.spawned += 1
        self.children[self.spawned] = ChildStatus(self.spawned, slot, failures, self.now)

    def happen(self, serial: int, event: Event) -> None:
        self.children[serial] = self.children[serial].after(event, self.now)
        if self.children[serial].state is not State.SERVING:
            self.watch(self.wanted.stuck - {serial}, self.wanted.blocked - {serial})

    def watch(self, stuck: frozenset[int], blocked: frozenset[int]) -> None:
        self.wanted = replace(self.wanted, stuck=stuck, blocked=blocked)

    def has_successor(self, serial: int) -> bool:
        slot = self.children[serial].slot
        return any(c.slot == slot and c.serial > serial and c.state is State.SERVING for c in self.alive())

    def alive(self) -> list[ChildStatus]:
        return [child for child in self.children.values() if child.state is not State.DEAD]

    def serving(self) -> list[int]:
        return [child.serial for child in self.alive() if child.state is State.SERVING]

    @precondition(lambda self: self.exit_code is None and self.alive())
    @rule(data=st.data(), event=st.sampled_from([Event.READY, Event.FAILED, Event.DRAIN, Event.DRAINED, Event.EXITED]))
    def child_speaks_or_dies(self, data: st.DataObject, event: Event) -> None:
        child = data.draw(st.sampled_from(self.alive()))
        if event in TRANSITIONS[child.state]:
            self.happen(child.serial, event)
            self.carry_out()

    @precondition(lambda self: self.exit_code is None and self.serving())
    @rule(data=st.data(), how=st.sampled_from(["runs", "is held by a debugger", "is stuck"]))
    def event_loop_changes(self, data: st.DataObject, how: str) -> None:
        serial = data.draw(st.sampled_from(self.serving()))
        stuck, blocked = self.wanted.stuck - {serial}, self.wanted.blocked - {serial}
        self.watch(stuck | {serial} if how == "is stuck" else stuck, blocked if how == "runs" else blocked | {serial})
        self.carry_out()

    @rule(seconds=st.floats(0.01, 100.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if self.exit_code is None:
            self.carry_out()

    @precondition(lambda self: self.exit_code is None and self.wanted.stop is None)
    @rule(delay=st.sampled_from([0.0, 5.0]))
    def operator_stops(self, delay: float) -> None:
        delay = delay if self.wanted.sockets is Sockets.LISTENING else 0.0
        self.wanted = replace(self.wanted, stop=Stop(self.now + delay, self.now + 30.0, 0))
        self.carry_out()

    @precondition(lambda self: self.exit_code is None and self.wanted.stop is not None)
    @rule()
    def operator_stops_again(self) -> None:
        self.wanted = replace(self.wanted, stop=Stop(self.now, self.now, 130))
        self.carry_out()

    @invariant()
    def one_child_holds_a_slot(self) -> None:
        holding = [child for child in self.children.values() if child.left is None]
        settled = [child.slot for child in holding if child.serial not in self.replaced]
        assert len(settled) == len(set(settled))
        assert {child.slot for child in holding} <= set(range(PROCESSES))

    def teardown(self) -> None:
        """From here every child behaves: it starts, runs, ends when told to, and dies when killed."""
        self.watch(frozenset(), frozenset())
        if self.exit_code is None:
            self.carry_out()
        for _ in range(200):
            if self.exit_code is not None or self.at_rest():
                return
            for child in self.alive():
                if child.state is State.STARTING:
                    self.happen(child.serial, Event.READY)
                elif child.state is State.DRAINING:
                    self.happen(child.serial, Event.DRAINED)
                elif child.left is not None:
                    self.happen(child.serial, Event.EXITED)
            if self.due is not None:
                self.now = max(self.now, self.due)
            self.carry_out()
        raise AssertionError("does not converge")

    def at_rest(self) -> bool:
        serving = self.serving()
        return self.wanted.stop is None and len(serving) == len(self.alive()) == PROCESSES


Supervised.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
TestSupervised = Supervised.TestCase


def test_the_default_backoff_never_spins() -> None:
    backoff = RestartBackoff()
    at, failures = 0.0, 0
    for _ in range(20):
        after, failures = backoff.after(None, at, failures)
        assert after - at >= backoff.initial
        at = after
    assert at >= 10 * backoff.cap
