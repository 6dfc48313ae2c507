"""How connections to upstream servers end: peers that do not answer any more, and peers that end every connection.

The time of the check for silence is an argument, so no test waits for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sidegate.backends.upstream.balancer import CHECKS_PER_LIMIT
from sidegate.backends.upstream.remote import LIVENESS
from tests.support import http2
from tests.support.clients import contains
from tests.support.raw_server import OK, RawPeer, RawServer
from tests.support.relaying import RunningFront, remote_front, running_front
from tests.support.running import wait_for
from tests.support.websocket import answer, begin, required

CONNECT_PROTOCOL = (8, 1)
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
def test_a_worker_that_falls_silent_while_its_connection_leaves_is_reported(
    engine: str, tmp_path: Path, leave: Leave
) -> None:
    with RawServer(tmp_path) as server, running_front(engine, LIVENESS_TIMEOUT) as front:
        front.set_workers((1, server.path))
        peer = server.accept()
        client = front.client(engine)
        stream = client.begin("POST", "/", [], end=True)
        number, _ = peer.request()
        leave(front, server, peer, number)
        time = Time(front)
        time.check(ENOUGH + 2)
        assert front.told("stuck") == [{"type": "stuck", "backend": "app", "serial": 1}] * len(server.peers)
        peer.answer(number)  # the supervisor decides, not the front
        assert client.finish(stream).status == 200
