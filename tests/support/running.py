"""A Runtime on a thread of the test process: real sockets and a real event loop, without child processes.

System tests run whole servers (``support/server.py``); this is for tests that must reach applications and
objects inside, and for coverage of what they do.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import socket
import ssl
import sys
import threading
import types
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol, TypeVar, cast

import uvloop

from sidegate.backends.app.loading import import_applications
from sidegate.config.address import parse_address
from sidegate.config.schema import Config
from sidegate.config.validation import validate
from sidegate.observe import metrics
from sidegate.observe.cells import Area
from sidegate.observe.metrics import CellLayout, Metric
from sidegate.observe.observer import Observer
from sidegate.observe.record import Record
from sidegate.process.runtime import Runtime
from sidegate.server.connection import Connection
from tests.support.clients import Client, Http1Client, Http2Client, Response, request

CODECS = ["http1", "http2-nghttp2", "http2-h2"]

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

T = TypeVar("T")

_numbers = itertools.count()


class Observed(Protocol):
    """The records of a server under test."""

    @property
    def records(self) -> list[Record]:
        """Those of the requests that have ended."""

    @property
    def open(self) -> set[Record]:
        """Those of the requests that have not ended."""

    @property
    def in_flight(self) -> int:
        """The number of requests under way."""


class RunningServer(Protocol):
    """What ``Running`` offers to a test, and a front with a worker behind it (``relaying.Both``) as well."""

    @property
    def observer(self) -> Observed:
        """The records."""

    @property
    def address(self) -> Any:
        """Where clients connect."""

    @property
    def layout(self) -> CellLayout:
        """The metrics."""

    @property
    def runtime(self) -> Runtime:
        """The runtime that clients connect to."""

    @property
    def connections(self) -> list[Connection]:
        """The connections of clients."""

    def connect(self) -> socket.socket:
        """A new cleartext connection."""

    def connect_tls(self, context: ssl.SSLContext, name: str = "localhost") -> ssl.SSLSocket:
        """A new TLS connection."""

    def client(self, codec: str, credit: bool = True, sock: socket.socket | None = None) -> Client:
        """A client of the version that ``codec`` names."""

    def count(self, metric: Metric, *labels: str) -> float:
        """The value of one sample."""

    def told(self, kind: str) -> list[dict[str, Any]]:
        """Reports of one kind."""

    def drain(self, delay: float = 0.0, grace: float = 5.0) -> None:
        """Stop as a front does."""

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the loop of ``runtime`` and wait for it."""


class Run(Protocol):
    """Serves an application: ``running`` below, and the contracts' fixture of that name."""

    def __call__(
        self, app: Callable[..., Any], codec: str = "http1", **settings: Any
    ) -> contextlib.AbstractContextManager[RunningServer]:
        """``codec`` picks the HTTP/2 engine; the settings are those of ``running``."""


class Keeping(Observer):
    """An observer that also keeps every finished record."""

    def __init__(self, config: Config, area: Area) -> None:
        super().__init__(config, area.cells)
        self.records: list[Record] = []
        self.open: set[Record] = set()

    def started(self, record: Record) -> None:
        super().started(record)
        self.open.add(record)

    def finished(self, record: Record) -> None:
        self.open.remove(record)  # fails for one that is finished twice
        super().finished(record)
        self.records.append(record)


class Running:
    """A runtime that serves. ``address`` is where its first listener is, ``reports`` what it told its supervisor."""

    def __init__(self, config: Config, loop_factory: LoopFactory) -> None:
        gc.freeze()  # what is there by now is not walked at the end: in a long run that took most of a test's time
        self.config = config
        self.applications = import_applications(config.backends)
        self.reports: list[dict[str, Any]] = []
        self.layout = CellLayout(config)
        self._area = Area.create(self.layout.size)
        self.observer = Keeping(config, self._area)
        self._sockets = {listener.name: [_listen(listener.addresses[0])] for listener in config.listeners}
        self.addresses = {name: socks[0].getsockname() for name, socks in self._sockets.items()}
        self.address = self.addresses[config.listeners[0].name]
        self._clients: list[socket.socket] = []
        self._loop = loop_factory()
        self._unhandled: list[dict[str, Any]] = []
        self._loop.set_exception_handler(lambda _, context: self._unhandled.append(context))
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        try:
            self.runtime = self.run(self._start())
        except BaseException:
            self._end_loop()
            self._area.close()
            for sock in itertools.chain(*self._sockets.values()):
                sock.close()
            raise

    async def _start(self) -> Runtime:
        runtime = Runtime.build(self.config, self._sockets, self.observer, self.applications, report=self._report)
        await runtime.start()
        runtime.serve()
        return runtime

    def _report(self, kind: str, **fields: Any) -> None:
        self.reports.append({"type": kind, **fields})

    def told(self, kind: str) -> list[dict[str, Any]]:
        """Reports of one kind."""
        return [report for report in self.reports if report["type"] == kind]

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the runtime's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def drain(self, delay: float = 0.0, grace: float = 5.0) -> None:
        """Stop it as a front does."""
        self.run(self.runtime.drain(delay, grace))

    def connect(self, listener: str = "") -> socket.socket:
        """A new cleartext connection to a listener (the first), closed at the end if the test does not."""
        address = self.addresses[listener] if listener else self.address
        if isinstance(address, str):
            self._clients.append(socket.socket(socket.AF_UNIX))
            self._clients[-1].settimeout(10)
            self._clients[-1].connect(address)
        else:
            self._clients.append(socket.create_connection(address[:2], timeout=10))
        return self._clients[-1]

    def connect_tls(self, context: ssl.SSLContext, name: str = "localhost") -> ssl.SSLSocket:
        """A new TLS connection."""
        self._clients.append(context.wrap_socket(self.connect(), server_hostname=name))
        return self._clients[-1]  # type: ignore[return-value]

    def client(self, codec: str, credit: bool = True, sock: socket.socket | None = None) -> Client:
        """A client of the version that ``codec`` names, over cleartext or over ``sock``."""
        sock = sock or self.connect()
        return Http1Client(sock) if codec == "http1" else Http2Client(sock, credit)

    @property
    def connections(self) -> list[Connection]:
        """Those that are open on any listener."""
        found = [listener.service.connections for listener in self.runtime._listeners]
        return [cast(Connection, connection) for connections in found for connection in connections]

    def count(self, metric: Metric, *labels: str) -> float:
        """The value of one sample; the labels are the metric's, but not those that ``CellLayout.cell`` leaves out."""
        return self._area.cells[self.layout.cell(metric, *labels)]

    def violations(self, reason: str) -> float:
        """Connections of the first listener that ended because of ``reason``."""
        return self.count(metrics.CONNECTION_ERRORS, self.config.listeners[0].name, reason)

    def close(self) -> None:
        """Cut what is left, end the thread, and look for what must not be left behind."""
        self.drain(grace=0.0)
        for sock in self._clients:
            sock.close()
        left = self.run(_other_tasks())
        self._end_loop()
        try:
            self._check_nothing_left(left)
        finally:
            self._area.close()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        gc.collect()  # asyncio tells of an exception that nobody saw when its task is collected
        self._loop.close()

    def _check_nothing_left(self, tasks: list[str]) -> None:
        assert not self._unhandled, self._unhandled
        assert not tasks, tasks
        assert not self.observer.open, "records that were never finished"
        assert not self.connections
        for route in (*(route.name for route in self.config.routes), ""):
            assert self.count(metrics.WEBSOCKETS_OPEN, route) == 0
        for listener in self.config.listeners:
            assert self.count(metrics.IN_FLIGHT, listener.name) == 0
            for protocol in metrics.CONNECTION_PROTOCOLS:
                assert self.count(metrics.OPEN_CONNECTIONS, listener.name, protocol) == 0


async def _other_tasks() -> list[str]:
    """The tasks that still run; one that has ended may need another step to say so."""
    await asyncio.sleep(0.01)
    return [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def _listen(text: str) -> socket.socket:
    """A listening socket; always on a free port."""
    address = parse_address(text)
    if address.kind == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(address.path)
    else:
        sock = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
        sock.bind((address.host, 0))
    sock.listen(128)
    return sock


@contextlib.contextmanager
def running(
    app: Callable[..., Any],
    codec: str = "http1",
    loop_factory: LoopFactory = uvloop.new_event_loop,
    tls: dict[str, Any] | None = None,
    lifespan: str = "off",
    *,
    listener: dict[str, Any] | None = None,
    backend: dict[str, Any] | None = None,
    **top_level: Any,
) -> Iterator[Running]:
    """Serve ``app`` (any callable) to clients; ``codec`` picks the HTTP/2 engine.

    ``listener`` adds to the listener, and ``backend`` to the backend.
    """
    module = types.ModuleType(f"application_under_test_{next(_numbers)}")
    module.app = app  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    settings: dict[str, Any] = {"name": "test", "address": "127.0.0.1:0", **(listener or {})}
    if tls is not None:
        settings["tls"] = tls
    config = validate(
        Config,
        {
            "listeners": [settings],
            "backends": {"app": {"app": f"{module.__name__}:app", "lifespan": lifespan, **(backend or {})}},
            "routes": [{"name": "all", "path": "/", "backend": "app"}],
            "http2Engine": "h2" if codec == "http2-h2" else "auto" if codec == "http1" else "nghttp2",
            **top_level,
        },
    )
    try:
        server = Running(config, loop_factory)
        try:
            yield server
        finally:
            server.close()
    finally:
        del sys.modules[module.__name__]


def wait_for(condition: Callable[[], object]) -> None:
    """Return when it holds; the test's own timeout is the limit."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.01)


def wait_equal(read: Callable[[], T], expected: T) -> None:
    """Return when ``read()`` gives ``expected``, which may depend on a loop's variable (a lambda must not)."""
    while read() != expected:
        threading.Event().wait(0.01)


def fetch(server: RunningServer, codec: str, *args: Any, **kwargs: Any) -> Response:
    """One request on a connection of its own."""
    client = server.client(codec)
    try:
        return request(client, *args, **kwargs)
    finally:
        client.close()


def only_record(server: RunningServer, count: int = 1) -> Record:
    """The record of the only (or last of ``count``) exchange; it closes a moment after the response."""
    wait_for(lambda: len(server.observer.records) >= count)
    return server.observer.records[-1]


def record_of(server: RunningServer, path: str) -> Record:
    """The record of the only request for ``path``; it closes a moment after the response."""
    target = path.encode()
    wait_for(lambda: any(record.target == target for record in server.observer.records))
    return next(record for record in server.observer.records if record.target == target)
