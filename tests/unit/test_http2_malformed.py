"""Malformed requests and broken connections at ``Http2Codec``, on both engines."""

from __future__ import annotations

import struct

import pytest

from sidegate.wire import events as e
from tests.support import http2 as c

pytestmark = pytest.mark.parametrize("engine", c.ENGINES)

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 0x1, 0x3, 0x5, 0x6
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 0x7, 0x8, 0x9, 0xB


@pytest.fixture
def speaker() -> c.Speaker:
    return c.Speaker()


def replaced(name: bytes, *values: bytes) -> c.Pairs:
    """``GET`` with another value for ``name``, none, or several."""
    return [*[(name, value) for value in values], *[pair for pair in c.GET if pair[0] != name]]


MALFORMED = {
    "no method": (replaced(b":method"), "bad_method"),
    "method is no token": (replaced(b":method", b"GE T"), "bad_method"),
    "two methods": (replaced(b":method", b"GET", b"GET"), "bad_pseudo_header"),
    "no scheme": (replaced(b":scheme"), "bad_scheme"),
    "strange scheme": (replaced(b":scheme", b"gopher"), "bad_scheme"),
    "no path": (replaced(b":path"), "bad_target"),
    "empty path": (replaced(b":path", b""), "bad_target"),
    "path without slash": (replaced(b":path", b"a"), "bad_target"),
    "star without OPTIONS": (replaced(b":path", b"*"), "bad_target"),
    "unknown pseudo-header": ([*c.GET, (b":odd", b"1")], "bad_pseudo_header"),
    "a protocol without CONNECT": ([*c.GET, (b":protocol", b"websocket")], "bad_pseudo_header"),
    "two protocols": ([*c.CONNECT, (b":protocol", b"websocket")], "bad_pseudo_header"),
    "CONNECT without a scheme": ([*c.CONNECT[:2], *replaced(b":scheme")[1:]], "bad_scheme"),
    "CONNECT without a path": ([*c.CONNECT[:4]], "bad_target"),
    "CONNECT to a star": ([*c.CONNECT[:4], (b":path", b"*")], "bad_target"),
    "CONNECT with an upgrade": ([*c.CONNECT, (b"upgrade", b"websocket")], "connection_field"),
    "response's pseudo-header": ([*c.GET, (b":status", b"200")], "bad_pseudo_header"),
    "pseudo-header behind a field": ([*c.GET[:3], (b"a", b"b"), c.GET[3]], "bad_target"),
    "second pseudo-header behind a field": ([*c.GET, (b"a", b"b"), c.GET[3]], "bad_field_name"),
    "upper case": ([*c.GET, (b"Accept", b"*/*")], "bad_field_name"),
    "empty name": ([*c.GET, (b"", b"x")], "bad_field_name"),
    "NUL in a value": ([*c.GET, (b"a", b"x\0y")], "bad_field_value"),
    "LF in a value": ([*c.GET, (b"a", b"x\ny")], "bad_field_value"),
    "space before a value": ([*c.GET, (b"a", b" x")], "bad_field_value"),
    "tab behind a value": ([*c.GET, (b"a", b"x\t")], "bad_field_value"),
    "connection": ([*c.GET, (b"connection", b"close")], "connection_field"),
    "transfer-encoding": ([*c.GET, (b"transfer-encoding", b"chunked")], "connection_field"),
    "upgrade": ([*c.GET, (b"upgrade", b"websocket")], "connection_field"),
    "te": ([*c.GET, (b"te", b"trailers, gzip")], "connection_field"),
    "two content-lengths": ([*c.POST, (b"content-length", b"1"), (b"content-length", b"1")], "bad_content_length"),
    "signed content-length": ([*c.POST, (b"content-length", b"+1")], "bad_content_length"),
    "content-length without a body": ([*c.POST, (b"content-length", b"1")], "content_length_mismatch"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_requests_reset_their_stream(engine: c.EngineName, case: str, speaker: c.Speaker) -> None:
    fields, reason = MALFORMED[case]
    made = c.started(engine)
    (event,) = made.receive(speaker.headers(1, fields), 0.0)
    assert isinstance(event, e.Rejected)
    assert (event.stream_id, event.status, event.reason) == (1, 400, reason)
    c.answer_all(made, [event])
    assert c.listen(made.take_output()).streams == {1: c.Answer(reset=PROTOCOL_ERROR)}
    assert made.idle
    assert len(made.receive(speaker.headers(3), 0.0)) == 1, "the connection goes on"


REFUSED = {
    "CONNECT": (replaced(b":method", b"CONNECT"), 501, "method_not_implemented"),
    "another protocol": ([c.CONNECT[0], (b":protocol", b"connect-udp"), *c.GET[1:]], 501, "unknown_protocol"),
    "no protocol": ([c.CONNECT[0], (b":protocol", b""), *c.GET[1:]], 501, "unknown_protocol"),
    "TRACE": (replaced(b":method", b"TRACE"), 501, "method_not_implemented"),
    "fragment": (replaced(b":path", b"/a#b"), 400, "bad_target"),
    "byte above ASCII": (replaced(b":path", b"/\xc3\xbc"), 400, "bad_target"),
    "long path": (replaced(b":path", b"/" * 8193), 414, "request_line_too_long"),
    "no authority": (replaced(b":authority"), 400, "bad_host"),
    "empty authority": (replaced(b":authority", b""), 400, "bad_host"),
    "user in the authority": (replaced(b":authority", b"a@b"), 400, "bad_host"),
    "port above 65535": (replaced(b":authority", b"a:65536"), 400, "bad_host"),
    "port above 65535 in host": ([*replaced(b":authority"), (b"host", b"[::1]:70000")], 400, "bad_host"),
    "host differs": ([*c.GET, (b"host", b"other")], 400, "bad_host"),
    "expectation": ([*c.POST, (b"expect", b"miracle")], 417, "bad_expectation"),
    "too many fields": ([*c.GET, *[(b"a", b"b")] * 101], 431, "too_many_fields"),
    "cookie crumbs": ([*c.GET, *[(b"cookie", b"a=b")] * 301], 431, "too_many_cookies"),
    "many more cookie crumbs": ([*c.GET, *[(b"cookie", b"a=b")] * 500], 431, "too_many_cookies"),
    "fields beside crumbs": (
        [*c.GET, *[(b"cookie", b"a=b")] * 300, *[(b"x", b"y")] * 101],
        431,
        "too_many_fields",
    ),
    "cookies in one crumb": ([*c.GET, (b"cookie", b"a=b; " * 300 + b"a=b")], 431, "too_many_cookies"),
    "bytes of crumbs": ([*c.GET, *[(b"cookie", b"0" * 200)] * 170], 431, "header_block_too_large"),
    "large block": ([*c.GET, *[(b"a", b"b" * 140)] * 100, *[(b"c", b"d" * 150)] * 100], 431, "header_block_too_large"),
}


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("case", REFUSED)
def test_refused_requests_get_an_answer(engine: c.EngineName, case: str, complete: bool, speaker: c.Speaker) -> None:
    fields, status, reason = REFUSED[case]
    made = c.started(engine)
    block = speaker.block(fields)
    sent = c.frame(c.HEADERS, c.END_STREAM if complete else 0, 1, block[:10000])
    for start in range(10000, 30000, 10000):
        sent += c.frame(c.CONTINUATION, c.END_HEADERS if start == 20000 else 0, 1, block[start : start + 10000])
    sent += b"" if complete else c.data(1, b"abc")
    (event,) = made.receive(sent, 0.0)
    assert isinstance(event, e.Rejected)
    assert (event.stream_id, event.status, event.reason, event.http_version) == (1, status, reason, "2")
    assert event.method in ("GET", "POST", "CONNECT", "TRACE")
    c.answer_all(made, [event])
    answer = c.listen(made.take_output()).streams[1]
    assert answer.heads[0][0] == (b":status", b"%d" % status)
    assert (answer.body, answer.ended, answer.reset) == (b"answer to 1", True, None if complete else 0)
    assert made.idle


def test_a_refused_head_request_gets_no_body(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    found = made.receive(speaker.headers(1, [(b":method", b"HEAD"), *replaced(b":path", b"/#")[:1], *c.GET[1:3]]), 0.0)
    c.answer_all(made, found)
    assert c.listen(made.take_output()).streams[1].body == b""


def test_the_end_of_a_refused_request_says_nothing_more(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    found = made.receive(speaker.headers(1, [*replaced(b":path", b"/#")], end=False) + c.data(1, b"abc", True), 0.0)
    assert [type(event) for event in found] == [e.Rejected]
    c.answer_all(made, found)
    assert c.listen(made.take_output()).streams[1].reset is None


BROKEN_BODIES = {
    "too long": (b"4", [c.data(1, b"abc"), c.data(1, b"de")]),
    "too short": (b"4", [c.data(1, b"abc", True)]),
    "too short with trailers": (b"4", [c.Speaker().headers(1, [(b"a", b"b")])]),
    "pseudo-header in trailers": (b"0", [c.Speaker().headers(1, [(b":path", b"/")])]),
    "bad trailers": (b"0", [c.Speaker().headers(1, [(b"A", b"b")])]),
    "too short with too many trailers": (b"4", [c.Speaker().headers(1, [(b"a", b"b")] * 101)]),
}


@pytest.mark.parametrize("case", BROKEN_BODIES)
def test_requests_that_break_after_their_head(engine: c.EngineName, case: str, speaker: c.Speaker) -> None:
    length, frames = BROKEN_BODIES[case]
    made = c.started(engine)
    made.receive(speaker.headers(1, [*c.POST, (b"content-length", length)], end=False), 0.0)
    found = made.receive(b"".join(frames), 0.0)
    assert found[-1] == e.Reset(1, PROTOCOL_ERROR)
    assert c.listen(made.take_output()).streams == {1: c.Answer(reset=PROTOCOL_ERROR)}


@pytest.mark.parametrize(
    ("trailers", "reason"),
    [([(b"a", b"b")] * 101, "too_many_fields"), ([(b"a", b"b" * 9)] * 900, "trailers_too_large")],
)
def test_trailers_above_a_limit_are_refused_and_the_connection_goes_on(
    engine: c.EngineName, trailers: c.Pairs, reason: str, speaker: c.Speaker
) -> None:
    made = c.started(engine)
    made.receive(speaker.headers(1, c.POST, end=False), 0.0)
    (event,) = made.receive(speaker.headers(1, trailers), 0.0)
    assert isinstance(event, e.BodyRefused)
    assert (event.stream_id, event.status, event.reason) == (1, 431, reason)
    made.send_head(1, 431, [], True)
    made.release(1)
    answer = c.listen(made.take_output()).streams[1]
    assert (answer.heads[0][0], answer.ended, answer.reset) == ((b":status", b"431"), True, None)
    assert made.idle
    # The same for a request that was answered before: nobody is told.
    made.receive(speaker.headers(3, c.POST, end=False), 0.0)
    made.send_head(3, 200, [], False)
    made.release(3)
    assert made.receive(speaker.headers(3, trailers), 0.0) == []
    made.send_data(3, b"", True)
    answer = c.listen(made.take_output()).streams[3]
    assert (answer.ended, answer.reset) == (True, None)


def test_bad_trailers_of_a_request_that_nobody_runs(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    made.receive(speaker.headers(1, c.POST, end=False), 0.0)
    made.release(1)
    assert made.receive(speaker.headers(1, [(b":path", b"/")]), 0.0) == []
    made.receive(speaker.headers(3, replaced(b":method"), end=False), 0.0)
    assert made.receive(speaker.headers(3, [(b":path", b"/")]), 0.0) == []


def test_trailers_in_the_read_that_brought_the_malformed_head(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    head = speaker.headers(1, [*c.POST, (b"connection", b"x")], end=False)
    for name in (b":path", b"x-sum"):
        found = made.receive(head + speaker.headers(1, [(name, b"1")]), 0.0)
        assert [type(event) for event in found] == [e.Rejected]
        made, speaker = c.started(engine), c.Speaker()


def test_a_body_too_long_in_the_read_that_broke_it(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    head = speaker.headers(1, [*c.POST, (b"content-length", b"1")], end=False)
    found = made.receive(head + c.data(1, b"abc") + c.data(1, b"abc") + c.data(1, b"", True), 0.0)
    assert [type(event) for event in found] == [e.RequestHead, e.Reset]


BROKEN = {
    "HTTP/1.1": (b"GET / HTTP/1.1\r\n\r\n", "protocol_error", PROTOCOL_ERROR),
    "no SETTINGS": (c.PREFACE + c.frame(c.PING, 0, 0, bytes(8)), "protocol_error", PROTOCOL_ERROR),
    "SETTINGS is an ACK": (c.PREFACE + c.frame(c.SETTINGS, c.ACK, 0), "protocol_error", PROTOCOL_ERROR),
}


@pytest.mark.parametrize("case", BROKEN)
def test_bad_starts(engine: c.EngineName, case: str) -> None:
    sent, reason, code = BROKEN[case]
    made = c.codec(engine)
    assert c.violated(made, sent).reason == reason
    assert c.listen(made.take_output()).goaways == [(0, code)]


GET_1 = c.Speaker().headers(1)
POST_1 = c.Speaker().headers(1, c.POST, end=False)

VIOLATIONS = {
    "frame too large": (c.frame(0xFA, 0, 0, bytes(16385)), "frame_size_error"),
    "DATA on an idle stream": (c.data(5, b"x"), "protocol_error"),
    "DATA on stream 0": (c.data(0, b"x"), "protocol_error"),
    "DATA after END_STREAM": (GET_1 + c.data(1, b"x"), "stream_closed"),
    "DATA on a stream the client reset": (POST_1 + c.rst_stream(1) + c.data(1, b"x"), "stream_closed"),
    "empty DATA on a stream the client reset": (POST_1 + c.rst_stream(1) + c.data(1), "stream_closed"),
    "DATA that is too large on a stream the client reset": (
        POST_1 + c.rst_stream(1) + c.data(1, bytes(16385)),
        "frame_size_error",
    ),
    "DATA on a stream the client reset, behind another error": (
        POST_1 + c.rst_stream(1) + c.window_update(0, 0) + c.data(1),
        "protocol_error",
    ),
    "DATA on a stream the client reset, inside a block": (
        POST_1 + c.rst_stream(1) + c.frame(c.HEADERS, 0, 3) + c.data(1),
        "protocol_error",
    ),
    "HEADERS after END_STREAM": (GET_1 + GET_1, "stream_closed"),
    "HEADERS on a stream the client reset": (POST_1 + c.rst_stream(1) + GET_1, "stream_closed"),
    "HEADERS on an even stream": (c.Speaker().headers(2), "protocol_error"),
    "trailers without END_STREAM": (POST_1 + POST_1, "protocol_error"),
    "PUSH_PROMISE": (c.frame(c.PUSH_PROMISE, c.END_HEADERS, 1, bytes(8)), "protocol_error"),
    "naked CONTINUATION": (c.frame(c.CONTINUATION, c.END_HEADERS, 1), "protocol_error"),
    "frame inside a block": (c.frame(c.HEADERS, 0, 1) + c.frame(c.PING, 0, 0, bytes(8)), "protocol_error"),
    "CONTINUATION of another": (c.frame(c.HEADERS, 0, 1) + c.frame(c.CONTINUATION, 4, 3), "protocol_error"),
    "bad HPACK": (c.frame(c.HEADERS, c.END_HEADERS, 1, b"\xff\xff\xff\xff\xff"), "compression_error"),
    "RST_STREAM idle": (c.rst_stream(9), "protocol_error"),
    "RST_STREAM even": (c.rst_stream(2), "protocol_error"),
    "RST_STREAM length": (GET_1 + c.frame(c.RST_STREAM, 0, 1, b"abc"), "frame_size_error"),
    "PING length": (c.frame(c.PING, 0, 0, b"abc"), "frame_size_error"),
    "SETTINGS unasked ACK": (c.frame(c.SETTINGS, c.ACK, 0), "protocol_error"),
    "SETTINGS too many": (c.settings(*[(1, 1)] * 40), "excessive_load"),
    "SETTINGS value": (c.settings((2, 7)), "protocol_error"),
    "GOAWAY on a stream": (c.frame(c.GOAWAY, 0, 1, bytes(8)), "protocol_error"),
    "GOAWAY length": (c.frame(c.GOAWAY, 0, 0, bytes(4)), "frame_size_error"),
    "GOAWAY impossible": (c.goaway(3), "protocol_error"),
    "WINDOW_UPDATE zero": (c.window_update(0, 0), "protocol_error"),
    "WINDOW_UPDATE zero but for the reserved bit": (c.window_update(0, 2**31), "protocol_error"),
    "WINDOW_UPDATE idle": (c.window_update(9, 1), "protocol_error"),
    "WINDOW_UPDATE length": (c.frame(c.WINDOW_UPDATE, 0, 0, b"abc"), "frame_size_error"),
    "WINDOW_UPDATE too much": (c.window_update(0, 2**31 - 1), "flow_control_error"),
    "PRIORITY on itself": (c.frame(c.PRIORITY, 0, 1, struct.pack(">LB", 1, 0)), "protocol_error"),
    "padding": (POST_1 + c.frame(c.DATA, c.PADDED, 1, b"\x09abc"), "protocol_error"),
    "header bomb": (c.frame(c.HEADERS, 5, 1, b"\x40\x01a\x7f\xb9\x16" + b"b" * 3000 + b"\xbe" * 40), "excessive_load"),
}


@pytest.mark.parametrize("case", VIOLATIONS)
def test_violations_end_the_connection(engine: c.EngineName, case: str) -> None:
    sent, reason = VIOLATIONS[case]
    made = c.started(engine)
    assert c.violated(made, sent).reason == reason
    assert len(c.listen(made.take_output()).goaways) == 1
    assert made.take_output() == b""


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize(
    "late", [c.data(1, b"x"), c.data(1), c.data(1, b"x" * 300, True)], ids=["data", "empty", "end"]
)
def test_data_on_a_stream_that_both_sides_have_ended(
    engine: c.EngineName, late: bytes, step: int, speaker: c.Speaker
) -> None:
    """RFC 9113 5.1 (h2spec 5.1/11), wherever reads cut the frames."""
    made = c.codec(engine)
    sent = c.START + speaker.headers(1, c.POST, end=False) + c.data(1, b"x" * 300) + c.data(1, b"y", True)
    found: list[e.Event] = []
    for at in range(0, len(sent), step):
        found += made.receive(sent[at : at + step], 0.0)
    assert c.merged(found)[1:] == [e.Body(1, b"x" * 300 + b"y"), e.End(1, [])]
    c.answer_all(made, found)
    made.take_output()
    assert made.idle
    pieces = [late[at : at + step] for at in range(0, len(late), step)]
    found = [event for piece in pieces for event in made.receive(piece, 0.0)]
    (event,) = found
    assert isinstance(event, e.Violation)
    assert event.reason == "stream_closed"
    assert c.listen(made.take_output()).goaways == [(1, STREAM_CLOSED)]


@pytest.mark.parametrize("step", [1, 1000])
def test_data_on_a_stream_that_the_client_has_reset(engine: c.EngineName, step: int, speaker: c.Speaker) -> None:
    """RFC 9113 5.1 (h2spec 5.1/8)."""
    made = c.started(engine)
    made.receive(speaker.headers(1, c.POST, end=False) + c.data(1, b"x"), 0.0)
    made.receive(c.rst_stream(1), 0.0)
    sent = speaker.headers(3) + c.data(1, b"y")
    found = [event for at in range(0, len(sent), step) for event in made.receive(sent[at : at + step], 0.0)]
    head, violation = found
    assert isinstance(head, e.RequestHead)
    assert isinstance(violation, e.Violation)
    assert violation.reason == "stream_closed"
    assert c.listen(made.take_output()).goaways == [(3, STREAM_CLOSED)]


PRIORITY_FLAG = 0x20


@pytest.mark.parametrize("priority", [b"", b"\0\0\0\0\x0f"])
def test_padding_may_leave_no_fragment(engine: c.EngineName, priority: bytes, speaker: c.Speaker) -> None:
    """RFC 9113 6.2 forbids only padding that is longer than what is left of the frame."""
    made = c.started(engine)
    flags = c.END_STREAM | c.PADDED | (PRIORITY_FLAG if priority else 0)
    first = c.frame(c.HEADERS, flags, 1, b"\3%b\0\0\0" % priority)
    (head,) = made.receive(first + c.frame(c.CONTINUATION, c.END_HEADERS, 1, speaker.block(c.GET)), 0.0)
    assert isinstance(head, e.RequestHead)
    assert head.target == b"/"


@pytest.mark.parametrize(
    "payload", [b"\4\0\0\0\0\x0f\0\0\0", b"\x09\0\0\0\0\x0f\0\0\0", b"\3\0\0", b"\0\0\0", b"\0", b""]
)
def test_padding_longer_than_the_frame(engine: c.EngineName, payload: bytes) -> None:
    made = c.started(engine)
    flags = c.END_STREAM | c.END_HEADERS | c.PADDED | PRIORITY_FLAG
    c.violated(made, c.frame(c.HEADERS, flags, 1, payload))


@pytest.mark.parametrize("step", [1, 1000])
def test_nothing_is_read_after_the_goaway_of_an_idle_client(
    engine: c.EngineName, step: int, speaker: c.Speaker
) -> None:
    made = c.started(engine)
    sent = c.goaway() + speaker.headers(1)
    found = [event for at in range(0, len(sent), step) for event in made.receive(sent[at : at + step], 0.0)]
    assert found == [e.GoAway(0)]
    assert made.closed
