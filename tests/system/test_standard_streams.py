"""Started without standard input, output or error (``>&- 2>&- <&-``), as by some supervisors and by cron scripts."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.support import processes
from tests.support.lifecycle import PATIENCE, wait_until
from tests.support.pools import worker_command
from tests.support.server import APPS, Sidegate, app_config, http_get, listener

CLOSED = {"all": ">&- 2>&- <&-", "input": "<&-", "output": ">&-", "error": "2>&-"}


def without(closed: str, *command: str) -> list[str]:
    """A shell that closes some of the descriptors and becomes ``command``."""
    return ["sh", "-c", f'exec "$@" {CLOSED[closed]}', "sh", *command]


def wrong(process: psutil.Process) -> list[str]:
    """Descriptors 0 to 2 of a process that are closed, or something else than files (its log, or /dev/null)."""
    links = Path(f"/proc/{process.pid}/fd")
    found = [str(links.joinpath(str(number)).readlink()) for number in range(3) if (links / str(number)).is_symlink()]
    return found if len(found) < 3 or any(not target.startswith("/") for target in found) else []


@pytest.mark.parametrize("closed", CLOSED)
def test_a_service(tmp_path: Path, closed: str) -> None:
    config = app_config("plain:app", logging={"accessLog": "json"}, processes=1)
    config["backends"]["pooled"] = {"app": "pooled:app", "directory": str(APPS), "pool": {"workers": 1}}
    config["backends"]["forked"] = {**config["backends"]["pooled"], "pool": {"workers": 1, "preload": True}}
    config["routes"] = [{"name": name, "path": f"/{name}", "backend": name} for name in ("pooled", "forked")] + config[
        "routes"
    ]
    with contextlib.closing(Sidegate(tmp_path, config, prefix=without(closed))) as server:
        server.wait_ready()
        for path in ("/", "/pooled/", "/forked/"):
            wait_until(partial(_answers, server.url(path)), path)
        tree = processes.tree(server.pid)
        assert len(tree) >= 5  # supervisor, front, worker, preloader, forked worker
        assert {process.pid: found for process in tree if (found := wrong(process))} == {}
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0


@pytest.mark.parametrize("closed", CLOSED)
def test_a_worker(tmp_path: Path, closed: str) -> None:
    path = tmp_path / "worker.sock"
    with _running(without(closed, *worker_command(f"unix:{path}"))) as worker:
        wait_until(lambda: _accepts(path), "the worker's socket")
        assert wrong(psutil.Process(worker.pid)) == []
        worker.terminate()
        assert worker.wait(PATIENCE) == 0


def _answers(url: str) -> bool:
    return http_get(url)[0] == 200


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


@contextlib.contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with Path(os.devnull).open("r+b") as null:
        process = subprocess.Popen(command, stdin=null, stdout=null, stderr=null)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize(("valid", "code"), [(True, 0), (False, 2)])
def test_a_check(tmp_path: Path, closed: str, valid: bool, code: int) -> None:
    text = f"listeners: [{{name: http, address: '{listener()['address']}'}}]\nbackends: {{a: {{respond: {{}}}}}}\n"
    (tmp_path / "a.yaml").write_text(text + ("routes: [{path: /, backend: a}]\n" if valid else "rutes: []\n"))
    command = [sys.executable, "-m", "sidegate", "check", str(tmp_path / "a.yaml")]
    done = subprocess.run(without(closed, *command), capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
