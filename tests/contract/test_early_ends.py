"""What answers instead of the backend ends the backend's side at once: its stream is reset, and its place is free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sidegate.backends.upstream.client_stream import HIGH_WATER
from sidegate.errors import Fault
from sidegate.observe import metrics
from tests.contract.test_overload import held_up
from tests.contract.test_relay import CANCEL, INITIAL_WINDOW, front_and_peer, post, reason
from tests.support import http2
from tests.support.clients import Client, Http2Client
from tests.support.raw_server import OK, RawPeer, RawServer
from tests.support.relaying import RunningFront, remote_front
from tests.support.running import wait_for
from tests.support.websocket import begin, required

WINDOW = (INITIAL_WINDOW, 1000)
CONNECT_PROTOCOL = (8, 1)
BODY = 130_000
LIMITS = {"requestBody": BODY, "streamWindow": "64Ki"}
PIECE = bytes(60_000)
CLIENT_WINDOW = 65_535
SIZE = 2 << 20
"""More than a buffer keeps in memory."""

CREDIT = 1 << 15
"""Bytes for which the front gives credit back at once: half of its window."""

SHORT: dict[str, Any] = {"timeouts": {"write": "300ms"}}


def blocked_upload(front: RunningFront, codec: str, peer: RawPeer) -> tuple[Client, int, int]:
    """A request whose body waits for the window of the peer; the stream at the client, and at the peer."""
    client, stream = post(front, codec)
    client.body(stream, PIECE, end=False)
    number, _ = peer.request()
    assert len(peer.body(1000)) == 1000
    client.body(stream, PIECE, end=False)
    (link,) = front.runtime._backends["app"]._balancer._connections
    wait_for(lambda: link.codec.pending(number) > HIGH_WATER)
    return client, stream, number


def assert_ended(front: RunningFront, peer: RawPeer, number: int) -> None:
    """The peer's stream is reset and counts no more, although the client is still connected."""
    reset = peer.read_until(http2.RST_STREAM)
    assert (reset.stream_id, reset.error_code) == (number, CANCEL)
    wait_for(lambda: front.upstream_connections()[0]["requests"] == 0)
    assert front.count(metrics.BACKEND_IN_FLIGHT, "app") == 0
    wait_for(lambda: not front.observer.open)
    assert front.connections


def test_a_body_that_grows_too_large(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec, WINDOW, limits=LIMITS) as (front, _, peer):
        client, stream, number = blocked_upload(front, codec, peer)
        client.body(stream, PIECE, end=False)
        assert client.finish(stream).status == 413
        assert_ended(front, peer, number)
        assert reason(front) == (Fault.CLIENT, "body_too_large")
        client.close()


def test_a_body_that_grows_too_large_for_another_server(engine: str, tmp_path: Path) -> None:
    with RawServer(tmp_path) as server, remote_front(engine, h2c=f"unix:{server.path}") as front:
        object.__setattr__(front.runtime._listeners[0].service.limits, "request_body", BODY)
        peer = server.accept(WINDOW)
        client, stream, number = blocked_upload(front, engine, peer)
        client.body(stream, PIECE, end=False)
        assert client.finish(stream).status == 413
        assert_ended(front, peer, number)
        client.close()


def test_a_request_that_takes_too_long_while_its_body_waits(codec: str, tmp_path: Path) -> None:
    routes = [{"name": "all", "path": "/", "backend": "app", "timeouts": {"request": "300ms"}}]
    with front_and_peer(tmp_path, codec, WINDOW, limits=LIMITS, routes=routes) as (front, _, peer):
        client, stream, number = blocked_upload(front, codec, peer)
        assert client.finish(stream).status == 504
        assert_ended(front, peer, number)
        client.close()


def test_a_client_that_leaves_before_its_request_is_begun(engine: str, tmp_path: Path) -> None:
    """The request gets a task of its own, because the one before it waits: the task has not run yet."""
    with front_and_peer(tmp_path, engine) as (front, _, peer):
        client = front.client(engine)
        assert isinstance(client, Http2Client)
        with held_up(front):
            client.begin("POST", "/waits", [(b"content-length", b"3")], end=False)
            client.reset(client.begin("GET", "/left", [], end=True))
            last = client.begin("GET", "/last", [], end=True)
        number, head = peer.request()
        if head[b":path"] == b"/left":  # the front has read the bytes in two pieces, and has reset the stream
            number, head = peer.request()
        peer.send(peer.head(number, OK, end=True))
        assert client.finish(last).status == 200
        wait_for(lambda: len(front.observer.open) == 1)
        assert front.upstream_connections()[0]["requests"] == 0
        client.close()


def test_a_body_that_stops(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec, timeouts={"bodyIdle": "100ms"}) as (front, _, peer):
        client, stream = post(front, codec)
        client.body(stream, b"abc", end=False)
        number, _ = peer.request()
        assert client.finish(stream).status == 408
        assert_ended(front, peer, number)
        assert reason(front) == (Fault.CLIENT, "body_timeout")
        client.close()


@pytest.mark.parametrize("buffering", ["off", "on"])
def test_a_client_that_does_not_open_its_window(engine: str, tmp_path: Path, buffering: str) -> None:
    """The relay waits for the peer: the client has too little left for it to wait for the client."""
    config = {**SHORT, "backend": {"responseBuffering": buffering}}
    with front_and_peer(tmp_path, engine, **config) as (front, _, peer):
        client = front.client(engine, credit=False)
        stream = client.begin("GET", "/", [], end=True)
        number, _ = peer.request()
        size = CLIENT_WINDOW + 1000
        peer.send(peer.head(number, OK), *(http2.data(number, bytes(size // 8)) for _ in range(8)))
        assert client.finish(stream).reset
        assert_ended(front, peer, number)
        assert reason(front) == (Fault.CLIENT, "write_timeout")


def test_a_websockets_client_that_does_not_open_its_window(engine: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, engine, CONNECT_PROTOCOL, **SHORT) as (front, _, peer):
        client = front.client(engine, credit=False)
        stream = begin(client, "/", required(client))
        number, _ = peer.request()
        size = CLIENT_WINDOW + 1000
        peer.send(peer.head(number, OK), *(http2.data(number, bytes(size // 8)) for _ in range(8)))
        assert client.finish(stream).reset
        assert_ended(front, peer, number)
        assert reason(front) == (Fault.CLIENT, "write_timeout")


def test_a_buffered_response_that_cannot_be_read_again(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay waits for the peer, which need not send anything more."""
    monkeypatch.setattr("sidegate.aio.temporary_files.os.pread", lambda descriptor, size, offset: b"")
    config = {"limits": {"streamWindow": "64Ki"}, "backend": {"responseBuffering": "on"}}
    with front_and_peer(tmp_path, engine, **config) as (front, _, peer):
        client = front.client(engine, credit=False)
        assert isinstance(client, Http2Client)
        stream = client.begin("GET", "/", [], end=True)
        number, _ = peer.request()
        peer.send(peer.head(number, OK))
        for _ in range(SIZE // CREDIT):
            peer.send(*(http2.data(number, bytes(CREDIT // 2)) for _ in range(2)))
            while peer.read_until(http2.WINDOW_UPDATE).stream_id != number:
                pass
        client.credit = True
        client.state.increment_flow_control_window(SIZE)
        client.state.increment_flow_control_window(SIZE, stream)
        client.flush()
        assert client.finish(stream).reset
        assert_ended(front, peer, number)
        assert reason(front) == (Fault.PROXY, "buffer_lost")
