"""Whether there is room for one more request, with the time of its start as an argument."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from sidegate.config.schema import Limits
from sidegate.config.validation import validate
from sidegate.server.admission import Admission


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def admission(loop: asyncio.AbstractEventLoop, **limits: object) -> Admission:
    return Admission(loop, validate(Limits, limits))


def next_turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


def refused(judge: Admission, *starts: float) -> list[bool]:
    """Which of these requests, read in one turn, are refused for having waited."""
    reasons = [judge.refusal(100 + start, in_flight=1) for start in starts]
    assert set(reasons) <= {"", "queue_delay"}
    return [bool(reason) for reason in reasons]


def test_half_of_the_delay_is_for_one_turn(loop: asyncio.AbstractEventLoop) -> None:
    judge = admission(loop, queueDelay="1s")
    assert refused(judge, 0, 0.25, 0.5, 0.75, 1, 1.01) == [False, False, False, False, True, True]


def test_the_slowest_of_a_turn_does_not_count(loop: asyncio.AbstractEventLoop) -> None:
    judge = admission(loop, queueDelay="1s")
    assert refused(judge, 0, 60, 60.25, 60.5, 60.75) == [False, False, False, False, True]


def test_two_slow_ones_are_a_queue(loop: asyncio.AbstractEventLoop) -> None:
    judge = admission(loop, queueDelay="1s")
    assert refused(judge, 0, 60, 120) == [False, False, True]


def test_the_next_turn_begins_anew(loop: asyncio.AbstractEventLoop) -> None:
    judge = admission(loop, queueDelay="1s")
    assert refused(judge, 0, 0.5, 1.5) == [False, False, False]
    assert refused(judge, 2.5) == [True]
    next_turn(loop)
    assert refused(judge, 2.6, 3, 3.1) == [False, False, False]
    next_turn(loop)
    assert refused(judge, 99) == [False]


def test_after_a_short_turn_the_next_is_not_watched_at_once(loop: asyncio.AbstractEventLoop) -> None:
    judge = admission(loop, queueDelay="1s")
    assert refused(judge, 0) == [False]
    next_turn(loop)
    assert refused(judge, 0.05, 0.1, 0.7, 1.2, 1.3) == [False, False, False, False, True]


def test_sixteen_clients_may_block_for_a_tenth_of_a_second_by_default(loop: asyncio.AbstractEventLoop) -> None:
    judge = admission(loop)
    for turn in range(3):
        starts = [(16 * turn + number) * 0.11 for number in range(16)]
        assert refused(judge, *starts) == [False] * 16
        next_turn(loop)


def test_a_queue_without_limit(loop: asyncio.AbstractEventLoop) -> None:
    assert refused(admission(loop, queueDelay=0), 0, 60, 120, 180) == [False] * 4


def test_both_limits_at_once(loop: asyncio.AbstractEventLoop) -> None:
    judge = admission(loop, queueDelay="1s", concurrent_requests=2)
    assert [judge.refusal(start, 3) for start in (0, 1, 2)] == ["overload", "overload", "queue_delay"]
    assert judge.refusal(2, 2) == "queue_delay"
    assert admission(loop, concurrent_requests=0).refusal(0, 10**6) == ""
