"""The same frames for both HTTP/2 engines, in both roles, compared.

Equal means: the same events (of a violation its place only, because libraries word and code errors differently), and
the same responses, or the same streams reset, on the wire.
"""

from __future__ import annotations

from sidegate.wire import events as e
from tests.support import http2 as c
from tests.support.http2_client import client


def play_server(engine: c.EngineName, frames: list[bytes], answering: bool) -> tuple[list[object], c.Heard]:
    made = c.started(engine)
    told: list[object] = []
    output = b""
    for one in frames:
        found = made.receive(one, 1.0)
        told += [type(event) if isinstance(event, e.Violation) else event for event in c.merged(found)]
        if answering:
            c.answer_all(made, found)
        output += made.take_output()
        assert made.next_deadline() is None or not frames_complete(one)
    told += made.receive_eof()
    return told, c.listen(output)


def frames_complete(one: bytes) -> bool:
    """Whether the last frame can leave a header block open."""
    return one[3] not in (c.HEADERS, c.CONTINUATION)


def leaves_block_open(frames: list[bytes]) -> bool:
    """Whether the last frame is a part of a header block that goes on."""
    return frames[-1][3] in (c.HEADERS, c.CONTINUATION) and not frames[-1][4] & 0x4


def compare_servers(frames: list[bytes], answering: bool) -> None:
    told, heard = play_server("nghttp2", frames, answering)
    told_too, heard_too = play_server("h2", frames, answering)
    if told != told_too and leaves_block_open(frames) and e.Violation not in told_too:
        return  # nghttp2 decodes a header block as it comes, h2 when it is whole
    assert told == told_too
    violated = e.Violation in told
    assert bool(heard.goaways) == bool(heard_too.goaways) == violated
    if not violated:
        assert heard.streams == heard_too.streams


REQUESTS: tuple[tuple[c.Pairs, bool], ...] = (
    (c.GET, True),
    (c.POST, False),
    ([(b":method", b"HEAD"), *c.GET[1:]], True),
    (c.GET, True),
    (c.CONNECT, False),
)


def play_client(engine: c.EngineName, frames: list[bytes], reading: bool) -> tuple[list[object], c.Heard]:
    """Streams 1 to 9 are open, 5 by HEAD, 9 by CONNECT; 3 and 9 may send more. ``reading``: bodies are read at once."""
    made = client(engine)
    assert made.receive(c.settings() + c.frame(c.SETTINGS, c.ACK, 0)) == []
    for headers, end in REQUESTS:
        made.request(headers, end)
    made.send_data(3, b"abc", False)
    output = made.take_output()
    told: list[object] = []
    for one in frames:
        found = made.receive(one)
        told += [type(event) if isinstance(event, e.Violation) else event for event in c.merged(found)]
        for event in found:
            if reading and isinstance(event, e.Body):
                made.acknowledge(event.stream_id, len(event.data))
        output += made.take_output()
        told.append((made.ready, made.hop, made.connect_protocol, made.capacity, made.max_streams, made.closed))
    told += made.receive_eof()
    return told, c.listen(output.removeprefix(c.PREFACE))


def compare_clients(frames: list[bytes], reading: bool) -> None:
    told, heard = play_client("nghttp2", frames, reading)
    told_too, heard_too = play_client("h2", frames, reading)
    assert told == told_too
    assert bool(heard.goaways) == bool(heard_too.goaways) == (e.Violation in told)
    if not heard.goaways:
        assert heard.streams == heard_too.streams
