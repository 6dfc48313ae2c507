"""A connection to an upstream, turn by turn of the loop: what has left, what can be sent elsewhere, and its end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sidegate.backends.upstream.client_stream import ClientStream
from sidegate.backends.upstream.connection import CLOSE_TIMEOUT
from sidegate.backends.upstream.retry import REFUSED, UNSENT, reason_to_retry
from sidegate.wire.client_codec import CONNECTION_LOST
from sidegate.wire.codes import CANCEL
from sidegate.wire.events import FRAMES_A_TURN, Body, End, Reset
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http1.client import Http1ClientCodec
from tests.support import http2 as c
from tests.support.http2_client import client, heads
from tests.support.long_reads import chunks
from tests.support.scripted_link import Link, frames

VERSIONS = ["http1", *(f"http2-{engine}" for engine in c.ENGINES)]
BREACH = c.data(0, b"no stream")
"""What breaks HTTP/2, and HTTP/1.1 as well: it is no response."""


def link(version: str, *settings: tuple[int, int]) -> Link:
    """A connection that is ready; on HTTP/2 its peer has sent ``settings``."""
    if version == "http1":
        return Link(Http1ClientCodec(FieldPolicy(100, 65536), 65536))
    made = Link(client("h2" if version == "http2-h2" else "nghttp2"))
    made.connection.data_received(c.settings(*settings) + c.frame(c.SETTINGS, c.ACK, 0))
    made.loop.settle()
    made.take_written()
    return made


def ends(stream: ClientStream) -> list[int]:
    """The codes of the resets that a stream was told of."""
    return [event.code for event in stream.events if isinstance(event, Reset)]


def fail(made: Link) -> None:
    made.connection.connection_lost(OSError())


ENDS: dict[str, Callable[[Link], object]] = {
    "breach": lambda made: made.connection.data_received(BREACH),
    "eof": lambda made: made.connection.eof_received(),
    "close": lambda made: made.connection.close(),
    "abort": lambda made: made.connection.abort(),
    "failure": fail,
}
EVERY_END = pytest.mark.parametrize("end", ENDS)
EVERY_VERSION = pytest.mark.parametrize("version", VERSIONS)


def has_head(made: Link, version: str) -> bool:
    """Whether the head of a POST left for the socket."""
    if version == "http1":
        return b"POST" in made.written
    return c.HEADERS in kinds(made.written)


def kinds(output: bytes) -> list[int]:
    """The types of the frames in ``output``."""
    return [kind for kind, *_ in frames(output)]


def long_response(version: str, stream_id: int, count: int) -> bytes:
    """A response whose body has ``count`` pieces of one byte."""
    if version == "http1":
        return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks(count)
    pieces = [c.data(stream_id, b"x")] * (count - 1)
    return heads(stream_id) + b"".join(pieces) + c.data(stream_id, b"x", end=True)


# Long reads.


@EVERY_VERSION
def test_a_long_read_takes_several_turns(version: str) -> None:
    """Reading is paused until the last one, and each is followed by a flush: what it owes to the peer leaves."""
    made = link(version)
    stream = made.open(c.GET)
    made.loop.settle()
    made.connection.data_received(long_response(version, stream.stream_id, 3 * FRAMES_A_TURN + 1))
    turns = 1
    while made.codec.more:
        assert not made.transport.reading
        assert not any(isinstance(event, End) for event in stream.events)
        made.loop.turn()
        turns += 1
    assert turns == 4
    made.loop.settle()
    assert made.transport.reading
    assert sum(len(event.data) for event in stream.events if isinstance(event, Body)) == 3 * FRAMES_A_TURN + 1
    assert isinstance(stream.events[-1], End)
    made.close(stream)


@pytest.mark.parametrize("end", ["close", "abort", "failure"])
@EVERY_VERSION
def test_the_end_of_a_connection_drops_what_is_left_of_a_read(version: str, end: str) -> None:
    made = link(version)
    stream = made.open(c.GET)
    made.loop.settle()
    made.connection.data_received(long_response(version, stream.stream_id, 3 * FRAMES_A_TURN))
    ENDS[end](made)
    told = list(stream.events)
    assert told[-1] == Reset(stream.stream_id, CONNECTION_LOST)
    made.loop.settle()
    assert list(stream.events) == told
    made.close(stream)


# What can be sent again.


@EVERY_END
@EVERY_VERSION
def test_a_request_of_the_turn_in_which_the_connection_ends_does_not_leave(version: str, end: str) -> None:
    made = link(version)
    stream = made.open(c.POST, end_stream=False)
    stream.send_data(b"abc", True)
    ENDS[end](made)
    made.loop.settle()
    assert not has_head(made, version)
    assert not stream.sent
    (code,) = ends(stream)
    assert reason_to_retry(code, "POST", stream.sent, False) in (UNSENT, REFUSED)
    made.close(stream)
    assert made.connection.in_use == 0
    assert made.connection.open(list(c.POST), True) is None


@EVERY_END
@EVERY_VERSION
def test_a_request_that_left_before_the_connection_ends(version: str, end: str) -> None:
    made = link(version)
    stream = made.open(c.POST, end_stream=False)
    made.loop.settle()
    ENDS[end](made)
    made.loop.settle()
    assert has_head(made, version)
    assert stream.sent


@pytest.mark.parametrize("end", ["eof", "close", "abort", "failure"])
@EVERY_VERSION
def test_a_request_that_waits_for_the_transport_has_not_left(version: str, end: str) -> None:
    made = link(version)
    made.transport.stalled = True
    if version == "http1":
        made.connection.pause_writing()
    else:
        made.open(c.GET)
        made.loop.settle()
        assert made.transport.full
        made.take_written()
    stream = made.open(c.POST, end_stream=False)
    made.loop.settle()
    ENDS[end](made)
    assert not has_head(made, version)
    assert not stream.sent
    assert ends(stream) == [CONNECTION_LOST]


@pytest.mark.parametrize("engine", c.ENGINES)
def test_a_peer_that_breaks_the_protocol_gets_a_goaway(engine: c.EngineName) -> None:
    made = link(f"http2-{engine}")
    made.open(c.POST, end_stream=False)
    made.loop.settle()
    made.take_written()
    made.connection.data_received(BREACH)
    assert c.listen(made.written).goaways


# The places of the streams.

PLACES = 4
WINDOW = 1000
ANSWERS: dict[str, Callable[[int], bytes]] = {
    "head": lambda number: heads(number, end=True),
    "data": lambda number: heads(number) + c.data(number, b"early", end=True),
    "end": lambda number: heads(number) + c.data(number, b"early") + c.data(number, b"", end=True),
    "trailers": lambda number: heads(number) + heads(number, [(b"sum", b"1")], end=True),
}


@pytest.mark.parametrize("size", [3000, WINDOW], ids=["body", "end"])
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("engine", c.ENGINES)
def test_an_early_answer_gives_the_place_back(engine: c.EngineName, answer: str, size: int) -> None:
    """The peer's window holds back the body, or only its end, and the peer never opens it."""
    made = link(f"http2-{engine}", (0x3, PLACES), (0x4, WINDOW))
    streams = [made.open(c.POST, end_stream=False) for _ in range(PLACES)]
    for stream in streams:
        stream.send_data(bytes(size), False)
    made.loop.settle()
    for stream in streams:
        stream.send_data(b"", True)
    made.loop.settle()
    assert made.owner.load_balancer.take() is None
    made.connection.data_received(b"".join(ANSWERS[answer](stream.stream_id) for stream in streams))
    for stream in streams:
        made.close(stream)
    made.loop.settle()
    heard = c.listen(made.take_written())
    assert made.codec.capacity == PLACES
    for stream in streams:
        # h2 sends an end without data; nghttp2 waits for the window with that, too.
        told = heard.streams[stream.stream_id]
        assert told.ended != (told.reset == CANCEL)
    for _ in range(PLACES):
        assert made.open(c.GET).stream_id > streams[-1].stream_id


def test_an_early_answer_of_a_server_that_reads_nothing_ends_the_http1_connection() -> None:
    """The rest of the request is not sent, and no other request waits behind it."""
    made = link("http1")
    stream = made.open([*c.POST, (b"content-length", b"3000")], end_stream=False)
    made.transport.stalled = True
    made.loop.settle()
    stream.send_data(bytes(3000), True)
    made.loop.settle()
    assert made.transport.full
    made.connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    made.close(stream)
    made.loop.settle()
    assert made.owner.load_balancer.take() is None
    assert made.owner.unavailable == 1
    assert bytes(3000) not in made.written


@pytest.mark.parametrize("engine", c.ENGINES)
def test_a_stream_that_ends_on_both_sides_is_not_reset(engine: c.EngineName) -> None:
    made = link(f"http2-{engine}")
    for end_stream in (True, False):
        stream = made.open(c.POST, end_stream)
        if not end_stream:
            stream.send_data(b"abc", True)
        made.loop.settle()
        made.connection.data_received(heads(stream.stream_id) + c.data(stream.stream_id, b"x", end=True))
        made.loop.settle()
        stream.acknowledge(1, True)
        made.close(stream)
        made.loop.settle()
        assert c.RST_STREAM not in kinds(made.take_written())
    assert made.codec.capacity == made.codec.max_streams


@EVERY_VERSION
def test_a_codec_that_opens_no_more_streams_gets_no_further_request(version: str) -> None:
    made = link(version)
    made.codec.goaway()
    assert made.connection.open(list(c.GET), True) is None
    assert made.owner.unavailable == 1
    made.loop.settle()
    assert made.owner.closed == 1


# The end of the socket.


def close_by_peer(made: Link) -> None:
    if not made.connection.eof_received():
        made.transport.close()  # as the event loop does


CLOSES: dict[str, Callable[[Link], object]] = {
    "leave": lambda made: made.connection.leave(),
    "breach": lambda made: made.connection.data_received(BREACH),
    "eof": close_by_peer,
    "close": lambda made: made.connection.close(),
}


@pytest.mark.parametrize("way", CLOSES)
@pytest.mark.parametrize("full", [False, True], ids=["room", "full"])
@EVERY_VERSION
def test_a_peer_that_reads_nothing_does_not_keep_the_socket(version: str, full: bool, way: str) -> None:
    """Whether the transport's buffer is full before the end, or by it."""
    made = link(version)
    stream = made.open(c.GET)
    if full:
        made.transport.stalled = True
        made.loop.settle()
        assert made.transport.full
    else:
        made.loop.settle()
        made.transport.stalled = True
    made.close(stream)
    CLOSES[way](made)
    made.loop.settle()
    if made.transport.state != "closed":
        assert made.transport.state == "closing"
        made.loop.now += CLOSE_TIMEOUT / 2
        made.loop.settle()
        assert made.transport.state == "closing"
        made.loop.now += CLOSE_TIMEOUT / 2
        made.loop.settle()
    assert made.transport.state == "closed"
    assert made.owner.closed == 1


@EVERY_VERSION
def test_a_connection_that_leaves_writes_everything_to_a_peer_that_reads(version: str) -> None:
    made = link(version)
    stream = made.open(c.GET)
    made.transport.stalled = True
    made.loop.settle()
    made.connection.leave()
    made.loop.settle()
    assert made.transport.state == "open"
    made.transport.unstall()
    made.close(stream)
    made.loop.settle()
    assert made.transport.state == "closed"
    if version != "http1":
        assert kinds(made.take_written())[-2:] == [c.GOAWAY, c.RST_STREAM]
