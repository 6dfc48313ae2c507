"""A ``Connection`` without a socket: the test is the event loop's clock, the peer of the transport and the application.

A whole runtime is behind it, so that routes, admission and timeouts are the real ones.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import sys
import types
from types import SimpleNamespace
from typing import Any

from sidegate.backends.app.loading import import_applications
from sidegate.config.schema import Config
from sidegate.config.validation import validate
from sidegate.observe.cells import Area
from sidegate.observe.metrics import CellLayout
from sidegate.process.runtime import Runtime
from sidegate.server.connection import Connection
from tests.support.apps import Receive, Scope, Send
from tests.support.manual_loop import ManualTimeLoop
from tests.support.running import Keeping

_numbers = itertools.count()


class Call:
    """One call of the application. It does what ``tell`` says, and waits."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._orders: asyncio.Queue[Any] = asyncio.Queue()
        self.busy = False
        self.ended = False
        self.received: list[Any] = []
        self.errors: list[BaseException] = []

    def tell(self, order: Any) -> None:
        """``order``: a message to send, "receive", "return", or an exception to raise."""
        self.busy = True
        self._orders.put_nowait(order)

    async def run(self) -> None:
        try:
            while True:
                order = await self._orders.get()
                if order == "return":
                    return
                if isinstance(order, BaseException):
                    raise order
                try:
                    await self._do(order)
                except Exception as error:  # noqa: BLE001 - the application goes on, as a careless one does
                    self.errors.append(error)
                self.busy = False
        finally:
            self.ended = True

    async def _do(self, order: Any) -> None:
        if order == "receive":
            self.received.append(await self._receive())
        else:
            await self._send(order)


class PeerTransport(asyncio.Transport):
    """``written``: what left for the peer. ``stalled``: the peer reads nothing, so a write fills the buffer."""

    def __init__(self, loop: ManualTimeLoop) -> None:
        super().__init__(
            {
                "peername": ("192.0.2.1", 1),
                "sockname": ("192.0.2.2", 2),
                "socket": SimpleNamespace(family=socket.AF_INET),
            }
        )
        self._loop = loop
        self.connection: Connection | None = None
        self.written = bytearray()
        self.stalled = self.full = self.lost = self._closing = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.lost, "a write after the end"
        assert not self.full, "a write while writing was paused"
        self.written += data
        if self.stalled and self.connection is not None:
            self.full = True
            self.connection.pause_writing()

    def unstall(self) -> None:
        """The peer reads on."""
        self.stalled = False
        if self.full and self.connection is not None:
            self.full = False
            if not self.lost:
                self.connection.resume_writing()
            if self._closing:
                self.lose()

    def get_write_buffer_size(self) -> int:
        return 1 if self.full else 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self.reading = False
            if not self.full:
                self._loop.call_soon(self.lose)

    def abort(self) -> None:
        self._closing = True
        self.reading = False
        self._loop.call_soon(self.lose)

    def lose(self) -> None:
        """The connection is lost: its end, whoever wanted it."""
        if not self.lost and self.connection is not None:
            self.lost = True
            self.reading = False
            self.connection.connection_lost(None)


class ScriptedService:
    """A runtime with one connection at a time. ``codec``: one of ``running.CODECS``."""

    def __init__(self, codec: str, **top_level: Any) -> None:
        self.calls: list[Call] = []
        module = types.ModuleType(f"scripted_application_{next(_numbers)}")
        module.app = self._application  # type: ignore[attr-defined]
        self._module = module.__name__
        sys.modules[self._module] = module
        config = validate(
            Config,
            {
                "listeners": [{"name": "test", "address": "127.0.0.1:0", "protocols": [_PROTOCOLS[codec]]}],
                "backends": {"app": {"app": f"{self._module}:app", "interface": "asgi", "lifespan": "off"}},
                "routes": [{"path": "/", "backend": "app"}],
                "http2Engine": "auto" if codec == "http1" else codec.removeprefix("http2-"),
                **top_level,
            },
        )
        self._area = Area.create(CellLayout(config).size)
        self.observer = Keeping(config, self._area)
        self.loop = ManualTimeLoop()
        applications = import_applications(config.backends)
        self.loop.do(self._build, config, applications)
        self._start = self.loop.create_task(self.runtime.start())
        self.loop.do(lambda: None)
        self._start.result()

    def _build(self, config: Config, applications: Any) -> None:
        self.runtime = Runtime.build(config, {"test": []}, self.observer, applications)

    async def _application(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(scope, receive, send)
        self.calls.append(call)
        await call.run()

    def connect(self) -> tuple[Connection, PeerTransport]:
        transport = PeerTransport(self.loop)

        def make() -> None:
            transport.connection = Connection(self.runtime._listeners[0].service)
            transport.connection.connection_made(transport)

        self.loop.do(make)
        assert transport.connection is not None
        return transport.connection, transport

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and the clock tick at its end."""
        self.loop.now += seconds
        self.loop.do(lambda: None)

    def close(self) -> list[str]:
        """End the runtime. Returns the tasks that were left."""
        stop = self.loop.create_task(self.runtime.drain(0.0, 0.0))
        for _ in range(40):
            self.pass_time(1.0)
            if stop.done():
                break
        stop.result()
        self.loop.do(lambda: None)
        left = [repr(task) for task in asyncio.all_tasks(self.loop)]
        self.loop.close()
        self._area.close()
        del sys.modules[self._module]
        return left


_PROTOCOLS = {"http1": "http/1.1", "http2-nghttp2": "h2", "http2-h2": "h2"}
