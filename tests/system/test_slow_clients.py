"""Clients of HTTP/2 that ask for many large responses and read nothing: what a front's memory does meanwhile."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest

from tests.conftest import Serve
from tests.support import http2
from tests.support.lifecycle import wait_until
from tests.support.server import Sidegate, app_config, http_get

MIB = 1 << 20
CONNECTIONS, REQUESTS = 3, 100
MESSAGE = 10 * MIB
SLACK = 32 * MIB


@pytest.fixture(params=["nghttp2", "h2"])
def server(request: pytest.FixtureRequest, serve: Serve) -> Sidegate:
    if request.param == "nghttp2":
        pytest.importorskip("sidegate.wire.http2.nghttp2", reason="the nghttp2 binding was not built")
    return serve(app_config("large_messages:app", http2Engine=request.param, processes=1))


def attack(server: Sidegate) -> socket.socket:
    """A connection with a closed window for every stream, and its requests."""
    sock = socket.create_connection(("127.0.0.1", server.port()))
    speaker = http2.Speaker()
    fields = [(name, b"/large" if name == b":path" else value) for name, value in http2.GET]
    heads = [speaker.headers(2 * number + 1, fields) for number in range(REQUESTS)]
    sock.sendall(b"".join([http2.PREFACE, http2.settings((4, 0)), *heads]))
    return sock


def test_a_front_stays_small(server: Sidegate) -> None:
    """It holds one message for each connection, and gives the memory back."""
    (front,) = server.fronts
    assert http_get(server.url("/before")) == (200, "/before")
    before = front.memory_info().rss
    socks = [attack(server) for _ in range(CONNECTIONS)]
    wait_until(lambda: "reads too slowly" in server.log(), "the client is found to be slow")
    assert peak(front) - before < CONNECTIONS * MESSAGE + SLACK
    assert http_get(server.url("/meanwhile")) == (200, "/meanwhile")
    for sock in socks:
        sock.close()
    wait_until(lambda: front.memory_info().rss - before < SLACK, "the memory is given back")


def peak(process: psutil.Process) -> int:
    """The largest RSS that it has had, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
