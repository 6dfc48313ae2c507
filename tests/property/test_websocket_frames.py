"""WebSocket frames cut anywhere give the same events and output, and what the library alone would make of them."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidegate.wire.websocket.events import Closed
from sidegate.wire.websocket.handshake import Deflate
from tests.support.websocket_comparison import DEFLATE, LIMIT, check_library_agrees, converse
from tests.support.websocket_frames import BINARY, CLOSE, CONT, FIN, PING, PONG, RSV1, TEXT, frame

TEXTS = st.sampled_from(["", "a", "€", "ä" * 70, "x" * 125, "x" * 126, "y" * LIMIT])
REASONS = st.sampled_from([b"", b"\x03\xe8", b"\x0f\xa0bye"])
CONTROLS = st.one_of(
    st.builds(frame, st.sampled_from([PING, PONG]), st.binary(max_size=4)),
    st.just(frame(PING, b"p" * 125)),
)


@st.composite
def messages(draw: st.DrawFn, compressor: zlib._Compress | None) -> list[bytes]:
    """One valid message: its frames, perhaps fragmented, with control frames between the fragments."""
    payload = draw(TEXTS).encode()
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    if compressor is not None and draw(st.booleans()):
        payload = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")
        opcode |= RSV1
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
    pieces = [payload[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
    found = []
    for number, piece in enumerate(pieces):
        first = (opcode & ~FIN if number == 0 else CONT) | (FIN if number == len(pieces) - 1 else 0)
        found += [frame(first, piece), *draw(st.lists(CONTROLS, max_size=1))]
    return found


@st.composite
def conversations(draw: st.DrawFn, compressed: bool) -> list[bytes]:
    """Valid frames, up to a close frame."""
    compressor = zlib.compressobj(wbits=-12) if compressed else None
    found = [one for _ in range(draw(st.integers(0, 4))) for one in draw(messages(compressor))]
    return found + draw(st.lists(st.builds(frame, st.just(CLOSE), REASONS), max_size=2))


WRONG = st.sampled_from(
    [
        frame(0x83, b"x"),
        frame(0x8F),
        frame(TEXT | 0x20, b"x"),
        frame(TEXT | RSV1, b"\xff\xff\xff"),
        frame(PING & ~FIN),
        frame(PING | RSV1),
        frame(CONT | FIN, b"x"),
        frame(TEXT & ~FIN, b"x"),
        frame(CLOSE, b"\x00"),
        frame(CLOSE, b"\x00\x01"),
        frame(CLOSE, b"\x03\xe8\xff"),
        frame(PING, b"x" * 126),
        frame(BINARY, b"x" * (LIMIT + 126)),
        b"\x81\x05hello",
    ]
)

PLACES = st.lists(st.integers(0, 1 << 16), max_size=8)


@pytest.mark.parametrize("deflate", [None, DEFLATE])
@settings(max_examples=200)
@given(data=st.data(), places=PLACES)
def test_cutting_the_input_changes_nothing(deflate: Deflate | None, data: st.DataObject, places: list[int]) -> None:
    found = data.draw(conversations(deflate is not None))
    found.insert(data.draw(st.integers(0, len(found))), data.draw(st.one_of(WRONG, st.binary(max_size=12))))
    whole = b"".join(found)
    expected = converse(whole, [], deflate)
    assert converse(whole, places, deflate) == expected
    assert converse(whole, list(range(len(whole))), deflate) == expected
    assert expected[2]
    assert [type(event) for event in expected[0]].count(Closed) == 1


@pytest.mark.parametrize("deflate", [None, DEFLATE])
@settings(max_examples=200)
@given(data=st.data(), places=PLACES)
def test_the_library_agrees(deflate: Deflate | None, data: st.DataObject, places: list[int]) -> None:
    found = data.draw(conversations(deflate is not None))
    if data.draw(st.booleans()):
        found.insert(data.draw(st.integers(0, len(found))), data.draw(WRONG))
    whole = b"".join(found)
    check_library_agrees(whole, places, deflate)
