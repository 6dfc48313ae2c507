"""Servers that run: started on one core, waited for until they answer, ended with all their processes."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.bench import usage
from tests.bench.programs import Peers
from tests.bench.servers.kind import HOST, Kind, Site
from tests.bench.tls import client_context
from tests.support import processes
from tests.support.certificates import Authority, Pair
from tests.support.ports import reserve_port

ROOT = Path(__file__).parents[2]
START_PATIENCE = 100.0
STOP_PATIENCE = 10.0
POLL_SECONDS = 0.005


class Failed(Exception):  # it is the word in the table
    """A server did not start, or did not answer; the message is what its row says."""


@dataclass
class Server:
    """An instance. ``pids`` are the processes that were started; theirs is whatever they start."""

    kind: Kind
    site: Site
    started: float = field(default_factory=time.monotonic)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.running]

    @property
    def url(self) -> str:
        return f"{'https' if self.site.tls else 'http'}://{HOST}:{self.site.port}"

    def cpu_seconds(self) -> float:
        return usage.cpu_seconds(self.pids)

    def wait_answering(self) -> float:
        """Seconds from start to the first answer of 200 (a front in front of nothing says 502 before)."""
        deadline = time.monotonic() + START_PATIENCE
        while time.monotonic() < deadline:
            if any(process.poll() is not None for process in self.running):
                raise Failed(f"ended at start: {self.last_words()}")
            if self.answers():
                return time.monotonic() - self.started
            time.sleep(POLL_SECONDS)
        raise Failed(f"no answer within {START_PATIENCE:.0f} s: {self.last_words()}")

    def answers(self, path: str = "/", body: bytes | None = None) -> bool:
        """Whether it says 200 to a GET, or to a POST of ``body``."""
        connection = http.client.HTTPConnection(HOST, self.site.port, timeout=5)
        if self.site.tls:
            connection = http.client.HTTPSConnection(HOST, self.site.port, timeout=5, context=client_context())
        try:
            connection.request("GET" if body is None else "POST", path, body, {"content-type": "application/json"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def last_words(self) -> str:
        """The last line that its processes have printed, for the row of a server that failed."""
        lines = (self.site.folder / "output").read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing printed")[:100]

    def stop(self) -> None:
        everyone = [process for pid in self.pids for process in processes.tree(pid)]
        for started in reversed(self.running):  # the front first: it would complain of the application's end
            started.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(everyone, timeout=STOP_PATIENCE)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for started in self.running:
            started.wait()


@dataclass(frozen=True)
class Cores:
    """Where the servers run and where the load generator does; None leaves it to the system."""

    server: Sequence[int] | None
    client: Sequence[int] | None

    @classmethod
    def usable(cls) -> Cores:
        """A core each, where the system can pin and has two."""
        usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        return cls([usable[0]], [usable[1]]) if len(usable) > 1 else cls(None, None)


def line(client: subprocess.Popen[str]) -> str:
    """The next that a client of the harness's own prints. Raises ``Failed``."""
    printed = client.stdout.readline() if client.stdout is not None else ""
    if not printed:
        raise Failed("the client ended")
    return printed


def pinned(cores: Sequence[int] | None) -> list[str]:
    """The start of a command line that keeps the program on these cores."""
    return [] if cores is None else ["taskset", "--cpu-list", ",".join(str(core) for core in cores)]


@dataclass
class Starter:
    """Starts instances; each has a folder of its own in ``folder`` and its output in a file there."""

    folder: Path
    peers: Peers
    cores: Cores
    pair: Pair
    _count: int = 0

    @classmethod
    def create(cls, folder: Path, peers: Peers, cores: Cores) -> Starter:
        return cls(folder, peers, cores, Authority(folder).server("localhost", HOST))

    def start(self, kind: Kind, app: str, *, tls: bool, cores: Sequence[int] | None = None) -> Server:
        """Start it and do not wait; ``cores`` if not those of all servers."""
        self._count += 1
        folder = self.folder / str(self._count)  # short: the path of a unix socket has room for 107 bytes
        folder.mkdir()
        server = Server(kind, Site(app, tls, reserve_port(HOST), folder, self.pair, self.peers))
        with (folder / "output").open("wb") as output:
            try:
                for command in kind.launch(server.site):
                    server.running.append(
                        subprocess.Popen(
                            [*pinned(cores or self.cores.server), *command.arguments],
                            env=os.environ | command.environment,
                            stdin=subprocess.DEVNULL,
                            stdout=output,
                            stderr=output,
                            cwd=folder,  # no tree of sources: nobody imports what is not installed
                        )
                    )
            except BaseException:
                server.stop()
                raise
        return server

    @contextlib.contextmanager
    def one(self, kind: Kind, app: str, *, tls: bool, cores: Sequence[int] | None = None) -> Iterator[Server]:
        """An instance that answers, for as long as the block."""
        server = self.start(kind, app, tls=tls, cores=cores)
        try:
            server.wait_answering()
            yield server
        finally:
            server.stop()
