"""How connections to upstream servers end: peers that do not answer any more, and peers that end every connection.

The time of the check for silence is an argument, so no test waits for it.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sidegate.backends.upstream import endpoint_connections
from sidegate.backends.upstream.balancer import CHECKS_PER_LIMIT
from sidegate.backends.upstream.remote import LIVENESS
from tests.support import http2
from tests.support.clients import contains
from tests.support.raw_server import OK, RawPeer, RawServer
from tests.support.relaying import RunningFront, remote_front, running_front
from tests.support.running import wait_equal, wait_for
from tests.support.websocket import answer, begin, required

MAX_CONCURRENT_STREAMS = 0x3
CONNECT_PROTOCOL = (0x8, 1)
ENHANCE_YOUR_CALM = 0xB
LONG = {"timeout": "1h"}
PONG = http2.frame(http2.PING, http2.ACK, 0, b"sidegate")
LIVENESS_TIMEOUT = {"livenessTimeout": f"{LIVENESS:.0f}s"}
ENOUGH = CHECKS_PER_LIMIT + 2
"""Checks from the last input to the end of a silence: one finds it, one sends the PING."""


class Time:
    """The balancer's time, which passes from check to check."""

    def __init__(self, front: RunningFront) -> None:
        self._front = front
        self._now = 0.0

    def check(self, times: int = 1) -> None:
        """So many checks, between which the front reads nothing."""

        async def check() -> None:
            self._now = self._now or self._front.balancer.loop.time()
            for _ in range(times):
                self._front.balancer.check_connections(self._now)
                self._now += LIVENESS / CHECKS_PER_LIMIT

        self._front.run(check())


@contextlib.contextmanager
def front_and_peer(
    folder: Path, engine: str, *settings: tuple[int, int]
) -> Iterator[tuple[RunningFront, RawServer, RawPeer]]:
    """A front before somebody else's server, which is the test itself."""
    with RawServer(folder) as server, remote_front(engine, h2c=f"unix:{server.path}") as front:
        peer = server.accept(*settings)
        wait_for(lambda: front.upstream_connections()[0]["ready"])
        yield front, server, peer


def by_the_peer(front: RunningFront, server: RawServer, peer: RawPeer, stream: int) -> None:
    """The peer lets ``stream`` finish; the front has another connection."""
    peer.send(http2.goaway(last=stream))
    server.accept()
    wait_for(lambda: front.upstream_connections()[0]["ready"])


def by_the_front(front: RunningFront, server: RawServer, peer: RawPeer, stream: int) -> None:
    """The endpoint is no longer on the list: its name has other addresses, or the worker is replaced."""

    async def change() -> None:
        front.balancer.set_endpoints(())

    front.run(change())
    peer.read_until(http2.GOAWAY)


Leave = Callable[[RunningFront, RawServer, RawPeer, int], None]
leaves = pytest.mark.parametrize("leave", [by_the_peer, by_the_front])


@leaves
def test_a_peer_that_falls_silent_while_its_connection_leaves_is_cut(
    engine: str, tmp_path: Path, leave: Leave, caplog: pytest.LogCaptureFixture
) -> None:
    with front_and_peer(tmp_path, engine) as (front, server, peer):
        client = front.client(engine)
        stream = client.begin("POST", "/", [], end=True)
        leave(front, server, peer, peer.request()[0])
        Time(front).check(ENOUGH)
        assert client.finish(stream).status == 502
        peer.read_until(http2.PING)
        peer.wait_closed()
    assert caplog.text.count("did not answer a PING") == len(server.peers)


@leaves
def test_a_peer_that_answers_while_its_connection_leaves_is_not_cut(engine: str, tmp_path: Path, leave: Leave) -> None:
    with front_and_peer(tmp_path, engine) as (front, server, peer):
        client = front.client(engine)
        stream = client.begin("GET", "/", [], end=True)
        number, _ = peer.request()
        leave(front, server, peer, number)
        peer.send(peer.head(number, OK))
        time = Time(front)
        for piece in (b"1", b"2", b"3"):
            time.check(2)
            peer.read_until(http2.PING)
            peer.send(PONG, http2.data(number, piece))
            client.until(stream, contains(piece))
        peer.send(http2.data(number, b"4", end=True))
        assert client.finish(stream).body == b"1234"
        peer.wait_closed()


@leaves
def test_a_websocket_whose_peer_falls_silent_while_its_connection_leaves(
    engine: str, tmp_path: Path, leave: Leave
) -> None:
    with front_and_peer(tmp_path, engine, CONNECT_PROTOCOL) as (front, server, peer):
        client = front.client(engine)
        stream = begin(client, "/", required(client))
        number, _ = peer.request()
        peer.send(peer.head(number, OK))
        websocket = answer(client, stream)
        leave(front, server, peer, number)
        Time(front).check(ENOUGH)
        assert websocket.closed().code == 1006
        peer.wait_closed()


@leaves
def test_a_worker_that_falls_silent_while_it_drains_is_left_to_the_supervisor(
    engine: str, tmp_path: Path, leave: Leave
) -> None:
    """It has the grace period for its requests. One that serves is reported because of its other connection."""
    with RawServer(tmp_path) as server, running_front(engine, LIVENESS_TIMEOUT) as front:
        front.set_workers((1, server.path))
        peer = server.accept()
        client = front.client(engine)
        stream = client.begin("POST", "/", [], end=True)
        number, _ = peer.request()
        leave(front, server, peer, number)
        time = Time(front)
        time.check(ENOUGH + 2)
        assert front.told("stuck") == [{"type": "stuck", "backend": "app", "serial": 1}] * (len(server.peers) - 1)
        peer.answer(number)
        assert client.finish(stream).status == 200


# Connections that end soon.

FOREVER = 3600.0
EVERY_STREAM = (1 << 31) - 1


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection of a test ends soon, however slow the machine is."""
    monkeypatch.setattr(endpoint_connections, "STABLE_AFTER", FOREVER)
    monkeypatch.setattr(endpoint_connections, "UNUSED_BEFORE", FOREVER)


def goaway_before_any_request(server: RawServer) -> None:
    peer = server.accept()
    peer.read_until(http2.SETTINGS)
    peer.read_until(http2.SETTINGS)  # it acknowledges ours, so the connection is ready
    peer.send(http2.goaway())


def goaway_for_every_stream(server: RawServer) -> None:
    peer = server.accept()
    peer.read_until(http2.SETTINGS)
    peer.read_until(http2.SETTINGS)
    peer.send(http2.goaway(last=EVERY_STREAM), http2.goaway())


def goaway_with_settings(server: RawServer) -> None:
    server.accept(then=http2.goaway())


def goaway_without_room(server: RawServer) -> None:
    server.accept((MAX_CONCURRENT_STREAMS, 0), then=http2.goaway(last=EVERY_STREAM))


def goaway_that_refuses(server: RawServer) -> None:
    peer = server.accept()
    peer.request()
    peer.send(http2.goaway())


def end_after_settings(server: RawServer) -> None:
    peer = server.accept()
    peer.read_until(http2.SETTINGS)
    peer.read_until(http2.SETTINGS)
    peer.sock.shutdown(socket.SHUT_WR)


def end_without_settings(server: RawServer) -> None:
    server.accept_only().close()


USELESS = [
    goaway_before_any_request,
    goaway_for_every_stream,
    goaway_with_settings,
    goaway_without_room,
    goaway_that_refuses,
    end_after_settings,
    end_without_settings,
]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("end", USELESS)
def test_a_server_whose_connections_are_of_no_use_fails(
    engine: str, tmp_path: Path, end: Callable[[RawServer], None], caplog: pytest.LogCaptureFixture
) -> None:
    """So it is tried less and less often, and the log has one line."""
    with RawServer(tmp_path) as server, remote_front(engine, h2c=f"unix:{server.path}", queue=LONG) as front:
        client = front.client(engine)
        stream = client.begin("POST", "/", [], end=True) if end is goaway_that_refuses else 0
        for failures in range(1, 5):
            end(server)
            wait_equal(lambda: front.upstream_connections()[0]["failures"], failures)
        assert caplog.text.count("backend app: ") == 1
        if stream:
            peer = server.accept()
            peer.answer(peer.request()[0])
            assert client.finish(stream).status == 200


@pytest.mark.usefixtures("patient")
def test_a_row_of_failures_ends_with_a_stable_connection(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with RawServer(tmp_path) as server, remote_front(engine, h2c=f"unix:{server.path}") as front:
        for _ in range(3):
            goaway_before_any_request(server)
        wait_for(lambda: front.upstream_connections()[0]["failures"] == 3)
        assert "problem" in front.upstream_connections()[0]
        assert "connected" not in caplog.text
        monkeypatch.setattr(endpoint_connections, "STABLE_AFTER", 0.0)
        server.accept()
        wait_for(lambda: front.upstream_connections()[0]["failures"] == 0)
        assert "problem" not in front.upstream_connections()[0]
        assert caplog.text.count("connected") == 1


def after_its_answer(peer: RawPeer, stream: int) -> None:
    peer.answer(stream)
    peer.send(http2.goaway(last=stream))


def before_its_answer(peer: RawPeer, stream: int) -> None:
    peer.send(http2.goaway(last=EVERY_STREAM), http2.goaway(last=stream))
    peer.answer(stream)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("end", [after_its_answer, before_its_answer])
def test_a_server_with_one_request_for_each_connection_has_not_failed(
    engine: str, tmp_path: Path, end: Callable[[RawPeer, int], None], caplog: pytest.LogCaptureFixture
) -> None:
    with RawServer(tmp_path) as server, remote_front(engine, h2c=f"unix:{server.path}", queue=LONG) as front:
        client = front.client(engine)
        for _ in range(4):
            stream = client.begin("POST", "/", [], end=True)
            peer = server.accept()
            end(peer, peer.request()[0])
            assert client.finish(stream).status == 200
            peer.wait_closed()
        server.accept()
        assert front.upstream_connections()[0]["failures"] == 0
    assert "backend app: " not in caplog.text


@pytest.mark.usefixtures("patient")
def test_a_goaway_with_an_error_lets_the_streams_in_flight_finish(engine: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, engine) as (front, server, peer):
        client = front.client(engine)
        stream = client.begin("POST", "/", [], end=True)
        number, _ = peer.request()
        peer.send(http2.goaway(last=number, code=ENHANCE_YOUR_CALM))
        server.accept()
        assert front.upstream_connections()[0]["failures"] == 1
        peer.answer(number)
        assert client.finish(stream).status == 200
        peer.wait_closed()


def test_a_server_that_closes_idle_connections_has_not_failed(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(endpoint_connections, "UNUSED_BEFORE", 0.0)
    with RawServer(tmp_path) as server, remote_front(engine, h2c=f"unix:{server.path}") as front:
        for _ in range(4):
            goaway_before_any_request(server)
        server.accept()
        assert front.upstream_connections()[0]["failures"] == 0
    assert "backend app: " not in caplog.text


def test_a_server_that_never_has_room(engine: str, tmp_path: Path) -> None:
    """It keeps its one connection, and the other server gets every request."""
    with RawServer(tmp_path, "0") as full, RawServer(tmp_path, "1") as free:
        addresses = [f"unix:{full.path}", f"unix:{free.path}"]
        with remote_front(engine, h2c=addresses, queue={"timeout": "50ms"}) as front:
            full.accept((MAX_CONCURRENT_STREAMS, 0))
            peer = free.accept()
            wait_for(lambda: all(connection["ready"] for connection in front.upstream_connections()))
            client = front.client(engine)
            for _ in range(10):
                stream = client.begin("GET", "/", [], end=True)
                peer.answer(peer.request()[0])
                assert client.finish(stream).status == 200
            peer.send(http2.settings((MAX_CONCURRENT_STREAMS, 0)))
            peer.read_until(http2.SETTINGS)
            stream = client.begin("GET", "/", [], end=True)
            assert client.finish(stream).status == 503
            assert front.observer.records[-1].reason == "queue_timeout"
            assert [connection["failures"] for connection in front.upstream_connections()] == [0, 0]
