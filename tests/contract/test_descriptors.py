"""Few descriptors are left: idle connections make room, the rest waits, and Sidegate keeps some for itself."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidegate.config.schema import Limits
from sidegate.server import descriptors, idle_connections
from sidegate.server.connection_shares import ConnectionShares
from sidegate.server.descriptors import SMALLEST_RESERVE, SPARES, Descriptors, open_descriptors
from tests.support.apps import Gate, hello
from tests.support.certificates import Authority
from tests.support.clients import Client, request
from tests.support.running import Running, running, wait_for

LIMIT = 64


class Kernel:
    """What the kernel says about the descriptors of the server: ``others`` are those of no connection."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.others = 20
        self.server: Running | None = None
        monkeypatch.setattr(resource, "getrlimit", lambda _: (LIMIT, LIMIT))
        monkeypatch.setattr(descriptors, "open_descriptors", self._count)

    def _count(self, limit: int) -> int:
        if self.server is None:
            return self.others
        handshakes = (listener._handshakes for listener in self.server.runtime._listeners)
        shaking = sum(one.count for one in handshakes if one is not None)
        opening = sum(len(listener._opening) for listener in self.server.runtime._listeners)
        return min(int(self.others + len(self.server.connections) + shaking + opening), limit)

    def take(self, others: int) -> None:
        """Let others have so many descriptors, and the server count them."""
        assert self.server is not None
        self.others = others
        self.server.runtime._listeners[0]._descriptors.left = 0


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """The kernel, and connections that count as idle at once."""
    monkeypatch.setattr(descriptors, "IDLE_AFTER", 0.0)
    monkeypatch.setattr(idle_connections, "IDLE_AFTER", 0.0)
    return Kernel(monkeypatch)


@contextlib.contextmanager
def limited(kernel: Kernel, *args: object, **settings: object) -> Iterator[Running]:
    """A server whose descriptors that kernel counts."""
    with running(*args, **settings) as server:  # type: ignore[arg-type]
        kernel.server = server
        yield server


def test_the_oldest_idle_connections_make_room(codec: str, kernel: Kernel, caplog: pytest.LogCaptureFixture) -> None:
    with limited(kernel, hello, codec) as server:
        for _ in range(2 * LIMIT):
            client = server.client(codec)
            assert request(client, "GET", "/").status == 200
            assert kernel.others + len(server.connections) <= LIMIT - SMALLEST_RESERVE
        assert server.violations("no_descriptors") > LIMIT
        assert server.violations("accept_failed") == 0
    (line,) = [record.getMessage() for record in caplog.records if "file descriptors" in record.getMessage()]
    assert "of 64 file descriptors are in use" in line
    assert "LimitNOFILE" in line


def test_connections_in_use_are_not_closed_and_others_wait(
    codec: str, kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    app = Gate()
    with limited(kernel, app, codec) as server:
        busy: list[tuple[Client, int]] = []
        while not server.violations("accept_failed"):
            client = server.client(codec)
            busy.append((client, client.begin("GET", "/wait", [], end=True)))
            wait_for(lambda: app.waiting == len(busy) or server.violations("accept_failed"))
        # A connection may be counted twice while it is opened.
        assert len(server.connections) in (LIMIT - SMALLEST_RESERVE - kernel.others - n for n in (0, 1))
        assert server.violations("no_descriptors") == 0
        app.open()
        assert all(client.finish(stream).status == 200 for client, stream in busy)
    (line,) = [record for record in caplog.records if "new connections have to wait" in record.getMessage()]
    assert line.levelno == logging.ERROR


@pytest.mark.parametrize("sends", [b"", b"\x16\x03\x01\x00\xff"], ids=["nothing", "half a record"])
def test_handshakes_that_do_not_go_on_make_room(kernel: Kernel, authority: Authority, sends: bytes) -> None:
    tls = {"certificates": [authority.server("localhost").as_yaml()]}
    with limited(kernel, hello, tls=tls) as server:
        for _ in range(2 * LIMIT):
            server.connect().sendall(sends)
        handshakes = server.runtime._listeners[0]._handshakes
        assert handshakes is not None
        wait_for(lambda: server.violations("no_descriptors") + handshakes.count == 2 * LIMIT)
        assert handshakes.count <= LIMIT - SMALLEST_RESERVE - kernel.others


def test_few_connections_are_accepted_when_the_application_has_the_descriptors(kernel: Kernel) -> None:
    """Of the reserve, and when that is gone, on the spares."""
    app = Gate()
    with limited(kernel, app) as server:
        assert request(server.client("http1"), "GET", "/").status == 200  # the spares are there now
        spares = server.runtime._listeners[0]._descriptors._spares
        assert len(spares) == SPARES
        kernel.take(LIMIT - 1)
        assert request(server.client("http1"), "GET", "/").status == 200
        kernel.take(LIMIT)
        assert request(server.client("http1"), "GET", "/").status == 200
        assert request(server.client("http1"), "GET", "/").status == 200
        kernel.take(20)
        assert request(server.client("http1"), "GET", "/").status == 200
        assert len(spares) == SPARES
    assert spares == []


def test_without_a_reserve_nothing_is_closed_for_room(kernel: Kernel) -> None:
    """In a worker: only the spares are there, for a front that comes when the application has taken the rest."""
    loop = asyncio.new_event_loop()
    one = Descriptors(loop, reserves=False, shares=ConnectionShares(loop, Limits(), 0))
    kernel.others = LIMIT - 1
    assert one.make_room()
    kernel.others = LIMIT
    for _ in range(2):
        assert [one.make_room() for _ in range(SPARES + 1)] == [True] * SPARES + [False]
        assert one.short
        one.keep_spares()
        assert not one.short
    one.close()
    loop.close()


def test_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    loop = asyncio.new_event_loop()
    assert Descriptors(loop, reserves=True, shares=ConnectionShares(loop, Limits(), 0)).make_room()
    loop.close()


def test_the_number_of_descriptors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = open_descriptors(LIMIT)
    with socket.socket():
        assert open_descriptors(LIMIT) == before + 1
        monkeypatch.setattr(descriptors, "LINUX_FOLDER", None)  # an older kernel lists them
        assert open_descriptors(LIMIT) == before + 1
    monkeypatch.setattr(descriptors, "FOLDER", tmp_path / "none")
    assert open_descriptors(LIMIT) == 0


def test_the_number_of_descriptors_when_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    class Folder:
        def iterdir(self) -> list[Path]:
            raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(descriptors, "FOLDER", Folder())
    assert open_descriptors(LIMIT) == LIMIT
