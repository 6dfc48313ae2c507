"""Choosing an engine, and what only an engine's own interface shows."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from hpack import Decoder, Encoder

from sidegate.config.schema import Limits
from sidegate.errors import Refused, StartError
from sidegate.wire import codes
from sidegate.wire import events as e
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http2 import EngineSettings, load_engine
from sidegate.wire.http2 import engine as wire
from sidegate.wire.http2.engine import Fields
from sidegate.wire.http2.head import HeadValidator, Malformed
from tests.support import http2 as c

SETTINGS = EngineSettings(
    concurrent_streams=10, stream_window=65_535, header_fields=100, header_block=32_768, continuation_frames=8
)


needs_nghttp2 = pytest.mark.skipif("nghttp2" not in c.ENGINES, reason="the binding of nghttp2 was not built")


@needs_nghttp2
def test_auto_is_nghttp2_where_it_was_built() -> None:
    chosen = load_engine("auto")
    assert chosen.name == load_engine("nghttp2").name == "nghttp2"
    assert chosen.version[0].isdigit()


@needs_nghttp2
def test_names_are_shared_by_connections_again_after_one_client_has_sent_many() -> None:
    def sent(field: tuple[bytes, bytes]) -> bytes:
        (head,) = c.started("nghttp2").receive(c.Speaker().headers(1, [*c.GET, field]), 0.0)
        assert isinstance(head, e.RequestHead)
        return head.headers[-1][0]

    hostile, speaker = c.started("nghttp2"), c.Speaker()
    for number in range(25):
        fields = [(b"x-%d-%d" % (number, each), b"") for each in range(90)]
        c.answer_all(hostile, hostile.receive(speaker.headers(2 * number + 1, [*c.GET, *fields]), 0.0))
        hostile.take_output()
    assert sent((b"x-usual-name", b"1")) is sent((b"x-usual-name", b"2"))


def test_auto_is_h2_where_nghttp2_was_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sidegate.wire.http2.nghttp2", None)
    chosen = load_engine("auto")
    assert chosen == load_engine("h2")
    assert (chosen.name, chosen.version[0].isdigit()) == ("h2", True)
    with pytest.raises(StartError, match="libnghttp2-dev"):
        load_engine("nghttp2")


def test_an_engine_that_is_missing_is_an_import_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sidegate.wire.http2.h2", None)
    with pytest.raises(ImportError, match="h2 is not installed"):
        load_engine("h2")


@needs_nghttp2
@pytest.mark.parametrize(("engine", "other"), [("nghttp2", "h2.connection"), ("h2", "sidegate.wire.http2.nghttp2")])
def test_only_the_engine_asked_for_is_imported(engine: c.EngineName, other: str) -> None:
    """The other one would cost memory in every process."""
    program = f"""
import sys
from sidegate.wire.http2 import load_engine
load_engine({engine!r})
assert {other!r} not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("engine", c.ENGINES)
def test_a_dead_engine_reads_and_sends_nothing(engine: c.EngineName) -> None:
    made = load_engine(engine)(SETTINGS)
    c.frames_of(made, c.START + c.Speaker().headers(1) + c.Speaker().headers(3, c.POST, end=False))
    made.send_head(3, 200, [], False)
    made.take_output()
    made.reset(99, codes.CANCEL)
    assert made.take_output() == b""
    made.terminate(codes.ENHANCE_YOUR_CALM)
    made.terminate(codes.ENHANCE_YOUR_CALM)
    made.send_informational(1, 103, [])
    made.send_head(1, 200, [], True)
    made.send_data(3, b"x", False)
    made.send_trailers(3, [])
    made.reset(1, codes.CANCEL)
    made.consume(3, 60_000)
    made.consume_connection(600_000)
    assert c.frames_of(made, c.Speaker().headers(5)) == []
    assert c.listen(made.take_output()).goaways == [(3, codes.ENHANCE_YOUR_CALM)]
    assert made.take_output() == b""


@pytest.mark.parametrize("engine", c.ENGINES)
def test_streams_reset_long_ago_are_forgotten(engine: c.EngineName) -> None:
    made = load_engine(engine)(SETTINGS)
    c.frames_of(made, c.START)
    speaker = c.Speaker()
    last = 2 * wire.RESETS_REMEMBERED + 3
    for stream in range(1, last + 1, 2):
        c.frames_of(made, speaker.headers(stream))
        made.reset(stream, codes.CANCEL)
        made.take_output()
    assert c.frames_of(made, speaker.headers(last)) == [(wire.CONTROL, c.HEADERS)]
    assert c.frames_of(made, speaker.headers(1))[-1][:2] == (wire.FAULT, codes.STREAM_CLOSED)


@pytest.mark.parametrize("engine", c.ENGINES)
def test_data_of_streams_that_were_reset_together_is_credited(engine: c.EngineName) -> None:
    """More of them than are remembered: the peer may not know of any reset yet."""
    made = load_engine(engine)(replace(SETTINGS, concurrent_streams=1))
    c.frames_of(made, c.START)
    speaker = c.Speaker()
    streams = range(1, 2 * wire.RESETS_REMEMBERED + 7, 2)
    for stream in streams:
        c.frames_of(made, speaker.headers(stream, c.POST, end=False))
    c.frames_of(made, speaker.headers(streams[-1] + 2))
    made.send_head(streams[-1] + 2, 200, [], True)
    for stream in streams:
        made.reset(stream, codes.CANCEL)
    made.take_output()
    for stream in (*streams[:3], streams[-1]):
        assert c.frames_of(made, c.data(stream, b"x" * 16_000)) == []
    assert c.listen(made.take_output()).window_updates(0) >= 32_767
    assert c.frames_of(made, c.data(streams[-1] + 2))[-1][:2] == (wire.FAULT, codes.STREAM_CLOSED)


@pytest.mark.parametrize("engine", c.ENGINES)
def test_indexed_fields_of_repeated_requests(engine: c.EngineName) -> None:
    """The table of HPACK is used as browsers use it; a field that changes must not be taken for the old one."""
    made = c.started(engine)
    encoder = Encoder()
    for number in range(60):
        agent = b"agent/%d" % (number // 3)
        fields = [*c.GET, (b"user-agent", agent), (b"x-%d" % number, b"1" * 40), (b"accept", b"*/*")]
        if number % 3:
            del fields[5]
        block = encoder.encode(fields)
        found = made.receive(c.frame(c.HEADERS, c.END_HEADERS | c.END_STREAM, 2 * number + 1, block), 0.0)
        head = c.first_head(found)
        assert head.headers == [(b"host", b"example.org"), *fields[4:]]
        made.send_head(head.stream_id, 200, [], True)
        made.release(head.stream_id)
        made.take_output()


@pytest.mark.parametrize("engine", c.ENGINES)
def test_the_client_does_not_decide_how_large_our_table_is(engine: c.EngineName) -> None:
    made = c.started(engine)
    decoder = Decoder()  # refuses a table of more than 4096 bytes
    for stream, size in ((1, 2**31), (3, 100), (5, 2**20)):
        made.receive(c.settings((1, size)) + c.Speaker().headers(stream), 0.0)
        made.send_head(stream, 200, [(b"x-%d" % stream, b"y" * 50)], True)
        heads = c.listen(made.take_output(), decoder).streams[stream].heads
        assert heads == [[(b":status", b"200"), (b"x-%d" % stream, b"y" * 50)]]


def test_the_very_tuples_judged_before_are_not_judged_again() -> None:
    judge = HeadValidator(FieldPolicy(100, 32_768), Limits())
    pseudo, fields = tuple(c.GET), ((b"accept", b"*/*"),)
    first = judge.request(pseudo, fields, 250)
    assert judge.request(pseudo, fields, 250) is first
    assert judge.request(tuple(c.GET), fields, 250) == first


def test_a_target_that_alone_differs_is_judged_alone() -> None:
    judge = HeadValidator(FieldPolicy(100, 32_768), Limits())
    fields = ((b"accept", b"*/*"),)
    first = judge.request(tuple(c.GET), fields, 250)
    moved = judge.request(_with(b":path", b"/moved"), fields, 250)
    assert moved == (first[0], b"/moved", *first[2:])
    assert moved[2] is first[2]
    for target, error in ((b"", Malformed), (b"*", Malformed), (b"/ ", Refused), (b"/" * 9000, Refused)):
        with pytest.raises(error):
            judge.request(_with(b":path", target), fields, 250)
    assert judge.request(_with(b":path", b"/again"), fields, 250)[1] == b"/again"


def test_every_other_pseudo_header_field_that_differs_is_judged() -> None:
    judge = HeadValidator(FieldPolicy(100, 32_768), Limits())
    fields = ((b"accept", b"*/*"),)
    first = judge.request(tuple(c.GET), fields, 250)
    assert judge.request(_with(b":method", b"PUT"), fields, 250) == ("PUT", *first[1:])
    assert judge.request(_with(b":authority", b"other.example"), fields, 250)[2][0] == (b"host", b"other.example")
    with pytest.raises(Malformed):
        judge.request(_with(b":scheme", b"ftp"), fields, 250)
    renamed = tuple((b":other" if name == b":path" else name, value) for name, value in c.GET)
    with pytest.raises(Malformed):
        judge.request(renamed, fields, 250)
    assert judge.request(tuple(c.GET), fields, 250) == first


def _with(name: bytes, value: bytes) -> Fields:
    return tuple((known, value if known == name else kept) for known, kept in c.GET)


@pytest.mark.parametrize("engine", c.ENGINES)
def test_large_requests_are_not_remembered(engine: c.EngineName) -> None:
    made = c.started(engine)
    speaker = c.Speaker()
    for stream in (1, 3):
        (event,) = made.receive(speaker.headers(stream, [*c.GET, (b"a", b"b" * 5000)]), 0.0)
        assert isinstance(event, e.RequestHead)
        assert event.headers[1] == (b"a", b"b" * 5000)


@needs_nghttp2
def test_an_oversized_response_head_resets_its_stream() -> None:
    """nghttp2 only: it refuses to send more than 320 KiB, and the client must not wait."""
    made = c.started("nghttp2")
    made.receive(c.Speaker().headers(1), 0.0)
    made.send_head(1, 200, [(b"a", b"b" * 400_000)], True)
    assert c.listen(made.take_output()).streams == {1: c.Answer(reset=codes.INTERNAL_ERROR)}
    assert made.idle
