"""HTTP/1.1: the same bytes, cut anywhere, met for the first time or again, give the same events and the same output."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidegate.wire.events import Body, End, Event, RequestHead
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http1 import head as http1_head
from tests.support.http1_server import LIMITS, converse

TOKENS = st.sampled_from([b"a", b"x-b", b"Cookie", b"X_Y", b"TE", b"Connection"])
VALUES = st.sampled_from([b"", b"1", b"trailers", b"keep-alive", b"close", b"\xe9 \t,", b"v" * 60])
FIELDS = st.lists(st.builds(b"%b: %b\r\n".__mod__, st.tuples(TOKENS, VALUES)), max_size=4).map(b"".join)
SIZES = st.integers(0, 40)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One valid request."""
    line = draw(st.sampled_from([b"GET / ", b"HEAD /a?b ", b"POST http://h/x ", b"OPTIONS * "]))
    head = draw(st.sampled_from([b"", b"\r\n"])) + line + b"HTTP/1.1\r\nHost: h\r\n" + draw(FIELDS)
    size = draw(SIZES)
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    if framing == "none":
        return head + b"\r\n"
    if framing == "length":
        return head + b"Content-Length: %d\r\n\r\n" % size + b"b" * size
    chunks = b"".join(b"%x;e\r\n%b\r\n" % (n, b"c" * n) for n in draw(st.lists(st.integers(1, 20), max_size=3)))
    trailers = draw(st.sampled_from([b"", b"Sum: 1\r\n", b"Sum: 1\r\nHost: no\r\n"]))
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailers + b"\r\n"


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Requests with a few bytes put in, overwritten or taken out: mostly invalid, near to valid."""
    data = b"".join(draw(st.lists(requests(), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        inserted = draw(
            st.sampled_from([b"\r", b"\n", b"\r\n", b" ", b"\t", b"\0", b":", b"\x7f", b"0", b"z" * 70, b""])
        )
        data = data[:at] + inserted + data[at + draw(st.integers(0, 2)) :]
    return data


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    places = sorted(draw(st.sets(st.integers(0, len(data)), max_size=12)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@settings(max_examples=300)
@given(st.data(), st.one_of(st.lists(requests(), min_size=1, max_size=4).map(b"".join), damaged()))
@example(None, b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"v" * 220 + b"\r\0\r\n\r\n")
@example(None, b"\r\n\r\r\n\r\n")
def test_events_do_not_depend_on_how_reads_cut_the_bytes(data: st.DataObject | None, stream: bytes) -> None:
    whole = converse([stream], End)
    assert converse([stream[at : at + 1] for at in range(len(stream))], End) == whole
    if data is not None:
        assert converse(data.draw(cut(stream)), End) == whole


@settings(max_examples=300)
@given(st.lists(requests(), min_size=1, max_size=3), st.lists(st.integers(0, 2), max_size=6), st.none() | damaged())
def test_what_was_seen_before_changes_nothing(seen: list[bytes], order: list[int], last: bytes | None) -> None:
    stream = b"".join([seen[number % len(seen)] for number in order]) + (last or b"")
    policy = FieldPolicy(LIMITS.header_fields, LIMITS.header_block)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http1_head, "REMEMBERED_SIZE", 0)
        expected = converse([stream], End, policy)
    assert policy.blocks == {}
    for _ in range(2):
        assert converse([stream], End, policy) == expected
    assert converse([stream[at : at + 1] for at in range(len(stream))], End, policy) == expected


ASKS = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n\r\n"


@settings(max_examples=200)
@given(
    st.data(),
    st.lists(requests(), max_size=2).map(b"".join),
    st.sampled_from([b"GET /yes ", b"GET /no "]),
    st.one_of(st.binary(max_size=60), st.lists(requests(), max_size=2).map(b"".join)),
)
def test_websockets_do_not_depend_on_how_reads_cut_the_bytes(
    data: st.DataObject, before: bytes, line: bytes, behind: bytes
) -> None:
    """Accepted, what is behind the handshake is the protocol's; denied, it is the next request."""
    stream = before + line + b"HTTP/1.1\r\nHost: h\r\n" + ASKS + behind
    whole = events, output, _ = converse([stream], End)
    assert converse([stream[at : at + 1] for at in range(len(stream))], End) == whole
    assert converse(data.draw(cut(stream)), End) == whole
    heads = [event for event in events if isinstance(event, RequestHead)]
    if any(head.protocol for head in heads) and line == b"GET /yes ":
        assert heads[-1].protocol
        told = [event for event in events if isinstance(event, Body) and event.stream_id == heads[-1].stream_id]
        assert b"".join(event.data for event in told) == behind
        assert output.endswith(b"\r\n\r\n" + behind)


@settings(max_examples=100)
@given(st.lists(requests(), min_size=1, max_size=4).map(b"".join))
def test_a_body_that_nobody_waits_for_never_moves_the_next_request(stream: bytes) -> None:
    """Answered at the head, bodies are delivered or skipped as reads come; the requests stay the same."""

    def heads(reads: list[bytes]) -> list[Event]:
        return [event for event in converse(reads, RequestHead)[0] if not isinstance(event, (Body, End))]

    expected = heads([stream])
    assert expected == [event for event in converse([stream], End)[0] if not isinstance(event, (Body, End))]
    assert heads([stream[at : at + 1] for at in range(len(stream))]) == expected
