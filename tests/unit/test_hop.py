"""The words of the hop: what is written is read back, and nothing else is taken."""

from __future__ import annotations

import json
import math

import pytest

from sidegate.config.websocket import Compression, WebSocketSettings
from sidegate.server.hop import MAX_WEBSOCKET_SIZE
from sidegate.wire import hop
from sidegate.wire.events import RequestHead
from sidegate.wire.fields import FieldPolicy, Kind
from tests.support import http2 as c
from tests.support import http2_client

FACTS = [
    (("192.0.2.1", 4711), ("2001:db8::1", 443), "https", "2", "/app"),
    (None, ("/run/a b.sock", None), "http", "1.1", ""),
    (("é\udcff", 0), None, "https", "2", '/"ü"\n'),
]


@pytest.mark.parametrize("facts", FACTS)
def test_the_facts_of_a_peer(facts: tuple[hop.Address | None, hop.Address | None, str, str, str]) -> None:
    value = hop.encode_peer(*facts)
    assert value.isascii()
    assert b"\n" not in value
    assert hop.decode_peer(value) == hop.PeerFacts(*facts)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'[null,null,"http","2"]',
        b'[null,null,"http","2","",""]',
        b'[null,null,"http",2,""]',
        b'["192.0.2.1",null,"http","2",""]',
        b'[["192.0.2.1"],null,"http","2",""]',
        b'[["192.0.2.1","80"],null,"http","2",""]',
        b'[null,[80,"192.0.2.1"],"http","2",""]',
        b'[null,["192.0.2.1",true],"http","2",""]',
    ],
)
def test_what_no_front_wrote_about_a_peer(value: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is json's or ours
        hop.decode_peer(value)


def test_the_facts_of_tls() -> None:
    facts = {
        "tls_version": 0x304,
        "cipher_suite": None,
        "client_cert_chain": ["-----BEGIN\nx"],
        "client_cert_name": "é",
    }
    value = hop.encode_tls(facts)
    assert value.isascii()
    assert b"\n" not in value
    assert hop.decode_tls(value) == facts
    for wrong in (b"[]", b"", b"[" * 100_000):
        with pytest.raises(ValueError):  # noqa: PT011 - the message is json's or ours
            hop.decode_tls(wrong)


SETTINGS = [
    WebSocketSettings(),
    WebSocketSettings(64, 0.0, 3600.0, 10_000, Compression(mode="off", window_bits=15, memory_level=9)),
    WebSocketSettings(1024**3, 0.5, 0.0, 1, Compression(window_bits=9, memory_level=1, context_takeover=False)),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_settings_of_a_websocket(settings: WebSocketSettings) -> None:
    value = hop.encode_websocket(7, settings)
    assert value.isascii()
    assert len(value) <= MAX_WEBSOCKET_SIZE
    assert hop.decode_websocket(value) == (7, settings)


WRITTEN = [7, 1024, 20.0, 20.0, 32, "deflate", 12, 5, True]


NEVER_WRITTEN: list[tuple[tuple[int, ...], list[object]]] = [
    ((0,), [-1, 1.0, None, "0", 2**40, True]),
    ((1,), [0, 63, 1024**3 + 1, 1e9, "1Mi", []]),
    ((2, 3), [-0.5, 20, 3600.5, math.nan, math.inf, None]),
    ((4,), [0, 10_001, 32.0, True]),
    ((5,), ["", "gzip", None, 1, ["deflate"], {}]),
    ((6,), [8, 16, 12.0]),
    ((7,), [0, 10, True]),
    ((8,), [0, 1, None, "true"]),
]
"""Values that are wrong at each of those places."""


@pytest.mark.parametrize(
    ("place", "wrong"),
    [(place, wrong) for places, values in NEVER_WRITTEN for place in places for wrong in values],
)
def test_settings_that_no_front_wrote(place: int, wrong: object) -> None:
    assert hop.decode_websocket(json.dumps(WRITTEN).encode()).route == 7
    with pytest.raises(ValueError, match="WebSocket"):
        hop.decode_websocket(json.dumps([*WRITTEN[:place], wrong, *WRITTEN[place + 1 :]]).encode())


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000, json.dumps([*WRITTEN, 1]).encode()])
def test_what_are_no_settings_at_all(value: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is json's or ours
        hop.decode_websocket(value)


def test_a_policy_that_keeps_our_own_fields() -> None:
    assert FieldPolicy(9, 99).classify(hop.PEER) is Kind.DROP
    assert FieldPolicy(9, 99, keep_own=True).classify(hop.PEER) is Kind.PLAIN


@pytest.mark.parametrize("engine", c.ENGINES)
@pytest.mark.parametrize(("front", "worker"), [(True, True), (True, False), (False, True), (False, False)])
def test_facts_pass_only_where_both_ends_say_that_they_are_of_a_hop(
    engine: c.EngineName, front: bool, worker: bool
) -> None:
    pair = http2_client.pair(engine, engine, hop=worker, front=front)
    assert (pair.client.ready, pair.client.hop) == (True, worker)
    pair.client.request([*c.GET, (hop.REQUEST_ID, b"1")], True)
    (head,) = pair.asked()
    assert isinstance(head, RequestHead)
    passed = [(hop.REQUEST_ID, b"1")] if front and worker else []
    assert head.headers == [(b"host", b"example.org"), *passed]
