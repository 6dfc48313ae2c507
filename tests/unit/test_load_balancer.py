"""Which target takes a request, and the queue: decided without I/O."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sidegate.backends.load_balancer import LoadBalancer, Target


def make_target(capacity: int, in_use: int = 0) -> Target:
    made = Target()
    made.capacity, made.in_use = capacity, in_use
    return made


def balancer_of(*targets: Target, size: int = 10) -> LoadBalancer:
    made = LoadBalancer(size)
    for each in targets:
        made.add(each)
    return made


def test_the_target_with_the_fewest_requests_takes_the_next() -> None:
    few, many = make_target(10, 1), make_target(10, 3)
    made = balancer_of(many, few)
    assert [made.take() for _ in range(2)] == [few, few]
    assert (few.in_use, many.in_use) == (3, 3)


def test_equals_are_chosen_by_chance() -> None:
    targets = [make_target(1000) for _ in range(3)]
    first: Counter[int] = Counter()
    for _ in range(600):
        made = balancer_of(*targets)
        taken = made.take()
        assert taken is not None
        first[targets.index(taken)] += 1
        made.give_back(taken)
    assert sorted(first) == [0, 1, 2]
    assert min(first.values()) > 100


def test_full_and_resting_links_take_nothing() -> None:
    full, cooling_down = make_target(1, 1), make_target(5)
    cooling_down.cooling_down = True
    assert balancer_of(full, cooling_down).take() is None


def test_without_links() -> None:
    made = balancer_of()
    assert made.empty
    assert made.take() is None


def test_a_link_is_added_and_removed_once() -> None:
    one = make_target(1)
    made = balancer_of(one, one)
    assert made.remove(one)
    assert not made.remove(one)
    assert made.empty


def test_who_comes_later_does_not_overtake() -> None:
    only = make_target(1)
    made = balancer_of(only)
    assert made.take() is only
    ticket = made.join(0.0, 10.0)
    made.give_back(only)
    assert made.take() is None
    assert made.assign() == [ticket]
    assert ticket is not None
    assert ticket.target is only
    assert only.in_use == 1


def test_the_queue_is_bounded_but_not_for_those_who_come_again() -> None:
    made = balancer_of(size=1)
    ordinary = made.join(0.0, 1.0)
    assert made.join(0.0, 1.0) is None
    again = made.rejoin(0.0, 0.5)
    assert list(made.queue) == [again, ordinary]
    assert made.next_deadline() == 0.5


def test_those_who_waited_too_long_leave() -> None:
    made = balancer_of()
    tickets = [made.join(0.0, deadline) for deadline in (1.0, 3.0, 2.0)]
    assert made.expire(0.5) == []
    assert made.expire(2.0) == [tickets[0], tickets[2]]
    assert list(made.queue) == [tickets[1]]
    assert made.next_deadline() == 3.0


def test_who_gives_up_leaves_the_queue_or_gives_the_place_back() -> None:
    only = make_target(1)
    made = balancer_of(only)
    waiting = made.join(0.0, 1.0)
    assert waiting is not None
    made.leave(waiting)
    assert not made.queue
    placed = made.join(0.0, 1.0)
    assert placed is not None
    assert made.assign() == [placed]
    made.leave(placed)
    assert only.in_use == 0
    made.leave(placed)
    assert only.in_use == 0
    assert made.next_deadline() is None


@given(st.lists(st.sampled_from(["come", "end", "assign", "expire"]), max_size=80), st.integers(1, 3))
def test_no_place_is_taken_twice_and_none_is_lost(steps: list[str], capacity: int) -> None:
    targets = [make_target(capacity), make_target(capacity)]
    made = balancer_of(*targets, size=3)
    running: list[Target] = []
    for now, step in enumerate(steps):
        if step == "come":
            target = made.take()
            if target is None:
                made.join(float(now), now + 5.0)
            else:
                running.append(target)
        elif step == "end" and running:
            made.give_back(running.pop(0))
        elif step == "assign":
            running += [ticket.target for ticket in made.assign() if ticket.target is not None]
        else:
            made.expire(float(now))
        assert sum(each.in_use for each in targets) == len(running)
        assert all(0 <= each.in_use <= capacity for each in targets)
        assert len(made.queue) <= 3
