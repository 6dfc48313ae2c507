"""Slow clients of a WSGI application with four threads: in the front, in a pool, and in a ``sidegate worker``."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from common import pattern

from sidegate.wire import hop
from tests.conftest import Serve
from tests.support.clients import Http1Client, Http2Client, request
from tests.support.lifecycle import wait_until
from tests.support.pools import pool_config, wait_workers
from tests.support.server import APPS, Sidegate
from tests.support.streaming import MIB
from tests.support.workers import FrontClient

APP = "wsgi_plain:app"
THREADS = 4
LARGE = 300_000
"""More than is buffered in memory."""

Version = type[Http1Client | Http2Client]
Place = list[tuple[bytes, bytes]]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The socket of a worker that nobody supervises."""
    folder = tmp_path_factory.mktemp("worker")
    path = str(folder / "app.sock")
    command = [sys.executable, "-m", "sidegate", "worker", APP, "--threads", str(THREADS)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--directory", str(APPS), "--bind", f"unix:{path}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield path
    finally:
        process.terminate()
        assert process.wait(20) == 0, (folder / "log").read_text()


@pytest.fixture(scope="module")
def server(serve_module: Serve, worker: str, tmp_path_factory: pytest.TempPathFactory) -> Sidegate:
    config = pool_config({"threads": THREADS}, app=APP, processes=1)
    config["tempDirectory"] = str(tmp_path_factory.mktemp("bodies"))
    config["backends"]["inside"]["threads"] = THREADS
    config["backends"]["remote"] = {"h2c": f"unix:{worker}"}
    to_remote = {"matches": [{"headers": [{"name": "x-to", "value": "remote"}]}], "backend": "remote"}
    config["routes"].insert(0, {"name": "remote", **to_remote})
    server = serve_module(config)
    wait_workers(server, 1)
    with contextlib.closing(connect(server, Http1Client)) as client:
        wait_until(lambda: request(client, "GET", "/pid", headers=[(b"x-to", b"remote")]).status == 200, "the worker")
    return server


@pytest.fixture(params=["front", "pool", "remote"])
def place(request: pytest.FixtureRequest) -> Place:
    """The header field by which requests go there."""
    return [(b"x-to", request.param.encode())]


@pytest.fixture(params=[Http1Client, Http2Client], ids=["h1", "h2"])
def version(request: pytest.FixtureRequest) -> Version:
    version: Version = request.param
    return version


def connect(server: Sidegate, version: Version) -> Http1Client | Http2Client:
    return version(socket.create_connection(("127.0.0.1", server.port())))


def in_flight(server: Sidegate) -> int:
    """Requests that clients have under way."""
    text = server.admin("/metrics")[1]
    return sum(map(int, map(float, re.findall(r"^sidegate_requests_in_flight\{.*\} (\S+)$", text, re.MULTILINE))))


def all_threads_are_free(server: Sidegate, version: Version, place: Place) -> None:
    """As many requests as there are threads meet in the application."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(connect(server, version))) for _ in range(THREADS)]
        key = f"{version.__name__}-{place[0][1].decode()}-{id(clients)}"
        path = f"/meet?parties={THREADS}&key={key}"
        streams = [client.begin("GET", path, place, end=True) for client in clients]
        met = [client.finish(stream).body for client, stream in zip(clients, streams, strict=True)]
        assert met == [b"met"] * THREADS


@pytest.mark.parametrize("size", [10, LARGE])
def test_slow_uploads_stop_nobody(server: Sidegate, version: Version, place: Place, size: int) -> None:
    with contextlib.ExitStack() as stack:
        wait_until(lambda: in_flight(server) == 0, "the end of all requests")
        slow = [stack.enter_context(contextlib.closing(connect(server, version))) for _ in range(THREADS)]
        streams = [client.begin("POST", "/upload", place, end=False) for client in slow]
        for client, stream in zip(slow, streams, strict=True):
            client.body(stream, b"x" * size, end=False)
        wait_until(lambda: in_flight(server) == THREADS, "requests under way")
        all_threads_are_free(server, version, place)
        for client, stream in zip(slow, streams, strict=True):
            client.body(stream, b"y", end=True)
            told = json.loads(client.finish(stream).body)
            assert told["CONTENT_LENGTH"] == str(size + 1)
            assert told["body"] == "x" * size + "y"
    assert not list(Path(server.config["tempDirectory"]).iterdir())


@pytest.mark.parametrize("size", [3 * MIB, 16 * MIB])
def test_stalled_readers_stop_nobody(server: Sidegate, version: Version, place: Place, size: int) -> None:
    with contextlib.ExitStack() as stack:
        with contextlib.closing(connect(server, version)) as client:
            before = finished(client, place)
            slow = [stack.enter_context(contextlib.closing(stalling(server, version))) for _ in range(THREADS)]
            path = f"/pieces?size={size}"
            streams = [client.begin("GET", path, place, end=True) for client in slow]
            wait_until(lambda: finished(client, place) == before + THREADS, "applications that have finished")
        all_threads_are_free(server, version, place)
        assert not list(Path(server.config["tempDirectory"]).iterdir())
        expected = b"".join(pattern(size))
        for client, stream in zip(slow, streams, strict=True):
            response = client.finish(stream)
            assert (response.status, response.reset) == (200, False)
            assert response.received == expected


def stalling(server: Sidegate, version: Version) -> Http1Client | Http2Client:
    """A client for which the kernel keeps little."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.connect(("127.0.0.1", server.port()))
    return version(sock)


def finished(client: Http1Client | Http2Client, place: Place) -> int:
    """How many of the application's streamed responses were closed."""
    return int(json.loads(request(client, "GET", "/state", headers=place).body)["closed"])


def test_a_worker_without_a_front_buffers_itself(server: Sidegate, worker: str) -> None:
    """For a front, which says whose request it is, the front has decided."""
    facts = [(hop.PEER, hop.encode_peer(None, None, "http", "1.1", "")), (hop.REQUEST_ID, b"1" * 32)]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(worker)
        client = FrontClient(sock)
        assert client.codec.threads
        for fields, length in (([], "4"), (facts, None)):
            stream = client.begin("/upload", fields, method=b"POST")
            client.codec.send_data(stream, b"body", True)
            client.flush()
            told = json.loads(client.finish(stream).body)
            assert (told["body"], told.get("CONTENT_LENGTH")) == ("body", length)
