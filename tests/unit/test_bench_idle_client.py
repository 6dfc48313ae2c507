from __future__ import annotations

import hpack
import pytest

from tests.bench.experiments import idle_client
from tests.bench.http2_frames import DATA, END_STREAM, HEADERS, Frames, frame, get, preface


def test_frames_are_found_whole_only() -> None:
    data = frame(HEADERS, 4, 1, b"head") + frame(DATA, END_STREAM, 1, b"body")
    expected = [(HEADERS, 4, b"head"), (DATA, END_STREAM, b"body")]
    assert list(Frames().feed(data)) == expected
    frames = Frames()
    assert [found for byte in data for found in frames.feed(bytes([byte]))] == expected


def test_the_request_of_an_idle_connection_is_a_get_of_the_root() -> None:
    sent: list[bytes] = []

    class Answering:
        def sendall(self, data: bytes) -> None:
            sent.append(data)

        def recv(self, _size: int) -> bytes:
            return frame(HEADERS, 4, 1, b"\x88") + frame(DATA, END_STREAM, 1, b"body")

    idle_client.ask_h2(Answering())  # type: ignore[arg-type]  # it uses no more of a socket
    request = sent[0].removeprefix(preface())
    fields = hpack.Decoder().decode(request[9:], raw=True)
    assert request == get(1, request[9:])
    assert list(fields) == [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", b"/"),
        (b":authority", b"localhost"),
    ]


def test_a_connection_that_closes_before_its_answer_is_not_counted() -> None:
    class Closing:
        def sendall(self, _data: bytes) -> None:
            pass

        def recv(self, _size: int) -> bytes:
            return b""

    with pytest.raises(ConnectionResetError):
        idle_client.ask_h1(Closing())  # type: ignore[arg-type]  # it uses no more of a socket
