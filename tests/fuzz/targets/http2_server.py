"""HTTP/2 in the server's role: both engines agree, cuts change nothing, limits hold, the output can be read."""

from __future__ import annotations

from collections.abc import Iterable

from sidegate.config.schema import ConnectionLimits
from sidegate.wire import events as e
from tests.fuzz.http2_frames import FrameMaker, Words, before_reset
from tests.fuzz.inputs import Choices, cut
from tests.support import http2 as c
from tests.support.http2_engines import compare_servers, leaves_block_open

LIMITS = ConnectionLimits()
MOST_FRAMES = 24
MADE_OF = Words(
    good=(
        c.GET,
        c.POST,
        [*c.POST, (b"content-length", b"3")],
        c.CONNECT,
        [(b":method", b"HEAD"), *c.GET[1:]],
        c.GET[1:],
    ),
    names=[
        *b":method :path :scheme :authority :status :protocol :odd accept cookie x-one X-Upper te connection".split(),
        *b"content-length expect host x_under x-forwarded-for transfer-encoding upgrade".split(),
        *(b"", b"a b"),
    ],
    values=[
        *b"1 3 trailers 100-continue example.org / /a?b=c * a:99 a@b close chunked https http ftp websocket".split(),
        *b"GET POST HEAD OPTIONS CONNECT TRACE".split(),
        *(b"", b" padded", b"a\0b", b"\xff", b"x" * 90, b"/" + b"p" * 9000, b"y" * 40000),
    ],
    streams=(1, 3, 5, 7, 9, 11, 2, 0, 2**31 - 1),
    settings=(1, 2, 3, 4, 5, 6, 8, 99, 0xF0E5, 0xF0E6),
    open_blocks=True,
)


def told(engine: c.EngineName, pieces: Iterable[bytes]) -> tuple[list[object], bool]:
    """Events of frames that nobody answers (of a violation its place only), and whether all is idle."""
    made = c.started(engine)
    found: list[e.Event] = []
    for piece in pieces:
        found += made.receive(piece, 1.0)
        while made.more:
            found += made.receive(b"", 1.0)
    kept: list[object] = [type(event) if isinstance(event, e.Violation) else event for event in c.merged(found)]
    closed = made.closed
    output = made.take_output()
    for event in found:
        if isinstance(event, e.RequestHead | e.Rejected):
            made.reset(event.stream_id, 8)
            made.release(event.stream_id)
    output += made.take_output()
    c.listen(output)
    assert len(output) <= 1024 + 32 * MOST_FRAMES
    return kept, closed or made.idle


def is_bomb(frames: Iterable[bytes]) -> bool:
    """Whether a header list is far beyond its limit. On a stream that was reset, nghttp2 reads such a list."""
    made = c.started("h2")
    events = made.receive(b"".join(frames), 1.0)
    return any(isinstance(event, e.Violation) and event.reason == "excessive_load" for event in events)


def check_streams(events: Iterable[object]) -> None:
    """Each stream: a head, the body, at most one end."""
    heads: dict[int, e.RequestHead] = {}
    ended: set[int] = set()
    for event in events:
        if isinstance(event, e.RequestHead):
            assert event.stream_id not in heads
            heads[event.stream_id] = event
            assert len(event.headers) <= LIMITS.header_fields + 1  # cookie crumbs count apart, and are one field
            assert sum(len(name) + len(value) for name, value in event.headers) <= LIMITS.header_block
            assert not any(set(value) & set(b"\r\n\0") or name != name.lower() for name, value in event.headers)
            if event.end_stream:
                ended.add(event.stream_id)
        elif isinstance(event, e.Body | e.End | e.BodyRefused):
            assert event.stream_id in heads
            assert event.stream_id not in ended
            if not isinstance(event, e.Body):
                ended.add(event.stream_id)


def check(data: bytes) -> None:
    """The first byte says whether requests are answered."""
    choices = Choices(data)
    answering = bool(choices.number() & 1)
    frames = FrameMaker(choices, MADE_OF).all(MOST_FRAMES)
    if not frames:
        return
    if len(c.ENGINES) > 1:  # nghttp2's binding is not built everywhere
        try:
            compare_servers(frames, answering)
        except AssertionError:
            if not is_bomb(frames):
                raise
    whole = b"".join(frames)
    for engine in c.ENGINES:
        events, idle = told(engine, [whole])
        assert before_reset(told(engine, cut(whole, 12))[0]) == before_reset(events)
        check_streams(events)
        assert idle or leaves_block_open(frames)
