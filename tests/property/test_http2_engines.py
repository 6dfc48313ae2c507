"""The two HTTP/2 engines, held against each other and against splits of the same bytes, on generated traffic.

Equal means: the same events (of a violation its place only: libraries word and code errors differently), and the
same responses on the wire.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import http2 as c
from tests.support.http2_engines import compare_servers
from tests.support.http2_strategies import data_frame, headers_frame

pytest.importorskip("sidegate.wire.http2.nghttp2")

NAMES = st.sampled_from(
    [
        *b"accept cookie x-one X-Upper te connection content-length expect host x_under x-forwarded-for".split(),
        *b":method :path :scheme :authority :status :protocol :odd".split(),
        b"",
        b"a b",
    ]
)
VALUES = st.sampled_from(
    [
        b"",
        b"1",
        b"3",
        b"trailers",
        b"100-continue",
        b"example.org",
        b" padded",
        b"a\0b",
        b"/",
        b"GET",
        b"https",
        b"websocket",
        b"x" * 90,
    ]
)
TRICKS = st.lists(st.tuples(NAMES, VALUES), max_size=3)
METHODS = st.sampled_from([b"GET", b"HEAD", b"POST", b"OPTIONS", b"CONNECT", b"TRACE", b"B D", b""])
PATHS = st.sampled_from([b"/", b"/a?b=c", b"*", b"", b"a", b"/\xff", b"/" + b"p" * 9000])
PROTOCOLS = st.sampled_from(
    [[], [], [(b":protocol", b"websocket")], [(b":protocol", b"WebSocket")], [(b":protocol", b"x")]]
)
STREAMS = st.sampled_from([1, 3, 5, 7, 9, 2, 0])


@st.composite
def head(draw: st.DrawFn) -> c.Pairs:
    pseudo = [
        (b":method", draw(METHODS)),
        (b":scheme", draw(st.sampled_from([b"https", b"http", b"ftp"]))),
        (b":authority", draw(st.sampled_from([b"example.org", b"a:99", b"a@b", b""]))),
        (b":path", draw(PATHS)),
        *draw(PROTOCOLS),
    ]
    for _ in range(draw(st.integers(0, 1))):
        del pseudo[draw(st.integers(0, len(pseudo) - 1))]
    return [*pseudo, *draw(TRICKS)]


GOOD_HEAD = st.sampled_from([c.GET, c.POST, [*c.POST, (b"content-length", b"3")], c.CONNECT])


FIELDS = st.one_of(GOOD_HEAD, GOOD_HEAD, head(), TRICKS)
HEADERS_FRAME = headers_frame(FIELDS, STREAMS)
DATA_FRAME = data_frame(STREAMS)


@st.composite
def any_frame(draw: st.DrawFn) -> bytes:
    """Any type, flags, stream and payload: mostly nonsense."""
    payload = draw(st.binary(max_size=24))
    return c.frame(draw(st.integers(0, 12)), draw(st.integers(0, 255)), draw(STREAMS), payload)


@st.composite
def bent_frame(draw: st.DrawFn) -> bytes:
    """A frame with a real header block, one byte of it changed."""
    made = bytearray(draw(HEADERS_FRAME))
    if len(made) > 9 + (made[0] << 16 | made[1] << 8 | made[2]) or len(made) == 9:
        return bytes(made)
    made[draw(st.integers(9, len(made) - 1))] = draw(st.integers(0, 255))
    return bytes(made)


CONTROL_FRAME = st.one_of(
    st.builds(c.window_update, STREAMS, st.sampled_from([0, 1, 70000, 2**31 - 1, 2**31, 2**31 + 1])),
    st.builds(c.rst_stream, STREAMS, st.integers(0, 20)),
    st.builds(lambda p: c.frame(c.PING, 0, 0, p), st.binary(min_size=8, max_size=8)),
    st.builds(
        lambda i, v: c.settings((i, v)),
        st.sampled_from([1, 2, 3, 4, 5, 6, 8, 99]),
        st.sampled_from([0, 1, 70000, 2**31]),
    ),
    st.builds(c.goaway, st.sampled_from([0, 1, 2]), st.integers(0, 3)),
    st.builds(lambda s, d: c.frame(c.PRIORITY, 0, s, struct.pack(">LB", d, 9)), STREAMS, st.sampled_from([0, 1, 3, 5])),
)

SANE = st.lists(st.one_of(HEADERS_FRAME, HEADERS_FRAME, DATA_FRAME, CONTROL_FRAME), max_size=12)
WILD = st.lists(st.one_of(HEADERS_FRAME, bent_frame(), DATA_FRAME, CONTROL_FRAME, any_frame()), max_size=12)


@given(SANE, st.booleans())
def test_engines_agree_on_plausible_traffic(frames: list[bytes], answering: bool) -> None:
    compare_servers(frames, answering)


@given(WILD, st.booleans())
@example([c.window_update(0, 2**31 + 1)], False)
@example([b"\x00\x00\x01\x01\x00\x00\x00\x00\x01~"], False)
def test_engines_agree_on_nonsense(frames: list[bytes], answering: bool) -> None:
    compare_servers(frames, answering)
