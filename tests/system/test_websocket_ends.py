"""What becomes of open WebSockets when the service stops, and when a worker is replaced or dies."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.conftest import Serve
from tests.support.lifecycle import wait_until
from tests.support.pools import pool_config, remote_config, serving_workers, wait_workers, worker_command
from tests.support.server import Sidegate, http_get
from tests.support.websocket_clients import unverified

APP = "websocket_plain:app"
PATIENCE = 60.0
GOING_AWAY, LOST = 1001, 1006


class Opened:
    """WebSockets to the echo application, which stay open."""

    def __init__(self, server: Sidegate) -> None:
        self._server = server
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(self, path: str = "/x/echo", name: str = "http", **headers: str) -> ClientConnection:
        url = re.sub("^http", "ws", self._server.url(path, name))
        context = unverified() if url.startswith("wss:") else None
        fields = {key.replace("_", "-"): value for key, value in headers.items()}
        made = connect(url, ssl=context, additional_headers=fields, proxy=None, open_timeout=PATIENCE)
        return self._stack.enter_context(made)

    def pid(self) -> int:
        """The process that a new one gets to."""
        return int(json.loads(self.open("/x/about").recv(PATIENCE))["pid"])


def echoes(socket: ClientConnection) -> bool:
    """Whether it is open; waits for the answer."""
    try:
        socket.send("still there?")
        return socket.recv(PATIENCE) == "still there?"
    except ConnectionClosed:
        return False


def code_at_the_end(socket: ClientConnection) -> int:
    """The code with which the server closes; ``LOST`` if it does not."""
    with pytest.raises(ConnectionClosed):
        socket.recv(PATIENCE)
    assert socket.close_code is not None
    return socket.close_code


def test_a_service_that_stops_closes_with_going_away(serve: Serve) -> None:
    server = serve(pool_config(app=APP, websocketDrain="1s", gracePeriod="20s"))
    with Opened(server) as opened:
        ways = [(where, name) for where in ("front", "pool") for name in ("http", "https")]
        sockets = [opened.open(name=name, x_to=where) for where, name in ways * 3]
        assert all(echoes(socket) for socket in sockets)
        server.send_signal(signal.SIGTERM)
        assert [code_at_the_end(socket) for socket in sockets] == [GOING_AWAY] * len(sockets)
        assert server.wait() == 0
    assert "aborting" not in server.log()
    assert not server.survivors()


def test_websockets_are_closed_one_after_the_other_and_a_second_signal_does_not_wait(serve: Serve) -> None:
    server = serve(pool_config(app=APP, websocketDrain="40s", gracePeriod="50s"))
    with Opened(server) as opened:
        sockets = [opened.open(x_to="front") for _ in range(8)]
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: not all(echoes(socket) for socket in sockets), "the first is closed")
        assert any(echoes(socket) for socket in sockets)
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 128 + signal.SIGTERM
        assert {code_at_the_end(socket) for socket in sockets} <= {GOING_AWAY, LOST}


@pytest.mark.parametrize("bound", [{"maxRequests": 10}, {"maxAge": "2s"}])
def test_a_worker_that_is_replaced_closes_with_going_away(serve: Serve, bound: dict[str, Any]) -> None:
    server = serve(pool_config({"workers": 1, "stopTimeout": "5s", **bound}, app=APP))
    (old,) = wait_workers(server, 1)
    with Opened(server) as opened:
        socket = opened.open()
        assert echoes(socket)

        def successor() -> bool:
            http_get(server.url("/x/last"))
            return serving_workers(server) not in ([], [old])

        wait_until(successor, "a successor")
        assert code_at_the_end(socket) == GOING_AWAY
        assert opened.pid() != old


def test_a_worker_of_someone_else_that_stops_closes_with_going_away(serve: Serve, tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/app.sock"
    server = serve(remote_config(address))
    worker = subprocess.Popen(worker_command(address, app=APP), stdin=subprocess.DEVNULL)
    try:
        with Opened(server) as opened:
            wait_until(lambda: http_get(server.url("/x/last"))[0] == 200, "the worker serves")
            socket = opened.open()
            assert echoes(socket)
            worker.terminate()
            assert code_at_the_end(socket) == GOING_AWAY
        assert worker.wait(PATIENCE) == 0
    finally:
        worker.kill()
        worker.wait()


def test_a_worker_that_dies_takes_only_its_own_along(serve: Serve) -> None:
    server = serve(pool_config({"workers": 2}, app=APP))
    pids = wait_workers(server, 2)
    with Opened(server) as opened:
        sockets = [opened.open() for _ in range(8)]
        inside = opened.open(x_to="front")
        os.kill(pids[0], signal.SIGKILL)
        codes = [code_at_the_end(socket) for socket in sockets if not echoes(socket)]
        assert 0 < len(codes) < 8
        assert set(codes) == {LOST}
        assert echoes(inside)
        wait_until(lambda: len(now := serving_workers(server)) == 2 and pids[0] not in now, "a successor")
        assert opened.pid() != pids[0]
