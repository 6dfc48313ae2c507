"""Trusted proxies, and what their forwarding fields say; the same over real connections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sidegate.observe.record import Record
from sidegate.server.forwarded import TrustedProxies, forwarded_scheme
from tests.support.apps import Receive, Scope, Send, respond
from tests.support.clients import Http1Client, request
from tests.support.running import running

Client = tuple[str, int] | None

PEER = ("10.0.0.1", 4711)


def client(*values: str, trusted: tuple[str, ...] = ("10.0.0.0/8",), peer: Client = PEER) -> Client:
    return TrustedProxies(trusted).client([(b"x-forwarded-for", value.encode("latin-1")) for value in values], peer)


# Who is trusted.


@pytest.mark.parametrize(
    ("block", "host", "inside"),
    [
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("10.0.0.0/8", "::ffff:11.0.0.1", False),
        ("10.0.0.0/8", "::10.0.0.1", False),
        ("fd00::/8", "fd12::1", True),
        ("fd00::/8", "fd12::1%eth0", True),
        ("fd00::/8", "10.0.0.1", False),
        ("::1/128", "::1", True),
        ("10.0.0.0/8", "unknown", False),
    ],
)
def test_membership(block: str, host: str, inside: bool) -> None:
    assert (host in TrustedProxies([block])) is inside


def test_nobody_is_trusted_by_default() -> None:
    assert "127.0.0.1" not in TrustedProxies([])
    assert not TrustedProxies([]).unix
    assert TrustedProxies(["unix"]).unix


# The client's address.


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), PEER),
        (("",), PEER),
        (("192.0.2.1",), ("192.0.2.1", 0)),
        (("192.0.2.1, 10.0.0.2",), ("192.0.2.1", 0)),
        (("192.0.2.1", "10.0.0.2"), ("192.0.2.1", 0)),
        (("6.6.6.6, 192.0.2.1, 10.0.0.2",), ("192.0.2.1", 0)),  # what the client itself claimed stays unread
        (("10.0.0.3, 10.0.0.2",), ("10.0.0.3", 0)),
        ((" , 192.0.2.1 ,, ",), ("192.0.2.1", 0)),
        (("192.0.2.1, unknown",), PEER),
        (("192.0.2.1, unknown, 10.0.0.2",), ("10.0.0.2", 0)),
        (("192.0.2.1, _hidden",), PEER),
        (("192.0.2.1:80",), PEER),
        (("\xe9\xff",), PEER),
        (("2001:db8::1",), ("2001:db8::1", 0)),
        (("[2001:db8::1], 10.0.0.2",), ("2001:db8::1", 0)),
        (("192.0.2.1, ::ffff:10.0.0.2",), ("192.0.2.1", 0)),
    ],
)
def test_the_nearest_address_that_is_no_proxy(values: tuple[str, ...], expected: Client) -> None:
    assert client(*values) == expected


def test_a_unix_peer_has_no_address_of_its_own() -> None:
    assert client(trusted=("unix",), peer=None) is None
    assert client("192.0.2.1", trusted=("unix",), peer=None) == ("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), "http"),
        (("https",), "https"),
        (("HTTPS ",), "https"),
        (("http, https",), "https"),
        (("https", "http"), "http"),
        (("gopher",), "http"),
        (("https,",), "http"),
    ],
)
def test_the_scheme_is_the_nearest_proxys_word(values: tuple[str, ...], expected: str) -> None:
    assert forwarded_scheme([(b"x-forwarded-proto", value.encode()) for value in values], "http") == expected


# Over connections.

FORWARDED = [
    (b"forwarded", b"for=192.0.2.1"),
    (b"x-forwarded-for", b"192.0.2.1"),
    (b"x-forwarded-host", b"shop.example"),
    (b"x-forwarded-proto", b"https"),
    (b"x-real-ip", b"192.0.2.1"),
]


def scope_of(trusted: list[str], **options: Any) -> tuple[Scope, Record, tuple[str, int]]:
    """The scope and record of a request with forwarding fields, and the client's real address."""
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await respond(send)

    with running(app, trustedProxies=trusted, **options) as server:
        sock = server.connect()
        request(Http1Client(sock), "GET", "/", headers=FORWARDED)
        address = sock.getsockname()
        sock.close()
    return seen[0], server.observer.records[0], address


def test_a_trusted_peer_is_believed() -> None:
    scope, record, _ = scope_of(["127.0.0.0/8"])
    assert (scope["client"], scope["scheme"]) == (("192.0.2.1", 0), "https")
    assert record.client == "192.0.2.1"
    assert scope["headers"][1:] == FORWARDED


@pytest.mark.parametrize("trusted", [[], ["10.0.0.0/8"]])
def test_fields_of_any_other_peer_are_dropped(trusted: list[str]) -> None:
    scope, record, address = scope_of(trusted)
    assert (tuple(scope["client"]), scope["scheme"]) == (address, "http")
    assert record.client == "127.0.0.1"
    assert scope["headers"] == [(b"host", b"localhost")]


def test_peers_on_a_unix_socket_are_not_trusted_by_an_address(tmp_path: Path) -> None:
    scope, record, _ = scope_of(["127.0.0.0/8"], listener={"address": f"unix:{tmp_path / 's'}"})
    assert (scope["client"], record.client) == (None, "unix")
    assert scope["headers"] == [(b"host", b"localhost")]
