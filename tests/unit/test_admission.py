"""Whether there is room for one more request, with the time of its start as an argument."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from sidegate.config.schema import Limits
from sidegate.config.validation import validate
from sidegate.server.admission import Admission
from sidegate.server.peer import Peer
from sidegate.wire.target import PathPolicy


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def admission(loop: asyncio.AbstractEventLoop, **limits: object) -> Admission:
    return Admission(loop, validate(Limits, limits))


def refusal(judge: Admission, started: float, in_flight: int = 1, client: str = "192.0.2.1") -> str:
    return judge.refusal(record(started), peer(client), in_flight)


class Some:
    """Any attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def record(started: float = 0.0, client: str = "192.0.2.1") -> Any:
    return Some(started=started, client=client, headers=[], reason="")


def peer(client: str) -> Peer:
    return Peer((client, 4711), ("192.0.2.80", 80), None, PathPolicy("keep", "decode"))


def next_turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


def refused(judge: Admission, *starts: float) -> list[bool]:
    """Which of these requests, read in one turn, are refused for having waited."""
    reasons = [refusal(judge, 100 + start) for start in starts]
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
    judge = admission(loop, queueDelay="1s", concurrentRequests=2)
    judge.watch([connection("192.0.2.1", 2)])
    assert [refusal(judge, start, 3) for start in (0, 1, 2)] == ["overload", "overload", "queue_delay"]
    assert refusal(judge, 2, 2) == "queue_delay"
    assert refusal(admission(loop, concurrentRequests=0), 0, 10**6) == ""


def connection(client: str, exchanges: int, trusted: Any = None) -> Any:
    """A connection with so many exchanges."""
    found = {number: Some(record=record(client=client)) for number in range(exchanges)}
    return Some(peer=Some(trusted=trusted), exchanges=found)


def test_while_it_is_quiet_it_counts_nothing(loop: asyncio.AbstractEventLoop) -> None:
    judge = admission(loop, concurrentRequests=10)
    assert [refusal(judge, 0, in_flight) for in_flight in range(1, 9)] == [""] * 8
    assert not judge.counting
    assert not judge.requests.holdings


def test_it_counts_who_is_there_when_it_begins(loop: asyncio.AbstractEventLoop) -> None:
    judge = admission(loop, concurrentRequests=10)
    hog, honest, proxy = connection("192.0.2.7", 7), connection("192.0.2.1", 1), connection("10.0.0.1", 1, ["10.0.0.1"])
    unix, refused, open_websocket = connection("unix", 1), connection("192.0.2.7", 1), connection("192.0.2.7", 1)
    refused.exchanges[0].record.reason = "client_share"
    open_websocket.exchanges[0].accepted = True
    for one in (hog, honest, proxy, unix, refused, open_websocket):
        judge.watch([one])
    assert refusal(judge, 0, 11, "192.0.2.7") == "overload"
    assert judge.counting
    assert judge.requests.counts == {"192.0.2.7": 7, "192.0.2.1": 1, "": 2}
    for number in range(3):
        judge.released(hog.exchanges[number].record)
    assert refusal(judge, 0, 8, "192.0.2.7") == ""
    assert refusal(judge, 0, 9, "192.0.2.7") == "client_share"
    assert refusal(judge, 0, 9, "192.0.2.9") == ""


def test_it_stops_counting_when_it_is_quiet_again(loop: asyncio.AbstractEventLoop) -> None:
    judge = admission(loop, concurrentRequests=10)
    for one in [connection(f"192.0.2.{number}", 1) for number in range(8)]:
        judge.watch([one])
    assert refusal(judge, 0, 9, "192.0.2.100") == ""
    assert refusal(judge, 0, 8, "192.0.2.101") == ""
    assert judge.counting
    assert refusal(judge, 0, 7) == ""
    assert not judge.counting
    assert not judge.requests.holdings
    assert refusal(judge, 0, 8) == ""
    assert not judge.counting


def test_a_limit_of_each_client_counts_always(loop: asyncio.AbstractEventLoop) -> None:
    judge = admission(loop, concurrentRequests=0, requestsPerClient=2)
    kept = [record() for _ in range(3)]
    found = [judge.refusal(one, peer("192.0.2.1"), number + 1) for number, one in enumerate(kept)]
    assert found == ["", "", "client_limit"]
    assert refusal(judge, 0, 4, "192.0.2.2") == ""
    judge.released(kept[0])
    assert refusal(judge, 0, 3) == ""


def test_websockets_have_a_bound_of_their_own(loop: asyncio.AbstractEventLoop) -> None:
    judge = admission(loop, websockets=5, websocketsPerClient=4)
    kept = [record() for _ in range(6)]
    found = [judge.websocket_refusal(one, peer("192.0.2.1")) for one in kept]
    assert found == ["", "", "", "", "client_limit", "client_limit"]
    assert judge.websocket_refusal(record(), peer("192.0.2.2")) == ""
    assert judge.websocket_refusal(record(), peer("192.0.2.3")) == "overload"
    judge.websocket_ended(kept[0])
    assert judge.websocket_refusal(record(), peer("192.0.2.3")) == ""
