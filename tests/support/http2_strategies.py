"""Frames for property tests of both roles."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.support import http2 as c


@st.composite
def headers_frame(draw: st.DrawFn, fields: st.SearchStrategy[c.Pairs], streams: st.SearchStrategy[int]) -> bytes:
    """HEADERS, with CONTINUATION frames behind it or without."""
    block = c.Speaker().block(draw(fields))
    stream_id = draw(streams)
    end = c.END_STREAM if draw(st.booleans()) else 0
    pieces = draw(st.integers(1, 3))
    cut = [block[i * len(block) // pieces : (i + 1) * len(block) // pieces] for i in range(pieces)]
    if pieces == 1:
        return c.frame(c.HEADERS, end | c.END_HEADERS, stream_id, cut[0])
    first = c.frame(c.HEADERS, end, stream_id, cut[0])
    rest = [c.frame(c.CONTINUATION, 0, stream_id, piece) for piece in cut[1:-1]]
    return first + b"".join(rest) + c.frame(c.CONTINUATION, c.END_HEADERS, stream_id, cut[-1])


@st.composite
def data_frame(draw: st.DrawFn, streams: st.SearchStrategy[int]) -> bytes:
    """DATA, padded or not."""
    payload = draw(st.sampled_from([b"", b"abc", b"ab", b"x" * 5000]))
    flags = c.END_STREAM if draw(st.booleans()) else 0
    if draw(st.booleans()):
        flags |= c.PADDED
        payload = b"\x05" + payload + bytes(5)
    return c.frame(c.DATA, flags, draw(streams), payload)
