"""What is particular to the h2 engine: its memories of header fields, the frames it writes, what it leans on in h2."""

from __future__ import annotations

import gc

import pytest
from h2.connection import H2Connection
from h2.events import ResponseReceived
from h2.stream import H2Stream
from hpack import Decoder, Encoder

from sidegate.wire import codes
from sidegate.wire.http2 import EngineSettings, load_engine
from sidegate.wire.http2 import engine as wire
from sidegate.wire.http2.h2_connection import connect
from sidegate.wire.http2.h2_fields import REMEMBERED, BlockDecoder, ConnectionFailure, FieldEncoder
from tests.support import http2 as c

SETTINGS = EngineSettings(
    concurrent_streams=10, stream_window=65_535, header_fields=20, header_block=4_096, continuation_frames=8
)
HEAD = [(b":status", b"200"), (b"content-type", b"text/plain"), (b"x-frame-options", b"deny"), (b"server", b"s")]


def read(decoder: Decoder, block: bytes) -> c.Pairs:
    return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]


def test_a_field_is_one_byte_from_its_third_time_on() -> None:
    encoder, decoder = FieldEncoder(), Decoder()
    sizes = []
    for _ in range(4):
        block = encoder.block(HEAD)
        assert read(decoder, block) == HEAD
        sizes.append(len(block))
    assert sizes[0] > len(HEAD)
    assert sizes[2:] == [len(HEAD)] * 2


def test_values_that_change_stay_out_of_the_table() -> None:
    encoder, decoder = FieldEncoder(), Decoder()
    for number in range(300):
        fields = [*HEAD, (b"x-request-id", b"%032d" % number)]
        assert read(decoder, encoder.block(fields)) == fields
    assert encoder.block(HEAD) == encoder.block(HEAD)
    assert len(encoder.block(HEAD)) == len(HEAD)
    assert len(decoder.header_table.dynamic_entries) == len(HEAD) - 1


def test_a_table_that_overflows_forgets_the_oldest() -> None:
    encoder, decoder = FieldEncoder(), Decoder()
    many = [(b"x-%d" % number, b"v" * 200) for number in range(40)]
    for _ in range(3):
        for field in many:
            fields = [*HEAD, field]
            assert read(decoder, encoder.block(fields)) == fields
            assert read(decoder, encoder.block(fields)) == fields


def test_a_field_larger_than_half_the_table_pushes_nothing_out() -> None:
    encoder, decoder = FieldEncoder(), Decoder()
    large = [(b"content-security-policy", b"p" * (wire.FIRST_TABLE // 2))]
    for _ in range(3):
        assert read(decoder, encoder.block(HEAD)) == HEAD
        assert read(decoder, encoder.block(large)) == large
    assert len(encoder.block(HEAD)) == len(HEAD)


@pytest.mark.parametrize(
    "sizes", [(100,), (0,), (100, 100), (0, wire.FIRST_TABLE), (100, 2**31), (2**31,), (wire.FIRST_TABLE,)]
)
def test_a_change_of_the_table_is_announced_once(sizes: tuple[int, ...]) -> None:
    """Also when a client sends the same size twice: what hpack makes of that alone is a table nobody was told of."""
    encoder, decoder = FieldEncoder(), Decoder()
    for _ in range(3):
        assert read(decoder, encoder.block(HEAD)) == HEAD
    for size in sizes:
        encoder.header_table_size = size
    for _ in range(4):
        assert read(decoder, encoder.block(HEAD)) == HEAD
    assert decoder.header_table_size == encoder.header_table_size == min(sizes[-1], wire.FIRST_TABLE)


def test_the_same_indexed_block_is_the_same_list() -> None:
    encoder, decoder = Encoder(), BlockDecoder(SETTINGS)
    fields = [*c.GET, (b"accept", b"*/*")]
    blocks = []
    for _ in range(3):
        assert decoder.decode(encoder.encode(fields)) == ()
        blocks.append(decoder.block)
    assert blocks[0] == blocks[1] == (tuple(c.GET), ((b"accept", b"*/*"),), 217)
    assert blocks[1] is blocks[2]


def test_the_same_bytes_are_another_list_after_the_table_moved() -> None:
    encoder, decoder = Encoder(), BlockDecoder(SETTINGS)
    decoder.decode(encoder.encode([(b"x-one", b"1")]))
    block = encoder.encode([(b"x-one", b"1")])
    for _ in range(2):
        decoder.decode(block)
        assert decoder.block[1] == ((b"x-one", b"1"),)
    decoder.decode(encoder.encode([(b"x-two", b"2")]))
    decoder.decode(block)
    assert decoder.block[1] == ((b"x-two", b"2"),)


def test_the_same_bytes_are_an_error_after_the_table_was_emptied() -> None:
    encoder, decoder = Encoder(), BlockDecoder(SETTINGS)
    decoder.decode(encoder.encode([(b"x-one", b"1")]))
    block = encoder.encode([(b"x-one", b"1")])
    decoder.decode(block)
    encoder.header_table_size = 0
    decoder.decode(encoder.encode([]))
    with pytest.raises(ConnectionFailure) as caught:
        decoder.decode(block)
    assert caught.value.code == codes.COMPRESSION_ERROR


def test_few_and_small_lists_are_remembered() -> None:
    decoder = BlockDecoder(SETTINGS)
    first = bytes([0x82])
    decoder.decode(first)
    block = decoder.block
    for index in range(REMEMBERED):
        decoder.decode(bytes([0x83 + index]))
    decoder.decode(first)
    assert (decoder.block, decoder.block is block) == (block, False)
    large = bytes([0x90]) * 50  # accept-encoding: gzip, deflate
    decoder.decode(large)
    block = decoder.block
    decoder.decode(large)
    assert (decoder.block, decoder.block is block) == (block, False)


def test_fields_are_kept_up_to_the_limits_and_counted_beyond() -> None:
    decoder = BlockDecoder(SETTINGS)
    decoder.decode(bytes([0x82]) + bytes([0x90]) * 30)
    pseudo, fields, size = decoder.block
    assert (pseudo, len(fields), size) == (((b":method", b"GET"),), 21, 42 + 30 * 60)
    with pytest.raises(ConnectionFailure) as caught:
        decoder.decode(bytes([0x90]) * 200)
    assert caught.value.code == codes.ENHANCE_YOUR_CALM


def test_a_long_head_goes_on_in_continuation_frames() -> None:
    made = load_engine("h2")(SETTINGS)
    c.frames_of(made, c.START + c.Speaker().headers(1))
    long = [(b"x-long", bytes(range(33, 127)) * 400)]
    made.send_informational(1, 103, long)
    made.send_head(1, 200, long, True)
    heard = c.listen(made.take_output())
    assert heard.streams[1].heads == [[(b":status", b"103"), *long], [(b":status", b"200"), *long]]
    assert heard.streams[1].ended
    assert [frame.type for frame in heard.frames if frame.stream_id] == [c.HEADERS, *[c.CONTINUATION] * 2] * 2
    assert made.take_closed() == [1]


def alive() -> int:
    gc.collect()
    return sum(type(found) is H2Stream for found in gc.get_objects())


@pytest.mark.parametrize("ending", ["answered", "reset by the client", "reset by the server"])
def test_h2_keeps_no_stream_that_is_over(ending: str) -> None:
    made = load_engine("h2")(SETTINGS)
    c.frames_of(made, c.START)
    speaker = c.Speaker()
    before = alive()
    for stream in range(1, 101, 2):
        c.frames_of(made, speaker.headers(stream, c.POST, end=False))
        if ending == "answered":
            made.send_head(stream, 200, [], False)
            made.send_data(stream, b"x", True)
            made.take_output()
            c.frames_of(made, c.data(stream, b"", end=True))
        elif ending == "reset by the client":
            c.frames_of(made, c.rst_stream(stream))
        else:
            made.reset(stream, codes.CANCEL)
    assert alive() == before
    c.frames_of(made, speaker.headers(101))
    assert alive() == before + 1


def test_a_fault_ends_what_this_side_says_too() -> None:
    made = load_engine("h2")(SETTINGS)
    c.frames_of(made, c.START + c.Speaker().headers(1, c.POST, end=False))
    made.take_output()
    assert c.frames_of(made, c.frame(c.PRIORITY, 0, 1, bytes(5)))[0] == (wire.CONTROL, c.PRIORITY)
    found = c.frames_of(made, c.frame(c.PING, 0, 1, bytes(8)))
    assert found[-1][:2] == (wire.FAULT, codes.PROTOCOL_ERROR)
    made.reset(1, codes.CANCEL)
    assert [frame.type for frame in c.listen(made.take_output()).frames] == [c.GOAWAY]


def test_what_the_engine_leans_on_in_h2() -> None:
    """See ``h2_connection.py``: a version of h2 that changes this must fail here, and not on the wire."""
    connection = connect(SETTINGS)
    connection.receive_data(c.START + c.settings((4, 1000)) + c.Speaker().headers(1) + c.Speaker().headers(3))
    assert list(connection.streams) == [1, 3]
    assert connection.local_flow_control_window(1) == 1000
    connection.streams[1].outbound_flow_control_window -= 300
    assert connection.local_flow_control_window(1) == 700
    connection.receive_data(c.window_update(1, 100))
    assert connection.local_flow_control_window(1) == 800
    connection.receive_data(c.settings((4, 500)))
    assert connection.local_flow_control_window(1) == 300
    connection.outbound_flow_control_window -= 65_500
    assert connection.local_flow_control_window(3) == 35
    connection.receive_data(c.window_update(0, 5))
    assert connection.local_flow_control_window(3) == 40
    del connection.streams[1]
    counted_by_h2 = vars(H2Connection)["open_inbound_streams"].__get__(connection)
    assert [connection.open_inbound_streams, counted_by_h2] == [1, 1]
    connection.reset_stream(3)
    connection.forget(3)
    assert list(connection.streams) == []


def test_what_the_engine_leans_on_in_h2_as_a_client() -> None:
    connection = connect(SETTINGS, client=True)
    connection.receive_data(c.settings((1, 100), (3, 1)))
    connection.clear_outbound_data_buffer()
    stream = connection.open_stream(1)
    assert (connection.data_to_send(), stream.outbound_flow_control_window) == (b"", 65_535)
    assert connection.encoder.block([(b":method", b"GET")]) == b"\x3f\x45\x82"  # the size is announced to the peer
    for end in (False, False, True):
        stream.state_machine.headers_received = None
        (event, *_) = connection.receive_data(c.Speaker().headers(1, [(b":status", b"200")], end))
        assert isinstance(event, ResponseReceived)
        assert stream.state_machine.headers_received
