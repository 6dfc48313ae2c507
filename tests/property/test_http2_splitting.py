"""The same HTTP/2 bytes, split anywhere, give the same events and the same responses, on either engine."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidegate.wire.events import Event
from tests.support import http2 as c

_speaker = c.Speaker()
_trailers = c.frame(c.HEADERS, c.END_HEADERS | c.END_STREAM, 7, _speaker.block([(b"x-sum", b"1")]))
_block = _speaker.block([*c.GET, (b"cookie", b"a=1"), (b"cookie", b"b=2")])
CONVERSATION = b"".join(
    [
        c.START,
        _speaker.headers(1),
        _speaker.headers(3, [*c.POST, (b"content-length", b"700")], end=False),
        c.frame(c.PING, 0, 0, b"12345678"),
        c.data(3, b"a" * 300),
        c.frame(c.HEADERS, c.END_STREAM, 5, _block[:4]),
        c.frame(c.CONTINUATION, 0, 5, _block[4:9]),
        c.frame(c.CONTINUATION, c.END_HEADERS, 5, _block[9:]),
        c.frame(c.DATA, c.PADDED, 3, b"\x03" + b"b" * 400 + bytes(3)),
        _speaker.headers(7, c.POST, end=False),
        c.data(3, b"", end=True),
        c.data(7, b"c"),
        _speaker.headers(9, [*c.GET, *[(b"x", b"y")] * 120]),
        _speaker.headers(11, [*c.GET, (b"connection", b"close")]),
        _speaker.headers(13, c.POST, end=False),
        c.rst_stream(13),
        _trailers,
        c.window_update(0, 1000),
        _speaker.headers(15),
        _speaker.headers(17, c.CONNECT, end=False),
        c.data(17, b"\x81\x80abcd"),
        c.frame(c.DATA, c.PADDED, 17, b"\x03" + b"d" * 300 + bytes(3)),
        _speaker.headers(19, c.CONNECT, end=False),
        c.data(19, b"x"),
        c.data(17, b"", end=True),
        c.frame(c.HEADERS, c.END_HEADERS | c.END_STREAM, 19, _speaker.block([(b"x-sum", b"1")])),
    ]
)


def play(engine: c.EngineName, pieces: list[bytes]) -> tuple[list[Event], dict[int, c.Answer]]:
    made = c.codec(engine)
    told: list[Event] = []
    for piece in pieces:
        told += made.receive(piece, 1.0)
        while made.more:
            told += made.receive(b"", 1.0)
    c.answer_all(made, told)
    told += made.receive_eof() if not made.closed else []
    return c.merged(told), c.listen(made.take_output()).streams


@pytest.mark.parametrize("engine", c.ENGINES)
@given(st.lists(st.integers(0, len(CONVERSATION)), max_size=40))
def test_splits_do_not_matter(engine: c.EngineName, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(CONVERSATION)]
    pieces = [CONVERSATION[start:end] for start, end in itertools.pairwise(edges)]
    assert play(engine, pieces) == play(engine, [CONVERSATION])


@pytest.mark.parametrize("engine", c.ENGINES)
def test_byte_by_byte(engine: c.EngineName) -> None:
    pieces = [CONVERSATION[at : at + 1] for at in range(len(CONVERSATION))]
    told, streams = play(engine, pieces)
    assert (told, streams) == play(engine, [CONVERSATION])
    assert [answer.heads[0][0] for _, answer in sorted(streams.items()) if answer.heads] == [
        (b":status", status) for status in (b"200", b"200", b"200", b"200", b"431", b"200", b"200")
    ]
    assert (streams[17].body, streams[17].ended, streams[17].reset) == (b"hellobye", True, None)
    assert (streams[19].body, streams[19].reset) == (b"", 1)
