"""A Runtime on a thread of the test process: real sockets and a real event loop, without child processes.

System tests run whole servers (``support/server.py``); this is for tests that must reach applications and
objects inside, and for coverage of what they do.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
import sys
import threading
import types
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import uvloop

from proxy.asgi import App
from proxy.config.schema import Config
from proxy.observe.cells import Area
from proxy.observe.metrics import Layout
from proxy.observe.observer import Observer
from proxy.observe.record import Record
from proxy.runtime import Runtime
from tests.support.clients import Client, Http1Client, Http2Client

CODECS = ["http1", "http2-nghttp2", "http2-h2"]

_numbers = itertools.count()


class Keeping(Observer):
    """An observer that also keeps every finished record."""

    def __init__(self, config: Config, area: Area) -> None:
        super().__init__(config, area.cells)
        self.records: list[Record] = []

    def finished(self, record: Record) -> None:
        super().finished(record)
        self.records.append(record)


class Running:
    """A runtime that serves. ``address`` is where its first listener is."""

    def __init__(self, config: Config, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.config = config
        self._area = Area.create(Layout(config).size)
        self.observer = Keeping(config, self._area)
        self._sockets = {listener.name: [_listen()] for listener in config.listeners}
        self.address = self._sockets[config.listeners[0].name][0].getsockname()
        self._clients: list[socket.socket] = []
        self._loop = loop_factory()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.runtime = self.run(self._start())

    async def _start(self) -> Runtime:
        runtime = Runtime.build(self.config, self._sockets, self.observer)
        await runtime.start()
        runtime.serve()
        return runtime

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the runtime's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def drain(self, delay: float = 0.0, grace: float = 5.0) -> None:
        """Stop it as a front does."""
        self.run(self.runtime.drain(delay, grace))

    def connect(self) -> socket.socket:
        """A new cleartext connection, closed at the end if the test does not."""
        self._clients.append(socket.create_connection(self.address, timeout=10))
        return self._clients[-1]

    def connect_tls(self, context: ssl.SSLContext, name: str = "localhost") -> ssl.SSLSocket:
        """A new TLS connection."""
        self._clients.append(context.wrap_socket(self.connect(), server_hostname=name))
        return self._clients[-1]  # type: ignore[return-value]

    def client(self, codec: str, credit: bool = True) -> Client:
        """A client of the version that ``codec`` names, over cleartext."""
        sock = self.connect()
        return Http1Client(sock) if codec == "http1" else Http2Client(sock, credit)

    def close(self) -> None:
        """Cut what is left and end the thread."""
        self.drain(grace=0.0)
        for sock in self._clients:
            sock.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()
        self._area.close()


def _listen() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    return sock


@contextlib.contextmanager
def running(
    app: App,
    codec: str = "http1",
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
    tls: dict[str, Any] | None = None,
    lifespan: str = "off",
    **top_level: Any,
) -> Iterator[Running]:
    """Serve ``app`` (any callable) to clients; ``codec`` picks the HTTP/2 engine."""
    module = types.ModuleType(f"application_under_test_{next(_numbers)}")
    module.app = app  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    listener: dict[str, Any] = {"name": "test", "address": "127.0.0.1:0"}
    config = Config.model_validate(
        {
            "listeners": [listener if tls is None else {**listener, "tls": tls}],
            "backends": {"app": {"app": f"{module.__name__}:app", "lifespan": lifespan}},
            "routes": [{"name": "all", "path": "/", "backend": "app"}],
            "http2Engine": "h2" if codec == "http2-h2" else "auto" if codec == "http1" else "nghttp2",
            **top_level,
        }
    )
    try:
        server = Running(config, loop_factory)
        try:
            yield server
        finally:
            server.close()
    finally:
        del sys.modules[module.__name__]
