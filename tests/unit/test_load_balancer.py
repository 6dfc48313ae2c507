"""Which link takes a request, and the queue: decided without I/O."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sidegate.backends.load_balancer import Choice, Place


def link(places: int, busy: int = 0) -> Place:
    made = Place()
    made.places, made.busy = places, busy
    return made


def choice(*links: Place, size: int = 10) -> Choice:
    made = Choice(size)
    for each in links:
        made.add(each)
    return made


def test_the_link_with_the_fewest_requests_takes_the_next() -> None:
    few, many = link(10, 1), link(10, 3)
    made = choice(many, few)
    assert [made.take() for _ in range(2)] == [few, few]
    assert (few.busy, many.busy) == (3, 3)


def test_equals_are_chosen_by_chance() -> None:
    links = [link(1000) for _ in range(3)]
    first: Counter[int] = Counter()
    for _ in range(600):
        made = choice(*links)
        taken = made.take()
        assert taken is not None
        first[links.index(taken)] += 1
        made.give_back(taken)
    assert sorted(first) == [0, 1, 2]
    assert min(first.values()) > 100


def test_full_and_resting_links_take_nothing() -> None:
    full, resting = link(1, 1), link(5)
    resting.resting = True
    assert choice(full, resting).take() is None


def test_without_links() -> None:
    made = choice()
    assert made.empty
    assert made.take() is None


def test_a_link_is_added_and_removed_once() -> None:
    one = link(1)
    made = choice(one, one)
    assert made.remove(one)
    assert not made.remove(one)
    assert made.empty


def test_who_comes_later_does_not_overtake() -> None:
    only = link(1)
    made = choice(only)
    assert made.take() is only
    ticket = made.join(0.0, 10.0)
    made.give_back(only)
    assert made.take() is None
    assert made.assign() == [ticket]
    assert ticket is not None
    assert ticket.place is only
    assert only.busy == 1


def test_the_queue_is_bounded_but_not_for_those_who_come_again() -> None:
    made = choice(size=1)
    ordinary = made.join(0.0, 1.0)
    assert made.join(0.0, 1.0) is None
    again = made.rejoin(0.0, 0.5)
    assert list(made.queue) == [again, ordinary]
    assert made.next_deadline() == 0.5


def test_those_who_waited_too_long_leave() -> None:
    made = choice()
    tickets = [made.join(0.0, deadline) for deadline in (1.0, 3.0, 2.0)]
    assert made.expire(0.5) == []
    assert made.expire(2.0) == [tickets[0], tickets[2]]
    assert list(made.queue) == [tickets[1]]
    assert made.next_deadline() == 3.0


def test_who_gives_up_leaves_the_queue_or_gives_the_place_back() -> None:
    only = link(1)
    made = choice(only)
    waiting = made.join(0.0, 1.0)
    assert waiting is not None
    made.leave(waiting)
    assert not made.queue
    placed = made.join(0.0, 1.0)
    assert placed is not None
    assert made.assign() == [placed]
    made.leave(placed)
    assert only.busy == 0
    made.leave(placed)
    assert only.busy == 0
    assert made.next_deadline() is None


@given(st.lists(st.sampled_from(["come", "end", "assign", "expire"]), max_size=80), st.integers(1, 3))
def test_no_place_is_taken_twice_and_none_is_lost(steps: list[str], places: int) -> None:
    links = [link(places), link(places)]
    made = choice(*links, size=3)
    running: list[Place] = []
    for now, step in enumerate(steps):
        if step == "come":
            place = made.take()
            if place is None:
                made.join(float(now), now + 5.0)
            else:
                running.append(place)
        elif step == "end" and running:
            made.give_back(running.pop(0))
        elif step == "assign":
            running += [ticket.place for ticket in made.assign() if ticket.place is not None]
        else:
            made.expire(float(now))
        assert sum(each.busy for each in links) == len(running)
        assert all(0 <= each.busy <= places for each in links)
        assert len(made.queue) <= 3
