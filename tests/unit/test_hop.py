"""The words of the hop: what is written is read back, and nothing else is taken."""

from __future__ import annotations

import pytest

from proxy.wire import hop
from proxy.wire.events import RequestHead
from proxy.wire.fields import FieldPolicy, Kind
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


def test_a_policy_that_keeps_our_own_fields() -> None:
    assert FieldPolicy(9, 99).classify(hop.PEER) is Kind.DROP
    assert FieldPolicy(9, 99, keep_own=True).classify(hop.PEER) is Kind.PLAIN


@pytest.mark.parametrize("engine", c.ENGINES)
@pytest.mark.parametrize(("front", "worker"), [(True, True), (True, False), (False, True), (False, False)])
def test_facts_pass_only_where_both_ends_say_that_they_are_of_a_hop(engine: str, front: bool, worker: bool) -> None:
    pair = http2_client.pair(engine, engine, hop=worker, front=front)
    assert (pair.client.ready, pair.client.hop) == (True, worker)
    pair.client.request([*c.GET, (hop.REQUEST_ID, b"1")], True)
    (head,) = pair.asked()
    assert isinstance(head, RequestHead)
    passed = [(hop.REQUEST_ID, b"1")] if front and worker else []
    assert head.headers == [(b"host", b"example.org"), *passed]
