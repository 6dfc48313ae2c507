"""The frames of a WebSocket: messages in and out, what ends it and with which code, what a peer can make us hold."""

from __future__ import annotations

import gc
import importlib.util
import sys
import zlib

import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import CloseCode, Frame
from websockets.protocol import Protocol, Side
from websockets.utils import apply_mask as pure_apply_mask

from sidegate.wire import websocket as package
from sidegate.wire.events import FRAMES_A_TURN
from sidegate.wire.http2.floods import Bucket
from sidegate.wire.websocket import frames as websocket
from sidegate.wire.websocket import library
from sidegate.wire.websocket.events import Closed, Event, Message, Pong
from sidegate.wire.websocket.frames import BATCH, MAX_FRAGMENTS, MIN_DEFLATED, WebSocketFrames
from sidegate.wire.websocket.handshake import Deflate
from tests.support.websocket_frames import (
    BINARY,
    CLOSE,
    CONT,
    FIN,
    MASK,
    PING,
    PONG,
    RSV1,
    TEXT,
    deflated,
    frame,
    header,
)

DEFLATE = Deflate(b"", True, True, 12, 12, 5)
LIMIT = 1 << 20
TOO_BIG = Closed(1009, f"a message of more than {LIMIT} bytes")


def frames(max_message: int = LIMIT, deflate: Deflate | None = None, controls: float = 1000) -> WebSocketFrames:
    return WebSocketFrames(max_message, deflate, Bucket(controls, 1.0, 0.0))


class Client(Protocol):
    """websockets' own client side, for what Frames has to send it and to understand from it."""

    def __init__(self, deflate: Deflate | None = None) -> None:
        super().__init__(Side.CLIENT, max_size=None)
        if deflate is not None:
            self.extensions = [
                PerMessageDeflate(
                    not deflate.server_takeover, not deflate.client_takeover, deflate.server_bits, deflate.client_bits
                )
            ]

    def written(self) -> bytes:
        return b"".join(self.data_to_send())

    def read(self, data: bytes) -> list[tuple[str, bytes]]:
        """What frames there are in ``data``, by opcode's name."""
        self.receive_data(data)
        assert self.parser_exc is None
        found: list[tuple[str, bytes]] = []
        for event in self.events_received():
            assert isinstance(event, Frame)
            found.append((event.opcode.name, bytes(event.data)))
        return found


def memory(text: str) -> int:
    """Bytes that a message takes: one that is not ASCII may take four for each character, and the object's head."""
    return len(text) if text.isascii() else sys.getsizeof(text)


def close_code(output: bytes) -> tuple[int, str]:
    """Code and reason of the close frame that ``output`` is."""
    client = Client()
    assert [name for name, _ in client.read(output)] == ["CLOSE"]
    assert client.close_rcvd is not None
    return int(client.close_rcvd.code), client.close_rcvd.reason


SIZES = [0, 1, MIN_DEFLATED - 1, MIN_DEFLATED, 125, 126, 5000, 65535, 65536, 300_000]
STEPS = [1, 7, 1 << 30]


@pytest.mark.parametrize(("size", "step"), [(size, step) for size in SIZES for step in STEPS if step * 10_000 >= size])
@pytest.mark.parametrize("deflate", [None, DEFLATE, Deflate(b"", False, False, 15, 9, 1)])
def test_an_echo(size: int, deflate: Deflate | None, step: int) -> None:
    client, server = Client(deflate), frames(deflate=deflate)
    text = ("ä€😀" + "x" * size)[-size:] if size else ""
    events: list[Event] = []
    for _ in range(2):  # the second message uses the first one's context
        client.send_text(text.encode())
        client.send_binary(text.encode())
    data = client.written()
    for at in range(0, len(data), step):
        events += server.receive(data[at : at + step], 0.0)
    while server.more:
        events += server.receive(b"", 0.0)
    whole = text.encode()
    assert events == [Message(text, memory(text)), Message(whole, len(whole))] * 2
    for event in events:
        assert isinstance(event, Message)
        if isinstance(event.data, str):
            server.send_text(event.data)
        else:
            server.send_binary(event.data)
    output = server.take_output()
    assert client.read(output) == [("TEXT", whole), ("BINARY", whole)] * 2
    assert (output[0] & RSV1 != 0) == (deflate is not None and len(whole) >= MIN_DEFLATED)
    assert server.take_output() == b""


def test_events_show_and_compare_their_values() -> None:
    assert repr(Message("a", 1)) == "Message(data='a', size=1)"
    assert Pong(b"x") == Pong(b"x") != Pong(b"y")


@pytest.mark.parametrize("deflate", [None, DEFLATE])
def test_fragments_are_joined_with_control_frames_between_them(deflate: Deflate | None) -> None:
    client, server = Client(deflate), frames(deflate=deflate)
    euro = "€".encode()
    client.send_text(b"a" * 100 + euro[:1], fin=False)
    client.send_ping(b"1")
    client.send_continuation(euro[1:2], fin=False)
    client.send_pong(b"2")
    client.send_continuation(euro[2:] + b"b", fin=True)
    client.send_binary(b"\xff", fin=False)
    client.send_continuation(b"", fin=True)
    assert server.receive(client.written(), 0.0) == [
        Pong(b"2"),
        Message("a" * 100 + "€b", memory("a" * 100 + "€b")),
        Message(b"\xff", 1),
    ]
    assert client.read(server.take_output()) == [("PONG", b"1")]


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"\xff"),
        frame(TEXT, b"\xe2\x82"),
        frame(TEXT, b"\xed\xa0\x80"),
        frame(TEXT & ~FIN, b"\xe2\x82") + frame(CONT, b"\x41"),
        frame(TEXT & ~FIN, b"\xe2\x82") + frame(CONT | FIN, b""),
        frame(CLOSE, b"\x03\xe8\xff"),
    ],
)
def test_text_that_is_not_utf8_is_1007(data: bytes) -> None:
    server = frames()
    [closed] = server.receive(data + frame(TEXT, b"later"), 0.0)
    assert isinstance(closed, Closed)
    assert closed.code == 1007
    assert server.closed
    assert close_code(server.take_output()) == (1007, closed.reason)


def test_a_fragment_that_is_not_utf8_fails_before_the_message_ends() -> None:
    server = frames()
    assert [type(event) for event in server.receive(frame(TEXT & ~FIN, b"ok\xff"), 0.0)] == [Closed]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (frame(0x83, b"x"), "invalid opcode"),
        (frame(0x8B), "invalid opcode"),
        (frame(TEXT | RSV1, b"x"), "reserved bits must be 0"),
        (frame(TEXT | 0x10, b"x"), "reserved bits must be 0"),
        (frame(PING & ~FIN, b"x"), "fragmented control frame"),
        (header(PING, 126), "control frame too long"),
        (header(CLOSE, 1 << 40), "control frame too long"),
        (b"\x81\x01", "incorrect masking"),
        (b"GET / HTTP/1.1\r\n", "invalid opcode"),
        (b"\r\n\r\n", "invalid opcode"),
        (frame(CONT | FIN, b"x"), "unexpected continuation frame"),
        (frame(TEXT & ~FIN, b"x") + frame(TEXT, b"x"), "expected a continuation frame"),
        (b"\x81\xfe\x00\x7d" + MASK, "a length is not in its shortest form"),
        (b"\x81\xff" + (65535).to_bytes(8, "big") + MASK, "a length is not in its shortest form"),
        (frame(CLOSE, b"\x03"), "close frame too short"),
        (frame(CLOSE, b"\x03\xed"), "invalid status code"),
    ],
)
def test_what_breaks_the_protocol_is_1002(data: bytes, reason: str) -> None:
    server = frames()
    assert server.receive(data, 0.0) == [Closed(1002, reason)]
    assert close_code(server.take_output()) == (1002, reason)
    assert server.closing
    assert server.receive(frame(TEXT, b"later"), 0.0) == []
    assert server.receive_eof() == []


@pytest.mark.parametrize("whole", [True, False])
def test_what_cannot_be_inflated_is_1002(whole: bool) -> None:
    server = frames(deflate=DEFLATE)
    data = frame(TEXT | RSV1, b"\xff" * 8)
    pieces = [data] if whole else [data[:8], data[8:]]
    assert [event for piece in pieces for event in server.receive(piece, 0.0)] == [Closed(1002, "decompression failed")]


@pytest.mark.parametrize("size", [LIMIT + 1, 1 << 31, (1 << 64) - 1])
def test_a_length_above_the_limit_fails_before_its_payload(size: int) -> None:
    server = frames()
    assert server.receive(header(BINARY, size), 0.0) == [TOO_BIG]
    assert close_code(server.take_output()) == (1009, TOO_BIG.reason)


def test_a_short_message_above_a_short_limit_is_1009() -> None:
    assert frames(10).receive(frame(TEXT, b"x" * 10), 0.0) == [Message("x" * 10, 10)]
    for data in (frame(TEXT, b"x" * 11), frame(TEXT & ~FIN, b"x" * 6) + frame(CONT, b"x" * 5)):
        for step in (1, 100):
            server = frames(10)
            events = [event for at in range(0, len(data), step) for event in server.receive(data[at : at + step], 0.0)]
            assert events == [Closed(1009, "a message of more than 10 bytes")]


def test_a_ping_within_a_message_that_is_full_is_answered() -> None:
    server = frames(1000)
    data = frame(TEXT & ~FIN, b"x" * 1000) + frame(PING, b"p" * 125) + frame(CONT | FIN, b"")
    assert server.receive(data, 0.0) == [Message("x" * 1000, 1000)]
    assert server.take_output() == b"\x8a\x7d" + b"p" * 125


@pytest.mark.parametrize("step", [1000, 1 << 30])
@pytest.mark.parametrize("fragmented", [False, True])
def test_a_compression_bomb_is_1009_and_never_inflated_whole(step: int, fragmented: bool) -> None:
    inflated: list[int] = []

    class Counting(PerMessageDeflate):
        def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
            assert max_size is not None
            inflated.append(max_size)
            return super().decode(frame, max_size=max_size)

    class Counted(Deflate):
        def extension(self) -> PerMessageDeflate:
            return Counting(False, False, 12, 12)

    server = frames(deflate=Counted(*DEFLATE))
    bomb = deflated(b"\0" * (64 << 20))
    data = frame(BINARY | RSV1, bomb)
    if fragmented:
        data = frame((BINARY | RSV1) & ~FIN, bomb[:900]) + frame(CONT, bomb[900:40_000]) + frame(CONT | FIN, b"")
    events = [event for at in range(0, len(data), step) for event in server.receive(data[at : at + step], 0.0)]
    assert events == [TOO_BIG]
    assert 0 < max(inflated) <= LIMIT + 125


def test_a_compressed_message_of_exactly_the_limit_passes() -> None:
    server = frames(deflate=DEFLATE)
    assert server.receive(frame(BINARY | RSV1, deflated(b"x" * LIMIT)), 0.0) == [Message(b"x" * LIMIT, LIMIT)]
    assert server.receive(frame(BINARY | RSV1, deflated(b"x" * (LIMIT + 1))), 0.0) == [TOO_BIG]


def test_a_message_in_too_many_fragments_is_1008() -> None:
    server = frames()
    assert server.receive(frame(BINARY & ~FIN), 0.0) == []
    assert server.receive(frame(CONT) * (MAX_FRAGMENTS - 1), 0.0) == []
    while server.more:
        assert server.receive(b"", 0.0) == []
    assert server.receive(frame(CONT | FIN), 0.0) == [Closed(1008, "too many fragments")]


@pytest.mark.parametrize("kind", [PING, PONG])
def test_too_many_control_frames_are_1008(kind: int) -> None:
    server = frames(controls=5)
    assert len(server.receive(frame(kind) * 5, 0.0)) == (5 if kind == PONG else 0)
    assert server.receive(frame(kind), 1.0) == ([Pong(b"")] if kind == PONG else [])  # a second has filled one up
    answered = server.take_output()
    assert len(answered) == (12 if kind == PING else 0)
    assert server.receive(frame(kind), 1.0) == [Closed(1008, "too many control frames")]
    assert server.take_output().endswith(b"\x88\x19\x03\xf0too many control frames")


@pytest.mark.parametrize(
    ("payload", "closed"),
    [(b"", Closed(1005, "")), (b"\x03\xe8", Closed(1000, "")), (b"\x0f\xa0\xc3\xa4", Closed(4000, "ä"))],
)
@pytest.mark.parametrize("before", [b"", frame(TEXT & ~FIN, b"half")])
@pytest.mark.parametrize("step", [1, 100])
def test_the_peer_closes(payload: bytes, closed: Closed, before: bytes, step: int) -> None:
    server = frames(deflate=DEFLATE)
    data = before + frame(CLOSE, payload) + frame(TEXT, b"later")
    events = [event for at in range(0, len(data), step) for event in server.receive(data[at : at + step], 0.0)]
    assert events == [closed]
    assert (server.closing, server.closed) == (True, True)
    assert server.take_output() == bytes((CLOSE, len(payload))) + payload
    server.send_text("too late")
    server.send_binary(b"too late")
    server.ping(b"")
    server.close()
    assert server.take_output() == b""


def test_we_close_and_the_peer_answers() -> None:
    client, server = Client(), frames()
    server.close(3000, "enough")
    assert (server.closing, server.closed) == (True, False)
    server.close(1000)
    assert close_code(server.take_output()) == (3000, "enough")
    client.send_text(b"dropped")
    client.send_binary(b"dropped")
    client.send_ping(b"not answered")
    client.send_pong(b"told")
    client.send_text(b"not its end", fin=False)
    assert server.receive(client.written(), 0.0) == [Pong(b"told")]
    client.send_close(3000)
    assert server.receive(client.written(), 0.0) == [Closed(3000, "")]
    assert server.closed
    assert server.take_output() == b""


def test_we_close_and_the_peer_breaks_the_protocol() -> None:
    server = frames()
    server.close()
    server.take_output()
    assert server.receive(frame(0x83), 0.0) == [Closed(1002, "invalid opcode")]
    assert server.take_output() == b""


@pytest.mark.parametrize("data", [b"", b"\x81", b"\x81\xfe\x01", frame(TEXT, b"cut")[:-1], frame(TEXT & ~FIN, b"x")])
def test_the_end_of_input_without_a_close_frame_is_1006(data: bytes) -> None:
    server = frames()
    assert server.receive(data, 0.0) == []
    assert server.receive_eof() == [Closed(1006, "")]
    assert (server.closing, server.closed) == (True, True)
    assert server.receive_eof() == []
    assert server.take_output() == b""


def test_we_give_up_without_waiting() -> None:
    server = frames()
    server.fail(1011, "keepalive timed out")
    assert (server.closing, server.closed) == (True, True)
    assert close_code(server.take_output()) == (1011, "keepalive timed out")
    assert server.receive(frame(TEXT, b"late"), 0.0) == []
    assert server.receive_eof() == []


def test_a_ping_goes_out() -> None:
    server = frames()
    server.ping(b"abcd")
    assert Client().read(server.take_output()) == [("PING", b"abcd")]


@pytest.mark.parametrize("code", [0, 999, 1004, CloseCode.NO_STATUS_RCVD, 1006, 1015, 2999, 5000, 1 << 70])
def test_codes_that_are_not_for_the_wire(code: int) -> None:
    server = frames()
    with pytest.raises(ValueError, match="is no code for a close frame"):
        server.close(code)
    assert not server.closing
    assert server.take_output() == b""


def test_what_the_application_may_not_send() -> None:
    server = frames()
    server.close(1000, "ä" * 61)
    assert close_code(server.take_output()) == (1000, "ä" * 61)
    server = frames()
    with pytest.raises(ValueError, match="more than 123 bytes"):
        server.close(1000, "ä" * 62)
    with pytest.raises(ValueError, match="too long"):
        server.ping(b"x" * 126)
    with pytest.raises(ValueError, match="surrogates not allowed"):
        server.send_text("\udc80")
    assert server.take_output() == b""


def test_one_call_unpacks_a_bounded_number_of_bytes() -> None:
    server = frames(deflate=DEFLATE)
    message = Message(b"\0" * LIMIT, LIMIT)
    bomb = frame(BINARY | RSV1, deflated(b"\0" * LIMIT)) * 3 + frame(CLOSE)
    assert server.receive(bomb[:-1], 0.0) == [message]
    assert server.more
    assert server.receive(bomb[-1:], 0.0) == [message]
    assert server.receive(b"", 0.0) == [message]
    assert server.more
    assert server.receive(b"", 0.0) == [Closed(1005, "")]
    assert not server.more


def test_small_messages_are_unpacked_together() -> None:
    server = frames(BATCH // 100)
    data = frame(BINARY, b"x" * (BATCH // 100)) * 110
    assert len(server.receive(data, 0.0)) == 101
    assert server.more


def test_the_end_of_input_comes_behind_what_is_held_back() -> None:
    server = frames(deflate=DEFLATE)
    message = Message(b"\0" * LIMIT, LIMIT)
    assert server.receive(frame(BINARY | RSV1, deflated(b"\0" * LIMIT)) * 2, 0.0) == [message]
    assert server.receive_eof() == []
    assert server.receive(b"", 0.0) == [message, Closed(1006, "")]


def test_one_call_reports_at_most_as_many_messages_as_wanted() -> None:
    server = frames()
    data = frame(TEXT) * 4 + frame(PONG) + frame(TEXT, b"last")
    assert server.receive(data[:-3], 0.0, 0) == []
    assert server.more
    assert server.receive(b"", 0.0, 3) == [Message("", 0)] * 3
    assert server.more
    assert server.receive(data[-3:], 0.0, 1) == [Message("", 0)]
    assert server.receive(b"", 0.0, 1) == [Pong(b""), Message("last", 4)]
    assert not server.more


def test_a_read_of_empty_messages_is_decoded_as_far_as_wanted() -> None:
    server = frames()
    assert len(server.receive(frame(TEXT) * 43_690, 0.0, 32)) == 32
    assert server.more


def test_one_call_handles_a_bounded_number_of_frames() -> None:
    """A message in many fragments; the first call, and each one after it, leaves the loop to others."""
    made = frames()
    sent = frame(BINARY & ~FIN) + frame(CONT, b"x") * (3 * FRAMES_A_TURN - 1) + frame(CONT | FIN) + frame(CLOSE)
    assert made.receive(sent, 0.0) == []
    assert made.receive_eof() == []
    for _ in range(2):
        assert made.more
        assert made.receive(b"", 0.0) == []
    assert made.more
    found = made.receive(b"", 0.0)
    assert found == [Message(b"x" * (3 * FRAMES_A_TURN - 1), 3 * FRAMES_A_TURN - 1), Closed(1005, "")]
    assert not made.more


def test_what_is_dropped_is_never_reported() -> None:
    server = frames()
    assert server.receive(frame(TEXT & ~FIN, b"half") + frame(PONG) * 2, 0.0) == [Pong(b""), Pong(b"")]
    assert server.receive(frame(CONT | FIN, b"other half"), 0.0, 0) == []
    server.drop()
    assert not server.more
    assert server.receive(b"", 0.0) == []
    assert server.receive_eof() == [Closed(1006, "")]


def test_a_compressed_message_is_inflated_when_it_is_whole() -> None:
    """A client that sends 100 bytes of a message of 1 MiB, and no end, makes the server hold 100 bytes."""
    inflated: list[int] = []

    class Counting(PerMessageDeflate):
        def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
            inflated.append(len(frame.data))
            return super().decode(frame, max_size=max_size)

    class Counted(Deflate):
        def extension(self) -> PerMessageDeflate:
            return Counting(False, False, 12, 12)

    server = frames(deflate=Counted(*DEFLATE))
    text = "ä" * 200_000
    content = deflated(text.encode())
    half = len(content) // 2
    assert server.receive(frame((TEXT | RSV1) & ~FIN, content[:half]) + frame(PONG), 0.0) == [Pong(b"")]
    assert server.receive(frame(CONT, content[half:]), 0.0) == []
    assert not inflated
    assert server.receive(frame(CONT | FIN), 0.0) == [Message(text, memory(text))]
    assert inflated == [len(content)]


def test_a_compressed_message_may_be_a_little_longer_than_the_limit() -> None:
    """What cannot be compressed becomes longer."""
    content = bytes(range(256)) * (LIMIT // 256)
    compressor = zlib.compressobj(level=0, wbits=-12)
    compressed = (compressor.compress(content) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")
    assert len(compressed) > LIMIT
    server = frames(deflate=DEFLATE)
    half = len(compressed) // 2
    data = frame((BINARY | RSV1) & ~FIN, compressed[:half]) + frame(CONT | FIN, compressed[half:])
    assert server.receive(data, 0.0) == [Message(content, LIMIT)]
    data = frame((BINARY | RSV1) & ~FIN, compressed) + frame(CONT, compressed[: LIMIT // 8])
    assert frames(deflate=DEFLATE).receive(data, 0.0) == [TOO_BIG]


def test_a_continuation_with_the_bit_of_compression_is_1002() -> None:
    server = frames(deflate=DEFLATE)
    data = frame((TEXT | RSV1) & ~FIN, b"x") + frame(CONT | FIN | RSV1, b"x")
    assert server.receive(data, 0.0) == [Closed(1002, "RSV1 bit set in continuation frame")]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        frame(TEXT & ~FIN, b"half"),
        frame(TEXT | RSV1, b"\xff" * 8)[:-1],
        frame(0x83),
        frame(TEXT & ~FIN, b"x") + frame(CLOSE),
        frame(TEXT | RSV1, deflated(b"x")) + frame(CLOSE),
    ],
)
def test_a_websocket_that_has_ended_leaves_nothing_to_the_collector(data: bytes) -> None:
    """The library's protocols refer to themselves."""
    gc.collect()
    gc.disable()
    try:
        before = protocols()
        server = frames(deflate=DEFLATE)
        server.receive(data, 0.0)
        server.release()
        server.release()
        assert server.closed
        assert not server.more
        assert server.receive(frame(TEXT, b"late"), 0.0) == []
        assert server.receive_eof() == []
        server.ping(b"late")
        assert protocols() == before
    finally:
        gc.enable()


def protocols() -> list[object]:
    """Those that are alive; ``isinstance`` would wake lazy objects that other tests have left, as Django's settings."""
    return [one for one in gc.get_objects() if issubclass(type(one), Protocol)]


@pytest.mark.parametrize(
    ("data", "cut"),
    [
        (frame((TEXT | RSV1) & ~FIN, b"x") + frame(CONT | FIN), 1),
        (frame(TEXT | RSV1, b"x"), 1),
        (frame(TEXT | RSV1, b"x"), 2),
    ],
)
def test_a_bug_below_ends_the_websocket_and_is_not_hidden(data: bytes, cut: int) -> None:
    class Broken(PerMessageDeflate):
        def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
            raise RuntimeError("a bug")

    class Breaking(Deflate):
        def extension(self) -> PerMessageDeflate:
            return Broken(False, False, 12, 12)

    server = frames(deflate=Breaking(*DEFLATE))
    assert server.receive(data[:-cut], 0.0) == []
    with pytest.raises(RuntimeError, match="a bug"):
        server.receive(data[-cut:], 0.0)
    assert server.closed
    assert close_code(server.take_output()) == (1011, "")


def test_a_bug_in_the_library_ends_the_websocket_and_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(frame: Frame, *, max_size: int | None = None) -> Frame:
        raise RuntimeError("a bug")

    monkeypatch.setattr(websocket._UNDECODED[0], "decode", decode)
    server = frames(deflate=DEFLATE)
    with pytest.raises(RuntimeError, match="a bug"):
        server.receive(frame(TEXT & ~FIN, b"x"), 0.0)
    assert server.closed
    assert close_code(server.take_output()) == (1011, "")


def test_it_works_without_the_librarys_c_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a worker's Python, which is lent the package of another."""
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    monkeypatch.setattr(package, "library", library)  # restores what the next import replaces
    monkeypatch.delitem(sys.modules, library.__name__)
    source = str(websocket.__file__).partition(".")[0] + ".py"
    spec = importlib.util.spec_from_file_location("websocket_without_speedups", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.apply_mask is pure_apply_mask
    server = module.WebSocketFrames(LIMIT, None, Bucket(10, 1.0, 0.0))
    assert server.receive(frame(TEXT, b"hello") + frame(BINARY, b""), 0.0) == [Message("hello", 5), Message(b"", 0)]
