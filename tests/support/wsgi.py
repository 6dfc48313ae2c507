"""Small WSGI applications, and a server for them, that tests share."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from sidegate.observe import metrics
from tests.support import relaying
from tests.support import running as in_process
from tests.support.clients import Client
from tests.support.running import Running, RunningServer, wait_equal, wait_for

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

TEXT = ("Content-Type", "text/plain")


@contextlib.contextmanager
def running(
    app: Callable[..., Any],
    codec: str = "http1",
    *,
    threads: int | None = None,
    backend: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Running]:
    """Serve ``app`` on threads of the front itself; ``backend`` adds to the backend."""
    own = {"interface": "wsgi", **({} if threads is None else {"threads": threads}), **(backend or {})}
    with in_process.running(app, codec, backend=own, **settings) as server:
        yield server


@contextlib.contextmanager
def behind_a_front(
    folder: Path,
    app: Callable[..., Any],
    codec: str = "http1",
    *,
    threads: int | None = None,
    pool: dict[str, Any] | None = None,
    backend: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[relaying.Both]:
    """Serve ``app`` in a worker: the threads are the worker's, the queue is the front's."""
    own = {**({} if threads is None else {"threads": threads}), **(pool or {})}
    backend = {"interface": "wsgi", **(backend or {})}
    with relaying.behind_a_front(folder, app, codec, pool=own, backend=backend, **settings) as server:
        wait_for(lambda: server.upstream_connections()[0]["ready"])  # else the first request may need the queue
        yield server


def respond(
    start_response: StartResponse, body: bytes = b"", status: str = "200 OK", headers: Iterable[tuple[str, str]] = ()
) -> list[bytes]:
    """One whole response."""
    start_response(status, [TEXT, *headers])
    return [body]


def hello(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Answers with the path, without a look at the body."""
    return respond(start_response, environ["PATH_INFO"].encode("latin-1"))


def echo(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Answers with the body of the request."""
    return respond(start_response, environ["wsgi.input"].read())


class Closing:
    """A response body around another one. ``closed`` counts the calls of ``close``, ``threads`` are all it met."""

    def __init__(self, blocks: Iterable[Any] = (b"x",)) -> None:
        self.blocks = blocks
        self.closed = 0
        self.threads: set[int] = set()

    def __iter__(self) -> Iterator[Any]:
        for block in self.blocks:
            self.threads.add(threading.get_ident())
            yield block

    def close(self) -> None:
        """PEP 3333: called in any case."""
        self.threads.add(threading.get_ident())
        self.closed += 1


class Gate:
    """An application whose requests below ``/wait`` hold their threads until ``open``, or the end of a with block.

    ``paths`` are those that were served, in order; ``inside`` and ``peak`` count requests at the same time.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.inside = self.peak = 0
        self._lock = threading.Lock()
        self._opened = threading.Event()

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        path = environ["PATH_INFO"]
        with self._lock:
            self.paths.append(path)
            self.inside += 1
            self.peak = max(self.peak, self.inside)
        try:
            if path.startswith("/wait"):
                assert self._opened.wait(60)
            return respond(start_response, path.encode())
        finally:
            with self._lock:
                self.inside -= 1

    def open(self) -> None:
        """Let them answer."""
        self._opened.set()

    def __enter__(self) -> Gate:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.open()


def queued(server: RunningServer) -> float:
    """How many requests wait for a thread."""
    return server.count(metrics.BACKEND_QUEUE, "app")


def thread_states(server: RunningServer) -> tuple[float, float]:
    """How many threads have work: those that are busy, and those that are stuck."""
    busy, stuck = (server.count(metrics.WSGI_THREADS, "app", state) for state in (metrics.BUSY, metrics.STUCK))
    return busy, stuck


def begin(server: RunningServer, codec: str, *paths: str) -> list[tuple[Client, int]]:
    """A GET of each, on connections of their own, one after the other."""
    clients = [(server.client(codec), path) for path in paths]
    return [(client, client.begin("GET", path, [], end=True)) for client, path in clients]


def hold(server: RunningServer, codec: str, gate: Gate, number: int) -> list[tuple[Client, int]]:
    """So many requests that the application has and does not answer."""
    held = begin(server, codec, *["/wait"] * number)
    wait_for(lambda: gate.inside == number)
    return held


def line_up(server: RunningServer, codec: str, *paths: str) -> list[tuple[Client, int]]:
    """Requests that wait for a thread in this order."""
    waiting = []
    for path in paths:
        before = queued(server)
        waiting += begin(server, codec, path)
        wait_equal(lambda: queued(server), before + 1)
    return waiting
