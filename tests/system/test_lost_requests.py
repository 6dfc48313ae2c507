"""What clients lose is what the metrics say, and only latency is in the histogram of latency."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.conftest import Serve
from tests.support.lifecycle import PATIENCE, Start, held_open, serving, wait_until
from tests.support.pools import wait_workers
from tests.support.server import Sidegate, http_get, listener

APP = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    if scope["path"] == "/wait":
        await asyncio.sleep(3600)
    kind = b"text/event-stream; charset=utf-8" if scope["path"] == "/events" else b"text/plain"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": b"data: 1\\n\\n", "more_body": True})
    while scope["path"] == "/events" and (await receive())["type"] != "http.disconnect":
        pass
    await send({"type": "http.response.body", "body": b""})
"""


def configuration(folder: Path, pool: dict[str, Any] | None) -> dict[str, Any]:
    (folder / "ending.py").write_text(APP)
    backend = {"app": "ending:app", "directory": str(folder), "lifespan": "off"}
    return {
        "listeners": [listener()],
        "backends": {"ending": backend if pool is None else {**backend, "pool": pool}},
        "routes": [{"name": "all", "path": "/", "backend": "ending"}],
    }


def total(server: Sidegate, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    found = re.findall(rf"^{name}\{{(.*)\}} (\S+)$", server.admin("/metrics")[1], re.MULTILINE)
    wanted = {f'{label}="{value}"' for label, value in labels.items()}
    return sum(float(value) for text, value in found if wanted <= set(text.split(",")))


def test_requests_that_die_with_a_front_are_counted(start: Start, switches: Path) -> None:
    server = start()
    (front,) = serving(server)
    assert http_get(server.url("/pid"))[0] == 200
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(held_open(server, "/hold"))
        flight = "sidegate_route_requests_in_flight"
        wait_until(lambda: total(server, flight, route="all") == 5, "five requests in flight")
        os.kill(front, signal.SIGKILL)
        lost = {"route": "all", "fault": "proxy", "reason": "front_lost"}
        wait_until(lambda: total(server, "sidegate_exchange_errors_total", **lost) == 5, "five lost requests")
    assert total(server, "sidegate_requests_total", route="all", code="0") == 5
    assert total(server, "sidegate_requests_total", route="all", code="200") == 1
    assert total(server, flight, route="all") == 0


def test_a_front_that_drains_loses_nothing(start: Start, switches: Path) -> None:
    server = start()
    (front,) = serving(server)
    with held_open(server, "/hold") as client:
        wait_until((switches / "holding").exists, "a request in flight")
        os.kill(front, signal.SIGTERM)
        wait_until(lambda: [pid for pid in serving(server) if pid != front], "a successor")
        (switches / "release").touch()
        while client.recv(4096):
            pass
    wait_until(lambda: total(server, "sidegate_requests_total", route="all", code="200") == 1, "its count")
    assert total(server, "sidegate_exchange_errors_total", reason="front_lost") == 0


def test_requests_that_die_with_a_worker_are_counted_once(serve: Serve, tmp_path: Path) -> None:
    server = serve(configuration(tmp_path, {"workers": 1}))
    (worker,) = wait_workers(server, 1, "ending")
    clients = [socket.create_connection(("127.0.0.1", server.port()), PATIENCE) for _ in range(3)]
    for client in clients:
        client.sendall(b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    wait_until(lambda: total(server, "sidegate_backend_requests_in_flight", backend="ending") == 3, "three requests")
    os.kill(worker, signal.SIGKILL)
    for client in clients:
        response = http.client.HTTPResponse(client)
        response.begin()
        assert response.status == 502
        client.close()
    errors = {"route": "all", "fault": "upstream", "reason": "upstream_lost"}
    wait_until(lambda: total(server, "sidegate_exchange_errors_total", **errors) == 3, "three errors")
    assert total(server, "sidegate_exchange_errors_total") == 3
    assert total(server, "sidegate_requests_total", code="502") == 3


@pytest.mark.parametrize("pool", [None, {"workers": 1}], ids=["front", "pool"])
def test_websockets_and_event_streams_are_no_latency(serve: Serve, tmp_path: Path, pool: dict[str, Any] | None) -> None:
    server = serve(configuration(tmp_path, pool))
    for _ in range(2):
        with held_open(server, "/events") as client:
            while b"data: 1" not in client.recv(4096):
                pass
    assert http_get(server.url("/plain"))[0] == 200
    with connect(server.url("/socket").replace("http", "ws", 1), proxy=None):
        pass
    wait_until(lambda: total(server, "sidegate_requests_total", route="all") == 4, "four requests")
    assert total(server, "sidegate_request_duration_seconds_count", route="all") == 1
