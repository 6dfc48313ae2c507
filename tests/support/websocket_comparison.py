"""WebSocket frames as Sidegate and as websockets alone read them."""

from __future__ import annotations

from sys import getsizeof

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from sidegate.wire.http2.floods import Bucket
from sidegate.wire.websocket.events import Closed, Event, Message, Pong
from sidegate.wire.websocket.frames import WebSocketFrames
from sidegate.wire.websocket.handshake import Deflate

LIMIT = 300
DEFLATE = Deflate(b"", True, True, 12, 12, 5)


def converse(data: bytes, places: list[int], deflate: Deflate | None) -> tuple[list[Event], bytes, bool]:
    """Events, output and whether it is closed after ``data``, cut at ``places``, and the end of input."""
    server = WebSocketFrames(LIMIT, deflate, Bucket(20, 1.0, 0.0))
    cuts = sorted(place % (len(data) + 1) for place in places)
    events: list[Event] = []
    output = b""
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        events += server.receive(data[begin:end], 0.0)
        while server.more:
            events += server.receive(b"", 0.0)
        output += server.take_output()
    events += server.receive_eof()
    return events, output + server.take_output(), server.closed


def by_the_library(data: bytes, deflate: Deflate | None) -> tuple[list[Event], bytes]:
    """Events and output of websockets alone, which is given everything at once."""
    protocol = Protocol(Side.SERVER, max_size=LIMIT + 125)
    if deflate is not None:
        protocol.extensions = [deflate.extension()]
    protocol.receive_data(data)
    events: list[Event] = []
    parts: list[bytes] = []
    text = False
    for found in protocol.events_received():
        assert isinstance(found, Frame)
        if found.opcode is Opcode.PONG:
            events.append(Pong(bytes(found.data)))
        elif found.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            text = found.opcode is Opcode.TEXT or (found.opcode is Opcode.CONT and text)
            parts.append(bytes(found.data))
            if found.fin:
                whole = b"".join(parts)
                content = whole.decode("utf-8", "replace") if text else whole
                wide = isinstance(content, str) and not content.isascii()
                events.append(Message(content, getsizeof(content) if wide else len(whole)))
                parts.clear()
    protocol.receive_eof()
    closed = protocol.close_rcvd if protocol.parser_exc is None else protocol.close_sent
    events.append(Closed(1006, "") if closed is None else Closed(int(closed.code), closed.reason))
    return events, b"".join(protocol.data_to_send())


def check_library_agrees(whole: bytes, places: list[int], deflate: Deflate | None) -> None:
    """Compare both readings of ``whole``, which ours gets cut at ``places``; it has at most one wrong frame."""
    events, output, _ = converse(whole, places, deflate)
    expected_events, expected_output = by_the_library(whole, deflate)
    closed, expected = events[-1], expected_events[-1]
    assert isinstance(closed, Closed)
    assert isinstance(expected, Closed)
    # The library leaves UTF-8 to its caller, and takes any form of a length (RFC 6455 5.2: the shortest one).
    if closed.reason.endswith(("in a text message", "not in its shortest form")):
        assert events[:-1] == expected_events[: len(events) - 1]
        return
    if deflate is not None and (expected.code == 1009 or expected.reason == "decompression failed"):
        # We inflate a message when its last fragment has come, and read on until then.
        assert events[: len(expected_events) - 1] == expected_events[:-1]
        return
    assert events[:-1] == expected_events[:-1]
    if closed.code == 1006 and expected.code in (1002, 1009):
        return  # the library refuses a frame by the beginning of its header, whose rest has not come
    if expected.reason == "incomplete fragmented message":  # RFC 6455 5.4 allows it, as Autobahn|Testsuite 7.1.5 does
        assert closed.code != 1002
    elif closed.reason == "control frame too long":  # in a message that is nearly full the library says 1009
        assert expected.code in (1002, 1009)
    else:
        assert closed.code == expected.code
        assert output == expected_output or closed.reason != expected.reason  # some faults have our own words
