"""HTTP/1.1 and WebSocket: what asks for it, the 101, and a connection whose bytes are no longer HTTP's."""

from __future__ import annotations

import pytest

from sidegate.asgi import Headers
from sidegate.config.schema import ConnectionLimits
from sidegate.wire.codes import CANCEL
from sidegate.wire.events import Body, End, Rejected, RequestHead, Reset
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http1.server import HELD_INPUT, Http1Codec

LIMITS = ConnectionLimits(stream_window=65536)
POLICY = FieldPolicy(LIMITS.header_fields, LIMITS.header_block)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
ASKS = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
HANDSHAKE = b"GET /chat HTTP/1.1\r\nHost: a\r\n" + ASKS + KEY + b"\r\n"
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)


def new() -> Http1Codec:
    return Http1Codec(POLICY, LIMITS, 0.0)


def head_of(data: bytes) -> RequestHead:
    (event,) = new().receive(data, 1.0)
    assert isinstance(event, RequestHead)
    return event


def asked(behind: bytes = b"") -> Http1Codec:
    codec = new()
    (head,) = codec.receive(HANDSHAKE + behind, 1.0)
    assert isinstance(head, RequestHead)
    assert head.protocol == "websocket"
    return codec


def accepted(behind: bytes = b"") -> Http1Codec:
    codec = asked(behind)
    codec.accept(1, [])
    assert codec.take_output() == SWITCHED + b"\r\n"
    return codec


# What asks for it


@pytest.mark.parametrize(
    "fields",
    [
        ASKS,
        b"CONNECTION: keep-alive, UPGRADE\r\nUPGRADE: WebSocket\r\n",
        b"Connection: keep-alive\r\nUpgrade: h2c,\r\nConnection:, upgrade ,\r\nUpgrade: foo/1 ,\twebsocket\r\n",
        ASKS + b"Content-Length: 0\r\n",
        ASKS + b"Expect: 100-continue\r\n",
        b"Connection: close, upgrade\r\nUpgrade: websocket\r\n",
    ],
)
def test_a_handshake(fields: bytes) -> None:
    head = head_of(b"GET http://a/x?y HTTP/1.1\r\nHost: a\r\n" + fields + b"Sec-WebSocket-Key: k\r\n\r\n")
    assert (head.protocol, head.end_stream, head.expect_continue) == ("websocket", False, False)
    assert (head.method, head.target, head.http_version) == ("GET", b"/x?y", "1.1")
    assert (b"sec-websocket-key", b"k") in head.headers
    asked = [
        line.split(b":", 1) for line in fields.splitlines() if line.lower().startswith((b"connection", b"upgrade"))
    ]
    assert head.headers[-len(asked) :] == [(name.lower(), value.strip()) for name, value in asked]


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (b"GET / HTTP/1.0", ASKS),
        (b"HEAD / HTTP/1.1", ASKS),
        (b"POST / HTTP/1.1", ASKS),
        (b"GET / HTTP/1.1", b"Upgrade: websocket\r\n"),
        (b"GET / HTTP/1.1", b"Connection: upgrade\r\n"),
        (b"GET / HTTP/1.1", b"Connection: upgraded\r\nUpgrade: websocket\r\n"),
        (b"GET / HTTP/1.1", b"Connection: upgrade\r\nUpgrade: websocket/13\r\n"),
        (b"GET / HTTP/1.1", b"Connection: upgrade\r\nUpgrade: h2c\r\n"),
        (b"GET / HTTP/1.1", b"Connection: websocket\r\nUpgrade: upgrade\r\n"),
    ],
)
def test_what_is_no_handshake_is_an_ordinary_request(line: bytes, fields: bytes) -> None:
    head = head_of(line + b"\r\nHost: a\r\n" + fields + b"\r\n")
    assert (head.protocol, head.end_stream) == ("", True)


def test_an_upgrade_with_a_body_is_ignored_where_it_asks_for_something_else() -> None:
    codec = new()
    fields = b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n"
    head, body, end = codec.receive(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\nx", 1.0)
    assert isinstance(head, RequestHead)
    assert (head.protocol, body, end) == ("", Body(1, b"x"), End(1, []))


def test_the_same_block_behind_another_request_line() -> None:
    """What HEAD passed with is not remembered for the GET that means something by it."""
    policy = FieldPolicy(LIMITS.header_fields, LIMITS.header_block)
    for fields in (ASKS, b"Connection: x,\tupgrade\r\nUpgrade: a, websocket\r\n"):
        for method, protocol in ((b"HEAD", ""), (b"GET", "websocket"), (b"HEAD", ""), (b"GET", "websocket")):
            (head,) = Http1Codec(policy, LIMITS, 0.0).receive(
                method + b" / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n", 1
            )
            assert isinstance(head, RequestHead)
            assert head.protocol == protocol


# The answer


def test_yes_is_101_with_the_proof() -> None:
    codec = asked()
    headers: Headers = [
        (b"sec-websocket-protocol", b"chat"),
        (b"sec-websocket-accept", b"of somebody else"),
        (b"content-length", b"0"),
        (b"set-cookie", b"a=b"),
        (b"set-cookie", b"c=d"),
    ]
    codec.send_informational(1, 103, [(b"link", b"</a>")])
    codec.accept(1, headers)
    assert codec.take_output() == (
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
        + SWITCHED
        + b"sec-websocket-protocol: chat\r\nset-cookie: a=b\r\nset-cookie: c=d\r\n\r\n"
    )


def test_no_is_any_response_and_the_next_request_follows() -> None:
    codec = asked(GET)
    assert codec.receive(GET, 1.0) == []
    codec.send_head(1, 426, [(b"sec-websocket-version", b"13")], True)
    assert codec.take_output() == (
        b"HTTP/1.1 426 Upgrade Required\r\nsec-websocket-version: 13\r\ncontent-length: 0\r\n\r\n"
    )
    for stream in (2, 3):
        (head,) = codec.receive(b"", 1.0)
        assert isinstance(head, RequestHead)
        assert (head.stream_id, head.protocol) == (stream, "")
        codec.send_head(stream, 200, [], True)
        codec.take_output()
    assert codec.idle


def test_a_no_that_is_under_way_cannot_become_a_yes() -> None:
    codec = asked()
    codec.send_head(1, 403, [], False)
    codec.accept(1, [])
    codec.send_data(1, b"no", True)
    assert codec.take_output().endswith(b"\r\n\r\n2\r\nno\r\n0\r\n\r\n")
    assert codec.idle


def test_frames_behind_a_no_are_a_bad_request() -> None:
    codec = asked(b"\x81\x80\0\0\0\0\r\n\r\n")
    codec.send_head(1, 403, [], True)
    codec.take_output()
    (event,) = codec.receive(b"", 1.0)
    assert isinstance(event, Rejected)
    assert event.status == 400


def test_what_comes_before_the_answer_is_held_and_bounded() -> None:
    codec = asked(b"x" * HELD_INPUT)
    assert not codec.read_paused()
    assert codec.receive(b"y", 2.0) == []
    assert codec.read_paused()
    assert codec.next_deadline() is None
    codec.accept(1, [])
    assert codec.receive(b"", 2.0) == [Body(1, b"x" * HELD_INPUT + b"y")]
    assert codec.read_paused(), "now it is what the application has not read"
    codec.acknowledge(1, 1)
    assert not codec.read_paused()


def test_a_handshake_behind_another_request() -> None:
    codec = new()
    (head,) = codec.receive(GET + HANDSHAKE + b"early", 1.0)
    codec.send_head(1, 200, [], True)
    codec.take_output()
    (head,) = codec.receive(b"", 1.0)
    assert isinstance(head, RequestHead)
    assert (head.stream_id, head.protocol) == (2, "websocket")
    codec.accept(2, [])
    assert codec.receive(b"", 1.0) == [Body(2, b"early")]


# Accepted


def test_bytes_pass_as_they_are() -> None:
    codec = accepted()
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\r\n", b"\0\xff" * 5000):
        assert codec.receive(data, 1.0) == [Body(1, data)]
        codec.send_data(1, data, False)
        assert codec.pending(1) == len(data)
        assert codec.take_output() == data
    codec.send_data(1, b"", False)
    assert codec.take_output() == b""
    assert not codec.idle
    assert codec.next_deadline() is None
    assert codec.on_deadline(10.0**6) == []


def test_the_end_of_our_side_is_the_connections() -> None:
    codec = accepted(b"unread")
    assert codec.receive(b"", 1.0) == [Body(1, b"unread")]
    codec.send_data(1, b"bye", True)
    assert codec.closed
    assert codec.take_output() == b"bye"
    assert codec.receive(b"more", 1.0) == []
    assert not codec.release(1)
    assert codec.receive_eof() == []


def test_trailers_have_no_place() -> None:
    codec = accepted()
    codec.send_data(1, b"bye", False)
    codec.send_trailers(1, [(b"a", b"b")])
    assert codec.take_output() == b"bye"
    assert codec.closed


def test_the_end_of_input_is_the_clients_end() -> None:
    codec = accepted()
    codec.receive(b"last", 1.0)
    assert codec.receive_eof() == [End(1, [])]
    assert not codec.closed
    assert codec.receive(b"later", 1.0) == codec.receive_eof() == []
    codec.acknowledge(1, 4)
    codec.send_data(1, b"bye", True)
    assert codec.take_output() == b"bye"
    assert codec.closed


@pytest.mark.parametrize("behind", [b"", b"early"])
def test_whose_client_has_gone_is_never_accepted(behind: bytes) -> None:
    codec = new()
    codec.receive(GET + HANDSHAKE + behind, 1.0)
    assert codec.receive_eof() == []
    codec.send_head(1, 200, [], True)
    codec.take_output()
    head, reset = codec.receive(b"", 1.0)
    assert isinstance(head, RequestHead)
    assert reset == Reset(2, CANCEL)
    codec.accept(2, [])
    assert codec.take_output() == b""
    assert codec.closed


def test_a_reset_cuts_the_connection() -> None:
    codec = accepted()
    codec.reset(1, CANCEL)
    assert codec.closed
    assert codec.receive(b"x", 1.0) == []
