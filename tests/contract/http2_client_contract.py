"""The client's half of the codec contract: what ``Http2ClientCodec`` adds to it, by any two engines.

For each of ``CHECKS`` call ``check(make_pair)``, where ``make_pair(**limits)`` gives a new ``Pair`` whose server was
made with these limits.
"""

from __future__ import annotations

from sidegate.wire.client_codec import CONNECTION_LOST
from sidegate.wire.codes import CANCEL, NO_ERROR, REFUSED_STREAM
from sidegate.wire.events import Body, End, GoAway, RequestHead, Reset, ResponseHead
from sidegate.wire.http2.engine import WINDOW_MAX
from tests.support import http2 as c
from tests.support.client_pair import MakePair


def check_a_request_waits_for_the_server_to_read(make: MakePair) -> None:
    pair = make(stream_window=65535)
    stream = pair.open(c.POST, end=False)
    pair.client.send_data(stream, b"x" * 200_000, True)
    told = 0
    for _ in range(3):
        (body,) = pair.asked()
        assert isinstance(body, Body)
        told += len(body.data)
        assert len(body.data) <= 65535
        assert pair.client.pending(stream) == 200_000 - told
        pair.server.acknowledge(stream, len(body.data))
    assert pair.asked() == [Body(stream, b"x" * (200_000 - told)), End(stream, [])]
    assert pair.client.pending(stream) == 0


def check_a_response_waits_for_its_reader(make: MakePair) -> None:
    pair = make()
    stream = pair.open()
    pair.server.send_head(stream, 200, [(b"content-length", b"200000")], False)
    pair.server.send_data(stream, b"x" * 200_000, True)
    head, body = pair.heard()
    assert isinstance(head, ResponseHead)
    told = 0
    while told < 200_000:
        assert isinstance(body, Body)
        assert len(body.data) <= 65535
        told += len(body.data)
        assert pair.server.pending(stream) == 200_000 - told
        pair.client.acknowledge(stream, len(body.data))
        body, *rest = pair.heard() or [End(stream, [])]
    assert [body, *rest][-1] == End(stream, [])


def check_a_stream_given_up_gives_its_credit_back(make: MakePair) -> None:
    pair = make()
    for _ in range(15):
        stream = pair.open()
        pair.server.send_head(stream, 200, [], False)
        pair.server.send_data(stream, b"x" * 60_000, False)
        assert pair.heard()[-1] == Body(stream, b"x" * 60_000)
        pair.client.reset(stream, CANCEL)
        pair.server.send_data(stream, b"x" * 5000, False)  # crosses the reset
        assert pair.heard() == []
        assert pair.asked() == [Reset(stream, CANCEL)]
        pair.server.release(stream)
        assert pair.client.capacity == pair.client.max_streams


def check_the_server_says_how_many_streams_it_takes(make: MakePair) -> None:
    pair = make(concurrent_streams=2)
    assert (pair.client.max_streams, pair.client.capacity) == (2, 2)
    first, second = pair.open(), pair.open()
    assert pair.client.capacity == 0
    assert pair.client.request(list(c.GET), True) == 0
    pair.client.reset(first, CANCEL)
    third = pair.client.request(list(c.GET), True)
    # Its place is taken until the application has ended: we may send, it may refuse.
    assert third > second
    assert pair.heard() == [Reset(third, REFUSED_STREAM)]


def check_winding_down_loses_nothing(make: MakePair) -> None:
    pair = make()
    first = pair.open()
    pair.server.goaway(False)
    crossing = pair.client.request(list(c.GET), True)
    assert pair.heard() == [GoAway(NO_ERROR, WINDOW_MAX)]
    assert pair.client.capacity == pair.client.request(list(c.GET), True) == 0
    pair.server.goaway(True)
    assert pair.heard() == [GoAway(NO_ERROR, crossing)]
    for stream in (crossing, first):
        assert not pair.client.closed
        pair.server.send_head(stream, 200, [], True)
        pair.server.release(stream)
        assert pair.heard() == [ResponseHead(stream, 200, [], True)]
    assert pair.client.closed
    assert pair.server.closed


def check_requests_that_came_too_late_are_told_so(make: MakePair) -> None:
    pair = make()
    first = pair.open()
    pair.server.goaway(True)
    late = [pair.client.request(list(c.GET), True), pair.client.request(list(c.POST), False)]
    assert pair.heard() == [GoAway(NO_ERROR, first), *(Reset(stream, REFUSED_STREAM) for stream in late)]
    pair.client.send_data(late[1], b"x", True)
    pair.server.send_head(first, 200, [], True)
    assert pair.heard() == [ResponseHead(first, 200, [], True)]
    assert pair.client.closed


def check_the_server_is_told_a_farewell_of_the_client_once(make: MakePair) -> None:
    pair = make()
    pair.open()
    pair.client.goaway()
    pair.client.goaway()
    assert pair.asked() == [GoAway(NO_ERROR, 0)]


def check_a_websocket(make: MakePair) -> None:
    pair = make()
    assert pair.client.connect_protocol
    stream = pair.client.request([*c.CONNECT, (b"sec-websocket-version", b"13")], False)
    pair.client.send_data(stream, b"early", False)
    head, early = pair.asked()
    assert isinstance(head, RequestHead)
    assert (head.protocol, head.end_stream) == ("websocket", False)
    assert head.headers == [(b"host", b"example.org"), (b"sec-websocket-version", b"13")]
    assert early == Body(stream, b"early")
    pair.server.accept(stream, [(b"a", b"b")])
    pair.server.send_data(stream, b"down", False)
    assert pair.heard() == [ResponseHead(stream, 200, [(b"a", b"b")], False), Body(stream, b"down")]
    pair.client.send_data(stream, b"up", True)
    assert pair.asked() == [Body(stream, b"up"), End(stream, [])]
    pair.server.acknowledge(stream, 7)
    pair.server.send_data(stream, b"bye", True)
    pair.server.release(stream)
    assert pair.heard() == [Body(stream, b"bye"), End(stream, [])]
    pair.client.acknowledge(stream, 7)
    assert pair.client.capacity == pair.client.max_streams


def check_a_websocket_that_the_server_ends_first(make: MakePair) -> None:
    pair = make()
    stream = pair.open(c.CONNECT, end=False)
    pair.server.accept(stream, [])
    pair.server.send_data(stream, b"bye", True)
    pair.server.release(stream)
    assert pair.heard() == [
        ResponseHead(stream, 200, [], False),
        Body(stream, b"bye"),
        End(stream, []),
        Reset(stream, NO_ERROR),
    ]


def check_a_websocket_denied(make: MakePair) -> None:
    pair = make()
    stream = pair.open(c.CONNECT, end=False)
    pair.server.send_head(stream, 403, [(b"content-length", b"2")], False)
    pair.server.send_data(stream, b"no", True)
    pair.server.release(stream)
    assert pair.heard() == [
        ResponseHead(stream, 403, [(b"content-length", b"2")], False),
        Body(stream, b"no"),
        End(stream, []),
        Reset(stream, NO_ERROR),
    ]
    pair.client.acknowledge(stream, 2)
    assert pair.client.capacity == pair.client.max_streams


def check_websockets_wait_for_their_readers(make: MakePair) -> None:
    pair = make(stream_window=65535)
    stream = pair.open(c.CONNECT, end=False)
    pair.server.accept(stream, [])
    pair.client.send_data(stream, b"u" * 100_000, False)
    pair.server.send_data(stream, b"d" * 100_000, False)
    assert pair.asked() == [Body(stream, b"u" * 65535)]
    assert pair.heard()[1:] == [Body(stream, b"d" * 65535)]
    assert pair.client.pending(stream) == pair.server.pending(stream) == 100_000 - 65535
    pair.server.acknowledge(stream, 65535)
    pair.client.acknowledge(stream, 65535)
    assert pair.asked() == [Body(stream, b"u" * (100_000 - 65535))]
    assert pair.heard() == [Body(stream, b"d" * (100_000 - 65535))]


def check_a_websocket_outlives_the_farewell(make: MakePair) -> None:
    pair = make()
    stream = pair.open(c.CONNECT, end=False)
    pair.server.accept(stream, [])
    pair.server.goaway(False)
    pair.server.goaway(True)
    told = [ResponseHead(stream, 200, [], False), GoAway(NO_ERROR, WINDOW_MAX), GoAway(NO_ERROR, stream)]
    assert sorted(map(repr, pair.heard())) == sorted(map(repr, told))
    pair.client.send_data(stream, b"up", True)
    assert pair.asked() == [Body(stream, b"up"), End(stream, [])]
    assert not pair.server.closed
    pair.server.send_data(stream, b"down", True)
    assert pair.heard() == [Body(stream, b"down"), End(stream, [])]
    assert pair.server.closed
    assert pair.client.closed


def check_the_end_of_the_connection(make: MakePair) -> None:
    pair = make()
    first, second = pair.open(), pair.open(c.POST, end=False)
    pair.server.send_head(first, 200, [], False)
    pair.server.send_data(first, b"abc", False)
    pair.exchange()
    assert pair.client.receive_eof() == [Reset(first, CONNECTION_LOST), Reset(second, CONNECTION_LOST)]
    assert pair.client.closed
    assert pair.client.receive_eof() == pair.client.receive(c.settings()) == []
    assert pair.client.request(list(c.GET), True) == 0
    pair.client.acknowledge(first, 3)
    pair.client.ping(bytes(8))
    pair.client.goaway()
    assert pair.client.take_output() == b""


CHECKS = [found for name, found in list(globals().items()) if name.startswith("check_")]
