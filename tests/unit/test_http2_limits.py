"""Limits, floods and deadlines of ``Http2Codec``, on both engines."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from sidegate.config.schema import ConnectionLimits
from sidegate.wire import events as e
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http2 import Http2Codec, load_engine
from sidegate.wire.http2 import engine as wire
from sidegate.wire.http2.engine import Engine, EngineFactory, EngineSettings, FrameEvent
from tests.support import http2 as c

pytestmark = pytest.mark.parametrize("engine", c.ENGINES)

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 0x1, 0x3, 0x5, 0x6
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 0x7, 0x8, 0x9, 0xB


@pytest.fixture
def speaker() -> c.Speaker:
    return c.Speaker()


def test_after_a_violation_nothing_is_sent_but_exchanges_are_told(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    made.receive(speaker.headers(1) + speaker.headers(3), 0.0)
    made.send_head(1, 200, [], False)
    made.send_data(1, b"a", False)
    c.violated(made, c.data(9, b"x"))
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


def test_frames_for_streams_that_are_gone_are_ignored(engine: c.EngineName, speaker: c.Speaker) -> None:
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


def test_a_stream_window_beyond_its_maximum_resets_the_stream(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine)
    made.receive(speaker.headers(1), 0.0)
    assert made.receive(c.window_update(1, 2**31 - 1), 0.0) == [e.Reset(1, FLOW_CONTROL_ERROR)]
    assert c.listen(made.take_output()).streams[1].reset == FLOW_CONTROL_ERROR
    assert len(made.receive(speaker.headers(3), 0.0)) == 1


@pytest.mark.parametrize(("streams", "window"), [(4, 65_535), (1, 65_535)])
def test_data_beyond_the_window(engine: c.EngineName, streams: int, window: int, speaker: c.Speaker) -> None:
    made = c.started(engine, concurrent_streams=streams, stream_window=window)
    sent = speaker.headers(1, c.POST, end=False) + c.data(1, bytes(16_000)) * 5
    assert c.violated(made, sent).reason == "flow_control_error"


def test_a_stream_too_many_is_refused(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine, concurrent_streams=2)
    assert len(made.receive(b"".join(speaker.headers(stream) for stream in (1, 3, 5)), 0.0)) == 2
    assert c.listen(made.take_output()).streams == {5: c.Answer(reset=REFUSED_STREAM)}


def test_a_stream_keeps_its_place_until_its_exchange_has_ended(engine: c.EngineName, speaker: c.Speaker) -> None:
    """CVE-2023-44487: the number of running applications is bounded, whatever the client resets."""
    made = c.started(engine, concurrent_streams=2)
    made.receive(speaker.headers(1) + speaker.headers(3) + c.rst_stream(1) + c.rst_stream(3), 0.0)
    assert made.receive(speaker.headers(5), 0.0) == []
    made.release(1)
    assert len(made.receive(speaker.headers(7), 0.0)) == 1
    assert made.receive(speaker.headers(9), 0.0) == []


def test_a_response_not_sent_yet_keeps_the_place(engine: c.EngineName, speaker: c.Speaker) -> None:
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
def test_resets_are_bounded(engine: c.EngineName, attack: Callable[[int], bytes], speaker: c.Speaker) -> None:
    made = c.started(engine, stream_reset_burst=20, stream_reset_rate=2)
    stream = 1
    for _ in range(20):
        found = made.receive(attack(stream), 0.0)
        assert not any(isinstance(event, e.Violation) for event in found)
        made.release(stream)
        stream += 2
    assert not any(isinstance(event, e.Violation) for event in made.receive(attack(stream), 0.5))
    assert c.violated(made, attack(stream + 2), 0.6).reason == "stream_resets"
    assert c.listen(made.take_output()).goaways[0][1] == ENHANCE_YOUR_CALM


def test_refused_streams_count_as_resets(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine, concurrent_streams=1, stream_reset_burst=3, stream_reset_rate=1)
    sent = b"".join(speaker.headers(stream) for stream in (1, 3, 5, 7, 9))
    assert c.violated(made, sent).reason == "stream_resets"


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
def test_floods(engine: c.EngineName, case: str, speaker: c.Speaker) -> None:
    one, reason = FLOODS[case]
    made = c.started(engine, control_frames=50, empty_data_frames=50, control_frame_period=5)
    made.receive(speaker.headers(1, c.POST, end=False) + speaker.headers(3, c.POST, end=False), 0.0)
    made.reset(3, 2)
    assert made.receive(one * 40, 0.0) == []
    assert made.receive(one * 50, 9.0) == []
    assert c.violated(made, one * 60, 9.1).reason == reason
    assert c.listen(made.take_output()).goaways[0][1] == ENHANCE_YOUR_CALM


@dataclass
class CountingEngine:
    """An engine that counts the frame events that it reports."""

    engine: Engine
    reported: int = 0

    def receive(self, data: bytes) -> list[FrameEvent]:
        found = self.engine.receive(data)
        self.reported += sum(event[0] != wire.MORE for event in found)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


def counted(engine: c.EngineName, **limits: Any) -> tuple[Http2Codec, CountingEngine]:
    """A codec whose client has sent its preface, and its engine."""
    made = load_engine(engine)
    engines: list[CountingEngine] = []

    def create(settings: EngineSettings, client: bool) -> Any:
        engines.append(CountingEngine(made(settings, client)))
        return engines[-1]

    chosen = ConnectionLimits(**limits)
    codec = Http2Codec(EngineFactory(made.name, made.version, create), FieldPolicy(100, 32768), chosen, 0.0)
    codec.receive(c.START, 0.0)
    return codec, engines[0]


ABUSE = {
    **{case: one * 1000 for case, (one, _) in FLOODS.items() if "HEADERS" not in case},
    "RST_STREAM": b"".join(rapid_reset(stream) for stream in range(3, 2003, 2)),
    "refused HEADERS": b"".join(c.Speaker().headers(stream) for stream in range(3, 2003, 2)),
    "CONTINUATION": c.frame(c.HEADERS, 0, 3) + c.frame(c.CONTINUATION, 0, 3) * 1000,
}


@pytest.mark.parametrize("case", ABUSE)
def test_nearly_nothing_is_decoded_behind_a_frame_that_breaks_a_limit(
    engine: c.EngineName, case: str, speaker: c.Speaker
) -> None:
    """Of a read with a thousand frames, one above the limit of ten is the last; an engine handles eight at a time."""
    made, counter = counted(
        engine,
        concurrent_streams=1,
        control_frames=10,
        empty_data_frames=10,
        continuation_frames=10,
        stream_reset_burst=10,
        control_frame_period=1e3,
        stream_reset_rate=0,
    )
    made.receive(speaker.headers(1, c.POST, end=False), 0.0)
    counter.reported = 0
    assert isinstance(made.receive(ABUSE[case], 0.0)[-1], e.Violation)
    assert (made.more, made.closed) == (False, True)
    decoded = counter.reported / (2 if case == "RST_STREAM" else 1)
    assert decoded <= 12 + wire.FRAMES


def test_window_updates_for_data_that_was_sent_are_free(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine, control_frames=10)
    made.receive(speaker.headers(1), 0.0)
    made.send_head(1, 200, [], False)
    for _ in range(100):
        made.send_data(1, bytes(100), False)
        made.take_output()
        assert made.receive(c.window_update(1, 100) + c.window_update(0, 100), 0.0) == []


def test_a_continuation_flood(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine, continuation_frames=8)
    one = c.frame(c.CONTINUATION, 0, 1)
    assert made.receive(c.frame(c.HEADERS, 0, 1) + one * 8, 0.0) == []
    assert c.violated(made, one).reason == "continuation_flood"


def test_continuations_are_counted_for_each_block(engine: c.EngineName, speaker: c.Speaker) -> None:
    made = c.started(engine, continuation_frames=3)
    for stream in (1, 3):
        block = speaker.block(c.POST)
        pieces = [c.frame(c.CONTINUATION, 0, stream, block[at : at + 4]) for at in (4, 8)]
        last = c.frame(c.CONTINUATION, c.END_HEADERS, stream, block[12:])
        assert len(made.receive(c.frame(c.HEADERS, 0, stream, block[:4]) + b"".join(pieces) + last, 0.0)) == 1
        trailers = c.frame(c.HEADERS, c.END_STREAM, stream) + c.frame(c.CONTINUATION, 0, stream) * 2
        trailers += c.frame(c.CONTINUATION, c.END_HEADERS, stream)
        assert made.receive(trailers, 0.0) == [e.End(stream, [])]


def test_a_header_block_has_a_deadline(engine: c.EngineName, speaker: c.Speaker) -> None:
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
    assert isinstance(event, e.Violation)
    assert (event.reason, made.closed) == ("continuation_timeout", True)
    assert c.listen(made.take_output()).goaways[0][1] == ENHANCE_YOUR_CALM
    assert made.on_deadline(99.0) == []


def test_the_preface_has_a_deadline(engine: c.EngineName) -> None:
    made = c.codec(engine, now=5.0, http2_preface=10, continuation=20)
    made.receive(c.PREFACE + c.settings()[:5], 6.0)
    assert made.next_deadline() == 15.0
    (event,) = made.on_deadline(15.0)
    assert isinstance(event, e.Violation)
    assert event.reason == "preface_timeout"
    assert c.listen(made.take_output()).goaways == [(0, PROTOCOL_ERROR)]


def test_a_preface_in_time(engine: c.EngineName) -> None:
    made = c.codec(engine, now=5.0)
    made.receive(c.PREFACE + c.settings(), 6.0)
    assert made.next_deadline() is None
