"""Who gets a place while a bound is nearly reached, and who a client is."""

from __future__ import annotations

import itertools
import logging

import pytest

from sidegate.server.forwarded import TrustedProxies
from sidegate.server.peer import Peer
from sidegate.server.shares import (
    CLIENT_LIMIT,
    CLIENT_SHARE,
    LOG_PERIOD,
    OVERLOAD,
    Shares,
    client_of,
    network_of,
)
from sidegate.wire.target import PathPolicy

_numbers = itertools.count()


def shares(bound: int = 1000, limit: int = 0) -> Shares:
    return Shares(bound, limit, "requests in flight")


def taken(found: Shares, client: str, most: int) -> int:
    """How many places the client gets that asks for ``most``."""
    for number in range(most):
        if found.refusal(client):
            return number
        found.take(next(_numbers), client)
    return most


def test_below_four_fifths_nobody_is_refused() -> None:
    found = shares()
    assert taken(found, "honest", 1) == 1
    assert taken(found, "hog", 799) == 799
    assert not found.pressed
    assert found.refusal("honest") == ""
    found.take(object(), "honest")
    assert found.pressed


def test_the_client_that_has_most_is_refused_first() -> None:
    found = shares()
    taken(found, "honest", 10)
    hog = taken(found, "hog", 2000)
    assert 790 <= hog <= 800
    assert found.refusal("hog") == CLIENT_SHARE
    for number in range(30):
        assert taken(found, f"late {number}", 5) == 5
    assert found.refusal("hog") == CLIENT_SHARE


@pytest.mark.parametrize("hogs", [2, 3, 5, 20, 100])
def test_many_hogs_leave_room_too(hogs: int) -> None:
    found = shares()
    names = [f"hog {number}" for number in range(hogs)]
    for _ in range(1000):
        for name in names:
            taken(found, name, 1)
    assert max(found.counts.values()) - min(found.counts.values()) <= 1
    left = 1000 - len(found.holdings)
    assert left >= 1000 // (1 + 4 * hogs) - 1 > 0
    assert taken(found, "honest", 1) == 1


def test_a_client_that_is_alone_may_have_all() -> None:
    found = shares()
    assert taken(found, "nat", 2000) == 1000
    assert found.refusal("nat") == OVERLOAD


def test_what_a_client_took_alone_is_not_at_the_cost_of_others() -> None:
    found = shares()
    taken(found, "hog", 2000)
    honest = [object() for _ in range(50)]
    for number, holder in enumerate(honest):
        assert found.refusal(f"honest {number}") == ""
        found.take(holder, f"honest {number}")
    assert found.refusal("hog") == CLIENT_SHARE
    for holder in honest:
        found.give_back(holder)
    assert found.refusal("hog") == OVERLOAD  # alone again


def test_all_together_have_at_most_a_fifth_more() -> None:
    found = shares(100)
    taken(found, "hog", 200)
    others = sum(taken(found, f"other {number}", 1) for number in range(100))
    assert (others, len(found.holdings)) == (20, 120)
    assert found.refusal("one more") == OVERLOAD


def test_small_clients_share_a_full_bound_to_the_last_place() -> None:
    found = shares(100)
    assert sum(taken(found, f"client {number}", 1) for number in range(200)) == 100


@pytest.mark.parametrize("bound", [1, 2, 3, 4, 5])
def test_a_small_bound(bound: int) -> None:
    found = shares(bound)
    assert taken(found, "one", 9) == bound
    found = shares(bound)
    assert sum(taken(found, f"client {number}", 1) for number in range(9)) == bound


def test_what_is_no_client_is_never_one_that_has_most() -> None:
    found = shares(limit=3)
    taken(found, "honest", 1)
    assert taken(found, "", 2000) == 999
    assert found.refusal("") == OVERLOAD
    assert found.refusal("honest") == OVERLOAD
    assert found.holds_much("")


def test_a_limit_of_each_client() -> None:
    found = shares(bound=0, limit=3)
    assert taken(found, "one", 9) == 3
    assert found.refusal("one") == CLIENT_LIMIT
    assert taken(found, "two", 9) == 3
    assert not found.pressed


def test_places_that_are_given_back_are_free() -> None:
    found = shares(10)
    holders = [object() for _ in range(10)]
    for holder in holders:
        found.take(holder, "one")
    for holder in [*holders, *holders, object()]:  # more than once is once
        found.give_back(holder)
    assert (found.holdings, found.counts) == ({}, {})
    assert taken(found, "two", 20) == 10
    found.clear()
    assert (found.holdings, found.counts) == ({}, {})


def test_who_holds_much() -> None:
    found = shares(10)
    taken(found, "hog", 7)
    taken(found, "honest", 1)
    assert (found.holds_much("hog"), found.holds_much("honest")) == (True, False)
    found = shares(10)
    for name in ("a", "b", "c"):
        taken(found, name, 3)
    assert all(found.holds_much(name) for name in found.counts)


def test_one_line_of_the_log_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    found = shares(10)
    taken(found, "192.0.2.1", 9)
    with caplog.at_level(logging.WARNING, "sidegate.limits"):
        for now in (100.0, 101.0, 102.0, 100.0 + LOG_PERIOD):
            found.report("192.0.2.1", "limits.concurrentRequests: 10", "further ones get 429", now)
        found.report("", "limits.minRate: 240", "ended a request", 100.0 + 2 * LOG_PERIOD)
    held = "client 192.0.2.1 holds 9 of 9 requests in flight"
    assert [record.getMessage() for record in caplog.records] == [
        f"{held}: further ones get 429 (limits.concurrentRequests: 10)",
        f"{held}: further ones get 429 (limits.concurrentRequests: 10); 2 more since the last such line",
        "a client without an address holds 0 of 9 requests in flight: ended a request (limits.minRate: 240)",
    ]


# Who a client is.


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("64:ff9b::192.0.2.1", "192.0.2.1"),
        ("no:address", "no:address"),
    ],
)
def test_the_client_of_an_address(host: str, client: str) -> None:
    assert network_of(host) == client


TRUSTED = TrustedProxies(["10.0.0.0/8", "unix"])


def peer(address: tuple[str, int] | None, trusted: bool = False) -> Peer:
    return Peer(address, ("192.0.2.80", 80), TRUSTED if trusted else None, PathPolicy("keep", "decode"))


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (None, ""),  # the proxy itself, such as its health check
        (b"192.0.2.7", "192.0.2.7"),
        (b"198.51.100.1, 192.0.2.7", "192.0.2.7"),
        (b"192.0.2.7, 10.0.0.2", "192.0.2.7"),
        (b"10.0.0.3, 10.0.0.2", ""),
        (b"unknown", ""),
        (b"2001:db8::7", "2001:db8::/64"),
    ],
)
@pytest.mark.parametrize("address", [("10.0.0.1", 4711), None])
def test_the_client_behind_a_trusted_proxy(
    forwarded: bytes | None, client: str, address: tuple[str, int] | None
) -> None:
    headers = [] if forwarded is None else [(b"x-forwarded-for", forwarded)]
    assert client_of(peer(address, trusted=True), headers) == client


def test_the_client_of_any_other_peer() -> None:
    headers = [(b"x-forwarded-for", b"192.0.2.7")]
    assert client_of(peer(("198.51.100.1", 4711)), headers) == "198.51.100.1"
    assert client_of(peer(("2001:db8::1", 4711)), headers) == "2001:db8::/64"
    assert client_of(peer(None), headers) == ""
