"""Trusted proxies, and what their forwarding fields say; the same over real connections."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidegate.observe.record import Record
from sidegate.server.forwarded import TrustedProxies
from tests.support.apps import Receive, Scope, Send, respond
from tests.support.clients import Http1Client, request
from tests.support.running import running

Client = tuple[str, int] | None

PEER = ("10.0.0.1", 4711)


def origin(
    *fields: tuple[str, str], trusted: tuple[str, ...] = ("10.0.0.0/8",), peer: Client = PEER
) -> tuple[Client, str]:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in fields]
    return TrustedProxies(trusted).origin(headers, peer, "http")


def client(*values: str, trusted: tuple[str, ...] = ("10.0.0.0/8",), peer: Client = PEER) -> Client:
    return origin(*(("x-forwarded-for", value) for value in values), trusted=trusted, peer=peer)[0]


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


def test_the_other_end_of_a_socket() -> None:
    proxies = TrustedProxies(["127.0.0.0/8"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as sock:
            assert proxies.trusts_socket(sock)
            assert not TrustedProxies(["10.0.0.0/8", "unix"]).trusts_socket(sock)
        assert not proxies.trusts_socket(server)  # it has no other end, like a socket whose peer has reset it
    here, there = socket.socketpair(socket.AF_UNIX)
    with here, there:
        assert not proxies.trusts_socket(here)
        assert TrustedProxies(["unix"]).trusts_socket(here)


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
        (("192.0.2.1:80",), ("192.0.2.1", 80)),
        (("[2001:db8::1]:99",), ("2001:db8::1", 99)),
        (("192.0.2.1:80, 10.0.0.2:443",), ("192.0.2.1", 80)),
        (("2001:db8::2, [::ffff:10.0.0.2]:443",), ("2001:db8::2", 0)),
        (("192.0.2.1:65535",), ("192.0.2.1", 65535)),
        (("192.0.2.1:65536",), PEER),
        (("192.0.2.1:",), PEER),
        (("192.0.2.1:+1",), PEER),
        (("[2001:db8::1]99",), PEER),
        (("[2001:db8::1",), PEER),
        (("unknown:80",), PEER),
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
        (("wss",), "https"),
        (("https, WS",), "http"),
        (("gopher",), "http"),
        (("https,",), "http"),
    ],
)
def test_the_scheme_is_the_nearest_proxys_word(values: tuple[str, ...], expected: str) -> None:
    assert origin(*(("x-forwarded-proto", value) for value in values)) == (PEER, expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("for=192.0.2.1",), (("192.0.2.1", 0), "http")),
        (("For=192.0.2.1; PROTO=https;by=10.0.0.9;host=a",), (("192.0.2.1", 0), "https")),
        (('for="192.0.2.1:4711";proto="wss"',), (("192.0.2.1", 4711), "https")),
        (('for="[2001:db8::1]:99";',), (("2001:db8::1", 99), "http")),
        (("for=[2001:db8::1]:99",), (("2001:db8::1", 99), "http")),  # the quotes are missing
        (('for="192.0.2.1:_port"',), (("192.0.2.1", 0), "http")),
        (("for=192.0.2.1;proto=https, for=10.0.0.2;proto=http",), (("192.0.2.1", 0), "https")),
        (("for=192.0.2.1;proto=https", "for=10.0.0.2;proto=http"), (("192.0.2.1", 0), "https")),
        (("for=192.0.2.1, for=10.0.0.2;proto=https",), (("192.0.2.1", 0), "https")),
        # what the client itself claimed stays unread
        (("for=6.6.6.6;proto=https, for=192.0.2.1;proto=http",), (("192.0.2.1", 0), "http")),
        (('for="6.6.6.6;proto=https, for=192.0.2.1',), (("192.0.2.1", 0), "http")),
        (('"",;=, "for=192.0.2.1", for=192.0.2.1',), (("192.0.2.1", 0), "http")),
        ((", ,for=192.0.2.1, , ",), (("192.0.2.1", 0), "http")),
        # unknown, obfuscated, left out: the nearest known address; the scheme is the trusted proxy's word all the same
        (("for=192.0.2.1;proto=http, for=unknown;proto=https",), (PEER, "https")),
        (("for=192.0.2.1, for=_hidden, for=10.0.0.2",), (("10.0.0.2", 0), "http")),
        (("proto=https",), (PEER, "https")),
        # commas and escapes in quotes
        (('for=192.0.2.1;host="a,b, for=6.6.6.6"',), (("192.0.2.1", 0), "http")),
        (('for="192.0.2\\.1";x="\\",for=6.6.6.6;\\""',), (("192.0.2.1", 0), "http")),
        (('for=192.0.2.1;x="' + "," * 20 + '"',), (PEER, "http")),
        # malformed
        (("for=192.0.2.1;for=192.0.2.2",), (PEER, "http")),
        (("for=192.0.2.1 192.0.2.2",), (PEER, "http")),
        (("192.0.2.1",), (PEER, "http")),
        (("for",), (PEER, "http")),
        (("for=",), (PEER, "http")),
        (("",), (PEER, "http")),
        (('for="192.0.2.1',), (PEER, "http")),
    ],
)
def test_forwarded(values: tuple[str, ...], expected: tuple[Client, str]) -> None:
    assert origin(*(("forwarded", value) for value in values)) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("x-forwarded-for", "192.0.2.2", (("192.0.2.2", 0), "http")),
        ("x-forwarded-proto", "http", (PEER, "http")),
        ("x-forwarded-for", "", (PEER, "http")),
        ("x-forwarded-host", "a", (("192.0.2.1", 0), "https")),
    ],
)
def test_forwarded_gives_way_to_what_more_proxies_set(name: str, value: str, expected: tuple[Client, str]) -> None:
    assert origin(("forwarded", "for=192.0.2.1;proto=https"), (name, value)) == expected


PIECES = st.sampled_from([*'for=",;\\[]:. \t_x19', "for=192.0.2.9", "for=10.0.0.2", "proto=https"])
TEXT = st.lists(PIECES, max_size=30).map("".join)


@given(TEXT, st.sampled_from(["for=192.0.2.1;proto=http", 'for="192.0.2.1:80";proto=http;x=","']))
def test_nothing_before_the_nearest_element_changes_it(claimed: str, own: str) -> None:
    address, scheme = origin(("forwarded", f"{claimed},{own}"))
    assert (address and address[0], scheme) == ("192.0.2.1", "http")


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
