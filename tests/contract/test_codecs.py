"""Every codec against the codec contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sidegate.wire.http1.server import Http1Codec
from sidegate.wire.http2 import Http2Codec, load_engine
from tests.contract.codec_contract import CHECKS, LIMITS, POLICY, answer
from tests.contract.peers import Http1Peer, Http2Peer, MakePeer, Peer


def http1(window: int = 0) -> Peer:
    """HTTP/1.1 has no credit; the window does not matter."""
    return Http1Peer(Http1Codec(POLICY, LIMITS, 0.0))


def http2_nghttp2(window: int = 65535) -> Http2Peer:
    return Http2Peer(Http2Codec(load_engine("nghttp2"), POLICY, LIMITS, 0.0), window)


def http2_h2(window: int = 65535) -> Http2Peer:
    return Http2Peer(Http2Codec(load_engine("h2"), POLICY, LIMITS, 0.0), window)


@pytest.fixture(params=[http1, http2_nghttp2, http2_h2], ids=["http1", "http2-nghttp2", "http2-h2"])
def make_peer(request: pytest.FixtureRequest) -> MakePeer:
    make: MakePeer = request.param
    if make is http2_nghttp2:
        pytest.importorskip("sidegate.wire.http2.nghttp2", reason="the nghttp2 binding was not built")
    return make


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(check: Callable[[MakePeer], None], make_peer: MakePeer) -> None:
    check(make_peer)


@pytest.mark.parametrize("make_http2", [http2_nghttp2, http2_h2], ids=["nghttp2", "h2"])
def test_goaway_of_http2_comes_in_two_phases(make_http2: Callable[[], Http2Peer]) -> None:
    if make_http2 is http2_nghttp2:
        pytest.importorskip("sidegate.wire.http2.nghttp2", reason="the nghttp2 binding was not built")
    peer = make_http2()
    first = peer.open().stream_id
    assert not peer.codec.goaway_noticed()
    peer.codec.goaway(False)
    assert not peer.codec.goaway_noticed()
    peer.read()  # the library acknowledges the PING
    assert peer.codec.goaway_noticed()
    second = peer.open().stream_id
    peer.codec.goaway(True)
    peer.read()
    assert peer.goaways == [(2**31 - 1, 0), (second, 0)]
    peer.request("GET", "/too-late", [], True)
    assert peer.take_events() == []
    for stream in (second, first):
        assert not peer.codec.closed
        answer(peer, stream)
        assert peer.responses[stream].complete
    assert peer.codec.closed
