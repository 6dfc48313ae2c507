"""Bad and abusive clients of ``Http2Codec``, on both engines: malformed requests, limits, floods, deadlines."""

from __future__ import annotations

import struct

import pytest

from proxy.wire import events as e
from proxy.wire.http2 import Http2Codec
from tests.support import http2 as c

pytest.importorskip("proxy.wire.http2.nghttp2")

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
def test_malformed_requests_reset_their_stream(engine: str, case: str, speaker: c.Speaker) -> None:
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
    "TRACE": (replaced(b":method", b"TRACE"), 501, "method_not_implemented"),
    "fragment": (replaced(b":path", b"/a#b"), 400, "bad_target"),
    "byte above ASCII": (replaced(b":path", b"/\xc3\xbc"), 400, "bad_target"),
    "long path": (replaced(b":path", b"/" * 8193), 414, "request_line_too_long"),
    "no authority": (replaced(b":authority"), 400, "bad_host"),
    "empty authority": (replaced(b":authority", b""), 400, "bad_host"),
    "user in the authority": (replaced(b":authority", b"a@b"), 400, "bad_host"),
    "host differs": ([*c.GET, (b"host", b"other")], 400, "bad_host"),
    "expectation": ([*c.POST, (b"expect", b"miracle")], 417, "bad_expectation"),
    "too many fields": ([*c.GET, *[(b"a", b"b")] * 101], 431, "too_many_fields"),
    "cookie crumbs": ([*c.GET, *[(b"cookie", b"a=b")] * 101], 431, "too_many_fields"),
    "large block": ([*c.GET, *[(b"a", b"b" * 140)] * 100, *[(b"c", b"d" * 150)] * 100], 431, "header_block_too_large"),
}


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("case", REFUSED)
def test_refused_requests_get_an_answer(engine: str, case: str, complete: bool, speaker: c.Speaker) -> None:
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


def test_a_refused_head_request_gets_no_body(engine: str, speaker: c.Speaker) -> None:
    made = c.started(engine)
    found = made.receive(speaker.headers(1, [(b":method", b"HEAD"), *replaced(b":path", b"/#")[:1], *c.GET[1:3]]), 0.0)
    c.answer_all(made, found)
    assert c.listen(made.take_output()).streams[1].body == b""


def test_the_end_of_a_refused_request_says_nothing_more(engine: str, speaker: c.Speaker) -> None:
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
    "too many trailers": (b"0", [c.Speaker().headers(1, [(b"a", b"b")] * 101)]),
    "large trailers": (b"0", [c.Speaker().headers(1, [(b"a", b"b" * 9)] * 900)]),
}


@pytest.mark.parametrize("case", BROKEN_BODIES)
def test_requests_that_break_after_their_head(engine: str, case: str, speaker: c.Speaker) -> None:
    length, frames = BROKEN_BODIES[case]
    made = c.started(engine)
    made.receive(speaker.headers(1, [*c.POST, (b"content-length", length)], end=False), 0.0)
    found = made.receive(b"".join(frames), 0.0)
    assert found[-1] == e.Reset(1, PROTOCOL_ERROR)
    assert c.listen(made.take_output()).streams == {1: c.Answer(reset=PROTOCOL_ERROR)}


def test_bad_trailers_of_a_request_that_nobody_runs(engine: str, speaker: c.Speaker) -> None:
    made = c.started(engine)
    made.receive(speaker.headers(1, c.POST, end=False), 0.0)
    made.release(1)
    assert made.receive(speaker.headers(1, [(b":path", b"/")]), 0.0) == []
    made.receive(speaker.headers(3, replaced(b":method"), end=False), 0.0)
    assert made.receive(speaker.headers(3, [(b":path", b"/")]), 0.0) == []


def test_trailers_in_the_read_that_brought_the_malformed_head(engine: str, speaker: c.Speaker) -> None:
    made = c.started(engine)
    head = speaker.headers(1, [*c.POST, (b"connection", b"x")], end=False)
    for name in (b":path", b"x-sum"):
        found = made.receive(head + speaker.headers(1, [(name, b"1")]), 0.0)
        assert [type(event) for event in found] == [e.Rejected]
        made, speaker = c.started(engine), c.Speaker()


def test_a_body_too_long_in_the_read_that_broke_it(engine: str, speaker: c.Speaker) -> None:
    made = c.started(engine)
    head = speaker.headers(1, [*c.POST, (b"content-length", b"1")], end=False)
    found = made.receive(head + c.data(1, b"abc") + c.data(1, b"abc") + c.data(1, b"", True), 0.0)
    assert [type(event) for event in found] == [e.RequestHead, e.Reset]


def violated(made: Http2Codec, sent: bytes, now: float = 0.0) -> e.Violation:
    """Send, and return the violation that must be the last event."""
    found = made.receive(sent, now)
    assert isinstance(found[-1], e.Violation)
    assert made.closed
    assert made.receive(c.frame(c.PING, 0, 0, bytes(8)), now) == []
    return found[-1]


BROKEN = {
    "HTTP/1.1": (b"GET / HTTP/1.1\r\n\r\n", "protocol_error", PROTOCOL_ERROR),
    "no SETTINGS": (c.PREFACE + c.frame(c.PING, 0, 0, bytes(8)), "protocol_error", PROTOCOL_ERROR),
    "SETTINGS is an ACK": (c.PREFACE + c.frame(c.SETTINGS, c.ACK, 0), "protocol_error", PROTOCOL_ERROR),
}


@pytest.mark.parametrize("case", BROKEN)
def test_bad_starts(engine: str, case: str) -> None:
    sent, reason, code = BROKEN[case]
    made = c.codec(engine)
    assert violated(made, sent).reason == reason
    assert c.listen(made.take_output()).goaways == [(0, code)]


GET_1 = c.Speaker().headers(1)
POST_1 = c.Speaker().headers(1, c.POST, end=False)

VIOLATIONS = {
    "frame too large": (c.frame(0xFA, 0, 0, bytes(16385)), "frame_size_error"),
    "DATA on an idle stream": (c.data(5, b"x"), "protocol_error"),
    "DATA on stream 0": (c.data(0, b"x"), "protocol_error"),
    "DATA after END_STREAM": (GET_1 + c.data(1, b"x"), "stream_closed"),
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
    "WINDOW_UPDATE idle": (c.window_update(9, 1), "protocol_error"),
    "WINDOW_UPDATE length": (c.frame(c.WINDOW_UPDATE, 0, 0, b"abc"), "frame_size_error"),
    "WINDOW_UPDATE too much": (c.window_update(0, 2**31 - 1), "flow_control_error"),
    "PRIORITY on itself": (c.frame(c.PRIORITY, 0, 1, struct.pack(">LB", 1, 0)), "protocol_error"),
    "padding": (POST_1 + c.frame(c.DATA, c.PADDED, 1, b"\x09abc"), "protocol_error"),
    "header bomb": (c.frame(c.HEADERS, 5, 1, b"\x40\x01a\x7f\xb9\x16" + b"b" * 3000 + b"\xbe" * 40), "excessive_load"),
}


@pytest.mark.parametrize("case", VIOLATIONS)
def test_violations_end_the_connection(engine: str, case: str) -> None:
    sent, reason = VIOLATIONS[case]
    made = c.started(engine)
    assert violated(made, sent).reason == reason
    assert len(c.listen(made.take_output()).goaways) == 1
    assert made.take_output() == b""


def test_after_a_violation_nothing_is_sent_but_exchanges_are_told(engine: str, speaker: c.Speaker) -> None:
    made = c.started(engine)
    made.receive(speaker.headers(1) + speaker.headers(3), 0.0)
    made.send_head(1, 200, [], False)
    made.send_data(1, b"a", False)
    violated(made, c.data(9, b"x"))
    for stream in (1, 3):
        made.send_informational(stream, 103, [])
        made.send_head(stream, 200, [], False)
        made.send_data(stream, b"b" * 99999, False)
        made.send_trailers(stream, [(b"a", b"b")])
    made.acknowledge(1, 1)
    made.goaway(True)
    assert made.pending(3) == 0
    assert c.listen(made.take_output()).goaways[-1][1] == PROTOCOL_ERROR
    assert made.receive_eof() == [e.Reset(1, CANCEL), e.Reset(3, CANCEL)]
    made.reset(1, 2)
    assert made.take_output() == b""


def test_frames_for_streams_that_are_gone_are_ignored(engine: str, speaker: c.Speaker) -> None:
    made = c.started(engine)
    made.receive(speaker.headers(1, c.POST, end=False) + speaker.headers(3, c.POST, end=False), 0.0)
    made.receive(c.rst_stream(3), 0.0)
    made.reset(1, 2)
    trailers = speaker.block([(b"a", b"b")])
    late = c.data(1) + c.data(1, b"x", True) + c.window_update(1, 5) + c.rst_stream(1) + c.window_update(3, 5)
    late += c.frame(c.HEADERS, c.END_STREAM, 1, trailers[:1]) + c.frame(c.CONTINUATION, c.END_HEADERS, 1, trailers[1:])
    assert made.receive(late, 0.0) == []
    assert [f.stream_id for f in c.listen(made.take_output()).frames if f.type == c.RST_STREAM] == [1]
    assert len(made.receive(speaker.headers(5), 0.0)) == 1


def test_a_stream_window_beyond_its_maximum_resets_the_stream(engine: str, speaker: c.Speaker) -> None:
    made = c.started(engine)
    made.receive(speaker.headers(1), 0.0)
    assert made.receive(c.window_update(1, 2**31 - 1), 0.0) == [e.Reset(1, FLOW_CONTROL_ERROR)]
    assert c.listen(made.take_output()).streams[1].reset == FLOW_CONTROL_ERROR
    assert len(made.receive(speaker.headers(3), 0.0)) == 1


@pytest.mark.parametrize(("streams", "window"), [(4, 65_535), (1, 65_535)])
def test_data_beyond_the_window(engine: str, streams: int, window: int, speaker: c.Speaker) -> None:
    made = c.started(engine, concurrent_streams=streams, stream_window=window)
    sent = speaker.headers(1, c.POST, end=False) + c.data(1, bytes(16_000)) * 5
    assert violated(made, sent).reason == "flow_control_error"


def test_a_stream_too_many_is_refused(engine: str, speaker: c.Speaker) -> None:
    made = c.started(engine, concurrent_streams=2)
    assert len(made.receive(b"".join(speaker.headers(stream) for stream in (1, 3, 5)), 0.0)) == 2
    assert c.listen(made.take_output()).streams == {5: c.Answer(reset=REFUSED_STREAM)}


def test_a_stream_keeps_its_place_until_its_exchange_has_ended(engine: str, speaker: c.Speaker) -> None:
    """CVE-2023-44487: the number of running applications is bounded, whatever the client resets."""
    made = c.started(engine, concurrent_streams=2)
    made.receive(speaker.headers(1) + speaker.headers(3) + c.rst_stream(1) + c.rst_stream(3), 0.0)
    assert made.receive(speaker.headers(5), 0.0) == []
    made.release(1)
    assert len(made.receive(speaker.headers(7), 0.0)) == 1
    assert made.receive(speaker.headers(9), 0.0) == []


def test_a_response_not_sent_yet_keeps_the_place(engine: str, speaker: c.Speaker) -> None:
    made = c.started(engine, concurrent_streams=1)
    made.receive(speaker.headers(1), 0.0)
    made.send_head(1, 200, [], False)
    made.send_data(1, bytes(70_000), True)
    made.release(1)
    made.take_output()
    assert made.receive(speaker.headers(3), 0.0) == []
    made.receive(c.window_update(0, 9999) + c.window_update(1, 9999), 0.0)
    made.take_output()
    assert len(made.receive(speaker.headers(5), 0.0)) == 1


def rapid_reset(stream: int) -> bytes:
    return c.Speaker().headers(stream) + c.rst_stream(stream)


def malformed(stream: int) -> bytes:
    return c.Speaker().headers(stream, [*c.GET, (b"connection", b"x")])


def made_you_reset(stream: int) -> bytes:
    """CVE-2025-8671: the client makes the server reset."""
    return c.Speaker().headers(stream) + c.window_update(stream, 2**31 - 1)


def broken_body(stream: int) -> bytes:
    return c.Speaker().headers(stream, [*c.POST, (b"content-length", b"1")], end=False) + c.data(stream, b"ab")


@pytest.mark.parametrize("attack", [rapid_reset, malformed, made_you_reset, broken_body])
def test_resets_are_bounded(engine: str, attack: object, speaker: c.Speaker) -> None:
    made = c.started(engine, stream_reset_burst=20, stream_reset_rate=2)
    stream = 1
    for _ in range(20):
        found = made.receive(attack(stream), 0.0)
        assert not any(isinstance(event, e.Violation) for event in found)
        made.release(stream)
        stream += 2
    assert not any(isinstance(event, e.Violation) for event in made.receive(attack(stream), 0.5))
    assert violated(made, attack(stream + 2), 0.6).reason == "stream_resets"
    assert c.listen(made.take_output()).goaways[0][1] == ENHANCE_YOUR_CALM


def test_refused_streams_count_as_resets(engine: str, speaker: c.Speaker) -> None:
    made = c.started(engine, concurrent_streams=1, stream_reset_burst=3, stream_reset_rate=1)
    sent = b"".join(speaker.headers(stream) for stream in (1, 3, 5, 7, 9))
    assert violated(made, sent).reason == "stream_resets"


FLOODS = {
    "PING": (c.frame(c.PING, 0, 0, bytes(8)), "control_flood"),
    "SETTINGS": (c.settings((4, 70000)), "control_flood"),
    "PRIORITY": (c.frame(c.PRIORITY, 0, 9, struct.pack(">LB", 3, 0)), "control_flood"),
    "unknown type": (c.frame(0xFA, 0, 0), "control_flood"),
    "WINDOW_UPDATE": (c.window_update(0, 1), "control_flood"),
    "empty DATA": (c.data(1), "empty_data_flood"),
    "padding alone": (c.frame(c.DATA, c.PADDED, 1, b"\x02" + bytes(2)), "empty_data_flood"),
    "HEADERS for a stream that was reset": (c.Speaker().headers(3), "control_flood"),
}


@pytest.mark.parametrize("case", FLOODS)
def test_floods(engine: str, case: str, speaker: c.Speaker) -> None:
    one, reason = FLOODS[case]
    made = c.started(engine, control_frames=50, empty_data_frames=50, control_frame_period=5)
    made.receive(speaker.headers(1, c.POST, end=False) + speaker.headers(3, c.POST, end=False), 0.0)
    made.reset(3, 2)
    assert made.receive(one * 40, 0.0) == []
    assert made.receive(one * 50, 9.0) == []
    assert violated(made, one * 60, 9.1).reason == reason
    assert c.listen(made.take_output()).goaways[0][1] == ENHANCE_YOUR_CALM


def test_window_updates_for_data_that_was_sent_are_free(engine: str, speaker: c.Speaker) -> None:
    made = c.started(engine, control_frames=10)
    made.receive(speaker.headers(1), 0.0)
    made.send_head(1, 200, [], False)
    for _ in range(100):
        made.send_data(1, bytes(100), False)
        made.take_output()
        assert made.receive(c.window_update(1, 100) + c.window_update(0, 100), 0.0) == []


def test_a_continuation_flood(engine: str, speaker: c.Speaker) -> None:
    made = c.started(engine, continuation_frames=8)
    one = c.frame(c.CONTINUATION, 0, 1)
    assert made.receive(c.frame(c.HEADERS, 0, 1) + one * 8, 0.0) == []
    assert violated(made, one).reason == "continuation_flood"


def test_continuations_are_counted_for_each_block(engine: str, speaker: c.Speaker) -> None:
    made = c.started(engine, continuation_frames=3)
    for stream in (1, 3):
        block = speaker.block(c.POST)
        pieces = [c.frame(c.CONTINUATION, 0, stream, block[at : at + 4]) for at in (4, 8)]
        last = c.frame(c.CONTINUATION, c.END_HEADERS, stream, block[12:])
        assert len(made.receive(c.frame(c.HEADERS, 0, stream, block[:4]) + b"".join(pieces) + last, 0.0)) == 1
        trailers = c.frame(c.HEADERS, c.END_STREAM, stream) + c.frame(c.CONTINUATION, 0, stream) * 2
        trailers += c.frame(c.CONTINUATION, c.END_HEADERS, stream)
        assert made.receive(trailers, 0.0) == [e.End(stream, [])]


def test_a_header_block_has_a_deadline(engine: str, speaker: c.Speaker) -> None:
    made = c.started(engine, continuation=10)
    first = speaker.headers(1)
    opened = c.frame(c.HEADERS, c.END_STREAM, 3, speaker.block(c.GET))
    assert made.next_deadline() is None
    assert made.receive(first[:9], 1.0) == []
    assert made.next_deadline() == 11.0
    assert not made.idle
    made.receive(first[9:12], 5.0)
    assert made.next_deadline() == 11.0, "a byte does not move it"
    made.receive(first[12:] + opened, 6.0)
    assert made.next_deadline() == 16.0, "the next block has its own"
    assert made.on_deadline(15.9) == []
    (event,) = made.on_deadline(16.0)
    assert (event.reason, made.closed) == ("continuation_timeout", True)
    assert c.listen(made.take_output()).goaways[0][1] == ENHANCE_YOUR_CALM
    assert made.on_deadline(99.0) == []


def test_the_preface_has_a_deadline(engine: str) -> None:
    made = c.codec(engine, now=5.0, http2_preface=10, continuation=20)
    made.receive(c.PREFACE + c.settings()[:5], 6.0)
    assert made.next_deadline() == 15.0
    (event,) = made.on_deadline(15.0)
    assert event.reason == "preface_timeout"
    assert c.listen(made.take_output()).goaways == [(0, PROTOCOL_ERROR)]


def test_a_preface_in_time(engine: str) -> None:
    made = c.codec(engine, now=5.0)
    made.receive(c.PREFACE + c.settings(), 6.0)
    assert made.next_deadline() is None
