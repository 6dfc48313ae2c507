"""A front before ``misbehaving_server.py``: no place is lost, no POST is executed twice, no descriptor stays open.

A case has rounds. In each one the server misbehaves by one of its themes while visitors send requests, upload, and give
up. Then the server behaves and the visitors pause, and everything must be as at the start: no request under way, and as
many requests at once as the server takes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h2.exceptions
import h11

from tests.soak.misbehaving_server import PLACES
from tests.support.clients import Client, Http1Client, Http2Client, request
from tests.support.lifecycle import status, wait_until
from tests.support.server import Sidegate, listener

VISITORS = 32
ROUND = 5.0
"""Seconds in which the server misbehaves."""

THEMES = ["streams", "windows", "ends", "violations", "storm"]
SILENT_ROUND = 60.0
"""Seconds for the last round, whose theme is ``silent``: a front notices a silence after 30 to 40 s."""

STORM = 5
"""Connections a second to a server that ends each of them at once."""

BURST = 20
PATIENCE = 90.0
STATUSES = {200, 413, 502, 503, 504}
LARGEST_BODY = 96 * 1024

UNDER_WAY = re.compile(r"^sidegate_backend_(?:requests_in_flight|queue_length)\S* (\S+)$", re.MULTILINE)
RETRIES = re.compile(r'^sidegate_backend_retries_total\{.*reason="(\w+)"\} (\d+)', re.MULTILINE)
BROKEN = (ConnectionError, h11.ProtocolError, h2.exceptions.ProtocolError)

_numbers = itertools.count()


class Server:
    """The misbehaving server, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.path, control = f"{folder}/app.sock", f"{folder}/control.sock"
        command = [sys.executable, "-m", "tests.soak.misbehaving_server", self.path, control]
        self._log = (folder / "server.log").open("ab")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
        self._control = socket.socket(socket.AF_UNIX)
        self._control.settimeout(PATIENCE)
        wait_until(lambda: self._control.connect_ex(control) == 0, "the server's socket")
        self._answers = self._control.makefile("r")

    def tell(self, theme: str) -> Mapping[str, Any]:
        """Set a theme; anything else changes nothing. What the server has counted."""
        self._control.sendall(theme.encode() + b"\n")
        found: dict[str, Any] = json.loads(self._answers.readline())
        return found

    def count(self, what: str) -> int:
        return int(self.tell("?")["counts"].get(what, 0))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._control.close()
        self._log.close()


class Visitor(threading.Thread):
    """Sends one request after another while ``gate`` is open. ``outcomes``: how they ended."""

    def __init__(self, server: Sidegate, version: type[Client], gate: threading.Event, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._server, self._version, self._gate, self._stop_ = server, version, gate, stop
        self._client: Client | None = None
        self.outcomes: Counter[str] = Counter()
        self.parked = False

    def run(self) -> None:
        while not self._stop_.is_set():
            if not self._gate.is_set():
                self.parked = True
                self._gate.wait(0.1)
                continue
            self.parked = False
            try:
                self.outcomes[self._visit()] += 1
            except TimeoutError:
                self.outcomes["no answer"] += 1
                self._leave()
            except BROKEN:
                self.outcomes["broken off"] += 1
                self._leave()
        self._leave()

    def _visit(self) -> str:
        if self._client is None:
            self._client = connect(self._server, self._version)
        client = self._client
        (act,) = random.choices(list(ACTS), list(ACTS.values()))
        response = act(self, client, f"/{random.choice(['timed', 'plain'])}/{next(_numbers)}")
        if response is None:
            return "given up"
        if response.reset or (isinstance(client, Http1Client) and response.status != 200):
            self._leave()
        return "reset" if response.reset else str(response.status)

    def _get(self, client: Client, path: str) -> Any:
        return request(client, "GET", path)

    def _post(self, client: Client, path: str) -> Any:
        return request(client, "POST", path, bytes(random.choice([0, 10, 5000])))

    def _upload(self, client: Client, path: str) -> Any:
        return self._send_pieces(client, path, LARGEST_BODY // 8000)

    def _upload_too_much(self, client: Client, path: str) -> Any:
        return self._send_pieces(client, path, LARGEST_BODY // 8000 + 4)

    def _burst(self, client: Client, path: str) -> Any:
        """Many POSTs at once, where the version allows it."""
        count = BURST if isinstance(client, Http2Client) else 1
        streams = [client.begin("POST", f"{path}-{number}", [], end=True) for number in range(count)]
        return [client.finish(stream) for stream in streams][-1]

    def _send_pieces(self, client: Client, path: str, count: int) -> Any:
        stream = client.begin("POST", path, [], end=False)
        for _ in range(count):
            client.body(stream, bytes(8000), end=False)
        client.body(stream, b"", end=True)
        return client.finish(stream)

    def _give_up(self, client: Client, path: str) -> None:
        stream = client.begin("POST", path, [], end=random.random() < 0.5)
        time.sleep(random.random() * 0.05)
        if isinstance(client, Http2Client) and stream not in client.ended:
            client.reset(stream)
        else:
            self._leave()

    def _leave(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


ACTS = {
    Visitor._get: 35,
    Visitor._post: 35,
    Visitor._burst: 35,
    Visitor._upload: 10,
    Visitor._upload_too_much: 8,
    Visitor._give_up: 12,
}
"""What a visitor does, and how often."""


def connect(server: Sidegate, version: type[Client]) -> Client:
    sock = socket.create_connection(("127.0.0.1", server.port()), PATIENCE)
    client = version(sock)  # type: ignore[call-arg]
    sock.settimeout(PATIENCE)
    return client


def misbehaving(folder: Path, seconds: float, engine: str, themes: Sequence[str] = THEMES) -> str:
    """The case. ``engine``: of HTTP/2; ``themes``: one for each round, in turn."""
    end = time.monotonic() + seconds - SILENT_ROUND
    turns = itertools.cycle(themes)
    with contextlib.ExitStack() as stack:
        upstream = Server(folder)
        stack.callback(upstream.close)
        server = Sidegate(folder / "server", config(upstream.path, engine))
        stack.callback(server.close)
        server.wait_ready()
        check_places(server, upstream)
        before = descriptors(server)
        with visitors(server) as (crowd, gate):
            rounds = 0
            while time.monotonic() < end or rounds < len(themes):
                play(server, upstream, gate, crowd, next(turns))
                rounds += 1
            play(server, upstream, gate, crowd, "silent")
        wait_until(lambda: descriptors(server) <= before, "the closing of descriptors")
        assert "Traceback" not in server.log(), server.log()[-4000:]
        outcomes = sum((visitor.outcomes for visitor in crowd), Counter[str]())
        assert not outcomes["no answer"], outcomes
        counts, retries = upstream.tell("?")["counts"], dict(RETRIES.findall(server.admin("/metrics")[1]))
        return f"{rounds + 1} rounds, {told(outcomes)}; retries: {told(retries)}; server: {told(counts)}"


def config(path: str, engine: str) -> dict[str, Any]:
    timed = {"name": "timed", "path": "/timed", "backend": "remote", "timeouts": {"request": "3s"}}
    return {
        "processes": 1,
        "http2Engine": engine,
        "listeners": [listener()],
        "limits": {"requestBody": LARGEST_BODY, "connectionRequests": 0},
        "backends": {"remote": {"h2c": f"unix:{path}", "queue": {"timeout": "2s"}}},
        "routes": [timed, {"name": "plain", "path": "/", "backend": "remote"}],
    }


@contextlib.contextmanager
def visitors(server: Sidegate) -> Iterator[tuple[list[Visitor], threading.Event]]:
    gate, stop = threading.Event(), threading.Event()
    versions = itertools.cycle([Http1Client, Http2Client])
    crowd = [Visitor(server, version, gate, stop) for version in itertools.islice(versions, VISITORS)]
    for visitor in crowd:
        visitor.start()
    try:
        yield crowd, gate
    finally:
        stop.set()
        for visitor in crowd:
            visitor.join(PATIENCE)


def play(server: Sidegate, upstream: Server, gate: threading.Event, crowd: Sequence[Visitor], theme: str) -> None:
    """One round."""
    upstream.tell(theme)
    gate.set()
    before = upstream.count("connections")
    stutter(server, ROUND)
    if theme == "storm":
        made = upstream.count("connections") - before
        assert made <= ROUND * STORM, f"{made} connections in {ROUND:.0f} s to a server that ends each of them"
    gate.clear()
    upstream.tell("calm")
    try:
        wait_until(lambda: all(visitor.parked for visitor in crowd), "the end of every request")
        check_places(server, upstream)
        check_counts(upstream)
    except AssertionError as error:
        raise AssertionError(f"theme {theme}: {error}; {connections(server)}; {upstream.tell('?')['counts']}") from None


def stutter(server: Sidegate, seconds: float) -> None:
    """Stop the front for moments, so that its clients' bytes and the server's are there in one turn of its loop."""
    (front,) = server.fronts
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        front.suspend()
        time.sleep(0.05)
        front.resume()
        time.sleep(0.05)


def check_places(server: Sidegate, upstream: Server) -> None:
    """No request is under way, and as many as the server takes are answered at once."""
    wait_until(lambda: is_free(server), "free places")
    wait_until(lambda: upstream.count("open") == 0, "the end of every stream")
    clients = [connect(server, Http1Client) for _ in range(PLACES)]
    streams = [client.begin("GET", f"/hold/{PLACES}", [], end=True) for client in clients]
    for client, stream in zip(clients, streams, strict=True):
        try:
            response = client.finish(stream)
        except TimeoutError:
            raise AssertionError(f"no answer to {PLACES} requests at once") from None
        assert response.status == 200, f"{response.status} to one of {PLACES} requests at once"
        client.close()


def is_free(server: Sidegate) -> bool:
    return set(map(float, UNDER_WAY.findall(server.admin("/metrics")[1]))) == {0.0} and all(
        connection["ready"] and connection["requests"] == 0 and connection["capacity"] == PLACES
        for connection in connections(server)
    )


def connections(server: Sidegate) -> list[dict[str, Any]]:
    """Of the front, as it told lately."""
    (front,) = status(server)["processes"]
    return list(front["statistics"]["backends"]["remote"]["connections"])


def descriptors(server: Sidegate) -> int:
    return sum(front.num_fds() for front in server.fronts)


def check_counts(upstream: Server) -> None:
    """What the server has seen."""
    found = upstream.tell("?")
    assert not found["twice"], f"{len(found['twice'])} POSTs executed twice, {found['twice'][:3]}"
    for fault in ("too_many_streams", "window_exceeded"):
        assert not found["counts"].get(fault), f"{fault}: {found['counts'][fault]}"


def told(counts: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
