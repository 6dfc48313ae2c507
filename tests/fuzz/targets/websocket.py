"""WebSocket frames: cuts change nothing, limits hold, websockets reads the same, and messages survive an echo."""

from __future__ import annotations

from typing import Any

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Opcode
from websockets.protocol import Protocol, Side

from sidegate.wire.http2.floods import Bucket
from sidegate.wire.websocket.events import Closed, Message
from sidegate.wire.websocket.frames import WebSocketFrames
from sidegate.wire.websocket.handshake import Deflate
from tests.fuzz.inputs import Choices, cut, cuttings
from tests.support.websocket_comparison import DEFLATE, LIMIT, check_library_agrees, converse
from tests.support.websocket_frames import BINARY, CLOSE, CONT, FIN, PING, PONG, RSV1, TEXT, deflated, frame

FIRST = (TEXT, BINARY, TEXT & ~FIN, BINARY & ~FIN, CONT, CONT | FIN, PING, PONG, CLOSE, TEXT | RSV1, TEXT & ~FIN | RSV1)
MOST_CONTROLS = 20


def frames(choices: Choices) -> tuple[bytes, int]:
    """Frames, and the number of those that may be control frames."""
    made: list[bytes] = []
    controls = 0
    while choices.more:
        first = choices.of((*FIRST, -1, -2))
        if first == -2:  # any bytes
            controls += MOST_CONTROLS
            made.append(choices.take(choices.number() % 32))
            continue
        if first == -1:
            first = choices.number()
        size = choices.number()
        payload = choices.take(size % 64) * (1 if size < 128 else size // 16)
        made.append(frame(first, deflated(payload) if first & RSV1 and size % 2 else payload))
        controls += bool(first & 0x08)
    return b"".join(made), controls


def pieces_to_places(pieces: list[bytes]) -> list[int]:
    places, at = [], 0
    for piece in pieces[:-1]:
        at += len(piece)
        places.append(at)
    return places


def check_echo(messages: list[str | bytes], deflate: Deflate | None) -> None:
    server = WebSocketFrames(LIMIT, deflate, Bucket(MOST_CONTROLS, 1.0, 0.0))
    client = Protocol(Side.CLIENT, max_size=LIMIT)
    if deflate is not None:
        client.extensions = [PerMessageDeflate(False, False, 12, 12)]
    for message in messages:
        if isinstance(message, str):
            server.send_text(message)
        else:
            server.send_binary(message)
    client.receive_data(server.take_output())
    received: list[Any] = client.events_received()
    assert [bytes(one.data).decode() if one.opcode is Opcode.TEXT else bytes(one.data) for one in received] == messages


def check(data: bytes) -> None:
    """The first byte says whether compression was negotiated."""
    choices = Choices(data)
    deflate = DEFLATE if choices.number() & 1 else None
    whole, controls = frames(choices)
    outcome = events, output, _ = converse(whole, [], deflate)
    for pieces in cuttings(whole):
        assert converse(whole, pieces_to_places(pieces), deflate) == outcome
    assert [type(event) for event in events].count(Closed) == 1
    assert isinstance(events[-1], Closed)
    messages = [event for event in events if isinstance(event, Message)]
    for message in messages:
        assert len(message.data.encode() if isinstance(message.data, str) else message.data) <= LIMIT
    assert len(output) <= 2 * len(whole) + 256
    check_echo([message.data for message in messages], deflate)
    # The library would count no control frames, and it has a little more room for messages.
    if controls <= MOST_CONTROLS and events[-1].code != 1009:
        check_library_agrees(whole, pieces_to_places(cut(whole, 12)), deflate)
