"""Worker processes without a supervisor or a front: a test says what those would, and hears what they say."""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sidegate import __version__
from sidegate.config.hop import NAME, worker_config
from sidegate.config.plain import pack
from sidegate.config.schema import Config
from sidegate.config.validation import validate
from sidegate.ipc import borrowed_packages
from sidegate.ipc.control import Decoder, Message, encode
from sidegate.observe import metrics
from sidegate.observe.cells import Area
from sidegate.observe.metrics import CellLayout
from sidegate.observe.resident import resident_bytes
from sidegate.wire import events as e
from sidegate.wire.hop import HEADER_TABLE, HOP_SETTING
from sidegate.wire.http2 import EngineSettings, load_engine
from sidegate.wire.http2.client import Http2ClientCodec
from tests.support.clients import Fields, Response

PATIENCE = 60.0
FRONT = {HOP_SETTING: 1}
"""What a front announces in its SETTINGS."""


def pool_of_one(app: str, folder: Path, pool: Mapping[str, Any] | None = None, **backend: Any) -> Config:
    """A configuration with the backend ``app`` in a pool."""
    return validate(
        Config,
        {
            "listeners": [{"name": "http", "address": "127.0.0.1:0"}],
            "backends": {
                "app": {"app": app, "directory": str(folder), "pool": {"workers": 1, **(pool or {})}, **backend}
            },
            "routes": [{"name": "all", "path": "/", "backend": "app"}],
        },
    )


class FrontClient:
    """A front's side of a connection, blocking. Unlike h2's client it goes on after the first GOAWAY."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE)
        settings = EngineSettings(100, 1 << 18, 1000, 1 << 18, 100, header_table=HEADER_TABLE, hop=True)
        self.codec = Http2ClientCodec(load_engine("auto"), settings)
        self.goaways: list[int] = []
        self._responses: dict[int, Response] = {}
        self._ended: set[int] = set()
        self.flush()
        while not self.codec.ready:
            self.pump()

    def begin(self, path: str, headers: Fields | None = None, method: bytes = b"GET") -> int:
        """Send a GET, or the head of a request with a body; the stream's number, 0 if the worker takes no more."""
        head = [(b":method", method), (b":scheme", b"http"), (b":authority", b"localhost"), (b":path", path.encode())]
        stream = self.codec.request(head + (headers or []), method == b"GET")
        self._responses[stream] = Response()
        self.flush()
        return stream

    def finish(self, stream: int) -> Response:
        """Read until that response is complete or broken off."""
        while stream not in self._ended:
            self.pump()
        return self._responses[stream]

    def get(self, path: str) -> str:
        """The body of one good response."""
        response = self.finish(self.begin(path))
        assert response.status == 200, response
        assert not response.reset
        return response.body.decode()

    def flush(self) -> None:
        """Write what the codec has."""
        with contextlib.suppress(BrokenPipeError):  # what it sent before is still to be read
            self.sock.sendall(self.codec.take_output())

    def pump(self) -> None:
        """Read once."""
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            data = b""
        assert data or self.codec.ready, "the worker closed the connection at once"
        for event in self.codec.receive(data) if data else self.codec.receive_eof():
            self._take(event)
        while self.codec.more:
            for event in self.codec.receive(b""):
                self._take(event)
        self.flush()

    def read_to_goaway(self) -> None:
        """Until the worker has announced its end."""
        while not self.goaways:
            self.pump()

    def read_to_the_end(self) -> None:
        """Until the worker has closed."""
        while not self.codec.closed:
            self.pump()

    def _take(self, event: e.Event) -> None:
        if isinstance(event, e.GoAway):
            self.goaways.append(event.last_stream_id)
        elif isinstance(event, e.ResponseHead):
            response = self._responses[event.stream_id]
            response.status, response.headers = event.status, event.headers
            if event.end_stream:
                self._ended.add(event.stream_id)
        elif isinstance(event, e.Body):
            self._responses[event.stream_id].received += event.data
            self.codec.acknowledge(event.stream_id, len(event.data))
        elif isinstance(event, e.End | e.Reset):
            self._responses[event.stream_id].reset |= isinstance(event, e.Reset)
            self._ended.add(event.stream_id)


class Process:
    """A child with its control socket, as the supervisor has it. Standard output and error go to ``log``."""

    def __init__(self, config: Config, log: Path, words: Sequence[str] = (), python: str = sys.executable) -> None:
        self.config = worker_config(config, "app")
        self._first = {
            "version": __version__,
            "config": pack(self.config),
            "pool": pack(config.backends["app"].pool),  # type: ignore[arg-type]  # it has one
            "backend": "app",
            "supervisor": os.getpid(),
            "ignored": [],
        }
        self.log_path = log
        self._decoder = Decoder()
        self._messages: list[Message] = []
        self.control, theirs = socket.socketpair()
        self.control.settimeout(PATIENCE)
        self.given = self.descriptors()
        with theirs, log.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    python,
                    borrowed_packages.WORKER_BOOT,
                    str(theirs.fileno()),
                    json.dumps(borrowed_packages.packages()),
                    *words,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno(), *self.given.values()],
            )

    def descriptors(self) -> dict[str, int]:
        """What is handed to the process beside its control socket, by the name in the first message."""
        return {}

    @property
    def pid(self) -> int:
        return self.process.pid

    def introduce(self, **changes: Any) -> None:
        """Send the first message."""
        self.say("config", **{**self._first, **self.given, **changes})

    def say(self, kind: str, **fields: Any) -> None:
        """Send a message."""
        self.control.sendall(encode(kind, **fields))

    def hear(self, kind: str) -> Message:
        """The next message of that kind; others are dropped, but ``failed`` fails."""
        return self.hear_until(kind)[-1]

    def hear_until(self, kind: str) -> list[Message]:
        """All messages up to the next one of that kind; ``failed`` fails."""
        heard: list[Message] = []
        while True:
            while self._messages:
                heard.append(self._messages.pop(0))
                if heard[-1]["type"] == kind:
                    return heard
                assert heard[-1]["type"] != "failed", heard[-1]
            data = self.control.recv(65536)
            assert data, f"it ended without saying {kind!r}:\n{self.log()}"
            self._messages += self._decoder.feed(data)

    def log(self) -> str:
        """What it has printed so far."""
        return self.log_path.read_text(errors="replace")

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """End it: without a supervisor it goes by itself, if it can."""
        self.control.close()
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(PATIENCE)


class Place:
    """What a worker is given: a listening unix socket at ``path``, and an area for its counters."""

    def __init__(self, config: Config, path: Path) -> None:
        self.path = path
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen()
        self._layout = CellLayout(worker_config(config, "app"))
        self._route = config.routes[0].name
        self.area = Area.create(self._layout.size)
        self._clients: list[FrontClient] = []

    def connect(self) -> socket.socket:
        """A new connection to the worker."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE)
        sock.connect(str(self.path))
        return sock

    def facts(self) -> dict[str, int]:
        """What the worker has counted, as the supervisor reads it."""
        in_flight = self.area.cells[self._layout.cell(metrics.IN_FLIGHT, NAME)]
        return {"requests": self._layout.ended(self.area.cells, self._route), "in_flight": int(in_flight)}

    def client(self) -> FrontClient:
        """A front's connection to the worker, closed at the end."""
        self._clients.append(FrontClient(self.connect()))
        return self._clients[-1]

    def close(self) -> None:
        """Let go of everything."""
        for client in self._clients:
            client.sock.close()
        self.listening.close()
        self.area.close()


class WorkerProcess(Process):
    """A worker of the pool ``app``."""

    def __init__(self, config: Config, folder: Path, python: str = sys.executable) -> None:
        self.place = Place(config, folder / "worker.sock")
        super().__init__(config, folder / "worker.log", python=python)

    def descriptors(self) -> dict[str, int]:
        return {"socket": self.place.listening.fileno(), "cells": self.place.area.fd}

    def start(self, **changes: Any) -> Message:
        """Introduce it and wait until it is ready; what it says then."""
        self.introduce(**changes)
        ready = self.hear("ready")
        self.place.listening.close()  # as the supervisor does: the socket is the worker's alone
        return ready

    def facts(self) -> dict[str, int]:
        """See ``Place``, with its resident memory."""
        return {**self.place.facts(), "rss": resident_bytes(self.pid)}

    def client(self) -> FrontClient:
        """See ``Place``."""
        return self.place.client()

    def close(self) -> None:
        super().close()
        self.place.close()


class ForkedWorker:
    """A worker that a preloader was asked to fork; ``pid`` is known when ``forked`` was heard."""

    def __init__(self, preloader: Process, config: Config, path: Path, number: int) -> None:
        self.place = Place(config, path)
        self.control, theirs = socket.socketpair()
        self.control.settimeout(PATIENCE)
        with theirs:
            fds = [theirs.fileno(), self.place.listening.fileno(), self.place.area.fd]
            socket.send_fds(preloader.control, [encode("fork", number=number)], array.array("i", fds))
        self.pid = int(preloader.hear("forked")["pid"])
        self.place.listening.close()
        self._decoder = Decoder()

    def hear(self) -> list[Message]:
        """The next messages; none: it has closed its end."""
        found: list[Message] = []
        while not found:
            data = self.control.recv(65536)
            if not data:
                return found
            found = self._decoder.feed(data)
        return found

    def close(self) -> None:
        """Take the supervisor's end away: it has to end."""
        self.control.close()
        self.place.close()
