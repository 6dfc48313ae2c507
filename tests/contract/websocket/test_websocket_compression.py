"""permessage-deflate (RFC 7692): what is agreed on, and that both sides keep to it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.running import Run, only_record
from tests.support.websocket import Keeping, connect, echo

TEXT = "the same words again, " * 100

BITS = b"; server_max_window_bits=12; client_max_window_bits=12"
AGREED: list[tuple[Any, bytes | None]] = [
    (None, b"permessage-deflate" + BITS),
    ("deflate", b"permessage-deflate" + BITS),
    ({"windowBits": 9}, b"permessage-deflate; server_max_window_bits=9; client_max_window_bits=9"),
    ({"windowBits": 15, "memoryLevel": 9}, b"permessage-deflate; server_max_window_bits=15; client_max_window_bits=15"),
    (
        {"contextTakeover": False},
        b"permessage-deflate; server_no_context_takeover; client_no_context_takeover" + BITS,
    ),
    ("off", None),
]

OFFERS: list[tuple[bytes, bytes | None]] = [
    (b"permessage-deflate", b"permessage-deflate; server_max_window_bits=12"),
    (
        b"permessage-deflate; server_max_window_bits=10; client_max_window_bits=10",
        b"permessage-deflate; server_max_window_bits=10; client_max_window_bits=10",
    ),
    (
        b"x-unknown, permessage-deflate; server_no_context_takeover",
        b"permessage-deflate; server_no_context_takeover; server_max_window_bits=12",
    ),
    (b"permessage-deflate; x=1, permessage-deflate", b"permessage-deflate; server_max_window_bits=12"),
    (b"permessage-deflate; server_max_window_bits=7", None),
    (b"x-unknown", None),
    (b"permessage-deflate;;;", None),
    (b"", None),
]


def settings(compression: Any) -> dict[str, Any]:
    """A listener whose WebSockets are so compressed."""
    return {} if compression is None else {"websocket": {"compression": compression}}


@pytest.mark.parametrize(("compression", "answer"), AGREED, ids=str)
def test_what_is_agreed_on(codec: str, running: Run, compression: Any, answer: bytes | None) -> None:
    with running(echo, codec, listener=settings(compression)) as server:
        ws = connect(server, codec, deflate=True)
        assert ws.get(b"sec-websocket-extensions") == answer
        for _ in range(3):
            assert ws.echoed(TEXT) == TEXT
            assert ws.echoed(b"\0" * 100_000) == b"\0" * 100_000
        assert ws.close().code == 1000
        record = only_record(server)
    plain = 3 * (len(TEXT) + 100_000)
    assert (record.bytes_in < plain / 10) is (record.bytes_out < plain / 10) is (answer is not None)


def test_what_a_client_may_offer(codec: str, running: Run) -> None:
    """What cannot be met is no reason to refuse: then nothing is compressed."""
    with running(echo, codec) as server:
        for offer, answer in OFFERS:
            ws = connect(server, codec, headers=[(b"sec-websocket-extensions", offer)])
            assert (offer, ws.get(b"sec-websocket-extensions")) == (offer, answer)
            assert ws.echoed(TEXT) == TEXT
            assert ws.echoed(TEXT) == TEXT


def test_nothing_is_compressed_unasked(codec: str, running: Run) -> None:
    with running(echo, codec) as server:
        ws = connect(server, codec)
        assert ws.get(b"sec-websocket-extensions") is None
        assert ws.echoed(TEXT) == TEXT


def test_context_takeover(codec: str, running: Run) -> None:
    """With it a message that was said before takes next to nothing."""
    sizes = {}
    for takeover in (True, False):
        with running(echo, codec, listener=settings({"contextTakeover": takeover, "windowBits": 15})) as server:
            ws = connect(server, codec, deflate=True)
            words = " ".join(str(number * number) for number in range(200))
            for _ in range(10):
                assert ws.echoed(words) == words
            ws.close()
            sizes[takeover] = only_record(server).bytes_out
    assert sizes[True] < sizes[False] / 3


def test_a_message_in_compressed_fragments(codec: str, running: Run) -> None:
    app = Keeping()
    with running(app, codec) as server:
        ws = connect(server, codec, deflate=True)
        ws.send_fragments(TEXT.encode(), b"", TEXT.encode())
        ws.close()
        only_record(server)
    assert app.messages[0]["bytes"] == TEXT.encode() * 2


def test_the_routes_word_counts_before_the_listeners(codec: str, running: Run) -> None:
    routes = {
        "routes": [
            {"name": "off", "path": "/off", "backend": "app", "websocket": {"compression": "off"}},
            {"name": "all", "path": "/", "backend": "app"},
        ]
    }
    with running(echo, codec, listener=settings({"windowBits": 10}), **routes) as server:
        assert connect(server, codec, "/off", deflate=True).get(b"sec-websocket-extensions") is None
        answer = connect(server, codec, "/", deflate=True).get(b"sec-websocket-extensions")
    assert answer == b"permessage-deflate; server_max_window_bits=10; client_max_window_bits=10"
