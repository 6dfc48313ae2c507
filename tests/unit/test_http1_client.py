"""HTTP/1.1 in the client's role: how a request is framed, what a response may look like, the life of a connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sidegate.asgi import Headers
from sidegate.wire.client_codec import CONNECTION_LOST, MOST_INFORMATIONAL, RESPONSE_TOO_LARGE
from sidegate.wire.codes import NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM
from sidegate.wire.events import Body, End, Event, GoAway, Informational, Reset, ResponseHead, Violation
from sidegate.wire.fields import RESPONSE_FIELDS, FieldPolicy
from sidegate.wire.http1 import response_head
from sidegate.wire.http1.client import Http1ClientCodec
from tests.support import http2 as c

POLICY = FieldPolicy(4, 200)
LOST = Reset(1, CONNECTION_LOST)
LEAVES = GoAway(NO_ERROR, 1)
OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = b"content-length: 0\r\n\r\n"
STEPS = pytest.mark.parametrize("step", [1, 7, 1000])


def asked(pairs: c.Pairs = c.GET, end: bool = True) -> Http1ClientCodec:
    """A codec whose request 1 has been taken."""
    codec = Http1ClientCodec(POLICY, 1000)
    assert codec.request(list(pairs), end) == 1
    assert codec.take_output()
    return codec


def feed(codec: Http1ClientCodec, data: bytes, step: int = 1000) -> list[Event]:
    return c.merged(event for at in range(0, len(data), step) for event in codec.receive(data[at : at + step]))


def code_for(reason: str | None) -> int:
    return RESPONSE_TOO_LARGE if reason in ("too_many_fields", "header_block_too_large") else PROTOCOL_ERROR


def answered(data: bytes, step: int = 1000, pairs: c.Pairs = c.GET) -> tuple[Http1ClientCodec, list[Event]]:
    codec = asked(pairs)
    return codec, feed(codec, data, step)


def head(fields: Headers | None = None, end: bool = False, status: int = 200) -> ResponseHead:
    return ResponseHead(1, status, fields or [], end)


# Requests


@pytest.mark.parametrize(
    ("pairs", "end", "written"),
    [
        (c.GET, True, b"GET / HTTP/1.1\r\nhost: example.org\r\n\r\n"),
        (
            [*c.GET, (b"accept", b"*/*"), (b"te", b"trailers")],
            True,
            b"GET / HTTP/1.1\r\nhost: example.org\r\naccept: */*\r\nconnection: te\r\nte: trailers\r\n\r\n",
        ),
        ([(b":method", b"OPTIONS"), (b":path", b"*")], True, b"OPTIONS * HTTP/1.1\r\nhost: \r\n\r\n"),
        (c.POST, True, b"POST / HTTP/1.1\r\nhost: example.org\r\ncontent-length: 0\r\n\r\n"),
        (
            [*c.POST, (b"content-length", b"0")],
            True,
            b"POST / HTTP/1.1\r\nhost: example.org\r\ncontent-length: 0\r\n\r\n",
        ),
        (c.POST, False, b"POST / HTTP/1.1\r\nhost: example.org\r\ntransfer-encoding: chunked\r\n\r\n"),
        (
            [*c.POST, (b"content-length", b"5")],
            False,
            b"POST / HTTP/1.1\r\nhost: example.org\r\ncontent-length: 5\r\n\r\n",
        ),
    ],
)
def test_the_head_of_a_request(pairs: c.Pairs, end: bool, written: bytes) -> None:
    codec = Http1ClientCodec(POLICY, 1000)
    assert codec.ready
    assert not codec.hop
    assert not codec.connect_protocol
    assert codec.request(list(pairs), end) == 1
    assert codec.take_output() == written
    assert codec.take_output() == b""


def test_a_chunked_request_with_trailers() -> None:
    codec = asked(c.POST, end=False)
    codec.send_data(1, b"abc", False)
    assert codec.pending(1) == 3
    assert codec.pending(2) == 0
    assert codec.take_output() == b"3\r\nabc\r\n"
    assert codec.pending(1) == 0
    codec.send_trailers(1, [(b"sum", b"1")])
    assert codec.take_output() == b"0\r\nsum: 1\r\n\r\n"


def test_trailers_that_the_framing_cannot_carry_are_dropped() -> None:
    codec = asked([*c.POST, (b"content-length", b"3")], end=False)
    codec.send_data(1, b"abc", False)
    codec.send_trailers(1, [(b"sum", b"1")])
    assert codec.take_output() == b"abc"
    assert feed(codec, OK + EMPTY) == [head([(b"content-length", b"0")], True)]
    assert codec.capacity == 1


@pytest.mark.parametrize("body", [b"abc", b"abcdefg"])
def test_a_request_body_of_another_length_ends_the_connection(body: bytes) -> None:
    """What is too much is never sent, and no request follows what is too little."""
    codec = asked([*c.POST, (b"content-length", b"5")], end=False)
    codec.send_data(1, body, True)
    assert codec.take_output() == body[:5]
    assert codec.draining
    assert not codec.closed
    assert feed(codec, OK + EMPTY) == [head([(b"content-length", b"0")], True)]
    assert codec.closed


def test_a_request_that_announces_a_body_and_has_none_ends_the_connection() -> None:
    codec = asked([*c.POST, (b"content-length", b"5")])
    assert codec.draining
    assert codec.receive_eof() == [LOST]


# Responses


@STEPS
def test_a_body_by_content_length(step: int) -> None:
    codec, found = answered(OK + b"Content-Length: 5\r\nX-A:  b \r\n\r\nhello", step)
    fields = [(b"content-length", b"5"), (b"x-a", b"b")]
    assert found == [head(fields), Body(1, b"hello"), End(1, [])]
    assert codec.capacity == 1


@STEPS
def test_a_chunked_body_with_trailers(step: int) -> None:
    data = (
        b'Transfer-Encoding: chunked\r\n\r\n3 ; x="y;"\r\nabc\r\n02\r\nde\r\n0\r\nSum: 1\r\nContent-Length: 9\r\n\r\n'
    )
    codec, found = answered(OK + data, step)
    assert found == [head(), Body(1, b"abcde"), End(1, [(b"sum", b"1")])]
    assert codec.capacity == 1


@STEPS
def test_a_body_until_the_end_of_the_connection(step: int) -> None:
    codec, found = answered(OK + b"x-a: b\r\n\r\nhello", step)
    assert found == [head([(b"x-a", b"b")]), LEAVES, Body(1, b"hello")]
    assert codec.capacity == 0
    assert not codec.closed
    assert codec.receive_eof() == [End(1, [])]
    assert codec.closed


def test_a_body_until_the_end_of_a_connection_that_breaks_is_incomplete() -> None:
    codec, _ = answered(OK + b"\r\nhello")
    assert codec.connection_lost() == [LOST]


def test_a_body_until_the_end_while_the_request_goes_on() -> None:
    codec = asked(c.POST, end=False)
    assert feed(codec, OK + b"\r\nhello") == [head(), LEAVES, Body(1, b"hello")]
    assert codec.receive_eof() == [End(1, []), LOST]


@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n\r\nhell", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhell"])
def test_an_incomplete_body(framing: bytes) -> None:
    codec, found = answered(OK + framing)
    assert found[-1] == Body(1, b"hell")
    assert codec.receive_eof() == [LOST]


@pytest.mark.parametrize(
    ("method", "status", "framing"),
    [
        (b"HEAD", 200, b"content-length: 5"),
        (b"HEAD", 200, b"transfer-encoding: chunked"),
        (b"HEAD", 200, b"x-a: b"),
        (b"GET", 204, b"transfer-encoding: chunked"),
        (b"GET", 204, b"x-a: b"),
        (b"GET", 304, b"content-length: 5"),
    ],
)
def test_responses_without_a_body(method: bytes, status: int, framing: bytes) -> None:
    codec, found = answered(
        b"HTTP/1.1 %d X\r\n%b\r\n\r\n" % (status, framing), pairs=[(b":method", method), *c.GET[1:]]
    )
    name, value = framing.split(b": ")
    fields = [] if name == b"transfer-encoding" else [(name, value)]
    assert found == [ResponseHead(1, status, fields, True)]
    assert codec.capacity == 1


@pytest.mark.parametrize(
    ("first", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200\r\n", True),
        (b"HTTP/1.1 200 \xc3\xa9\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_whether_the_connection_persists(first: bytes, kept: bool) -> None:
    codec, found = answered(first + EMPTY)
    assert found == [head([(b"content-length", b"0")], True), *([] if kept else [LEAVES])]
    assert codec.capacity == kept
    assert codec.closed != kept
    assert codec.receive(b"more") == [] or kept
    assert codec.receive_eof() == ([] if not kept or codec.closed else [LEAVES])


def test_fields_that_end_at_this_hop_are_dropped() -> None:
    data = b"Connection: x-hop, date\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n" + EMPTY
    assert answered(OK + data)[1] == [head([(b"content-length", b"0")], True)]


@STEPS
def test_informational_responses(step: int) -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    _, found = answered(data + OK + EMPTY, step)
    told = [Informational(1, 100, []), Informational(1, 103, [(b"link", b"</a>")])]
    assert found == [*told, head([(b"content-length", b"0")], True)]


def test_too_many_informational_responses() -> None:
    codec = asked()
    for _ in range(2):  # the count begins again with each request
        hint = b"HTTP/1.1 103 X\r\n\r\n"
        assert len(feed(codec, hint * MOST_INFORMATIONAL)) == MOST_INFORMATIONAL
        assert isinstance(feed(codec, OK + EMPTY)[0], ResponseHead)
        stream = codec.request(list(c.GET), True)
        codec.take_output()
    feed(codec, hint * MOST_INFORMATIONAL)
    reset, violation = feed(codec, hint)
    assert reset == Reset(stream, PROTOCOL_ERROR)
    assert isinstance(violation, Violation)
    assert violation.reason == "informational_flood"


def test_trailers_are_announced_and_an_upgrade_ends_here() -> None:
    fields = b"upgrade: a\r\nconnection: upgrade\r\ntrailer: sum\r\ncontent-length: 0\r\n\r\n"
    _, (event,) = answered(b"HTTP/1.1 426 Upgrade Required\r\n" + fields, 1000)
    assert event == ResponseHead(1, 426, [(b"content-length", b"0"), (b"trailer", b"sum")], True)


@STEPS
def test_a_higher_minor_version_is_read_as_http_1_1(step: int) -> None:
    """RFC 9110 2.5."""
    codec, (head, body, end) = answered(
        b"HTTP/1.7 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", step
    )
    assert (head, body, end) == (ResponseHead(1, 200, [], False), Body(1, b"x"), End(1, []))
    assert codec.capacity == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", "unrequested"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", None),
        (OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", None),
        (OK + b"content-length: 5\r\ncontent-length: 5\r\n\r\n", "malformed"),
        (OK + b"content-length: +5\r\n\r\n", "malformed"),
        (OK + b"content-length: 5, 5\r\n\r\n", "malformed"),
        (OK + b"transfer-encoding: gzip, chunked\r\n\r\n", "unknown_coding"),
        (OK + b"transfer-encoding: gzip\r\n\r\n", "unknown_coding"),
        (OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", None),
        (b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "unknown_coding"),
        (OK + b"x a: b\r\n\r\n", "malformed"),
        (OK + b"x-a: b\rc\r\n\r\n", "malformed"),
        (OK + b"x-a: b\0c\r\n\r\n", "malformed"),
        (OK + b"x-a: b\x01c\r\n\r\n", "malformed"),
        (OK + b"x-a: b\x7fc\r\n\r\n", "malformed"),
        (OK + b"x-a: b\r\n c: d\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\ncontent-length: 0\n\n", "bad_line_end"),
        (OK + b"x-a: b\ncontent-length: 0\r\n\r\n", "bad_line_end"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "malformed"),
        (b"HTTP/1.1 099 OK\r\n\r\n", "malformed"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "malformed"),
        (b"HTTP/1.12 200 OK\r\n\r\n", "malformed"),
        (b"HTTP/1.x 200 OK\r\n\r\n", "malformed"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "malformed"),
        (b"SSH-2.0-x\r\n", "malformed"),
        (b"\r\n" + OK + EMPTY, "malformed"),
        (b"HTTP/1.1\r\n\r\n", "malformed"),
        (OK + b"a: b\r\n" * 5 + b"\r\n", "too_many_fields"),
        (OK + b"x-a: " + b"b" * 200, "header_block_too_large"),
        (OK + b"x-a: " + b"b" * 200 + b"\r\n\r\n", "header_block_too_large"),
    ],
)
@STEPS
def test_a_head_that_is_refused(data: bytes, reason: str | None, step: int) -> None:
    codec, (reset, violation) = answered(data, step)
    assert reset == Reset(1, code_for(reason))
    assert isinstance(violation, Violation)
    assert violation.detail
    assert reason is None or violation.reason == reason
    assert codec.closed
    assert codec.capacity == 0
    assert codec.receive(OK + EMPTY) == codec.receive_eof() == codec.connection_lost() == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (OK + b"x: y\r\n" * (RESPONSE_FIELDS + 1) + b"\r\n", "header_block_too_large"),
        (
            OK + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * (RESPONSE_FIELDS + 1) + b"\r\n",
            "trailers_too_large",
        ),
    ],
)
def test_what_no_server_may_send(data: bytes, reason: str) -> None:
    codec = Http1ClientCodec(FieldPolicy(10_000, 1_000_000), 1000)
    codec.request(list(c.GET), True)
    codec.take_output()
    found = codec.receive(data)
    assert found[-2] == Reset(1, RESPONSE_TOO_LARGE)
    assert isinstance(found[-1], Violation)
    assert found[-1].reason == reason


class Lenient:
    """A parser that refuses nothing."""

    def __init__(self, parts: Any) -> None:
        self._parts = parts

    def feed_data(self, data: bytes) -> None:
        for line in data.split(b"\r\n")[1:-2]:
            self._parts.on_header(*line.split(b": "))
        self._parts.on_headers_complete()

    def get_http_version(self) -> str:
        return "1.1"

    def get_status_code(self) -> int:
        return 200


@pytest.mark.parametrize("fields", [b"content-length: 5\r\ncontent-length: 6\r\n", b"a: b\x01\r\n", b"a b: c\r\n"])
def test_what_a_lenient_parser_lets_pass_is_refused(monkeypatch: pytest.MonkeyPatch, fields: bytes) -> None:
    monkeypatch.setattr(response_head, "HttpResponseParser", Lenient)
    _, (reset, violation) = answered(OK + fields + b"\r\n")
    assert reset == Reset(1, PROTOCOL_ERROR)
    assert isinstance(violation, Violation)
    assert violation.reason == "malformed"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"5\r\nhelloX", "bad_chunk"),
        (b"5\nhello", "bad_chunk"),
        (b"1;\r\nx", "bad_chunk"),
        (b'1;a="b\r\nx', "bad_chunk"),
        (b"5\r\nhello\r\n-1\r\n", "bad_chunk"),
        (b"5\r\nhello\r\n0\r\nx a: b\r\n\r\n", "malformed"),
        (b"5\r\nhello\r\n0\r\nx-a: b\x01c\r\n\r\n", "malformed"),
        (b"5\r\nhello\r\n0\r\n" + b"a: b\r\n" * 5 + b"\r\n", "too_many_fields"),
    ],
)
@STEPS
def test_a_chunked_body_that_is_refused(body: bytes, reason: str, step: int) -> None:
    codec, found = answered(OK + b"transfer-encoding: chunked\r\n\r\n" + body, step)
    *pieces, reset, violation = found[1:]
    assert pieces == ([Body(1, b"hello")] if b"\r\nhello" in body else [])
    assert reset == Reset(1, code_for(reason))
    assert isinstance(violation, Violation)
    assert violation.reason == reason
    assert codec.closed


# The life of a connection


def test_one_request_after_the_other() -> None:
    codec = Http1ClientCodec(POLICY, 1000)
    for number in (1, 2, 3):
        assert codec.capacity == 1
        assert codec.request(list(c.GET), True) == number
        assert codec.capacity == codec.request(list(c.GET), True) == 0
        assert codec.take_output().count(b"GET") == 1
        assert feed(codec, OK + EMPTY) == [ResponseHead(number, 200, [(b"content-length", b"0")], True)]


def test_no_request_follows_before_the_one_before_is_sent_whole() -> None:
    codec = asked(c.POST, end=False)
    assert isinstance(feed(codec, OK + EMPTY)[0], ResponseHead)
    assert codec.capacity == codec.request(list(c.GET), True) == 0
    codec.send_data(1, b"", True)
    assert codec.capacity == codec.request(list(c.GET), True) == 0
    assert codec.take_output() == b"0\r\n\r\n"
    assert codec.request(list(c.GET), True) == 2


@pytest.mark.parametrize("taken", [False, True])
def test_a_reset_after_an_early_response(taken: bool) -> None:
    """A server that has answered need not read on; once all has been taken, there is nothing to abort."""
    codec = asked([*c.POST, (b"content-length", b"3")], end=False)
    codec.send_data(1, b"abc", True)
    if taken:
        codec.take_output()
    assert isinstance(feed(codec, OK + EMPTY)[0], ResponseHead)
    assert codec.reset(1, 8) is codec.closed is not taken
    assert codec.take_output() == b""


def test_an_early_response_that_announces_the_end() -> None:
    codec = asked(c.POST, end=False)
    assert feed(codec, b"HTTP/1.1 413 X\r\nconnection: close\r\n" + EMPTY)[-1] == LEAVES
    assert not codec.closed
    codec.reset(1, 8)
    assert codec.closed
    assert codec.receive_eof() == []


@pytest.mark.parametrize("before", [False, True])
def test_bytes_that_no_request_asked_for(before: bool) -> None:
    codec = Http1ClientCodec(POLICY, 1000) if before else answered(OK + EMPTY)[0]
    (violation,) = codec.receive(OK + EMPTY)
    assert isinstance(violation, Violation)
    assert violation.reason == "unrequested"
    assert codec.closed
    assert codec.connection_lost() == []


def test_bytes_behind_a_response() -> None:
    """The response is complete; the connection gets no further request."""
    codec, found = answered(OK + b"content-length: 2\r\n\r\nabcd")
    *complete, violation = found
    assert complete == [head([(b"content-length", b"2")]), Body(1, b"ab"), End(1, [])]
    assert isinstance(violation, Violation)
    assert codec.closed


def test_bytes_behind_the_last_response_are_ignored() -> None:
    codec, found = answered(OK + b"connection: close\r\n" + EMPTY + OK)
    assert found == [head([(b"content-length", b"0")], True), LEAVES]
    assert codec.closed


def test_bytes_behind_an_early_response_abort_the_request() -> None:
    codec = asked(c.POST, end=False)
    complete, reset, violation = feed(codec, OK + EMPTY + OK)
    assert isinstance(complete, ResponseHead)
    assert reset == Reset(1, PROTOCOL_ERROR)
    assert isinstance(violation, Violation)


def test_an_idle_server_that_times_out_leaves() -> None:
    codec, _ = answered(OK + EMPTY)
    assert codec.receive(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n" + EMPTY) == [LEAVES]
    assert codec.closed


@pytest.mark.parametrize("at", range(1, 20))
def test_bytes_of_an_idle_server_may_come_in_pieces(at: int) -> None:
    codec, _ = answered(OK + EMPTY)
    timed_out = b"HTTP/1.0 408 Request Timeout\r\n\r\n"
    assert codec.receive(timed_out[:at]) + codec.receive(timed_out[at:]) == [LEAVES]
    assert codec.closed
    codec, _ = answered(OK + EMPTY)
    (violation,) = codec.receive(OK[:at]) + codec.receive(OK[at:])
    assert isinstance(violation, Violation)
    assert codec.closed


@pytest.mark.parametrize("before", [False, True])
def test_a_beginning_of_unknown_bytes_answers_no_request(before: bool) -> None:
    codec = Http1ClientCodec(POLICY, 1000) if before else answered(OK + EMPTY)[0]
    assert codec.receive(b"HTTP/1.1 4") == []
    assert codec.capacity == 0
    assert not codec.closed
    assert codec.request(list(c.GET), True) == 0
    assert codec.closed


@pytest.mark.parametrize("data", [OK + EMPTY, b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n" + EMPTY, b"x"])
@pytest.mark.parametrize("later", [False, True])
def test_bytes_before_a_request_has_left_do_not_answer_it(data: bytes, later: bool) -> None:
    """The server cannot have processed it; a server that times out may be quicker than the request."""
    codec = answered(OK + EMPTY)[0] if later else Http1ClientCodec(POLICY, 1000)
    stream = codec.request(list(c.POST), False)
    codec.send_data(stream, b"abc", True)
    found = codec.receive(data)
    assert found[0] == Reset(stream, REFUSED_STREAM)
    assert found[1:] == [GoAway(NO_ERROR, stream)] if b"408" in data else isinstance(found[1], Violation)
    assert codec.closed
    assert codec.take_output() == b""
    assert codec.connection_lost() == []


END = pytest.mark.parametrize("end", [Http1ClientCodec.receive_eof, Http1ClientCodec.connection_lost])
Ending = Callable[[Http1ClientCodec], list[Event]]


@END
def test_a_server_that_ends_an_idle_connection_has_not_failed(end: Ending) -> None:
    codec, _ = answered(OK + EMPTY)
    assert end(codec) == [LEAVES]
    assert codec.closed
    assert end(codec) == []


@END
def test_a_server_that_ends_a_connection_before_any_response_has_failed(end: Ending) -> None:
    assert end(Http1ClientCodec(POLICY, 1000)) == []
    assert end(asked()) == [LOST]


@END
def test_a_request_that_crosses_the_end_of_an_idle_connection(end: Ending) -> None:
    """It is lost, but the server has not failed."""
    codec, _ = answered(OK + EMPTY)
    codec.request(list(c.GET), True)
    assert end(codec) == [GoAway(NO_ERROR, 2), Reset(2, CONNECTION_LOST)]


@END
@pytest.mark.parametrize("data", [b"HTTP/1.1 2", b"HTTP/1.1 103 X\r\n\r\n", OK + b"content-length: 1\r\n\r\n"])
def test_a_server_that_breaks_off_a_later_response_has_failed(end: Ending, data: bytes) -> None:
    codec, _ = answered(OK + EMPTY)
    codec.request(list(c.GET), True)
    codec.take_output()
    feed(codec, data)
    assert end(codec) == [Reset(2, CONNECTION_LOST)]


@END
def test_a_server_that_ends_the_connection_after_an_early_response(end: Ending) -> None:
    codec = asked(c.POST, end=False)
    feed(codec, OK + EMPTY)
    assert end(codec) == [LEAVES, LOST]


def test_a_farewell_without_a_request_closes_at_once() -> None:
    codec = Http1ClientCodec(POLICY, 1000)
    codec.goaway()
    assert codec.closed
    assert codec.take_output() == b""


def test_a_reset_drops_what_was_not_taken() -> None:
    codec = Http1ClientCodec(POLICY, 1000)
    codec.request(list(c.GET), True)
    codec.reset(1, 8)
    assert codec.take_output() == b""
    assert codec.closed


def test_reading_pauses_while_too_much_is_unread() -> None:
    codec, _ = answered(OK + b"content-length: 5000\r\n\r\n" + bytes(1000))
    assert not codec.read_paused()
    feed(codec, bytes(500))
    assert codec.read_paused()
    codec.acknowledge(2, 1000)
    assert codec.read_paused()
    codec.acknowledge(1, 499)
    assert codec.read_paused()
    codec.acknowledge(1, 1)
    assert not codec.read_paused()
