"""HTTP/1.1: which field blocks are remembered, that one met again comes to the same, and that no other does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidegate.asgi import Headers
from sidegate.config.schema import ConnectionLimits
from sidegate.wire.events import End, Event, Rejected, RequestHead
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http1 import head as http1_head
from sidegate.wire.http1.head import MAX_BLANK_LINES, REMEMBERED, REMEMBERED_LINE, REMEMBERED_LINES, REMEMBERED_SIZE
from sidegate.wire.http1.server import Http1Codec

LIMITS = ConnectionLimits(request_line=100, header_block=4096, header_fields=8)
BLOCK = b"Host: a\r\nX-Forwarded-For: 1.1.1.1\r\nCookie: b=1\r\nCookie: c=2\r\n"
BLOCK += b"Connection: Keep-Alive, X-Hop\r\nX-Hop: 1\r\n\r\n"
HEADERS = [(b"host", b"a"), (b"cookie", b"b=1; c=2")]
SIMPLE = b"Host: a\r\n\r\n"
HEAD_END = b"\r\n\r\n"


def new_policy() -> FieldPolicy:
    return FieldPolicy(LIMITS.header_fields, LIMITS.header_block)


def new(policy: FieldPolicy) -> Http1Codec:
    return Http1Codec(policy, LIMITS, 0.0)


def warm(block: bytes = SIMPLE) -> FieldPolicy:
    """A policy that has seen ``block``."""
    policy = new_policy()
    assert isinstance(new(policy).receive(b"GET / HTTP/1.1\r\n" + block, 1.0)[0], RequestHead)
    assert list(policy.blocks) == [block.removesuffix(HEAD_END)]
    return policy


def answer(codec: Http1Codec, stream: int) -> None:
    codec.send_head(stream, 200, [], True)
    codec.take_output()


def get(target: bytes, headers: Headers, stream: int = 1, method: str = "GET") -> RequestHead:
    return RequestHead(stream, method, target, headers, "1.1")


@pytest.mark.parametrize("step", [1, 1 << 20])
def test_a_block_met_again_comes_to_the_same(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = new(warm(BLOCK))
    monkeypatch.delattr(http1_head.HeadReader, "_parse_anew")
    requests = [(b"GET /", b"/", "GET"), (b"HEAD /a?b", b"/a?b", "HEAD"), (b"GET //c", b"//c", "GET")]
    for stream, (line, target, method) in enumerate(requests, 1):
        data = line + b" HTTP/1.1\r\n" + BLOCK
        events = [event for at in range(0, len(data), step) for event in codec.receive(data[at : at + step], 1.0)]
        assert events == [get(target, HEADERS, stream, method)]
        answer(codec, stream)
    assert codec.idle
    assert not codec.closed


def test_pipelined_requests_meet_it_too_and_other_requests_may_lie_between() -> None:
    policy = new_policy()
    codec = new(policy)
    first, post = b"GET / HTTP/1.1\r\n" + SIMPLE, b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\n\r\nx"
    events: list[Event] = codec.receive((b"\r\n" * MAX_BLANK_LINES + first + post) * 3, 1.0)
    for stream in range(1, 7):
        if stream % 2:
            assert events == [get(b"/", [(b"host", b"a")], stream)]
        else:
            assert isinstance(events[0], RequestHead)
            assert events[0].headers == [(b"host", b"b"), (b"content-length", b"1")]
            assert isinstance(events[-1], End)
        answer(codec, stream)
        events = codec.receive(b"", 1.0)
    assert codec.idle
    assert list(policy.blocks) == [SIMPLE.removesuffix(HEAD_END)]


def test_a_list_that_was_handed_out_is_its_holders_own() -> None:
    codec = new(new_policy())
    for stream in (1, 2, 3):
        (event,) = codec.receive(b"GET / HTTP/1.1\r\n" + SIMPLE, 1.0)
        assert isinstance(event, RequestHead)
        assert event == get(b"/", [(b"host", b"a")], stream)
        event.headers.append((b"x-added", b"1"))
        event.headers[0] = (b"host", b"evil")
        answer(codec, stream)


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * REMEMBERED_SIZE + b"\r\n\r\n",
    ],
)
def test_a_head_that_is_not_plain_is_judged_anew_each_time(head: bytes) -> None:
    policy = new_policy()
    for _ in range(2):
        assert isinstance(new(policy).receive(head, 1.0)[0], RequestHead)
        assert policy.blocks == {}


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"GET /# HTTP/1.1\r\n", 400, "bad_target"),
        (b"GET /\xe9 HTTP/1.1\r\n", 400, "bad_target"),
        (b"GET a HTTP/1.1\r\n", 400, "bad_target"),
        (b"GET * HTTP/1.1\r\n", 400, "bad_target"),
        (b"GET http://b@c/ HTTP/1.1\r\n", 400, "bad_host"),
        (b"GET  / HTTP/1.1\r\n", 400, "bad_request_line"),
        (b"GET / HTTP/1.1 \r\n", 400, "bad_request_line"),
        (b"GET /\0 HTTP/1.1\r\n", 400, "bad_request_line"),
        (b" GET / HTTP/1.1\r\n", 400, "bad_request_line"),
        (b"GET / HTTP/1.1\n", 400, "bad_line_end"),
        (b"GET / HTTP/1.1\r\r\n", 400, "bad_line_end"),
        (b"GET / HTTP/2.0\r\n", 505, "bad_version"),
        (b"get / HTTP/1.1\r\n", 501, "unknown_method"),
        (b"TRACE / HTTP/1.1\r\n", 501, "method_not_implemented"),
        (b"GET /" + b"a" * 90 + b" HTTP/1.1\r\n", 414, "request_line_too_long"),
        (b"\r\n" * (MAX_BLANK_LINES + 1) + b"GET / HTTP/1.1\r\n", 400, "bad_request_line"),
        (b"GET / HTTP/1.1\r\nX: \x01\r\n", 400, "bad_field_value"),
        (b"GET / HTTP/1.1\r\n ", 400, "bad_field_value"),
    ],
)
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_a_known_block_excuses_nothing_before_it(line: bytes, status: int, reason: str, step: int) -> None:
    codec = new(warm())
    data = line + SIMPLE
    events = [event for at in range(0, len(data), step) for event in codec.receive(data[at : at + step], 1.0)]
    (event,) = events
    assert isinstance(event, Rejected)
    assert (event.status, event.reason) == (status, reason)


def test_a_known_block_is_no_other_block() -> None:
    policy = warm()
    (event,) = new(policy).receive(b"GET / HTTP/1.1\r\nHost: A\r\n\r\n", 1.0)
    assert event == get(b"/", [(b"host", b"A")])
    (event,) = new(policy).receive(b"GET / HTTP/1.1\r\nHost:  a\r\n\r\n", 1.0)
    assert event == get(b"/", [(b"host", b"a")])
    assert len(policy.blocks) == 3


def test_a_refused_block_is_refused_again() -> None:
    policy = new_policy()
    for _ in range(2):
        (event,) = new(policy).receive(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 1.0)
        assert isinstance(event, Rejected)
        assert policy.blocks == {}


def test_each_policy_has_a_memory_of_its_own() -> None:
    policy = warm(BLOCK)
    trusted = replace(policy, keep_forwarding=True)
    assert not trusted.blocks
    (event,) = new(trusted).receive(b"GET / HTTP/1.1\r\n" + BLOCK, 1.0)
    assert event == get(b"/", [HEADERS[0], (b"x-forwarded-for", b"1.1.1.1"), HEADERS[1]])
    (event,) = new(policy).receive(b"GET / HTTP/1.1\r\n" + BLOCK, 1.0)
    assert event == get(b"/", HEADERS)


def test_the_memory_is_bounded_and_starts_again_when_full() -> None:
    policy = new_policy()
    sizes = []
    for number in [*range(REMEMBERED + 1), 0]:
        (event,) = new(policy).receive(b"GET / HTTP/1.1\r\nHost: a%d\r\n\r\n" % number, 1.0)
        assert event == get(b"/", [(b"host", b"a%d" % number)])
        sizes.append(len(policy.blocks))
    assert sizes == [*range(1, REMEMBERED + 1), 1, 2]


def test_a_known_line_excuses_nothing_behind_it() -> None:
    policy = warm()
    for block in (b"Host: a\r\nHost: a", b"", b"Host: a\r\nX: \x01", b"Host: a\r\n b", b"Host: a\rb", b"Host : a"):
        (event,) = new(policy).receive(b"GET / HTTP/1.1\r\n" + block + HEAD_END, 1.0)
        assert isinstance(event, Rejected), block
    assert list(policy.request_lines) == [b"GET / HTTP/1.1"]
    assert list(policy.blocks) == [b"Host: a"]


def test_a_line_is_remembered_only_once_its_request_has_passed() -> None:
    policy = new_policy()
    for head in (b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"POST /x HTTP/1.1\r\n" + SIMPLE):
        new(policy).receive(head, 1.0)
    assert policy.request_lines == {}


def test_the_memory_of_lines_is_bounded_too() -> None:
    limits = ConnectionLimits(request_line=4096, header_block=4096, header_fields=8)
    policy = warm()
    codec = Http1Codec(policy, limits, 0.0)
    (event,) = codec.receive(b"GET /%b HTTP/1.1\r\n" % (b"a" * REMEMBERED_LINE) + SIMPLE, 1.0)
    assert isinstance(event, RequestHead)
    sizes = []
    for number in [*range(REMEMBERED_LINES), 0]:
        (event,) = new(policy).receive(b"GET /%d HTTP/1.1\r\n" % number + SIMPLE, 1.0)
        assert event == get(b"/%d" % number, [(b"host", b"a")])
        sizes.append(len(policy.request_lines))
    assert sizes == [*range(2, REMEMBERED_LINES + 1), 1, 2]
