"""Requests and responses through ``Http2Codec``, on both engines."""

from __future__ import annotations

import struct

import pytest
from hpack import Decoder

from sidegate.config.schema import ConnectionLimits
from sidegate.wire import events as e
from sidegate.wire.fields import SCHEME, FieldPolicy
from sidegate.wire.http2 import Http2Codec, load_engine
from tests.support import http2 as c

HOST = (b"host", b"example.org")

pytestmark = pytest.mark.parametrize("engine", c.ENGINES)


@pytest.fixture
def speaker() -> c.Speaker:
    return c.Speaker()


def upload(engine: c.EngineName, speaker: c.Speaker, body: bytes = b"abc", end: bool = False) -> Http2Codec:
    """A codec with stream 1 in the middle of a POST, its body not acknowledged."""
    made = c.started(engine)
    made.receive(speaker.headers(1, c.POST, end=False) + c.data(1, body, end), 0.0)
    return made


def test_a_request_becomes_a_head(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    fields = [(b"accept", b"*/*"), (b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"te", b"trailers")]
    found = made.receive(speaker.headers(1, [*c.GET, *fields]), 0.0)
    headers = [(b"host", b"example.org"), (b"accept", b"*/*"), (b"te", b"trailers"), (b"cookie", b"a=1; b=2")]
    assert found == [e.RequestHead(1, "GET", b"/", headers, "2")]
    assert not made.idle


def test_any_token_is_a_method(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    found = made.receive(speaker.headers(1, [(b":method", b"PURGE"), *c.GET[1:]]), 0.0)
    assert c.first_head(found).method == "PURGE"


def of_scheme(scheme: bytes, path: bytes = b"/", *fields: tuple[bytes, bytes]) -> c.Pairs:
    return [c.GET[0], (b":scheme", scheme), c.GET[2], (b":path", path), *fields]


def test_a_scheme_that_is_not_the_connections_is_misdirected(engine: c.EngineName, speaker: c.Speaker) -> None:
    """RFC 9110 7.4."""
    made = c.started(engine)
    made.expect_scheme(b"http")
    assert c.first_head(made.receive(speaker.headers(1, of_scheme(b"http")), 0.0)).headers == [HOST]
    (event,) = made.receive(speaker.headers(3, of_scheme(b"https")), 0.0)
    assert isinstance(event, e.Rejected)
    assert (event.status, event.reason) == (421, "bad_scheme")
    assert c.first_head(made.receive(speaker.headers(5, of_scheme(b"HTTP", b"/x")), 0.0)).headers == [HOST]


def test_the_scheme_of_a_trusted_proxys_request(engine: c.EngineName, speaker: c.Speaker) -> None:
    """It is reported for each request as that says, also for those with the fields of the request before."""
    limits = ConnectionLimits()
    policy = FieldPolicy(limits.header_fields, limits.header_block, keep_forwarding=True)
    made = Http2Codec(load_engine(engine), policy, limits, 0.0)
    made.expect_scheme(b"http")
    made.receive(c.START, 0.0)
    requests = [
        (of_scheme(scheme, path, *fields), [HOST, *fields, *([(SCHEME, scheme)] if scheme == b"https" else [])])
        for fields in ([], [(b"x", b"y")])
        for path in (b"/", b"/other")
        for scheme in (b"http", b"https", b"https", b"http")
    ]
    forged = (b"x-sidegate-scheme", b"https")
    requests.append((of_scheme(b"http", b"/", forged), [HOST]))
    for number, (sent, expected) in enumerate(requests):
        head = c.first_head(made.receive(speaker.headers(2 * number + 1, sent), 0.0))
        assert head.headers == expected, sent


def test_the_same_request_again_gets_lists_of_its_own(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    first, second, other = (
        c.first_head(made.receive(speaker.headers(stream, [*fields, (b"accept", b"*/*")]), 0.0))
        for stream, fields in ((1, c.GET), (3, c.GET), (5, c.POST))
    )
    assert first.headers == second.headers == other.headers
    first.headers.clear()
    assert second.headers
    again = c.first_head(made.receive(speaker.headers(7, [*c.GET, (b"accept", b"*/*")]), 0.0))
    assert again.headers == second.headers


def test_the_authority_is_part_of_what_is_remembered(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    elsewhere = [(name, b"other" if name == b":authority" else value) for name, value in c.GET]
    hosts = [
        c.first_head(made.receive(speaker.headers(stream, [*fields, (b"a", b"b")]), 0.0)).headers[0][1]
        for stream, fields in ((1, c.GET), (3, elsewhere), (5, elsewhere), (7, c.GET))
    ]
    assert hosts == [b"example.org", b"other", b"other", b"example.org"]


def test_many_different_requests_overflow_the_memory_without_harm(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    for number in range(60):
        fields = [*c.GET[:3], (b":path", b"/%d" % number), (b"x-n", b"%d" % number)]
        head = c.first_head(made.receive(speaker.headers(2 * number + 1, fields), 0.0))
        assert head.target == b"/%d" % number
        assert head.headers[-1] == (b"x-n", b"%d" % number)


def test_a_body_and_its_end(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    sent = speaker.headers(1, [*c.POST, (b"content-length", b"6")], end=False) + c.data(1, b"abc")
    found = made.receive(sent + c.data(1, b"def", end=True), 0.0)
    head = c.first_head(found)
    assert head.content_length == 6
    assert not head.end_stream
    assert c.merged(found[1:]) == [e.Body(1, b"abcdef"), e.End(1, [])]


def test_trailers_end_a_request(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = upload(engine, speaker)
    found = made.receive(speaker.headers(1, [(b"x-sum", b"9"), (b"x_dropped", b"")]), 0.0)
    assert found == [e.End(1, [(b"x-sum", b"9")])]


def test_expect_continue_and_informational_responses(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    found = made.receive(speaker.headers(1, [*c.POST, (b"expect", b"100-continue")], end=False), 0.0)
    assert c.first_head(found).expect_continue
    made.send_informational(1, 100, [])
    made.send_informational(1, 103, [(b"link", b"</x>")])
    made.send_head(1, 200, [], True)
    made.send_informational(1, 103, [])
    made.send_informational(9, 103, [])
    heads = c.listen(made.take_output()).streams[1].heads
    assert heads == [[(b":status", b"100")], [(b":status", b"103"), (b"link", b"</x>")], [(b":status", b"200")]]


def test_a_response(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    made.receive(speaker.headers(1), 0.0)
    made.send_data(1, b"too early", False)
    made.send_trailers(1, [])
    made.send_head(1, 200, [(b"content-type", b"text/plain")], False)
    made.send_head(1, 500, [], True)
    made.send_data(1, b"", False)
    made.send_data(1, b"ab", False)
    made.send_data(1, b"cd", False)
    assert made.pending(1) == 4
    first = made.take_output()
    assert made.pending(1) == 0
    made.send_data(1, b"ef", True)
    made.send_data(1, b"late", True)
    made.send_trailers(1, [(b"x", b"y")])
    made.send_head(99, 200, [], True)
    made.send_trailers(99, [])
    assert not made.sendfile(1, 10)
    answer = c.listen(first + made.take_output()).streams
    assert answer == {1: c.Answer([[(b":status", b"200"), (b"content-type", b"text/plain")]], b"abcdef", True)}
    assert made.idle
    assert made.take_output() == b""


def test_a_head_alone_and_an_empty_end(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    made.receive(speaker.headers(1) + speaker.headers(3), 0.0)
    made.send_head(1, 200, [], True)
    made.send_head(3, 200, [], False)
    first = made.take_output()
    made.send_data(3, b"", True)
    streams = c.listen(first + made.take_output()).streams
    assert streams[1] == streams[3] == c.Answer([[(b":status", b"200")]], b"", True)


@pytest.mark.parametrize("body", [b"", b"body"])
def test_response_trailers(engine: c.EngineName, body: bytes, speaker: c.Speaker) -> None:
    made = c.started(engine)
    made.receive(speaker.headers(1), 0.0)
    made.send_head(1, 200, [], False)
    made.send_data(1, body, False)
    made.send_trailers(1, [(b"x-sum", b"1")])
    heard = c.listen(made.take_output())
    assert heard.streams[1] == c.Answer([[(b":status", b"200")], [(b"x-sum", b"1")]], body, True)
    assert made.idle


def test_many_response_fields(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    made.receive(speaker.headers(1), 0.0)
    fields = [(b"x-%d" % number, b"v" * number) for number in range(200)]
    made.send_informational(1, 103, fields)
    made.send_head(1, 200, fields, False)
    made.send_trailers(1, fields)
    heads = c.listen(made.take_output()).streams[1].heads
    assert heads == [[(b":status", b"103"), *fields], [(b":status", b"200"), *fields], fields]


@pytest.mark.parametrize("status", [200, 204, 304])
def test_no_body_where_none_belongs(engine: c.EngineName, status: int, speaker: c.Speaker) -> None:
    made = c.started(engine)
    method = b"HEAD" if status == 200 else b"GET"
    made.receive(speaker.headers(1, [(b":method", method), *c.GET[1:]]), 0.0)
    made.send_head(1, status, [(b"content-length", b"4")], False)
    made.send_data(1, b"body", True)
    assert c.listen(made.take_output()).streams[1].body == b""
    assert made.idle


def test_the_stream_window_bounds_what_is_sent(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    decoder = Decoder()
    made.receive(speaker.headers(1) + speaker.headers(3), 0.0)
    for stream in (1, 3):
        made.send_head(stream, 200, [], False)
        made.send_data(stream, bytes([stream]) * 40000, True)
    heard = c.listen(made.take_output(), decoder)
    sent = {stream: len(heard.streams[stream].body) for stream in (1, 3)}
    assert sum(sent.values()) == 65535
    assert min(sent.values()) >= 65535 // 2 - 16384, "both streams get their turn"
    assert made.pending(1) == 40000 - sent[1]
    made.receive(c.window_update(0, 100), 0.0)
    assert made.pending(1) + made.pending(3) == 80000 - 65535
    assert sum(len(a.body) for a in c.listen(made.take_output(), decoder).streams.values()) == 100
    made.receive(c.window_update(0, 2**30), 0.0)
    rest = c.listen(made.take_output(), decoder).streams
    assert rest[1].ended
    assert rest[3].ended


def test_a_window_below_zero_still_lets_a_response_end(engine: c.EngineName, speaker: c.Speaker) -> None:
    """At once with h2; nghttp2 waits for the window even with an empty DATA frame."""
    made = c.started(engine)
    made.receive(speaker.headers(1), 0.0)
    made.send_head(1, 200, [], False)
    made.send_data(1, b"x" * 65535, False)
    made.take_output()
    made.receive(c.settings((4, 0)), 0.0)
    made.send_data(1, b"", True)
    heard = c.listen(made.take_output(), Decoder())
    made.receive(c.settings((4, 65536)) + c.window_update(0, 1), 0.0)
    heard.streams.update(c.listen(made.take_output(), Decoder()).streams)
    assert heard.streams[1].ended


def test_reserved_bits_are_ignored(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    found: list[e.Event] = []
    for one in (
        c.settings((4, 10)),
        c.window_update(0, 100),
        c.frame(c.PRIORITY, 0, 9, struct.pack(">LB", 3, 9)),
        speaker.headers(1, c.POST, end=False),
        c.window_update(1, 5),
        c.data(1, b"abc", True),
        c.frame(c.PING, 0, 0, bytes(8)),
        c.goaway(),
    ):
        found += made.receive(c.with_reserved_bits(one), 0.0)
    assert [type(event) for event in found if not isinstance(event, e.GoAway)] == [e.RequestHead, e.Body, e.End]
    made.send_head(1, 200, [], False)
    made.send_data(1, b"x" * 20, True)
    heard = c.listen(made.take_output())
    assert (heard.streams[1].body, heard.goaways) == (b"x" * 15, [])
    assert made.receive(c.with_reserved_bits(c.rst_stream(1)), 0.0) == [e.Reset(1, 8)]


def test_what_is_read_is_credited(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine, concurrent_streams=1, stream_window=100_000)
    made.receive(speaker.headers(1, c.POST, end=False), 0.0)
    for _ in range(6):
        made.receive(c.data(1, b"x" * 10_000), 0.0)
    assert c.listen(made.take_output()).frames == []
    made.acknowledge(1, 60_000)
    made.acknowledge(1, 60_000)
    made.acknowledge(99, 1)
    heard = c.listen(made.take_output())
    assert heard.window_updates(1) == heard.window_updates(0) == 60_000


def test_padding_is_credited_at_once(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine, concurrent_streams=1, stream_window=65_535)
    made.receive(speaker.headers(1, c.POST, end=False), 0.0)
    padded = c.frame(c.DATA, c.PADDED, 1, b"\xff" + b"x" + bytes(255))
    found = made.receive(padded * 120, 0.0) + made.receive(padded * 10, 0.0)
    assert c.merged(found) == [e.Body(1, b"x" * 130)]
    heard = c.listen(made.take_output())
    assert heard.window_updates(1) >= 32_767
    assert heard.window_updates(0) >= 32_767


def test_an_unread_stream_does_not_freeze_the_others(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine, concurrent_streams=4, stream_window=65_535)
    sent = b"".join(speaker.headers(stream, c.POST, end=False) for stream in (1, 3, 5, 7))
    made.receive(sent, 0.0)
    for stream in (1, 3, 5, 7):
        found = made.receive(c.data(stream, b"x" * 16_000) * 4, 0.0)
        assert c.merged(found) == [e.Body(stream, b"x" * 64_000)]


def test_the_unread_part_of_a_stream_that_is_gone_is_credited(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine, concurrent_streams=1, stream_window=65_535)
    made.receive(speaker.headers(1, c.POST, end=False) + c.data(1, b"x" * 16_000) * 3, 0.0)
    assert made.receive(c.rst_stream(1), 0.0) == [e.Reset(1, 8)]
    made.acknowledge(1, 48_000)
    assert c.listen(made.take_output()).window_updates(0) == 48_000


def test_data_for_a_stream_that_was_reset_is_credited(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine, concurrent_streams=1, stream_window=65_535)
    made.receive(speaker.headers(1, c.POST, end=False), 0.0)
    made.reset(1, 2)
    made.reset(1, 2)
    assert c.listen(made.take_output()).streams[1].reset == 2
    assert made.receive(c.data(1, b"x" * 16_000) * 3, 0.0) == []
    assert c.listen(made.take_output()).window_updates(0) >= 32_767


def test_data_in_the_same_read_as_a_refused_head_is_credited(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine, concurrent_streams=1, stream_window=65_535)
    bad = speaker.headers(1, [*c.POST, (b"connection", b"x")], end=False)
    made.receive(bad + c.data(1, b"x" * 16_000) * 3, 0.0)
    assert c.listen(made.take_output()).window_updates(0) >= 32_767


def test_acknowledging_after_the_end(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine, concurrent_streams=1, stream_window=65_535)
    made.receive(
        speaker.headers(1, c.POST, end=False) + c.data(1, b"x" * 16_000) * 2 + c.data(1, b"x" * 8_000, True), 0.0
    )
    made.acknowledge(1, 20_000)
    made.acknowledge(1, 20_000)
    made.acknowledge(1, 20_000)
    heard = c.listen(made.take_output())
    assert heard.window_updates(0) == 40_000
    assert heard.window_updates(1) == 0


def test_release_with_an_unread_body(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine, concurrent_streams=1, stream_window=65_535)
    made.receive(speaker.headers(1, c.POST, end=False) + c.data(1, b"x" * 16_000) * 3 + c.data(1, b"", True), 0.0)
    made.release(1)
    assert c.listen(made.take_output()).window_updates(0) == 48_000


def test_an_answer_before_the_request_is_complete_ends_in_no_error(engine: c.EngineName, speaker: c.Speaker) -> None:
    """RFC 9113 8.1: the client is told to stop sending what nobody reads."""
    made = upload(engine, speaker)
    made.send_head(1, 413, [], False)
    made.release(1)
    assert c.listen(made.take_output(), Decoder()).streams[1].reset is None
    assert made.receive(c.data(1, b"more"), 0.0) == []
    made.send_data(1, b"too large", True)
    answer = c.listen(made.take_output()).streams[1]
    assert (answer.body, answer.ended, answer.reset) == (b"too large", True, 0)
    assert made.idle


def test_a_released_request_that_ends_by_itself_is_not_reset(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = upload(engine, speaker)
    made.send_head(1, 200, [], False)
    made.release(1)
    assert made.receive(c.data(1, b"", end=True), 0.0) == []
    made.send_data(1, b"done", True)
    assert c.listen(made.take_output()).streams[1].reset is None


def test_a_response_may_be_complete_before_the_request(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = upload(engine, speaker)
    made.send_head(1, 200, [], True)
    made.take_output()
    assert not made.idle
    assert c.merged(made.receive(c.data(1, b"d", end=True), 0.0)) == [e.Body(1, b"d"), e.End(1, [])]
    assert made.idle
    made.acknowledge(1, 4)
    made.release(1)


def test_the_client_resets(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = upload(engine, speaker)
    made.send_head(1, 200, [], False)
    made.send_data(1, b"x" * 100_000, False)
    assert made.receive(c.rst_stream(1, 0xFF), 0.0) == [e.Reset(1, 0xFF)]
    assert made.pending(1) == 0
    made.send_data(1, b"more", True)
    answer = c.listen(made.take_output()).streams.get(1, c.Answer())
    assert (answer.body, answer.ended, answer.reset) == (b"", False, None)
    assert made.receive(c.rst_stream(1), 0.0) == []


def test_the_client_goes_away(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = upload(engine, speaker)
    assert made.receive(c.goaway(0, 0), 0.0) == [e.GoAway(0)]
    assert not made.closed
    made.receive(c.data(1, b"", end=True), 0.0)
    made.send_head(1, 200, [], True)
    assert c.listen(made.take_output()).streams[1].ended
    assert made.closed
    assert made.receive(speaker.headers(3), 0.0) == []


def test_end_of_input_resets_what_is_open(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = upload(engine, speaker)
    made.receive(speaker.headers(3) + speaker.headers(5), 0.0)
    made.release(3)
    assert made.receive_eof() == [e.Reset(1, 8), e.Reset(5, 8)]
    assert made.closed
    assert made.receive_eof() == []
    assert made.next_deadline() is None


def test_going_away_in_two_steps(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    made.receive(speaker.headers(1), 0.0)
    made.goaway(False)
    assert made.receive(speaker.headers(3), 0.0) != [], "a request that crossed the notice is served"
    made.goaway(True)
    made.goaway(True)
    assert made.receive(speaker.headers(5, c.POST, end=False) + c.data(5, b"abc"), 0.0) == []
    for stream in (1, 3):
        assert not made.closed
        made.send_head(stream, 200, [], True)
        made.release(stream)
        heard = c.listen(made.take_output(), Decoder())
        if stream == 1:
            assert heard.goaways == [(2**31 - 1, 0), (3, 0)]
            assert heard.streams[5].reset == 7
    assert made.closed


def test_only_the_answer_to_the_ping_behind_the_goaway_shows_that_it_was_noticed(engine: c.EngineName) -> None:
    made = c.started(engine)
    made.goaway(False)
    heard = c.listen(made.take_output())
    (ping,) = (frame for frame in heard.frames if frame.type == c.PING)
    made.receive(c.frame(c.PING, c.ACK, 0, b"anything"), 0.0)
    assert not made.goaway_noticed()
    made.receive(c.frame(c.PING, c.ACK, 0, ping.opaque_data), 0.0)
    assert made.goaway_noticed()
    made.receive(c.frame(c.PING, c.ACK, 0, b"anything"), 0.0)
    assert made.goaway_noticed()


def test_going_away_while_idle_closes_at_once(engine: c.EngineName) -> None:
    made = c.started(engine)
    made.goaway(True)
    assert made.closed
    assert c.listen(made.take_output()).goaways == [(0, 0)]


def test_pings_and_settings_are_answered(engine: c.EngineName) -> None:
    made = c.codec(engine)
    assert made.receive(c.START + c.frame(c.PING, 0, 0, b"12345678"), 0.0) == []
    heard = c.listen(made.take_output())
    first, *rest = heard.frames
    assert first.settings == {3: 100, 4: 256 * 1024, 6: 32 * 1024, 8: 1}
    assert {(f.type, "ACK" in f.flags) for f in rest} == {(c.SETTINGS, True), (c.PING, True), (c.WINDOW_UPDATE, False)}
    assert heard.window_updates(0) == 100 * 256 * 1024 - 65535


def test_unknown_frames_are_ignored(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    assert made.receive(c.frame(0xFA, 0xFF, 3, b"what"), 0.0) == []
    assert len(made.receive(speaker.headers(1), 0.0)) == 1


def test_reading_is_never_paused(engine: c.EngineName) -> None:
    assert c.codec(engine).read_paused() is False


def test_a_large_body_comes_out_whole(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    made.receive(c.settings((4, 2**31 - 1)) + c.window_update(0, 2**30) + speaker.headers(1), 0.0)
    body = bytes(range(256)) * 8192
    made.send_head(1, 200, [], False)
    for start in range(0, len(body), 100_000):
        made.send_data(1, body[start : start + 100_000], False)
    made.send_data(1, b"", True)
    answer = c.listen(b"".join(iter(made.take_output, b""))).streams[1]
    assert answer.body == body
    assert answer.ended
