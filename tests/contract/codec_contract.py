"""The codec contract: what every ``events.Codec`` does, whatever its HTTP version and engine.

Hand it an implementation: for each of ``CHECKS`` call ``check(make_peer)``, where ``make_peer(window=…)`` gives a new
``Peer`` whose codec was made with ``LIMITS``, ``POLICY`` and a connection start of 0.0. (The style is that of
``trio.testing.check_two_way_stream``.) Differences between the versions that the seam allows are in the peers.
"""

from __future__ import annotations

from sidegate.asgi import Headers
from sidegate.config.schema import ConnectionLimits
from sidegate.wire.events import PIECE, Body, BodyRefused, End, Rejected, Reset, Violation
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http1.server import Http1Codec
from tests.contract.peers import HOST, WEBSOCKET, MakePeer, Peer, Response

LIMITS = ConnectionLimits(header_fields=8, stream_window=65535)
POLICY = FieldPolicy(LIMITS.header_fields, LIMITS.header_block)
CANCEL = 0x8
NO_TRAILERS = [(b"authorization", b"a"), (b"content-type", b"b"), (b"cache-control", b"c"), (b"trailer", b"d")]
"""Fields that may be no trailers (RFC 9110 6.5.1)."""


def answer(peer: Peer, stream: int, body: bytes = b"", status: int = 200, headers: Headers | None = None) -> Response:
    """Send a whole response, end the exchange, and let the peer read."""
    codec = peer.codec
    codec.send_head(stream, status, headers or [(b"content-length", b"%d" % len(body))], not body)
    if body:
        codec.send_data(stream, body, True)
    codec.release(stream)
    peer.read()
    return peer.responses[stream]


def check_a_simple_get(make: MakePeer) -> None:
    peer = make()
    assert peer.codec.idle
    head = peer.open("GET", "/a%20b?c=d", [(b"x-a", b"1"), (b"accept", b"*/*")])
    assert (head.method, head.target, head.end_stream) == ("GET", b"/a%20b?c=d", True)
    assert head.headers == [(b"host", HOST), (b"x-a", b"1"), (b"accept", b"*/*")]
    assert (head.content_length, head.expect_continue) == (None, False)
    assert not peer.codec.idle
    response = answer(peer, head.stream_id, b"hello", headers=[(b"content-length", b"5"), (b"x-b", b"2")])
    assert (response.status, response.body, response.complete) == (200, b"hello", True)
    assert response.header(b"x-b") == b"2"
    assert peer.codec.idle
    assert not peer.codec.closed


def check_methods(make: MakePeer) -> None:
    for method in ("PROPFIND", "M-SEARCH", "BREW", "QUERY", "DESCRIBE", "X!#$%&'*+.^_`|~9"):
        peer = make()
        head = peer.open(method)
        assert head.method == method
        assert answer(peer, head.stream_id, b"tea").body == b"tea"
        assert peer.open(method, fields=[(b"x", b"y")]).method == method
    for method, reason in (
        ("get", "unknown_method"),
        ("delete", "unknown_method"),
        ("Brew", "unknown_method"),
        ("TRACE", "method_not_implemented"),
    ):
        peer = make()
        peer.request(method, "/", [], True)
        (event,) = peer.take_events()
        assert isinstance(event, Rejected)
        assert (event.method, event.status, event.reason) == (method, 501, reason)


def check_one_request_after_the_other(make: MakePeer) -> None:
    peer = make()
    streams = []
    for number in range(5):
        head = peer.open(path=f"/{number}")
        streams.append(head.stream_id)
        assert answer(peer, head.stream_id, b"%d" % number).body == b"%d" % number
    assert streams == sorted(set(streams))


def check_a_body_up(make: MakePeer) -> None:
    for fields in ([], [(b"content-length", b"8")]):
        peer = make()
        head = peer.open("POST", "/", fields, end=False)
        assert (head.end_stream, head.content_length) == (False, 8 if fields else None)
        peer.body(head.stream_id, b"abcd")
        peer.body(head.stream_id, b"efgh", end=True)
        *pieces, end = peer.take_events()
        assert b"".join(piece.data for piece in pieces if isinstance(piece, Body)) == b"abcdefgh"
        assert end == End(head.stream_id, [])
        assert answer(peer, head.stream_id).complete
        assert peer.codec.idle


def check_a_body_down_of_unknown_length(make: MakePeer) -> None:
    peer = make()
    stream = peer.open().stream_id
    peer.codec.send_head(stream, 200, [(b"x", b"y")], False)
    for piece in (b"abc", b"", b"def"):
        peer.codec.send_data(stream, piece, False)
        peer.read()
    assert not peer.responses[stream].complete
    peer.codec.send_data(stream, b"", True)
    peer.read()
    assert (peer.responses[stream].body, peer.responses[stream].complete) == (b"abcdef", True)


def check_an_empty_body(make: MakePeer) -> None:
    for in_two in (False, True):
        peer = make()
        stream = peer.open().stream_id
        peer.codec.send_head(stream, 200, [], not in_two)
        if in_two:
            peer.codec.send_data(stream, b"", True)
        peer.read()
        response = peer.responses[stream]
        assert (response.status, response.body, response.complete) == (200, b"", True)


def check_responses_that_have_no_body(make: MakePeer) -> None:
    """The head tells what GET would give, but a 204 has no length; data that an application sends is dropped."""
    for method, status in (("HEAD", 200), ("GET", 204), ("HEAD", 204), ("GET", 205), ("HEAD", 205), ("GET", 304)):
        peer = make()
        stream = peer.open(method).stream_id
        response = answer(peer, stream, b"hello", status, [(b"content-length", b"5"), (b"x", b"y")])
        assert (response.status, response.body, response.complete, response.reset) == (status, b"", True, False)
        assert response.header(b"x") == b"y"
        assert response.header(b"content-length") == {204: None, 205: b"0"}.get(status, b"5")
        assert peer.codec.pending(stream) == 0
        assert answer(peer, peer.open().stream_id, b"next").body == b"next"


def check_trailers_down(make: MakePeer) -> None:
    peer = make()
    stream = peer.open(fields=[(b"te", b"trailers")]).stream_id
    peer.codec.send_head(stream, 200, [], False)
    peer.codec.send_data(stream, b"abc", False)
    peer.codec.send_trailers(stream, [(b"sum", b"1")])
    peer.read()
    response = peer.responses[stream]
    assert (response.body, response.trailers, response.complete) == (b"abc", [(b"sum", b"1")], True)


def check_trailers_up(make: MakePeer) -> None:
    peer = make()
    stream = peer.open("POST", end=False).stream_id
    peer.body(stream, b"abc", end=True, trailers=[*NO_TRAILERS, (b"sum", b"1"), (b"x_y", b"2")])
    assert peer.take_events() == [Body(stream, b"abc"), End(stream, [(b"sum", b"1")])]


def check_early_hints(make: MakePeer) -> None:
    peer = make()
    stream = peer.open().stream_id
    peer.codec.send_informational(stream, 103, [(b"link", b"</a.css>; rel=preload")])
    response = answer(peer, stream, b"x")
    assert response.informational == [(103, [(b"link", b"</a.css>; rel=preload")])]
    assert (response.status, response.body) == (200, b"x")


def check_continue(make: MakePeer) -> None:
    peer = make()
    head = peer.open("POST", "/", [(b"expect", b"100-continue"), (b"content-length", b"3")], end=False)
    assert head.expect_continue
    peer.codec.send_informational(head.stream_id, 100, [])
    peer.read()
    assert peer.responses[head.stream_id].informational == [(100, [])]
    peer.body(head.stream_id, b"abc", end=True)
    assert peer.take_events() == [Body(head.stream_id, b"abc"), End(head.stream_id, [])]
    assert answer(peer, head.stream_id).status == 200


def stall_in_the_middle(peer: Peer, stream: int) -> None:
    """The codec sends 10,000 bytes; the peer, which has room for 1000, reads nothing for a while."""
    peer.codec.send_data(stream, b"a" * 4000, False)
    peer.stall()
    before = peer.codec.pending(stream)
    assert before >= 3000
    peer.codec.send_data(stream, b"b" * 6000, True)
    peer.stall()
    assert peer.codec.pending(stream) == before + 6000
    peer.read()
    assert peer.codec.pending(stream) == 0
    response = peer.responses[stream]
    assert (response.body, response.complete) == (b"a" * 4000 + b"b" * 6000, True)


def check_output_is_pending_while_the_peer_does_not_read(make: MakePeer) -> None:
    peer = make(window=1000)
    stream = peer.open().stream_id
    assert peer.codec.pending(stream) == 0
    peer.codec.send_head(stream, 200, [(b"content-length", b"10000")], False)
    stall_in_the_middle(peer, stream)


def check_a_large_body_goes_out_in_pieces(make: MakePeer) -> None:
    """So that the transport has no copy of it, even if the peer's windows are large."""
    sizes = (PIECE, 300_000, 5, PIECE + 1, 100_000)  # the first ends where a piece ends
    for headers in ([], [(b"content-length", b"%d" % sum(sizes))]):
        peer = make(window=1 << 20)
        stream = peer.open().stream_id
        peer.codec.send_head(stream, 200, headers, False)
        peer.read()
        for number, size in enumerate(sizes, 1):
            peer.codec.send_data(stream, bytes([number]) * size, number == len(sizes))
        assert peer.codec.pending(stream) == sum(sizes)
        peer.read()
        assert peer.largest < 2 * PIECE
        assert peer.codec.pending(stream) == 0
        response = peer.responses[stream]
        assert (response.complete, response.reset) == (True, False)
        assert response.body == b"".join(bytes([number]) * size for number, size in enumerate(sizes, 1))
        assert peer.codec.idle
    peer = make(window=1 << 20)
    stream = peer.open().stream_id
    assert answer(peer, stream, bytes(2 * PIECE - 10)).body == bytes(2 * PIECE - 10)  # head and body in two pieces


def check_input_stops_until_it_is_acknowledged(make: MakePeer) -> None:
    peer = make()
    stream = peer.open("POST", end=False).stream_id
    received = 0
    for _ in range(3):
        while size := min(peer.may_send(stream), 8000):
            peer.body(stream, b"x" * size)
            received += sum(len(event.data) for event in peer.take_events() if isinstance(event, Body))
            assert received <= LIMITS.stream_window + 8000
        assert received >= LIMITS.stream_window
        peer.codec.acknowledge(stream, received)
        peer.read()
        received = 0
    peer.body(stream, b"last", end=True)
    assert peer.take_events() == [Body(stream, b"last"), End(stream, [])]
    assert answer(peer, stream).complete


def check_an_unread_body_does_not_stop_the_connection(make: MakePeer) -> None:
    peer = make()
    stream = peer.open("POST", end=False).stream_id
    peer.body(stream, b"x" * 30000)
    peer.take_events()
    assert answer(peer, stream, b"no").body == b"no"
    assert not peer.codec.read_paused()
    if not peer.codec.closed and not peer.responses[stream].reset:
        peer.body(stream, b"x" * 20000, end=True)
        peer.read()
    assert [event for event in peer.take_events() if not isinstance(event, Reset)] == []
    assert answer(peer, peer.open().stream_id, b"next").body == b"next"


def check_a_reset_by_the_server(make: MakePeer) -> None:
    peer = make()
    stream = peer.open().stream_id
    peer.codec.send_head(stream, 200, [], False)
    peer.codec.send_data(stream, b"abc", False)
    peer.read()
    peer.codec.reset(stream, CANCEL)
    peer.codec.send_data(stream, b"def", True)
    peer.codec.release(stream)
    peer.read()
    response = peer.responses[stream]
    assert (response.body, response.complete, response.reset) == (b"abc", False, True)


def check_a_reset_by_the_client(make: MakePeer) -> None:
    peer = make()
    stream = peer.open("POST", end=False).stream_id
    peer.body(stream, b"abc")
    peer.abort(stream)
    assert peer.take_events() == [Body(stream, b"abc"), Reset(stream, CANCEL)]
    peer.codec.take_output()
    peer.codec.send_head(stream, 200, [], False)
    peer.codec.send_data(stream, b"abc", True)
    peer.codec.release(stream)
    assert peer.codec.take_output() == b""


def check_the_end_of_input_resets_unfinished_requests(make: MakePeer) -> None:
    peer = make()
    stream = peer.open("POST", end=False).stream_id
    assert peer.codec.receive_eof() == [Reset(stream, CANCEL)]
    assert peer.codec.closed
    peer = make()
    assert peer.codec.receive_eof() == []
    assert peer.codec.closed


def check_winding_down_loses_nothing(make: MakePeer) -> None:
    peer = make()
    first = peer.open().stream_id
    peer.codec.goaway(False)
    assert not peer.codec.closed
    assert answer(peer, first, b"first").body == b"first"
    assert peer.codec.goaway_noticed()
    peer.codec.goaway(True)
    peer.read()
    assert peer.codec.closed


def check_a_request_between_the_goaways_is_served(make: MakePeer) -> None:
    peer = make()
    answer(peer, peer.open().stream_id)
    peer.codec.goaway(False)
    assert not peer.codec.closed
    stream = peer.open().stream_id
    peer.codec.goaway(True)
    assert not peer.codec.closed
    assert answer(peer, stream, b"late").body == b"late"
    assert peer.codec.closed
    assert peer.codec.next_deadline() is None


def check_a_rejected_request_is_answered(make: MakePeer) -> None:
    peer = make()
    peer.request("GET", "/x", [(b"a", b"b")] * 12, True)
    (event,) = peer.take_events()
    assert isinstance(event, Rejected)
    assert (event.status, event.reason) == (431, "too_many_fields")
    response = answer(peer, event.stream_id, b"too many", 431)
    assert (response.status, response.body, response.complete) == (431, b"too many", True)


def check_calls_for_finished_streams_do_nothing(make: MakePeer) -> None:
    peer = make()
    stream = peer.open().stream_id
    answer(peer, stream, b"x")
    for gone in (stream, 99):
        peer.codec.send_informational(gone, 103, [])
        peer.codec.send_head(gone, 200, [], False)
        peer.codec.send_data(gone, b"y", True)
        peer.codec.send_trailers(gone, [(b"a", b"b")])
        peer.codec.acknowledge(gone, 10)
        peer.codec.reset(gone, CANCEL)
        peer.codec.release(gone)
        assert peer.codec.pending(gone) == 0
        assert not peer.codec.sendfile(gone, 1)
    assert peer.codec.take_output() == b""
    assert answer(peer, peer.open().stream_id, b"next").body == b"next"


def check_a_head_has_its_time(make: MakePeer) -> None:
    peer = make()
    answer(peer, peer.open().stream_id)
    assert peer.codec.next_deadline() is None
    peer.now = 10.0
    peer.begin_head()
    deadline = peer.codec.next_deadline()
    assert deadline is not None
    assert deadline > 10.0
    assert peer.codec.on_deadline(deadline - 0.1) == []
    (event,) = peer.codec.on_deadline(deadline)
    if isinstance(event, Rejected):
        assert event.status == 408
        peer.codec.send_head(event.stream_id, 408, [], True)
    else:
        assert isinstance(event, Violation)
    assert peer.codec.closed
    assert peer.codec.take_output() != b""
    assert peer.codec.next_deadline() is None


def check_nothing_is_read_after_the_end(make: MakePeer) -> None:
    peer = make()
    answer(peer, peer.open().stream_id)
    peer.codec.receive_eof()
    assert peer.codec.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 2.0) == []
    assert peer.codec.take_output() == b""


def check_a_release_tells_whether_something_is_left_to_do(make: MakePeer) -> None:
    peer = make()
    codec = peer.codec
    stream = peer.open().stream_id
    codec.send_head(stream, 200, [], True)
    peer.read()
    assert codec.release(stream) is False
    stream = peer.open("POST", end=False).stream_id
    codec.send_head(stream, 200, [], True)
    codec.take_output()
    assert codec.release(stream) is True


def check_trailers_above_a_limit_are_refused(make: MakePeer) -> None:
    """The request is answered, as one whose head is above the limit."""
    peer = make()
    stream = peer.open("POST", fields=[(b"te", b"trailers")], end=False).stream_id
    peer.body(stream, b"abc", end=True, trailers=[(b"a", b"b")] * 9)
    assert peer.take_events() == [
        Body(stream, b"abc"),
        BodyRefused(stream, 431, "too_many_fields", "more than 8 trailer fields"),
    ]
    response = answer(peer, stream, b"too many", 431)
    assert (response.status, response.body, response.complete, response.reset) == (431, b"too many", True, False)
    assert peer.codec.idle or peer.codec.closed


def check_many_cookies(make: MakePeer) -> None:
    """As crumbs or in one field: they do not count as fields (``LIMITS``)."""
    peer = make()
    cookies = [b"%02d=%d" % (number, number * 997) for number in range(150)]
    crumbs = [b"; ".join(cookies)] if isinstance(peer.codec, Http1Codec) else cookies
    head = peer.open(fields=[(b"cookie", crumb) for crumb in crumbs])
    assert head.headers[-1] == (b"cookie", b"; ".join(cookies))
    answer(peer, head.stream_id)


def check_an_application_ends_the_connection(make: MakePeer) -> None:
    """HTTP/1.1 closes; HTTP/2 goes on, and only a front would be told."""
    peer = make()
    first = peer.open().stream_id
    headers = [(b"x", b"y")]
    peer.codec.close_after(99, headers)
    answer(peer, first)
    assert not peer.codec.closed
    stream = peer.open().stream_id
    peer.codec.close_after(stream, headers)
    assert headers == [(b"x", b"y")]
    response = answer(peer, stream, headers=headers)
    is_http1 = isinstance(peer.codec, Http1Codec)
    assert response.header(b"connection") == (b"close" if is_http1 else None)
    assert peer.codec.closed == is_http1


def check_an_upgrade_is_offered(make: MakePeer) -> None:
    """HTTP/2 has no upgrade, and only a front would be told."""
    peer = make()
    stream = peer.open().stream_id
    headers = [(b"x", b"y")]
    peer.codec.add_hop_fields(99, [(b"upgrade", b"TLS/1.0")], headers)
    assert headers == [(b"x", b"y")]
    peer.codec.add_hop_fields(stream, [(b"upgrade", b"TLS/1.0")], headers)
    response = answer(peer, stream, b"no", 426, [*headers, (b"content-length", b"2")])
    is_http1 = isinstance(peer.codec, Http1Codec)
    assert (response.status, response.body, response.header(b"x")) == (426, b"no", b"y")
    assert response.header(b"upgrade") == (b"TLS/1.0" if is_http1 else None)
    assert response.header(b"connection") == (b"upgrade" if is_http1 else None)
    assert answer(peer, peer.open().stream_id).complete


def check_trailers_are_announced_where_they_are_sent(make: MakePeer) -> None:
    for te in (True, False):
        for length in (True, False):
            peer = make()
            stream = peer.open(fields=[(b"te", b"trailers")] if te else []).stream_id
            headers = [(b"content-length", b"3")] if length else []
            peer.codec.add_hop_fields(stream, [(b"trailer", b"sum")], headers)
            peer.codec.send_head(stream, 200, headers, False)
            peer.codec.send_data(stream, b"abc", False)
            peer.codec.send_trailers(stream, [(b"sum", b"1")])
            peer.read()
            response = peer.responses[stream]
            sent = not isinstance(peer.codec, Http1Codec) or (te and not length)
            assert (response.body, response.trailers) == (b"abc", [(b"sum", b"1")] if sent else [])
            assert response.header(b"trailer") == (b"sum" if sent else None)


def check_a_websocket(make: MakePeer) -> None:
    peer = make()
    answer(peer, peer.open().stream_id)
    head = peer.ask("/chat?a", [(b"sec-websocket-protocol", b"a, b")])
    stream = head.stream_id
    end_to_end = [(b"host", HOST), *WEBSOCKET, (b"sec-websocket-protocol", b"a, b")]
    assert (head.target, head.headers[: len(end_to_end)]) == (b"/chat?a", end_to_end)
    assert {name for name, _ in head.headers[len(end_to_end) :]} <= {b"connection", b"upgrade"}
    assert not peer.codec.idle
    peer.codec.accept(stream, [(b"sec-websocket-protocol", b"b"), (b"x", b"y"), (b"content-length", b"0")])
    peer.read()
    response = peer.responses[stream]
    assert response.status in (101, 200)
    assert response.header(b"sec-websocket-protocol") == b"b"
    assert response.header(b"x") == b"y"
    assert response.header(b"content-length") is None
    for number in range(3):
        peer.body(stream, b"\x81\x80up%d" % number)
        assert peer.take_events() == [Body(stream, b"\x81\x80up%d" % number)]
        peer.codec.acknowledge(stream, 5)
        peer.codec.send_data(stream, b"\x81\x05down%d" % number, False)
        peer.read()
    assert response.body == b"\x81\x05down0\x81\x05down1\x81\x05down2"
    assert not response.complete
    assert not peer.codec.closed
    peer.codec.send_data(stream, b"bye", True)
    peer.codec.release(stream)
    peer.read()
    assert (response.body[-3:], response.complete) == (b"bye", True)
    assert peer.codec.take_output() == b""


def check_a_websocket_that_its_client_ends(make: MakePeer) -> None:
    peer = make()
    stream = peer.ask().stream_id
    peer.codec.accept(stream, [])
    peer.body(stream, b"last", end=True)
    assert peer.take_events() == [Body(stream, b"last"), End(stream, [])]
    peer.codec.send_data(stream, b"bye", False)
    peer.codec.acknowledge(stream, 4)
    peer.codec.send_data(stream, b"!", True)
    peer.codec.release(stream)
    peer.read()
    assert (peer.responses[stream].body, peer.responses[stream].complete) == (b"bye!", True)


def check_a_websocket_denied(make: MakePeer) -> None:
    peer = make()
    for status in (403, 426):
        stream = peer.ask().stream_id
        peer.codec.send_informational(stream, 103, [])
        response = answer(peer, stream, b"no", status)
        assert (response.status, response.body, response.complete) == (status, b"no", True)
        peer.codec.accept(stream, [])
        assert peer.codec.take_output() == b""
        assert answer(peer, peer.open().stream_id, b"next").body == b"next"
    assert not peer.codec.closed


def check_what_a_websocket_sends_too_early(make: MakePeer) -> None:
    peer = make()
    stream = peer.ask().stream_id
    sent = 0
    while sent < 200_000 and (size := min(peer.may_send(stream), 8000)):
        peer.body(stream, b"x" * size)
        sent += size
    assert 60_000 <= sent <= 80_000
    peer.codec.accept(stream, [])
    peer.send(b"")
    told = peer.take_events()
    assert b"".join(event.data for event in told if isinstance(event, Body)) == b"x" * sent
    peer.codec.acknowledge(stream, sent)
    peer.read()
    peer.body(stream, b"more")
    assert peer.take_events() == [Body(stream, b"more")]


def check_a_websocket_is_held_back_by_its_reader(make: MakePeer) -> None:
    peer = make()
    stream = peer.ask().stream_id
    peer.codec.accept(stream, [])
    peer.read()
    for _ in range(3):
        received = 0
        while size := min(peer.may_send(stream), 8000):
            peer.body(stream, b"x" * size)
            received += sum(len(event.data) for event in peer.take_events() if isinstance(event, Body))
        assert LIMITS.stream_window <= received <= LIMITS.stream_window + 8000
        peer.codec.acknowledge(stream, received)
        peer.read()


def check_a_websocket_is_pending_while_the_peer_does_not_read(make: MakePeer) -> None:
    peer = make(window=1000)
    stream = peer.ask().stream_id
    peer.codec.accept(stream, [])
    stall_in_the_middle(peer, stream)


def check_a_websocket_outlives_the_farewell(make: MakePeer) -> None:
    peer = make()
    first = peer.ask().stream_id
    peer.codec.goaway(False)
    peer.codec.accept(first, [])
    peer.codec.goaway(True)
    peer.read()
    assert not peer.codec.closed
    peer.body(first, b"up")
    assert peer.take_events() == [Body(first, b"up")]
    peer.codec.send_data(first, b"down", False)
    peer.read()
    assert peer.responses[first].body == b"down"
    peer.body(first, b".", end=True)
    assert peer.take_events() == [Body(first, b"."), End(first, [])]
    assert not peer.codec.closed
    peer.codec.send_data(first, b"", True)
    peer.read()
    assert peer.codec.closed
    assert peer.responses[first].complete


def check_only_a_websockets_handshake_can_be_accepted(make: MakePeer) -> None:
    peer = make()
    for method, end in (("GET", True), ("POST", False)):
        stream = peer.open(method, end=end).stream_id
        peer.codec.accept(stream, [])
        assert peer.codec.take_output() == b""
        assert answer(peer, stream, b"ok").body == b"ok"
        peer = make()
    peer.codec.accept(99, [])
    stream = peer.ask().stream_id
    peer.codec.accept(stream + 2, [])
    peer.codec.accept(stream, [])
    assert peer.codec.take_output() != b""
    peer.codec.accept(stream, [])
    peer.codec.send_head(stream, 403, [], False)
    peer.codec.send_informational(stream, 103, [])
    assert peer.codec.take_output() == b""
    assert not peer.codec.sendfile(stream, 10)
    peer.codec.reset(stream, CANCEL)
    peer.codec.accept(stream, [])
    peer.codec.send_data(stream, b"late", True)
    peer.codec.release(stream)
    peer.read()
    assert (peer.responses[stream].status, peer.responses[stream].body) == (0, b"")


def check_the_end_of_input_before_a_websocket_is_accepted(make: MakePeer) -> None:
    peer = make()
    stream = peer.ask().stream_id
    assert peer.codec.receive_eof() == [Reset(stream, CANCEL)]
    peer.codec.take_output()
    peer.codec.accept(stream, [])
    assert peer.codec.take_output() == b""
    assert peer.codec.closed


CHECKS = (
    check_a_simple_get,
    check_methods,
    check_one_request_after_the_other,
    check_a_body_up,
    check_a_body_down_of_unknown_length,
    check_an_empty_body,
    check_responses_that_have_no_body,
    check_trailers_down,
    check_trailers_up,
    check_early_hints,
    check_continue,
    check_output_is_pending_while_the_peer_does_not_read,
    check_a_large_body_goes_out_in_pieces,
    check_input_stops_until_it_is_acknowledged,
    check_an_unread_body_does_not_stop_the_connection,
    check_a_reset_by_the_server,
    check_a_reset_by_the_client,
    check_the_end_of_input_resets_unfinished_requests,
    check_winding_down_loses_nothing,
    check_a_request_between_the_goaways_is_served,
    check_a_rejected_request_is_answered,
    check_calls_for_finished_streams_do_nothing,
    check_a_head_has_its_time,
    check_nothing_is_read_after_the_end,
    check_a_release_tells_whether_something_is_left_to_do,
    check_an_upgrade_is_offered,
    check_trailers_are_announced_where_they_are_sent,
    check_trailers_above_a_limit_are_refused,
    check_a_websocket,
    check_a_websocket_that_its_client_ends,
    check_a_websocket_denied,
    check_what_a_websocket_sends_too_early,
    check_many_cookies,
    check_an_application_ends_the_connection,
    check_a_websocket_is_held_back_by_its_reader,
    check_a_websocket_is_pending_while_the_peer_does_not_read,
    check_a_websocket_outlives_the_farewell,
    check_only_a_websockets_handshake_can_be_accepted,
    check_the_end_of_input_before_a_websocket_is_accepted,
)
