"""What the layers are timed on: a real runtime without sockets, real requests as bytes, a transport that forgets."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hpack
import yaml

from sidegate.backends.app.loading import import_applications
from sidegate.config.load import load
from sidegate.observe.cells import Area
from sidegate.observe.metrics import CellLayout
from sidegate.observe.observer import Observer
from sidegate.process.runtime import Runtime
from sidegate.server.connection import Connection
from sidegate.server.service import ListenerService
from tests.bench.applications import plain
from tests.bench.http2_frames import get, preface
from tests.bench.servers.kind import HOST

CONNECTIONS = 16
STREAMS = 16  # of one HTTP/2 connection at once
H1_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: h2load nghttp2/1.52.0\r\nAccept: */*\r\n\r\n"
H2_REQUEST = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "localhost:8080"),
    (":path", "/"),
    ("user-agent", "h2load nghttp2/1.52.0"),
    ("accept", "*/*"),
]


class Forgetting(asyncio.Transport):
    """Takes all that is written, and has nothing to say."""

    def __init__(self) -> None:
        super().__init__({"peername": (HOST, 1), "sockname": (HOST, 2), "socket": _socket})

    def write(self, data: Any) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        pass


_socket = SimpleNamespace(family=socket.AF_INET)  # all that a connection asks its socket for


@dataclass(frozen=True)
class Clocks:
    """What the layers are measured with: ``cpu`` for long times, ``wall`` for short ones, because it is no system call.

    Under callgrind both count instructions. ``observer`` is the clock of Sidegate's that says how long a request took.
    """

    cpu: Callable[[], float] = time.process_time
    wall: Callable[[], float] = time.perf_counter
    observer: Callable[[], float] = time.perf_counter


SECONDS = Clocks()


@dataclass(frozen=True)
class Stage:
    """A protocol (``h2`` or ``http/1.1``), the service of its listener, and the input of one connection.

    ``opening`` comes first; each of ``batches`` then holds ``in_batch`` requests.
    """

    protocol: str
    service: ListenerService
    opening: bytes
    batches: Sequence[bytes]
    in_batch: int
    clocks: Clocks

    @property
    def requests(self) -> int:
        """How many one connection makes."""
        return len(self.batches) * self.in_batch

    def connection(self) -> Connection:
        """A new one, after its opening."""
        connection = Connection(self.service)
        connection.connection_made(Forgetting())
        if self.opening:
            connection.data_received(self.opening)
        return connection


async def make_stage(protocol: str, engine: str, requests: int, clocks: Clocks = SECONDS) -> Stage:
    """As a front makes it, on the running loop; ``requests`` are those of one connection."""
    config = await asyncio.to_thread(_config, protocol, engine)
    observer = Observer(config, Area.create(CellLayout(config).size).cells, clock=clocks.observer)
    runtime = Runtime.build(config, {"only": []}, observer, import_applications(config.backends))
    await runtime.start()
    service = runtime._listeners[0].service  # nobody but a benchmark looks inside
    if protocol != "h2":
        return Stage(protocol, service, b"", [H1_REQUEST] * requests, 1, clocks)
    encoder = hpack.Encoder()
    streams = iter(range(1, 2**31, 2))
    batches = [
        b"".join(get(next(streams), encoder.encode(H2_REQUEST)) for _ in range(STREAMS))
        for _ in range(requests // STREAMS)
    ]
    return Stage(protocol, service, preface(), batches, STREAMS, clocks)


def _config(protocol: str, engine: str) -> Any:
    """The configuration of ``make bench``, but that the one listener has the one protocol."""
    settings = {
        "listeners": [{"name": "only", "address": f"{HOST}:0", "protocols": [protocol]}],
        "backends": {"app": {"app": f"{plain.__name__}:app", "lifespan": "off"}},
        "routes": [{"name": "all", "path": "/", "backend": "app"}],
        "http2Engine": engine,
        "limits": {"connectionRequests": 1_000_000_000},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "micro.yaml"
        path.write_text(yaml.safe_dump(settings))
        loaded = load(path, {})
    if loaded.config is None:
        raise RuntimeError(f"the benchmark's own configuration is wrong: {loaded}")
    return loaded.config
