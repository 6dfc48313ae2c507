"""The header policy's table: what passes, what is dropped, what is refused, for requests, trailers and responses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidegate.asgi import Headers
from sidegate.config.limits import PROXY_FIELDS
from sidegate.errors import Fault, Refused
from sidegate.wire import fields
from sidegate.wire.fields import (
    MAX_PAIR,
    RESPONSE_BLOCK,
    RESPONSE_FIELDS,
    FieldPolicy,
    RequestFields,
    ResponseTooLarge,
    is_same_authority,
    request_fields,
    response_fields,
    trailer_fields,
    valid_host,
    values_clean,
)

HOST = (b"host", b"a.example")


def policy(keep_forwarding: bool = False, keep_underscores: frozenset[bytes] = frozenset()) -> FieldPolicy:
    return FieldPolicy(10, 1000, keep_forwarding, keep_underscores)


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ([(b"x-a", b"1"), HOST], [HOST, (b"x-a", b"1")]),
        ([(b"x-a", b"\xff\ttab"), (b"x-a", b"")], [(b"x-a", b"\xff\ttab"), (b"x-a", b"")]),
        ([(b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2")], [(b"x", b"y"), (b"cookie", b"a=1; b=2")]),
        ([(b"x_a", b"1"), (b"content_length", b"9")], []),
        ([(b"x-forwarded-for", b"1.1.1.1"), (b"forwarded", b"for=x"), (b"x-real-ip", b"1.1.1.1")], []),
        ([(b"x-sidegate-client", b"1.1.1.1")], []),
        ([(b"te", b"trailers, deflate;q=0.5")], [(b"te", b"trailers")]),
        ([(b"te", b"gzip, xtrailers")], []),
    ],
)
def test_request_fields_pass_or_are_dropped(raw: Headers, kept: Headers) -> None:
    assert request_fields(raw, policy()) == RequestFields(kept, None, False, [])


OF_PROXIES = (
    b"forwarded x-real-ip x-forwarded-for x-forwarded-ssl x-forwarded-user x-forwarded-scheme x-forwarded-client-cert"
    b" x-original-url x-rewrite-url x-client-ip true-client-ip cf-connecting-ip remote-user front-end-https"
    b" x-ssl-client-cert x-ssl-client-verify x-ssl-cipher"
).split()


@pytest.mark.parametrize("name", OF_PROXIES)
def test_fields_of_proxies_are_taken_from_trusted_peers_only(name: bytes) -> None:
    listed = tuple(each.encode() for each in PROXY_FIELDS)
    stranger = FieldPolicy(10, 1000, proxy_fields=listed)
    assert request_fields([(name, b"x"), HOST], stranger).headers == [HOST]
    trusted = replace(stranger, keep_forwarding=True)
    assert request_fields([(name, b"x"), HOST], trusted).headers == [HOST, (name, b"x")]


def test_the_list_of_fields_of_proxies_is_the_operators() -> None:
    own = FieldPolicy(10, 1000, proxy_fields=(b"x-own", b"x-from-*"))
    raw = [(name, b"1") for name in (b"x-own", b"x-owner", b"x-from-edge", b"remote-user", b"x-forwarded-a")]
    assert request_fields(raw, own).headers == [raw[1], raw[3]]


def test_framing_expectation_and_hop_fields_are_told_apart() -> None:
    hop = [(name, b"x") for name in sorted(fields.CONNECTION_SPECIFIC)]
    judged = request_fields([(b"content-length", b"17"), (b"expect", b"100-Continue"), *hop], policy())
    assert judged == RequestFields([(b"content-length", b"17"), (b"expect", b"100-Continue")], 17, True, hop)


def test_a_trusted_peer_keeps_forwarding_fields_and_listed_names_keep_underscores() -> None:
    raw = [(b"x-forwarded-for", b"1.1.1.1"), (b"x_a", b"1"), (b"x_b", b"1"), (b"x-sidegate-client", b"1")]
    trusted = policy(keep_forwarding=True, keep_underscores=frozenset([b"x_a"]))
    assert request_fields(raw, trusted).headers == raw[:2]
    assert request_fields(raw, policy()).headers == []


@pytest.mark.parametrize(
    ("raw", "authority", "kept"),
    [
        ([HOST], b"A.example", [(b"host", b"A.example")]),
        ([(b"x", b"y")], b"b:1", [(b"host", b"b:1"), (b"x", b"y")]),
    ],
)
def test_the_authority_becomes_the_host(raw: Headers, authority: bytes, kept: Headers) -> None:
    assert request_fields(raw, policy(), authority).headers == kept


@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        ([(b"a", b"b")] * 11, 431, "too_many_fields"),
        ([(b"cookie", b"b")] * 301, 431, "too_many_cookies"),
        ([(b"cookie", b"b; " * 300 + b"c")], 431, "too_many_cookies"),
        ([*[(b"cookie", b"b")] * 5, *[(b"a", b"b")] * 11], 431, "too_many_fields"),
        ([(b"a", b"b\rc")], 400, "bad_field_value"),
        ([(b"a", b"b\nc")], 400, "bad_field_value"),
        ([(b"a", b"\0")], 400, "bad_field_value"),
        ([(b"a", b"\x7f")], 400, "bad_field_value"),
        ([(b"", b"b")], 400, "bad_field_name"),
        ([(b"a b", b"c")], 400, "bad_field_name"),
        ([(b"A", b"c")], 400, "bad_field_name"),
        ([(b":path", b"/")], 400, "bad_field_name"),
        ([(b"a\xe9", b"c")], 400, "bad_field_name"),
        ([(b"content-length", b"5"), (b"content-length", b"5")], 400, "bad_content_length"),
        ([(b"content-length", b"5, 5")], 400, "bad_content_length"),
        ([(b"content-length", b"+5")], 400, "bad_content_length"),
        ([(b"content-length", b"-5")], 400, "bad_content_length"),
        ([(b"content-length", b"0x5")], 400, "bad_content_length"),
        ([(b"content-length", b"1_0")], 400, "bad_content_length"),
        ([(b"content-length", b"")], 400, "bad_content_length"),
        ([(b"content-length", b"\xb2")], 400, "bad_content_length"),
        ([(b"content-length", b"1" * 19)], 400, "bad_content_length"),
        ([HOST, HOST], 400, "bad_host"),
        ([(b"host", b"")], 400, "bad_host"),
        ([(b"host", b"user@a")], 400, "bad_host"),
        ([(b"host", b"a, b")], 400, "bad_host"),
        ([(b"host", b"a/b")], 400, "bad_host"),
        ([(b"host", b"a:b")], 400, "bad_host"),
        ([(b"host", b":80")], 400, "bad_host"),
        ([(b"host", b"[::1")], 400, "bad_host"),
        ([(b"expect", b"200-ok")], 417, "bad_expectation"),
    ],
)
def test_a_request_is_refused(raw: Headers, status: int, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        request_fields(raw, policy())
    assert (caught.value.status, caught.value.reason, caught.value.fault) == (status, reason, Fault.CLIENT)


@pytest.mark.parametrize("hosts", [[], [HOST], [(b"host", b"")]])
def test_an_authority_replaces_the_host(hosts: Headers) -> None:
    checked = request_fields([(b"x", b"y"), *hosts], policy(), b"b.example:80")
    assert checked.headers == [(b"host", b"b.example:80"), (b"x", b"y")]


@pytest.mark.parametrize(("host", "authority"), [(b"a", b""), (b"a", b"user@a"), (b"a/b", b"a"), (b"user@a", b"a")])
def test_a_wrong_authority_or_a_wrong_host_beside_it_is_refused(host: bytes, authority: bytes) -> None:
    with pytest.raises(Refused, match="the host is not a name"):
        request_fields([(b"host", host)], policy(), authority)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b"a", b"a", True),
        (b"a", b"A:", True),
        (b"a:80", b"A", True),
        (b"a:", b"a:443", True),
        (b"a:80", b"a:443", False),
        (b"a:81", b"a", False),
        (b"a:80", b"b:80", False),
        (b"[::1]", b"[::1]:443", True),
        (b"[::1]", b"[::1]:1", False),
        (b"[::1]", b"[::2]", False),
    ],
)
def test_authorities_are_compared_without_default_ports(one: bytes, other: bytes, same: bool) -> None:
    assert is_same_authority(one, other) is is_same_authority(other, one) is same


@pytest.mark.parametrize(
    "host", [b"a", b"a.example:443", b"a:", b"127.0.0.1", b"[::1]", b"[::ffff:1.2.3.4]:80", b"a_b"]
)
def test_hosts_that_are_valid(host: bytes) -> None:
    assert valid_host(host)
    assert valid_host(host)  # and again, now that it may be remembered


def test_what_clients_send_neither_grows_a_process_nor_switches_its_caches_off(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = policy()
    monkeypatch.setattr(fields, "MAX_KINDS", 5)
    for number in range(23):
        request_fields([(b"x-%d" % number, b"1"), (b"host", b"%d.example" % number)], judged)
        assert len(judged.kinds) <= 5
        assert len(fields._hosts_seen) <= 5
    request_fields([(b"x-usual", b"1"), (b"host", b"usual.example")], judged)
    assert b"x-usual" in judged.kinds
    assert b"usual.example" in fields._hosts_seen


def test_long_names_and_hosts_are_not_cached() -> None:
    judged = policy()
    name, host = b"x" * (fields.MAX_NAME + 1), b"a" * (fields.MAX_HOST + 1)
    assert request_fields([(name, b"1"), (b"host", host)], judged).headers == [(b"host", host), (name, b"1")]
    assert name not in judged.kinds
    assert host not in fields._hosts_seen


def test_response_fields_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered: dict[tuple[bytes, bytes], object] = {}
    monkeypatch.setattr(fields, "_checked_pairs", remembered)
    monkeypatch.setattr(fields, "MAX_KINDS", 3)
    for number in range(3):
        assert response_fields([(b"X", b"%d" % number)] * 2) == ([(b"x", b"%d" % number)] * 2, None, False, False, None)
    assert len(remembered) == 3
    long = (b"x", b"v" * fields.MAX_PAIR)
    assert response_fields([long]) == ([long], None, False, False, None)
    assert len(remembered) == 3
    assert response_fields([(b"y", b"1")]) == ([(b"y", b"1")], None, False, False, None)
    assert len(remembered) == 1


def test_what_merely_equals_a_known_response_field_becomes_bytes() -> None:
    pair = (b"x-kind", b"value")
    assert response_fields([pair]) == ([pair], None, False, False, None)
    (kept,), *_ = response_fields([(memoryview(b"x-kind"), memoryview(b"value"))])  # type: ignore[list-item]  # on purpose
    assert [type(part) for part in kept] == [bytes, bytes]
    (kept,), *_ = response_fields([(b"x-kind", bytearray(b"value"))])  # type: ignore[list-item]  # on purpose
    assert [type(part) for part in kept] == [bytes, bytes]
    (kept,), *_ = response_fields([[b"x-kind", bytearray(b"value")]])  # type: ignore[list-item]  # on purpose
    assert kept == pair
    assert [type(part) for part in kept] == [bytes, bytes]


def test_values_clean_knows_every_control_byte() -> None:
    dirty = [byte for byte in range(256) if not values_clean([(b"a", b"x"), (b"b", b"-%c-" % byte)])]
    assert dirty == [*range(9), *range(10, 32), 127]


def test_trailers_lose_what_frames_or_routes_a_message() -> None:
    raw = [
        (b"sum", b"1"),
        (b"sum", b"1"),
        (b"host", b"b"),
        (b"content-length", b"1"),
        (b"transfer-encoding", b"chunked"),
    ]
    raw += [(b"te", b"trailers"), (b"cookie", b"a=1"), (b"x_a", b"1"), (b"x-forwarded-for", b"1")]
    assert trailer_fields(raw, policy()) == [(b"sum", b"1"), (b"sum", b"1")]


@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        ([(b"a", b"b")] * 11, 431, "too_many_fields"),
        ([(b"a", b"b\n")], 400, "bad_field_value"),
        ([(b"a b", b"c")], 400, "bad_field_name"),
    ],
)
def test_trailers_are_refused(raw: Headers, status: int, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        trailer_fields(raw, policy())
    assert (caught.value.status, caught.value.reason) == (status, reason)


def test_response_fields_are_lowered_and_lose_hop_by_hop_fields() -> None:
    raw = [(b"Content-Type", b"a/b"), (b"Connection", b""), (b"Transfer-Encoding", b"chunked"), (b"x", b"")]
    assert response_fields(raw) == ([(b"content-type", b"a/b"), (b"x", b"")], None, False, False, None)
    assert response_fields(iter([(b"Content-Length", b"12")])) == ([(b"content-length", b"12")], 12, False, False, None)


NOMINATED: dict[str, tuple[Headers, Headers, int | None, bool, bool, Headers | None]] = {
    "close": ([(b"Connection", b"Close"), (b"date", b"d")], [(b"date", b"d")], None, True, True, None),
    "keep-alive": (
        [(b"connection", b"keep-alive"), (b"content-length", b"1")],
        [(b"content-length", b"1")],
        1,
        False,
        False,
        None,
    ),
    "a field": (
        [(b"x", b"1"), (b"connection", b"y, X"), (b"x", b"2"), (b"z", b"3")],
        [(b"z", b"3")],
        None,
        False,
        False,
        None,
    ),
    "several fields": (
        [(b"connection", b"x"), (b"x", b"1"), (b"connection", b",close ,")],
        [],
        None,
        False,
        True,
        None,
    ),
    "date and length": (
        [(b"date", b"d"), (b"content-length", b"1"), (b"connection", b"date, content-length")],
        [],
        None,
        False,
        False,
        None,
    ),
    "by a worker": ([(b"x-sidegate-close", b"1"), (b"x", b"1")], [(b"x", b"1")], None, False, True, None),
    "upgrade and trailer": (
        [(b"Upgrade", b" a"), (b"x", b"1"), (b"trailer", b"sum"), (b"x-sidegate-offer", b"b")],
        [(b"x", b"1")],
        None,
        False,
        False,
        [(b"upgrade", b"a"), (b"trailer", b"sum"), (b"upgrade", b"b")],
    ),
    "upgrade, and named": (
        [(b"upgrade", b"a"), (b"connection", b"upgrade")],
        [],
        None,
        False,
        False,
        [(b"upgrade", b"a")],
    ),
}


@pytest.mark.parametrize("case", NOMINATED)
def test_connection_of_a_response(case: str) -> None:
    raw, *expected = NOMINATED[case]
    assert list(response_fields(raw)) == expected


DATED: Headers = [(b"date", b"d"), (b"content-length", b"1"), (b"connection", b"close"), (b"upgrade", b"y")]
MANY: Headers = [(b"x", b"y")] * RESPONSE_FIELDS
LONG: Headers = [(b"x", b"y" * (RESPONSE_BLOCK - 1))]
DENSE: Headers = [(b"%03d" % number, b"y" * (MAX_PAIR - 3)) for number in range(RESPONSE_FIELDS)]


@pytest.mark.parametrize("raw", [MANY, LONG, DENSE], ids=["many", "long", "dense"])
def test_the_largest_head_of_a_response(raw: Headers) -> None:
    """What Sidegate may add itself does not count, so that a front accepts what a worker has accepted."""
    assert len(response_fields([*raw, *DATED])[0]) >= len(raw)
    assert sum(len(name) + len(value) for name, value in raw) <= RESPONSE_BLOCK


@pytest.mark.parametrize("raw", [[*MANY, (b"z", b"")], [*LONG, (b"z", b"")]], ids=["many", "long"])
def test_a_head_of_a_response_that_is_too_large(raw: Headers) -> None:
    with pytest.raises(ResponseTooLarge, match="at most"):
        response_fields(raw)


def test_whitespace_around_a_value_is_no_part_of_it() -> None:
    raw = [(b"Set-Cookie", b" a=b; Path=/\t"), (b"Content-Length", b" 12 ")]
    assert response_fields(raw) == (
        [(b"set-cookie", b"a=b; Path=/"), (b"content-length", b"12")],
        12,
        False,
        False,
        None,
    )


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ([(b"a", b"b"), (b"c", b"d\r\nset-cookie: x")], "'c' contains a control character"),
        ([(b"a", b"\0")], "control character"),
        ([(b"a b", b"c")], "not a token"),
        ([(b"", b"c")], "not a token"),
        ([(b"a\n", b"c")], "not a token"),
        ([(b"content-length", b"5"), (b"content-length", b"5")], "more than one"),
        ([(b"content-length", b"-1")], "one decimal number"),
    ],
)
def test_a_response_that_must_not_reach_the_wire(raw: Headers, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        response_fields(raw)
