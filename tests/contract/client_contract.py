"""The client's half of the codec contract: what every ``ClientCodec`` does against our own server.

For each of ``CHECKS`` call ``check(make_pair)``, where ``make_pair()`` gives a new ``Pair``.
``http2_client_contract.py`` has what streams, windows and GOAWAY add.
"""

from __future__ import annotations

from sidegate.wire.client_codec import CONNECTION_LOST
from sidegate.wire.codes import CANCEL, INTERNAL_ERROR, NO_ERROR
from sidegate.wire.events import Body, End, Informational, PingAck, RequestHead, Reset, ResponseHead
from tests.support import http2 as c
from tests.support.client_pair import WINDOW, MakePair, Pair

HEAD: c.Pairs = [(b":method", b"HEAD"), *c.GET[1:]]
EMPTY: c.Pairs = [(b"content-length", b"0")]


def respond(pair: Pair, stream: int, headers: c.Pairs, body: bytes) -> None:
    """Let the server send a whole response."""
    pair.server.send_head(stream, 200, list(headers), not body)
    if body:
        pair.server.send_data(stream, body, True)
    pair.server.release(stream)


def check_a_simple_get(make: MakePair) -> None:
    pair = make()
    for number in range(3):
        assert pair.client.answered is (number > 0)
        stream = pair.client.request([*c.GET, (b"x-a", b"%d" % number)], True)
        (head,) = pair.asked()
        assert isinstance(head, RequestHead)
        assert (head.stream_id, head.method, head.target, head.end_stream) == (stream, "GET", b"/", True)
        assert head.headers == [(b"host", b"example.org"), (b"x-a", b"%d" % number)]
        assert pair.client.capacity == pair.client.max_streams - 1
        fields = [(b"content-length", b"5"), (b"x-b", b"1")]
        respond(pair, stream, fields, b"hello")
        assert pair.heard() == [ResponseHead(stream, 200, fields, False), Body(stream, b"hello"), End(stream, [])]
        pair.client.acknowledge(stream, 5)
        assert not pair.client.read_paused()
        assert pair.client.capacity == pair.client.max_streams
    assert not pair.client.closed


def check_no_more_streams_than_the_server_takes(make: MakePair) -> None:
    pair = make(concurrent_streams=3)
    streams = [pair.open() for _ in range(pair.client.max_streams)]
    assert pair.client.capacity == pair.client.request(list(c.GET), True) == 0
    assert pair.asked() == []
    respond(pair, streams[0], EMPTY, b"")
    assert pair.heard() == [ResponseHead(streams[0], 200, list(EMPTY), True)]
    assert pair.client.capacity == 1
    assert pair.open() > streams[-1]


def check_a_post_by_content_length(make: MakePair) -> None:
    pair = make()
    for _ in range(2):
        stream = pair.open([*c.POST, (b"content-length", b"6")], end=False)
        pair.client.send_data(stream, b"abc", False)
        assert pair.asked() == [Body(stream, b"abc")]
        pair.client.send_data(stream, b"", False)
        pair.client.send_data(stream, b"def", True)
        assert pair.asked() == [Body(stream, b"def"), End(stream, [])]
        assert pair.client.pending(stream) == 0
        respond(pair, stream, EMPTY, b"")
        assert pair.heard() == [ResponseHead(stream, 200, list(EMPTY), True)]
    assert pair.client.capacity == pair.client.max_streams


def check_a_post_without_a_length(make: MakePair) -> None:
    pair = make()
    for _ in range(2):
        stream = pair.open(c.POST, end=False)
        pair.client.send_data(stream, b"abc", False)
        pair.client.send_data(stream, b"", False)
        pair.client.send_data(stream, b"def", False)
        pair.client.send_data(stream, b"", True)
        assert pair.asked() == [Body(stream, b"abcdef"), End(stream, [])]
        pair.server.send_head(stream, 201, [], False)
        pair.server.send_data(stream, b"made", False)
        pair.server.send_data(stream, b"", True)
        pair.server.release(stream)
        assert pair.heard() == [ResponseHead(stream, 201, [], False), Body(stream, b"made"), End(stream, [])]
    assert pair.client.capacity == pair.client.max_streams


def check_responses_without_a_body(make: MakePair) -> None:
    pair = make()
    length = [(b"content-length", b"5")]
    for request, status, headers in ((HEAD, 200, length), (c.GET, 204, []), (c.GET, 304, length), (c.GET, 200, EMPTY)):
        stream = pair.open(request)
        pair.server.send_head(stream, status, list(headers), True)
        pair.server.release(stream)
        assert pair.heard() == [ResponseHead(stream, status, list(headers), True)]
    assert pair.client.capacity == pair.client.max_streams


def check_informational_responses_come_first(make: MakePair) -> None:
    pair = make()
    stream = pair.open([*c.POST, (b"expect", b"100-continue")], end=False)
    pair.server.send_informational(stream, 100, [])
    pair.server.send_informational(stream, 103, [(b"link", b"</a>")])
    assert pair.heard() == [Informational(stream, 100, []), Informational(stream, 103, [(b"link", b"</a>")])]
    pair.client.send_data(stream, b"abc", True)
    assert pair.asked() == [Body(stream, b"abc"), End(stream, [])]
    respond(pair, stream, EMPTY, b"")
    assert pair.heard() == [ResponseHead(stream, 200, list(EMPTY), True)]


def check_trailers_both_ways(make: MakePair) -> None:
    pair = make()
    stream = pair.open([*c.POST, (b"te", b"trailers")], end=False)
    pair.client.send_data(stream, b"abc", False)
    pair.client.send_trailers(stream, [(b"sum", b"1")])
    assert pair.asked() == [Body(stream, b"abc"), End(stream, [(b"sum", b"1")])]
    pair.server.send_head(stream, 200, [], False)
    pair.server.send_data(stream, b"def", False)
    pair.server.send_trailers(stream, [(b"content-length", b"9"), (b"set-cookie", b"a"), (b"sum", b"2")])
    pair.server.release(stream)
    assert pair.heard() == [
        ResponseHead(stream, 200, [], False),
        Body(stream, b"def"),
        End(stream, [(b"sum", b"2")]),
    ]
    assert pair.client.capacity == pair.client.max_streams


def check_what_is_unread_is_bounded(make: MakePair) -> None:
    """The codec stops the server by a window, or asks that reading pauses, until the body is acknowledged."""
    pair = make()
    stream = pair.open()
    pair.server.send_head(stream, 200, [(b"content-length", b"200000")], False)
    sent = told = 0
    while told < 200_000:
        for _ in range(10):
            piece = min(20_000, 200_000 - sent)
            sent += piece
            pair.server.send_data(stream, bytes(piece), sent == 200_000)
        unread = sum(len(event.data) for event in pair.heard() if isinstance(event, Body))
        # One read may exceed the bound, by the bytes that it brings.
        assert unread <= WINDOW or pair.client.read_paused()
        told += unread
        pair.client.acknowledge(stream, unread)
        assert not pair.client.read_paused()
    assert pair.heard() in ([], [End(stream, [])])
    pair.server.release(stream)
    assert pair.client.capacity == pair.client.max_streams


def check_a_late_acknowledgement_is_no_credit_for_the_next(make: MakePair) -> None:
    """Each response is read only after its stream has ended; in all they are more than a connection's window."""
    pair = make()
    for _ in range(15):
        stream = pair.open()
        respond(pair, stream, [], b"x" * 60_000)
        _, *bodies, end = pair.heard()
        assert end == End(stream, [])
        pair.client.acknowledge(stream, 10_000)
        pair.client.acknowledge(stream, 10**9)
        pair.client.acknowledge(stream, 1)
        assert sum(len(body.data) for body in bodies if isinstance(body, Body)) == 60_000


def check_a_stream_given_up(make: MakePair) -> None:
    """No event follows. HTTP/2 goes on without the stream, HTTP/1.1 ends the connection."""
    pair = make()
    stream = pair.open()
    pair.server.send_head(stream, 200, [], False)
    pair.server.send_data(stream, b"x" * 60_000, False)
    assert pair.heard()[-1] == Body(stream, b"x" * 60_000)
    pair.client.reset(stream, CANCEL)
    pair.server.send_data(stream, b"x" * 5000, False)  # crosses the reset
    assert pair.heard() == []
    pair.server.release(stream)
    assert not pair.client.read_paused()
    assert pair.client.draining == pair.client.closed == (not pair.multiplexed)
    assert pair.client.capacity == (pair.client.max_streams if pair.multiplexed else 0)
    assert bool(pair.client.request(list(c.GET), True)) == pair.multiplexed


def check_a_request_given_up(make: MakePair) -> None:
    pair = make()
    stream = pair.open(c.POST, end=False)
    pair.client.send_data(stream, b"abc", False)
    assert pair.asked() == [Body(stream, b"abc")]
    pair.client.reset(stream, CANCEL)
    pair.client.send_data(stream, b"def", True)
    assert pair.asked() == [Reset(stream, CANCEL)]
    assert pair.client.pending(stream) == 0
    assert pair.heard() == []
    assert pair.client.closed == (not pair.multiplexed)


def check_a_reset_by_the_server(make: MakePair) -> None:
    pair = make()
    stream = pair.open(c.POST, end=False)
    pair.server.send_head(stream, 200, [], False)
    pair.server.send_data(stream, b"abc", False)
    pair.exchange()
    pair.server.reset(stream, INTERNAL_ERROR)
    lost = pair.aborted(stream, INTERNAL_ERROR)
    assert pair.heard() == [ResponseHead(stream, 200, [], False), Body(stream, b"abc"), lost]
    pair.client.send_data(stream, b"abc", True)
    assert pair.asked() == []


def check_a_response_before_the_end_of_the_request(make: MakePair) -> None:
    """HTTP/2 resets the rest of the request. HTTP/1.1 does not know whether the server wants it."""
    pair = make()
    stream = pair.open(c.POST, end=False)
    pair.client.send_data(stream, b"abc", False)
    respond(pair, stream, EMPTY, b"")
    early = [ResponseHead(stream, 200, list(EMPTY), True)]
    assert pair.heard() == ([*early, Reset(stream, NO_ERROR)] if pair.multiplexed else early)
    assert pair.client.capacity == (pair.client.max_streams if pair.multiplexed else 0)
    pair.client.send_data(stream, b"def", True)
    pair.exchange()
    assert pair.heard() == []
    assert pair.client.capacity == pair.client.max_streams
    assert pair.open()


def check_a_farewell_of_the_client(make: MakePair) -> None:
    pair = make()
    stream = pair.open()
    pair.client.goaway()
    pair.client.goaway()
    pair.exchange()
    assert pair.client.capacity == 0
    assert pair.client.draining
    assert not pair.client.closed
    assert pair.client.request(list(c.GET), True) == 0
    respond(pair, stream, EMPTY, b"")
    assert pair.heard() == [ResponseHead(stream, 200, list(EMPTY), True)]
    assert pair.client.closed
    assert pair.server.closed


def check_a_ping_is_answered_if_there_is_one(make: MakePair) -> None:
    pair = make()
    asked = pair.client.ping(b"12345678")
    assert pair.heard() == ([PingAck(b"12345678")] if asked else [])
    assert asked == pair.multiplexed


def check_the_end_of_the_connection(make: MakePair) -> None:
    for request, whole in ((c.GET, True), (c.POST, False)):
        for end in (type(make().client).receive_eof, type(make().client).connection_lost):
            pair = make()
            stream = pair.open(request, whole)
            pair.server.send_head(stream, 200, [], False)
            pair.server.send_data(stream, b"abc", False)
            pair.exchange()
            assert end(pair.client) == [Reset(stream, CONNECTION_LOST)]
            assert pair.client.closed
            assert pair.client.draining
            assert end(pair.client) == pair.client.receive(b"more") == []
            assert pair.client.request(list(c.GET), True) == 0
            pair.client.acknowledge(stream, 3)
            pair.client.send_data(stream, b"x", True)
            pair.client.ping(bytes(8))
            pair.client.goaway()
            assert pair.client.take_output() == b""


def check_calls_for_streams_that_are_gone_do_nothing(make: MakePair) -> None:
    pair = make()
    stream = pair.open()
    respond(pair, stream, EMPTY, b"")
    pair.heard()
    for gone in (stream, 99):
        pair.client.send_data(gone, b"x", True)
        pair.client.send_trailers(gone, [(b"a", b"b")])
        pair.client.reset(gone, CANCEL)
        pair.client.acknowledge(gone, 5)
        assert pair.client.pending(gone) == 0
    assert pair.client.take_output() == b""
    assert pair.client.capacity == pair.client.max_streams


CHECKS = [found for name, found in list(globals().items()) if name.startswith("check_")]
