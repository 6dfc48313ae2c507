"""How each server of the comparison is started: one application process, TLS and cleartext, no access log."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

from tests.support import processes
from tests.support.certificates import Authority, Pair
from tests.support.ports import reserve_port

HERE = Path(__file__).parent
APP = "application:app"
START_PATIENCE = 30.0


@dataclass(frozen=True)
class Bench:
    """What all servers share: the interpreter of the peers, a folder for files, the certificate, the core."""

    peers: Path
    folder: Path
    pair: Pair
    core: int | None


@dataclass(frozen=True)
class Kind:
    """A server as the table names it. ``commands`` makes its command lines for a TLS and a cleartext port."""

    name: str
    protocols: frozenset[str]
    commands: Callable[[Bench, int, int], Sequence[Sequence[str]]]
    available: Callable[[], bool] = lambda: True


def _sidegate(engine: str) -> Callable[[Bench, int, int], Sequence[Sequence[str]]]:
    def commands(bench: Bench, tls_port: int, port: int) -> Sequence[Sequence[str]]:
        config = {
            "listeners": [
                {"name": "https", "address": f"127.0.0.1:{tls_port}", "tls": {"certificates": [bench.pair.as_yaml()]}},
                {"name": "http", "address": f"127.0.0.1:{port}"},
            ],
            "backends": {"app": {"app": APP, "directory": str(HERE)}},
            "routes": [{"name": "all", "path": "/", "backend": "app"}],
            "admin": {"address": f"127.0.0.1:{reserve_port()}"},
            "logging": {"accessLog": "off"},
            # h2load keeps its connections for the whole run; a GOAWAY in the middle would count as a failure.
            "limits": {"connectionRequests": 1_000_000_000},
        }
        path = bench.folder / f"sidegate-{engine}.yaml"
        path.write_text(yaml.safe_dump(config))
        return [[sys.executable, "-m", "proxy", "serve", str(path), "--http2-engine", engine]]

    return commands


def _uvicorn(bench: Bench, tls_port: int, port: int) -> Sequence[Sequence[str]]:
    common = [
        *(str(bench.peers), "-m", "uvicorn", APP, "--app-dir", str(HERE), "--host", "127.0.0.1"),
        *("--no-access-log", "--log-level", "warning", "--loop", "uvloop", "--http", "httptools", "--lifespan", "off"),
    ]
    tls = ["--ssl-certfile", str(bench.pair.cert), "--ssl-keyfile", str(bench.pair.key)]
    return [[*common, "--port", str(tls_port), *tls], [*common, "--port", str(port)]]


def _granian(bench: Bench, tls_port: int, port: int) -> Sequence[Sequence[str]]:
    common = [
        *(str(bench.peers), "-m", "granian", APP, "--working-dir", str(HERE), "--host", "127.0.0.1"),
        *("--interface", "asginl", "--loop", "uvloop", "--workers", "1", "--log-level", "warning", "--no-ws"),
    ]
    tls = ["--ssl-certificate", str(bench.pair.cert), "--ssl-keyfile", str(bench.pair.key)]
    return [[*common, "--port", str(tls_port), *tls], [*common, "--port", str(port)]]


def _nghttp2_built() -> bool:
    try:
        from proxy.wire.http2 import nghttp2  # noqa: F401, PLC0415  # whether it is there is the question
    except ImportError:
        return False
    return True


BOTH = frozenset({"h1", "h2"})
KINDS = (
    Kind("sidegate", BOTH, _sidegate("nghttp2"), _nghttp2_built),
    Kind("sidegate (engine h2)", BOTH, _sidegate("h2")),
    Kind("uvicorn", frozenset({"h1"}), _uvicorn),
    Kind("granian", BOTH, _granian),
)


@dataclass
class Server:
    """A running server."""

    kind: Kind
    tls_port: int
    port: int
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def cpu_seconds(self) -> float:
        """User and system time that all of its processes have used so far."""
        times = [process.cpu_times() for process in self._processes()]
        return sum(spent.user + spent.system for spent in times)

    def memory(self) -> list[tuple[str, int]]:
        """Resident bytes of each process, parents before children."""
        return [(process.name(), process.memory_info().rss) for process in self._processes()]

    def _processes(self) -> list[psutil.Process]:
        return [process for command in self.running for process in processes.tree(command.pid)]


@contextlib.contextmanager
def running(kind: Kind, bench: Bench) -> Iterator[Server]:
    """The server, accepting on both ports; its processes are gone afterwards."""
    server = Server(kind, reserve_port(), reserve_port())
    log_path = bench.folder / f"{kind.name}.log"
    pin = [] if bench.core is None else ["taskset", "--cpu-list", str(bench.core)]
    try:
        with log_path.open("wb") as log:
            for command in kind.commands(bench, server.tls_port, server.port):
                server.running.append(
                    subprocess.Popen(
                        [*pin, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=HERE.parents[1]
                    )
                )
        for port in (server.tls_port, server.port):
            _wait_accepting(port, server, log_path)
        yield server
    finally:
        for process in server.running:
            process.send_signal(signal.SIGTERM)
        for process in server.running:
            process.wait(START_PATIENCE)


def _wait_accepting(port: int, server: Server, log_path: Path) -> None:
    deadline = time.monotonic() + START_PATIENCE
    while time.monotonic() < deadline and all(process.poll() is None for process in server.running):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise SystemExit(f"{server.kind.name} does not accept on port {port}:\n{log_path.read_text(errors='replace')}")


def peers_python(where: Path) -> Path:
    """The interpreter of a virtual environment with the peers, made if it is not there yet."""
    python = where / "bin" / "python"
    if not python.exists():
        print(f"installing uvicorn and granian into {where.name}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(where)], check=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "uvicorn[standard]", "granian[uvloop]"], check=True)
    return python


def versions(python: Path) -> dict[str, str]:
    """What the peers call themselves, and the Python that runs everything."""
    script = "import importlib.metadata as m; print(m.version('uvicorn'), m.version('granian'))"
    found = subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=True).stdout.split()
    return {"python": sys.version.split()[0], "uvicorn": found[0], "granian": found[1], "kernel": os.uname().release}


def make_bench(folder: Path, peers: Path, core: int | None) -> Bench:
    """Everything that the servers share, in ``folder``."""
    return Bench(peers_python(peers), folder, Authority(folder).server("localhost", "127.0.0.1"), core)
