"""The client's codec against raw frames: which answers are responses, and what a server may not do to us."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hpack import Decoder, Encoder

from sidegate.asgi import Headers
from sidegate.wire import codes
from sidegate.wire.client_codec import MOST_INFORMATIONAL, RESPONSE_TOO_LARGE
from sidegate.wire.events import (
    Body,
    End,
    Event,
    GoAway,
    Informational,
    PingAck,
    Rejected,
    Reset,
    ResponseHead,
    Violation,
)
from sidegate.wire.fields import CLOSE, OFFER
from sidegate.wire.hop import HEADER_TABLE, REQUEST_ID
from sidegate.wire.http2 import EngineFactory, Http2ClientCodec, load_engine
from sidegate.wire.http2.client import MOST_CONTROLS
from sidegate.wire.http2.engine import RESETS_REMEMBERED
from tests.support import http2 as c
from tests.support.http2_client import OK, SETTINGS, START, client, heads, pair, started

pytestmark = pytest.mark.parametrize("engine", c.ENGINES)

HEAD: c.Pairs = [(b":method", b"HEAD"), *c.GET[1:]]


def written(made: Http2ClientCodec) -> c.Heard:
    return c.listen(made.take_output().removeprefix(c.PREFACE))


def answered(engine: c.EngineName, *frames: bytes, request: c.Pairs = c.GET) -> tuple[Http2ClientCodec, list[Event]]:
    """A client that has sent one request, and what it made of ``frames``."""
    made = started(engine)
    assert made.request(list(request), True) == 1
    made.take_output()
    return made, c.merged(made.receive(b"".join(frames)))


def test_what_a_client_says_first(engine: c.EngineName) -> None:
    made = client(engine, replace(SETTINGS, header_table=HEADER_TABLE, hop=True))
    output = made.take_output()
    assert output.startswith(c.PREFACE)
    first = c.listen(output.removeprefix(c.PREFACE)).frames[0]
    assert first.settings == {1: HEADER_TABLE, 2: 0, 4: 65_535, 6: 4_096, 0xF0E5: 1}
    assert not made.ready
    assert made.capacity == made.max_streams == 2**31 - 1


def test_what_the_servers_settings_say(engine: c.EngineName) -> None:
    made = client(engine)
    assert made.receive(c.settings((3, 2**32 - 1), (0xF0E5, 1), (0xF0E6, 1))) == []
    assert (made.ready, made.hop, made.max_streams) == (True, True, 2**31 - 1)
    made.receive(c.settings((0xF0E5, 2), (3, 1)))
    assert (made.hop, made.max_streams, made.capacity) == (False, 1, 1)
    made.request(list(c.GET), True)
    made.request(list(c.GET), True)
    made.receive(c.settings((3, 0)))
    assert made.capacity == 0
    assert list(written(made).streams) == [1]


def test_a_request_leaves_as_it_was_given(engine: c.EngineName) -> None:
    made = started(engine)
    fields = [*c.POST, (b"a", b"1"), (b"b", b"x" * 30_000), *[(b"n-%d" % number, b"") for number in range(40)]]
    assert made.request(fields, False) == 1
    made.send_data(1, b"abc", True)
    stream = written(made).streams[1]
    assert (stream.heads, stream.body, stream.ended) == ([fields], b"abc", True)


@pytest.mark.parametrize("allowed", [4_096, HEADER_TABLE, 2**31])
def test_request_ids_stay_out_of_the_table(engine: c.EngineName, allowed: int) -> None:
    made = client(engine, replace(SETTINGS, header_table=HEADER_TABLE))
    made.receive(c.settings((1, allowed)))
    decoder = Decoder()
    decoder.max_allowed_table_size = HEADER_TABLE
    size = 0
    for number in range(200):
        fields = [*c.GET, (b"x-%d" % (number // 4), b"y" * 100), (REQUEST_ID, b"0" * 32)]
        stream = made.request(fields, True)
        output = made.take_output().removeprefix(c.PREFACE)
        assert c.listen(output, decoder).streams[stream].heads == [fields]
        size = decoder.header_table_size
    names = {bytes(name) for name, _ in decoder.header_table.dynamic_entries}
    assert b"x-49" in names
    assert REQUEST_ID not in names
    assert (b"x-0" in names) == (allowed > 4_096)
    assert size == min(allowed, HEADER_TABLE)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b":status", b"")],
        [(b":status", b"99")],
        [(b":status", b"099")],
        [(b":status", b"1000")],
        [(b":status", b"2OO")],
        [(b":status", b"101")],
        [*OK, *OK],
        [(b":path", b"/")],
        [*OK, (b":path", b"/")],
        [(b"x", b"y")],
        [(b"x", b"y"), *OK],
        [*OK, (b"X-Upper", b"y")],
        [*OK, (b"", b"y")],
        [*OK, (b"a b", b"y")],
        [*OK, (b"a", b"x\r\ny: z")],
        [*OK, (b"a", b" x")],
        [*OK, (b"a", b"x\t")],
        [*OK, (b"connection", b"close")],
        [*OK, (b"transfer-encoding", b"chunked")],
        [*OK, (b"content-length", b"x")],
        [*OK, (b"content-length", b"0"), (b"content-length", b"0")],
    ],
)
def test_what_is_no_response(engine: c.EngineName, fields: Headers) -> None:
    made, found = answered(engine, heads(1, fields))
    assert found == [Reset(1, codes.PROTOCOL_ERROR)]
    assert c.listen(made.take_output()).streams[1].reset == codes.PROTOCOL_ERROR
    assert not made.closed
    assert made.receive(heads(1)) == []  # it could not know yet


@pytest.mark.parametrize("fields", [[(b"a", b"x" * 4_100)], [(b"a", b"b")] * 9])
def test_header_lists_beyond_the_limits(engine: c.EngineName, fields: Headers) -> None:
    made, found = answered(engine, heads(1, [*OK, *fields]))
    assert found == [Reset(1, RESPONSE_TOO_LARGE)]
    assert not made.closed


@pytest.mark.parametrize(
    ("length", "frames"),
    [
        (b"3", [c.data(1, b"ab", end=True)]),
        (b"3", [c.data(1, b"ab"), heads(1, [(b"sum", b"1")], end=True)]),
        (b"3", [c.data(1, b"", end=True)]),
        (b"3", [c.data(1, b"abcd", end=True)]),
        (b"3", [c.data(1, b"ab"), c.data(1, b"cd"), c.data(1, b"ef", end=True)]),
        (b"0", [c.data(1, b"a")]),
    ],
)
def test_a_body_of_another_length_than_promised(engine: c.EngineName, length: bytes, frames: list[bytes]) -> None:
    made, found = answered(engine, heads(1, [*OK, (b"content-length", length)]), *frames)
    assert isinstance(found[0], ResponseHead)
    assert [event for event in found[1:] if not isinstance(event, Body)] == [Reset(1, codes.PROTOCOL_ERROR)]
    assert not made.closed


def test_a_head_alone_that_promised_a_body(engine: c.EngineName) -> None:
    assert answered(engine, heads(1, [*OK, (b"content-length", b"3")], end=True))[1] == [Reset(1, codes.PROTOCOL_ERROR)]


@pytest.mark.parametrize(("request_", "status"), [(HEAD, b"200"), (c.GET, b"304"), (c.GET, b"204")])
def test_a_response_without_a_body(engine: c.EngineName, request_: c.Pairs, status: bytes) -> None:
    fields = [(b"content-length", b"3")]
    head = heads(1, [(b":status", status), *fields])
    told = ResponseHead(1, int(status), fields, False)
    assert answered(engine, head, c.data(1, b"", end=True), request=request_)[1] == [told, End(1, [])]
    assert answered(engine, head, c.data(1, b"a"), request=request_)[1] == [told, Reset(1, codes.PROTOCOL_ERROR)]


@pytest.mark.parametrize(
    "frame",
    [
        heads(1, [(b"sum", b"1")]),
        heads(1, [*OK, (b"sum", b"1")], end=True),
        heads(1, [(b"sum", b"1"), *OK], end=True),
        heads(1, [(b"Sum", b"1")], end=True),
    ],
)
def test_what_are_no_trailers(engine: c.EngineName, frame: bytes) -> None:
    made, found = answered(engine, heads(1), c.data(1, b"abc"), frame)
    assert found == [ResponseHead(1, 200, [], False), Body(1, b"abc"), Reset(1, codes.PROTOCOL_ERROR)]
    assert not made.closed


def test_informational_responses_are_heads_without_an_end(engine: c.EngineName) -> None:
    hint = heads(1, [(b":status", b"103"), (b"a", b"b")])
    told = Informational(1, 103, [(b"a", b"b")])
    assert answered(engine, hint, heads(1, end=True))[1] == [told, ResponseHead(1, 200, [], True)]
    for frame in (heads(1, [(b":status", b"103")], end=True), c.data(1, b"", end=True), c.data(1, b"x")):
        assert answered(engine, hint, frame)[1] == [told, Reset(1, codes.PROTOCOL_ERROR)]
    many = [hint] * (MOST_INFORMATIONAL + 1)
    assert answered(engine, *many)[1] == [told] * MOST_INFORMATIONAL + [Reset(1, codes.ENHANCE_YOUR_CALM)]


def test_what_comes_behind_a_breach_in_the_same_bytes_is_ignored(engine: c.EngineName) -> None:
    """The engine has read on before the codec knows; its credit goes back."""
    frames = [c.data(1, b"x" * 16_000) * 3, heads(1, [(b"sum", b"1")], end=True), heads(3, end=True)]
    made = started(engine, replace(SETTINGS, concurrent_streams=1))
    made.request(list(c.GET), True)
    made.request(list(c.GET), True)
    made.take_output()
    assert made.receive(b"".join([heads(1, []), *frames])) == [
        Reset(1, codes.PROTOCOL_ERROR),
        ResponseHead(3, 200, [], True),
    ]
    assert written(made).window_updates(0) >= 32_000
    made = started(engine)
    made.request(list(c.GET), True)
    assert made.receive(heads(1, []) + c.data(1, b"abc", end=True)) == [Reset(1, codes.PROTOCOL_ERROR)]
    assert made.receive(c.rst_stream(1)) == []


@pytest.mark.parametrize(
    "frame",
    [
        heads(3),
        heads(2),
        c.data(3, b"a"),
        c.rst_stream(3),
        c.frame(c.PUSH_PROMISE, c.END_HEADERS, 1, bytes([0, 0, 0, 2]) + c.Speaker().block(c.GET)),
        c.frame(c.DATA, 0, 1, b"x" * 16_385),
        c.settings((2, 1)),
        c.settings((2, 2)),
        c.goaway(2, 0),
        c.frame(c.SETTINGS, c.ACK, 0),
        c.data(1, b"early"),
        heads(1, end=True) + heads(1, end=True),
        heads(1, end=True) + c.frame(99, 0, 0) + heads(1),
        c.frame(c.HEADERS, c.END_HEADERS, 1, b"\xff"),
        heads(1, [*OK, (b"a", b"x" * 9_000)]),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
def test_what_ends_the_connection(engine: c.EngineName, frame: bytes) -> None:
    made = started(engine)
    made.request(list(c.GET), True)
    made.take_output()
    found = made.receive(frame)
    assert isinstance(found[-1], Violation)
    assert made.closed
    assert made.receive(heads(1)) == []
    assert written(made).goaways[0][0] == 0
    assert made.request(list(c.GET), True) == 0
    assert Reset(1, -1) in made.receive_eof() or heads(1, end=True) in frame


@pytest.mark.parametrize("late", [c.data(1, b"x"), c.data(1), c.data(1, b"", end=True)])
def test_data_after_the_end_of_both_sides(engine: c.EngineName, late: bytes) -> None:
    """RFC 9113 5.1."""
    made, found = answered(engine, heads(1, end=True))
    assert found == [ResponseHead(1, 200, [], True)]
    (violation,) = made.receive(late)
    assert isinstance(violation, Violation)
    assert violation.reason == "stream_closed"


def test_data_of_streams_that_were_given_up_is_ignored(engine: c.EngineName) -> None:
    """More of them than are remembered: those of a GOAWAY, and those that this side has reset."""
    most = 2 * RESETS_REMEMBERED
    for goes in (True, False):
        made = started(engine, replace(SETTINGS, concurrent_streams=1))
        streams = [made.request(list(c.POST), False) for _ in range(most)]
        made.take_output()
        if goes:
            assert len(made.receive(c.goaway(streams[0]))) == most
        for stream in streams[1:]:
            made.reset(stream, codes.CANCEL)
        made.take_output()
        for stream in (streams[1], streams[most // 2], streams[-1]):
            assert made.receive(c.data(stream, b"x" * 16_000)) == []
        assert written(made).window_updates(0) >= 32_767
        assert not made.closed


def test_a_server_that_does_not_begin_with_settings(engine: c.EngineName) -> None:
    assert isinstance(client(engine).receive(c.frame(c.PING, 0, 0, bytes(8)))[-1], Violation)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nserver: x\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (b"<!DOCTYPE html>\n<p>505", "<!DOCTYPE html>"),
        (b"HTTP/1.1 " + b"x" * 100, "HTTP/1.1 " + "x" * 71),
    ],
)
def test_a_server_that_answers_in_http11_is_quoted(engine: c.EngineName, text: bytes, line: str) -> None:
    made = client(engine)
    made.take_output()
    assert made.receive(text) == [Violation("protocol_error", f"it answered {line!r}")]
    assert made.closed
    assert made.receive(b"more") == []


def test_a_window_that_overflows_ends_its_stream(engine: c.EngineName) -> None:
    made, found = answered(engine, c.window_update(1, 2**31 - 1))
    assert found == [Reset(1, codes.FLOW_CONTROL_ERROR)]
    assert c.listen(made.take_output()).streams[1].reset == codes.FLOW_CONTROL_ERROR
    assert not made.closed


def received(made: Http2ClientCodec, data: bytes) -> list[Event]:
    """The events of all turns that ``data`` takes."""
    found = made.receive(data)
    while made.more:
        found += made.receive(b"")
    return found


def test_answers_do_not_pile_up(engine: c.EngineName) -> None:
    """While nobody takes the output, for the server does not read it."""
    made = started(engine)
    for _ in range(3):
        assert received(made, c.frame(c.PING, 0, 0, bytes(8)) * MOST_CONTROLS) == []
        assert len(made.take_output()) == 17 * MOST_CONTROLS
    assert received(made, c.frame(c.PRIORITY, 0, 1, bytes(5)) * 2 * MOST_CONTROLS) == []
    (violation,) = received(made, c.frame(c.PING, 0, 0, bytes(8)) * (MOST_CONTROLS + 1))
    assert isinstance(violation, Violation)
    assert violation.reason == "control_flood"


def test_a_header_block_without_end(engine: c.EngineName) -> None:
    made = started(engine)
    made.request(list(c.GET), True)
    block = c.Speaker().block(OK)
    assert made.receive(c.frame(c.HEADERS, 0, 1, block) + c.frame(c.CONTINUATION, 0, 1) * 4) == []
    (violation,) = made.receive(c.frame(c.CONTINUATION, 0, 1))
    assert isinstance(violation, Violation)
    assert violation.reason == "continuation_flood"
    made, found = answered(engine, c.frame(c.HEADERS, 0, 1, block), c.frame(c.CONTINUATION, c.END_HEADERS, 1))
    assert found == [ResponseHead(1, 200, [], False)]


def test_unasked_pongs_and_unknown_frames(engine: c.EngineName) -> None:
    made = started(engine)
    assert made.receive(c.frame(c.PING, c.ACK, 0, b"12345678") + c.frame(0xAA, 0, 0, b"x")) == [PingAck(b"12345678")]


@pytest.mark.parametrize("step", [1, 1000])
def test_nothing_is_read_after_a_goaway_that_leaves_no_stream(engine: c.EngineName, step: int) -> None:
    made = started(engine)
    made.request(list(c.GET), True)
    sent = c.goaway(0) + c.window_update(0, 0)
    found = [event for at in range(0, len(sent), step) for event in made.receive(sent[at : at + step])]
    assert found == [GoAway(0, 0), Reset(1, codes.REFUSED_STREAM)]
    assert made.closed


def test_streams_beyond_a_goaway_are_gone(engine: c.EngineName) -> None:
    made = started(engine)
    for _ in range(3):
        made.request(list(c.GET), True)
    refused = [Reset(3, codes.REFUSED_STREAM), Reset(5, codes.REFUSED_STREAM)]
    assert made.receive(c.goaway(1, codes.INTERNAL_ERROR)) == [GoAway(codes.INTERNAL_ERROR, 1), *refused]
    made.take_output()
    assert made.receive(heads(3) + c.data(3, b"x", end=True) + heads(1, end=True)) == [ResponseHead(1, 200, [], True)]
    assert made.closed
    assert made.receive(c.goaway(1)) == []


def test_the_numbers_of_streams_are_used_up_one_day(engine: c.EngineName) -> None:
    real = load_engine(engine)(SETTINGS, client=True)

    class UsedUp:
        """An engine after 2^30 requests, which would take an hour."""

        def send_request(self, headers: Headers, end_stream: bool) -> int:
            return 0

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    made = Http2ClientCodec(EngineFactory("used up", "1", lambda settings, client: UsedUp()), SETTINGS)
    made.receive(START)
    assert made.request(list(c.GET), True) == 0
    assert made.closed


def test_the_same_response_is_judged_once_and_told_twice(engine: c.EngineName) -> None:
    made = started(engine)
    heard: list[Event] = []
    for stream in (1, 3, 5):
        made.request(list(c.GET), True)
        block = Encoder().encode([*OK, (b"server", b"x")])
        found = made.receive(c.frame(c.HEADERS, c.END_HEADERS | c.END_STREAM, stream, block))
        heard += found
    assert heard == [ResponseHead(stream, 200, [(b"server", b"x")], True) for stream in (1, 3, 5)]
    first, second, _ = heard
    assert isinstance(first, ResponseHead)
    assert isinstance(second, ResponseHead)
    assert first.headers is not second.headers
    assert first != second
    assert repr(first) == "ResponseHead(end_stream=True, headers=[(b'server', b'x')], status=200, stream_id=1)"


def test_a_dead_engine_opens_nothing(engine: c.EngineName) -> None:
    made = load_engine(engine)(SETTINGS, client=True)
    made.receive(START)
    made.terminate(codes.NO_ERROR)
    assert made.send_request(list(c.GET), True) == 0


def test_a_fact_with_a_control_character_is_malformed(engine: c.EngineName) -> None:
    hop = pair(engine, engine, hop=True, front=True)
    hop.client.request([*c.GET, (REQUEST_ID, b"a\x01")], True)
    (refused,) = hop.asked()
    assert isinstance(refused, Rejected)
    assert refused.reason == "bad_field_value"
    assert hop.heard() == [Reset(1, codes.PROTOCOL_ERROR)]


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("hop", [False, True])
def test_only_a_worker_says_that_it_has_threads(engine: c.EngineName, hop: bool, threads: bool) -> None:
    assert pair(engine, engine, hop, front=True, threads=threads).client.threads == (hop and threads)


@pytest.mark.parametrize("front", [False, True])
def test_a_front_is_told_that_the_application_ends_the_connection(engine: c.EngineName, front: bool) -> None:
    hop = pair(engine, engine, hop=True, front=front)
    stream = hop.open(c.GET)
    headers = [(b"x", b"y")]
    hop.server.close_after(stream, headers)
    hop.server.send_head(stream, 200, headers, True)
    told = [(CLOSE, b"1")] if front else []
    assert hop.heard() == [ResponseHead(stream, 200, [(b"x", b"y"), *told], True)]


@pytest.mark.parametrize("front", [False, True])
def test_a_front_is_told_of_an_upgrade_that_the_application_offers(engine: c.EngineName, front: bool) -> None:
    hop = pair(engine, engine, hop=True, front=front)
    stream = hop.open(c.GET)
    headers = [(b"x", b"y")]
    hop.server.add_hop_fields(stream, [(b"upgrade", b"a"), (b"trailer", b"sum")], headers)
    hop.server.send_head(stream, 426, headers, True)
    told = [(OFFER, b"a")] if front else []
    assert hop.heard() == [ResponseHead(stream, 426, [(b"x", b"y"), *told, (b"trailer", b"sum")], True)]


def test_reserved_bits_are_ignored(engine: c.EngineName) -> None:
    made = client(engine)
    speaker = c.Speaker()
    for one in (c.settings((4, 10)), c.frame(c.SETTINGS, c.ACK, 0), c.window_update(0, 100)):
        assert made.receive(c.with_reserved_bits(one)) == []
    assert made.request(list(c.POST), False) == 1
    made.send_data(1, b"x" * 20, True)
    made.take_output()
    found: list[Event] = []
    for one in (c.window_update(1, 5), speaker.headers(1, OK, end=False), c.data(1, b"abc", True), c.goaway(1)):
        found += made.receive(c.with_reserved_bits(one))
    assert found == [ResponseHead(1, 200, [], False), Body(1, b"abc"), End(1, []), GoAway(0, 1)]
    assert written(made).streams[1].body == b"x" * 5
