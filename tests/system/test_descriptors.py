"""A front at its limit of file descriptors: it still serves, and reaches a worker that was replaced."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.support.lifecycle import PATIENCE, Start, held_open, wait_until
from tests.support.pools import wait_workers
from tests.support.server import APPS, Sidegate, app_config, http_get

ROOM = 60
"""Descriptors that the front may open after its start."""

UPLOAD = b"POST /pid HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n"
"""A request whose body does not come: its connection is not idle."""

POOLED: dict[str, Any] = {
    "processes": 1,
    "timeouts": {"bodyIdle": "5m"},
    "backends": {"app": {"app": "lifecycle:app", "directory": str(APPS), "pool": {"workers": 1}}},
}


def limit(server: Sidegate) -> psutil.Process:
    """Lower the limit of the only front, which is returned."""
    (front,) = server.fronts
    front.rlimit(psutil.RLIMIT_NOFILE, (front.num_fds() + ROOM, front.rlimit(psutil.RLIMIT_NOFILE)[1]))
    return front


@contextlib.contextmanager
def crowd(server: Sidegate, sends: bytes) -> Iterator[list[socket.socket]]:
    """More connections than the front has descriptors for. They stay open."""
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(2 * ROOM):
            clients.append(stack.enter_context(socket.create_connection(("127.0.0.1", server.port()))))
            clients[-1].sendall(sends)
            clients[-1].settimeout(PATIENCE)
        yield clients


def replace_worker(server: Sidegate, pid: int) -> bytes:
    """Kill the worker; the pid of the next."""
    os.kill(pid, signal.SIGKILL)
    (successor,) = wait_until(lambda: (new := wait_workers(server, 1, "app")) != [pid] and new, "a successor")
    return b"%d" % successor


def test_a_new_client_reaches_a_replaced_worker_past_idle_connections(start: Start) -> None:
    server = start(config=POOLED)
    (pid,) = wait_workers(server, 1, "app")
    front = limit(server)
    with crowd(server, b""):
        server.wait_log("idle connections; raise the limit", PATIENCE)
        successor = replace_worker(server, pid)
        assert http_get(server.url("/pid"), patience=PATIENCE) == (200, successor.decode())
        assert server.fronts == [front]


def test_a_request_reaches_a_replaced_worker_past_connections_in_use(start: Start) -> None:
    server = start(config=POOLED)
    (pid,) = wait_workers(server, 1, "app")
    front = limit(server)
    with crowd(server, UPLOAD) as clients:
        server.wait_log("new connections have to wait", PATIENCE)
        successor = replace_worker(server, pid)
        clients[0].sendall(b"12345")
        assert clients[0].recv(65536).endswith(successor)
        assert server.fronts == [front]
    assert http_get(server.url("/pid"), patience=PATIENCE) == (200, successor.decode())
    assert "Traceback" not in server.log()


def test_an_application_that_takes_all_descriptors(tmp_path: Path) -> None:
    config = {**app_config("greedy:app"), "processes": 1}
    with contextlib.closing(Sidegate(tmp_path, config)) as server:
        server.wait_ready()
        front = limit(server)
        assert http_get(server.url("/take"), patience=PATIENCE)[0] == 200
        with held_open(server, "/hold"):  # it has the descriptor of the connection before
            for _ in range(20):
                assert http_get(server.url("/"), patience=PATIENCE)[0] in (200, 500)  # not 200 if it found none
            server.wait_log("file descriptors are in use")
        assert server.fronts == [front]
