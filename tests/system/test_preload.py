"""A preloader and the workers forked from it, with the test in the supervisor's place."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.lifecycle import PATIENCE, wait_until
from tests.support.workers import ForkedWorker, Process, pool_of_one

SIZE = 48 << 20

APP = f"""
import os
imported_in = os.getpid()
made_in = []
ballast = [os.urandom(1024) for _ in range({SIZE} // 1024)]

def make():
    made_in.append(os.getpid())
    return app

async def app(scope, receive, send):
    body = f"{{imported_in}} {{os.getpid()}} {{os.getppid()}} {{made_in}}".encode()
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": body}})
"""


class Preloader:
    """One preloader with what it forks."""

    def __init__(self, folder: Path, stack: ExitStack, app: str, pool: dict[str, Any]) -> None:
        self._folder, self._stack = folder, stack
        self._config = pool_of_one(app, folder, {"preload": True, **pool}, lifespan="off")
        self.process = Process(self._config, folder / "preloader.log", ["preload"])
        stack.callback(self.process.close)
        self._number = 0

    def introduce(self) -> None:
        self.process.introduce()

    def ready(self) -> Preloader:
        self.introduce()
        self.process.hear("ready")
        return self

    def fork(self) -> ForkedWorker:
        self._number += 1
        path = self._folder / f"{self._number}.sock"
        worker = ForkedWorker(self.process, self._config, path, self._number)
        self._stack.callback(worker.close)
        return worker

    def serving(self) -> ForkedWorker:
        """A forked worker that is ready."""
        worker = self.fork()
        assert worker.hear()[0]["type"] == "ready"
        return worker


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def preloader(folder: Path, stack: ExitStack, app: str = "served:app", **pool: Any) -> Preloader:
    (folder / "served.py").write_text(APP)
    return Preloader(folder, stack, app, pool)


def test_forked_workers_serve_what_was_imported_once(tmp_path: Path, stack: ExitStack) -> None:
    started = preloader(tmp_path, stack).ready()
    for _ in range(2):
        worker = started.serving()
        expected = f"{started.process.pid} {worker.pid} {started.process.pid} []"
        assert worker.place.client().get("/") == expected


def test_each_worker_calls_the_factory_itself(tmp_path: Path, stack: ExitStack) -> None:
    started = preloader(tmp_path, stack, "served:make()").ready()
    worker = started.serving()
    assert worker.place.client().get("/").endswith(f"[{worker.pid}]")


@pytest.mark.skipif(sys.platform != "linux", reason="by /proc")
def test_workers_share_the_pages_of_the_import(tmp_path: Path, stack: ExitStack) -> None:
    started = preloader(tmp_path, stack).ready()
    worker = started.serving()
    for _ in range(20):
        worker.place.client().get("/")
    assert resident(worker.pid) > SIZE
    assert private(worker.pid) < SIZE / 3  # without compiled modules and with coverage, Sidegate itself takes 13 MiB


def resident(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


def private(pid: int) -> int:
    """Bytes that no other process has."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(size) * 1024 for size in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.MULTILINE))


def test_exits_are_reported(tmp_path: Path, stack: ExitStack) -> None:
    started = preloader(tmp_path, stack).ready()
    killed, drained = started.serving(), started.serving()
    os.kill(killed.pid, signal.SIGKILL)
    assert started.process.hear("exited") == {"type": "exited", "pid": killed.pid, "status": -signal.SIGKILL}
    os.kill(drained.pid, signal.SIGTERM)
    assert drained.hear()[0]["type"] == "retire"
    os.kill(drained.pid, signal.SIGTERM)  # the second one, because nobody starts a successor
    assert started.process.hear("exited") == {"type": "exited", "pid": drained.pid, "status": 0}


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="a system that cannot see an exit without reaping")
def test_a_pid_stays_in_use_until_the_supervisor_sends_no_signal_to_it(tmp_path: Path, stack: ExitStack) -> None:
    started = preloader(tmp_path, stack).ready()
    worker, other = started.serving(), started.serving()
    process = psutil.Process(worker.pid)
    process.kill()
    assert started.process.hear("exited")["pid"] == worker.pid
    os.kill(other.pid, signal.SIGKILL)
    assert started.process.hear("exited")["pid"] == other.pid
    assert process.status() == psutil.STATUS_ZOMBIE
    started.process.say("reap", pid=worker.pid)
    process.wait(PATIENCE)


def test_a_worker_goes_on_without_its_preloader(tmp_path: Path, stack: ExitStack) -> None:
    started = preloader(tmp_path, stack).ready()
    worker = started.serving()
    started.process.process.terminate()
    assert started.process.wait() == -signal.SIGTERM
    assert worker.place.client().get("/").startswith(f"{started.process.pid} {worker.pid}")


def test_the_end_of_the_supervisor_ends_all(tmp_path: Path, stack: ExitStack) -> None:
    started = preloader(tmp_path, stack).ready()
    workers = [started.serving() for _ in range(2)]
    processes = [psutil.Process(worker.pid) for worker in workers]
    started.process.control.close()
    assert started.process.wait() == 0
    for worker in workers:
        worker.control.close()
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive


def test_a_forked_worker_ends_with_the_supervisor_even_if_its_loop_stands_still(
    tmp_path: Path, stack: ExitStack
) -> None:
    (tmp_path / "stuck.py").write_text("import time\n\ndef make():\n    time.sleep(3600)\n")
    started = Preloader(tmp_path, stack, "stuck:make()", {}).ready()
    worker = started.fork()
    process = psutil.Process(worker.pid)
    worker.control.close()
    assert started.process.hear("exited")["pid"] == process.pid


def test_an_import_that_fails_is_told(tmp_path: Path, stack: ExitStack) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    started = Preloader(tmp_path, stack, "broken:app", {})
    started.introduce()
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        started.process.hear("ready")
    assert started.process.wait() == 3


def test_what_cannot_be_settled_is_told(tmp_path: Path, stack: ExitStack) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    started = preloader(tmp_path, stack, directory=str(gone))
    gone.rmdir()
    started.introduce()
    with pytest.raises(AssertionError, match="'pool', 'directory'"):
        started.process.hear("ready")


def test_threads_of_an_import_are_warned_of(tmp_path: Path, stack: ExitStack) -> None:
    code = "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n"
    (tmp_path / "threaded.py").write_text(code + "def app(environ, start_response): ...\n")
    started = Preloader(tmp_path, stack, "threaded:app", {}).ready()
    wait_until(lambda: "application started threads" in started.process.log(), "a warning")


@pytest.mark.parametrize(
    ("attribute", "found"), [("asgi", "ASGI 3 application"), ("wsgi", "WSGI application"), ("make()", "")]
)
def test_it_tells_what_it_has_imported(tmp_path: Path, stack: ExitStack, attribute: str, found: str) -> None:
    code = "async def asgi(scope, receive, send): ...\ndef wsgi(environ, start_response): ...\ndef make(): 1 / 0\n"
    (tmp_path / "told.py").write_text(code)
    started = Preloader(tmp_path, stack, f"told:{attribute}", {})
    started.introduce()
    assert started.process.hear("ready")["found"] == found


def test_what_is_no_application_is_told_before_a_worker_is_forked(tmp_path: Path, stack: ExitStack) -> None:
    (tmp_path / "number.py").write_text("app = 1\n")
    started = Preloader(tmp_path, stack, "number:app", {})
    started.introduce()
    with pytest.raises(AssertionError, match="number:app is of type int, neither an ASGI nor a WSGI application"):
        started.process.hear("ready")
    assert started.process.wait() == 3


def test_another_version_is_told(tmp_path: Path, stack: ExitStack) -> None:
    started = preloader(tmp_path, stack)
    started.process.introduce(version="0.0.1")
    with pytest.raises(AssertionError, match="restart it"):
        started.process.hear("ready")
    assert started.process.wait() == 3
