"""WebSocket over HTTP/2 (RFC 8441) in raw frames, in both roles, on both engines."""

from __future__ import annotations

import pytest

from sidegate.wire import codes
from sidegate.wire import events as e
from sidegate.wire.events import Body, End, RequestHead, Reset, ResponseHead, Violation
from sidegate.wire.http2 import Http2ClientCodec, Http2Codec
from sidegate.wire.http2 import engine as wire
from tests.support import http2 as c
from tests.support.http2_client import OK, client, heads, started

pytestmark = pytest.mark.parametrize("engine", c.ENGINES)

LENGTH = (b"content-length", b"3")


def asked(engine: c.EngineName, *fields: tuple[bytes, bytes]) -> tuple[Http2Codec, RequestHead]:
    made = c.started(engine)
    (head,) = made.receive(c.Speaker().headers(1, [*c.CONNECT, *fields], end=False), 0.0)
    assert isinstance(head, RequestHead)
    return made, head


# The server's role


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"sec-websocket-version", b"13"), (b"sec-websocket-protocol", b"a, b")],
        [(b"content-length", b"0")],
        [(b"expect", b"100-continue")],
    ],
)
def test_a_handshake(engine: c.EngineName, fields: c.Pairs) -> None:
    made, head = asked(engine, *fields)
    assert (head.protocol, head.method, head.target, head.http_version) == ("websocket", "CONNECT", b"/", "2")
    assert (head.end_stream, head.expect_continue) == (False, False)
    assert head.headers == [(b"host", b"example.org"), *fields]
    made.accept(1, [(b"sec-websocket-protocol", b"b"), (b"sec-websocket-accept", b"x"), (b"content-length", b"0")])
    assert made.receive(c.data(1, b"up"), 0.0) == [Body(1, b"up")]
    answer = c.listen(made.take_output()).streams[1]
    assert answer.heads == [[(b":status", b"200"), (b"sec-websocket-protocol", b"b")]]
    assert not answer.ended


def test_a_protocol_is_known_in_any_case(engine: c.EngineName) -> None:
    made = c.started(engine)
    fields = [c.CONNECT[0], (b":protocol", b"WebSocket"), *c.GET[1:]]
    (head,) = made.receive(c.Speaker().headers(1, fields, end=False), 0.0)
    assert isinstance(head, e.RequestHead)
    assert head.protocol == "websocket"


@pytest.mark.parametrize(("fields", "end"), [([LENGTH], False), ([], True)])
def test_a_handshake_with_a_body_or_an_end_is_refused(engine: c.EngineName, fields: c.Pairs, end: bool) -> None:
    made = c.started(engine)
    (event,) = made.receive(c.Speaker().headers(1, [*c.CONNECT, *fields], end), 0.0)
    assert isinstance(event, e.Rejected)
    assert (event.method, event.status, event.reason) == ("CONNECT", 400, "websocket_body")
    made.accept(1, [])
    c.answer_all(made, [event])
    answer = c.listen(made.take_output()).streams[1]
    assert (answer.heads[0][0], answer.ended, answer.reset) == ((b":status", b"400"), True, None if end else 0)
    assert made.idle


def test_handshakes_and_requests_on_one_connection(engine: c.EngineName) -> None:
    """What is remembered of one says nothing of the other."""
    made, speaker = c.started(engine), c.Speaker()
    moved = [*c.CONNECT[:-1], (b":path", b"/b")]
    kinds = [(c.GET, ""), (c.CONNECT, "websocket"), (moved, "websocket"), (c.GET, ""), (c.CONNECT, "websocket")]
    for number, (fields, protocol) in enumerate(kinds):
        (head,) = made.receive(speaker.headers(2 * number + 1, fields, end=not protocol), 0.0)
        assert isinstance(head, e.RequestHead)
        assert (head.protocol, head.end_stream, head.target) == (protocol, not protocol, fields[-1][1])


@pytest.mark.parametrize("accepting", [False, True])
def test_trailers_break_it(engine: c.EngineName, accepting: bool) -> None:
    made, _ = asked(engine)
    if accepting:
        made.accept(1, [])
    assert made.receive(c.Speaker().headers(1, [(b"a", b"b")]), 0.0) == [Reset(1, codes.PROTOCOL_ERROR)]
    assert c.listen(made.take_output()).streams[1].reset == codes.PROTOCOL_ERROR
    assert not made.closed


def test_a_client_that_ends_early_can_still_be_accepted(engine: c.EngineName) -> None:
    made, _ = asked(engine)
    assert made.receive(c.data(1, b"abc", end=True), 0.0) == [Body(1, b"abc"), End(1, [])]
    made.acknowledge(1, 3)
    made.accept(1, [])
    made.send_data(1, b"bye", True)
    answer = c.listen(made.take_output()).streams[1]
    assert (answer.heads[0], answer.body, answer.ended, answer.reset) == ([(b":status", b"200")], b"bye", True, None)
    made.accept(1, [])
    assert not made.release(1)
    assert made.take_output() == b""
    assert made.idle


def test_a_reset_by_the_client_ends_it(engine: c.EngineName) -> None:
    made, _ = asked(engine)
    made.accept(1, [])
    assert made.receive(c.rst_stream(1), 0.0) == [Reset(1, codes.CANCEL)]
    made.send_data(1, b"late", True)
    assert c.listen(made.take_output()).streams.get(1, c.Answer()).body == b""


def test_one_that_we_end_first_is_reset_behind_its_end(engine: c.EngineName) -> None:
    """The client need not answer; its stream's place must become free."""
    made, _ = asked(engine)
    made.accept(1, [])
    made.send_data(1, b"bye", True)
    assert made.release(1)
    answer = c.listen(made.take_output()).streams[1]
    assert (answer.body, answer.ended, answer.reset) == (b"bye", True, codes.NO_ERROR)
    assert made.idle


def test_credit_given_back_reaches_the_client(engine: c.EngineName) -> None:
    made, _ = asked(engine)
    made.accept(1, [])
    made.take_output()
    for _ in range(20):
        for event in made.receive(c.data(1, b"x" * 16_000), 0.0):
            assert isinstance(event, Body)
            made.acknowledge(1, len(event.data))
    assert c.listen(made.take_output()).window_updates(1) >= 20 * 16_000 - 131_072


# The client's role


def tunnel(engine: c.EngineName, *frames: bytes) -> tuple[Http2ClientCodec, list[e.Event]]:
    """A client that has asked for one, and what it made of ``frames``."""
    made = started(engine)
    assert made.request(list(c.CONNECT), False) == 1
    assert c.listen(made.take_output()).streams[1] == c.Answer(heads=[c.CONNECT])
    return made, c.merged(made.receive(b"".join(frames)))


def test_a_server_says_whether_it_takes_them(engine: c.EngineName) -> None:
    made = client(engine)
    assert not made.connect_protocol
    made.receive(c.settings((wire.CONNECT_SETTING, 0)))
    assert not made.connect_protocol
    made.receive(c.settings((wire.CONNECT_SETTING, 1)))
    assert made.connect_protocol
    assert made.receive(c.settings((wire.CONNECT_SETTING, 1))) == []


@pytest.mark.parametrize("values", [(2,), (1, 0), (0, 1, 1, 0)])
def test_a_server_that_says_nonsense_of_it_ends_the_connection(engine: c.EngineName, values: tuple[int, ...]) -> None:
    made = client(engine)
    found = made.receive(b"".join(c.settings((wire.CONNECT_SETTING, value)) for value in values))
    assert isinstance(found[-1], Violation)
    assert (found[-1].reason, made.closed) == ("protocol_error", True)


def test_of_a_setting_given_twice_in_a_frame_the_last_counts(engine: c.EngineName) -> None:
    made = client(engine)
    assert made.receive(c.settings((wire.CONNECT_SETTING, 1), (wire.CONNECT_SETTING, 0))) == []
    assert not made.connect_protocol
    assert made.receive(c.settings((wire.CONNECT_SETTING, 0), (wire.CONNECT_SETTING, 1))) == []
    assert made.connect_protocol


@pytest.mark.parametrize("status", [b"200", b"204", b"299"])
def test_any_yes_opens_it_whatever_it_says_of_a_length(engine: c.EngineName, status: bytes) -> None:
    made, found = tunnel(engine, heads(1, [(b":status", status), LENGTH]), c.data(1, b"hello"))
    assert found == [ResponseHead(1, int(status), [LENGTH], False), Body(1, b"hello")]
    made.send_data(1, b"up", False)
    assert c.listen(made.take_output()).streams[1].body == b"up"
    made.send_data(1, b"", True)
    assert made.receive(c.data(1, b"bye", end=True)) == [Body(1, b"bye"), End(1, [])]
    assert c.listen(made.take_output()).streams[1].ended
    made.acknowledge(1, 8)
    assert made.capacity == made.max_streams


def test_a_yes_that_is_its_end(engine: c.EngineName) -> None:
    assert tunnel(engine, heads(1, OK, end=True))[1] == [ResponseHead(1, 200, [], True)]


def test_a_no_is_an_ordinary_response(engine: c.EngineName) -> None:
    no = [(b":status", b"403"), LENGTH]
    told = ResponseHead(1, 403, [LENGTH], False)
    trailers = heads(1, [(b"sum", b"1")], end=True)
    assert tunnel(engine, heads(1, no), c.data(1, b"abc"), trailers)[1] == [
        told,
        Body(1, b"abc"),
        End(1, [(b"sum", b"1")]),
    ]
    assert tunnel(engine, heads(1, no), c.data(1, b"abcd"))[1] == [told, Reset(1, codes.PROTOCOL_ERROR)]
    assert tunnel(engine, heads(1, no, end=True))[1] == [Reset(1, codes.PROTOCOL_ERROR)]


def test_nothing_but_data_follows_a_yes(engine: c.EngineName) -> None:
    made, found = tunnel(engine, heads(1), heads(1, [(b"sum", b"1")], end=True))
    assert found == [ResponseHead(1, 200, [], False), Reset(1, codes.PROTOCOL_ERROR)]
    assert not made.closed
