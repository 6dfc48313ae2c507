"""A connection to an upstream, turn by turn of the loop: what has left, what can be sent elsewhere, and its end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sidegate.backends.upstream.client_stream import ClientStream
from sidegate.backends.upstream.retry import REFUSED, UNSENT, reason_to_retry
from sidegate.wire.client_codec import CONNECTION_LOST
from sidegate.wire.events import Reset
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http1.client import Http1ClientCodec
from tests.support import http2 as c
from tests.support.http2_client import client
from tests.support.scripted_link import Link

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
    return any(frame.type == c.HEADERS for frame in c.listen(made.written).frames)


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
