"""HTTP/2 in the client's role: both engines agree, cuts change nothing, limits hold, the output can be read."""

from __future__ import annotations

from collections.abc import Iterable

from sidegate.wire import events as e
from tests.fuzz.http2_frames import FrameMaker, Words, before_reset
from tests.fuzz.inputs import Choices, cut
from tests.support import http2 as c
from tests.support.http2_client import SETTINGS, client
from tests.support.http2_engines import REQUESTS, compare_clients

MOST_FRAMES = 24
MADE_OF = Words(
    good=(
        [(b":status", b"200")],
        [(b":status", b"200"), (b"content-length", b"3")],
        [(b":status", b"103"), (b"link", b"</a>")],
        [(b":status", b"204")],
        [(b"sum", b"1")],
    ),
    names=[
        *b":status :path :odd content-type content-length x-one X-Upper connection transfer-encoding te date".split(),
        *b"set-cookie trailer upgrade x-sidegate-offer x-sidegate-close".split(),
        *(b"", b"a b"),
    ],
    values=[
        *b"1 3 abc close 100 101 103 200 204 304 99 2000 chunked".split(),
        *(b"", b" padded", b"a\0b", b"\xff", b"x" * 90, b"y" * 4000),
    ],
    streams=(1, 3, 5, 7, 9, 11, 2, 0, 2**31 - 1),
    settings=(1, 2, 3, 4, 5, 6, 8, 99, 0xF0E5, 0xF0E6),
    open_blocks=False,
)


def told(engine: c.EngineName, pieces: Iterable[bytes]) -> list[object]:
    """Events after which nothing is read (of a violation its place only), and the codec's state."""
    made = client(engine)
    assert made.receive(c.settings() + c.frame(c.SETTINGS, c.ACK, 0)) == []
    for headers, end in REQUESTS:
        made.request(headers, end)
    output = made.take_output()
    found: list[e.Event] = []
    for piece in pieces:
        found += made.receive(piece)
    kept: list[object] = [type(event) if isinstance(event, e.Violation) else event for event in c.merged(found)]
    output += made.take_output()
    c.listen(output.removeprefix(c.PREFACE))
    assert made.closed or e.Violation not in kept
    return [*kept, (made.closed, made.draining, made.capacity, made.hop, made.threads, made.connect_protocol)]


def is_bomb(frames: Iterable[bytes]) -> bool:
    """Whether a header list is far beyond its limit. On a stream that was reset, nghttp2 reads such a list."""
    made = client("h2")
    events = made.receive(c.settings() + b"".join(frames))
    return any(isinstance(event, e.Violation) and event.reason == "excessive_load" for event in events)


def check_streams(events: Iterable[object]) -> None:
    """Each stream: informational heads, a head, the body, at most one end."""
    begun: set[int] = set()
    ended: set[int] = set()
    for event in events:
        if isinstance(event, e.Informational | e.ResponseHead):
            assert event.stream_id not in begun
            assert len(event.headers) <= SETTINGS.header_fields
            assert sum(len(name) + len(value) for name, value in event.headers) <= SETTINGS.header_block
        if isinstance(event, e.ResponseHead):
            begun.add(event.stream_id)
            if event.end_stream:
                ended.add(event.stream_id)
        elif isinstance(event, e.Body | e.End):
            assert event.stream_id in begun
            assert event.stream_id not in ended
            if isinstance(event, e.End):
                ended.add(event.stream_id)


def check(data: bytes) -> None:
    """The first byte says whether bodies are read at once."""
    choices = Choices(data)
    reading = bool(choices.number() & 1)
    frames = FrameMaker(choices, MADE_OF).all(MOST_FRAMES)
    if not frames:
        return
    if len(c.ENGINES) > 1:  # nghttp2's binding is not built everywhere
        try:
            compare_clients(frames, reading)
        except AssertionError:
            if not is_bomb(frames):
                raise
    whole = b"".join(frames)
    for engine in c.ENGINES:
        events = told(engine, [whole])
        assert before_reset(told(engine, cut(whole, 12))) == before_reset(events)
        check_streams(events)
