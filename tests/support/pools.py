"""Servers whose application runs in worker processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

from tests.support.lifecycle import status, wait_until
from tests.support.programs import program
from tests.support.server import APPS, Sidegate, http_get, listener

LOAD_PATIENCE = 120.0


def pool_config(pool: Mapping[str, Any] | None = None, app: str = "pooled:app", **top_level: Any) -> dict[str, Any]:
    """``app`` in a pool behind a cleartext and a TLS listener, and in the front for whoever sends ``x-to: front``."""
    backend = {"app": app, "directory": str(APPS)}
    return {
        "listeners": [listener(), listener(name="https", tls={"selfSigned": True})],
        "backends": {"pooled": {**backend, "pool": dict(pool or {})}, "inside": backend},
        "routes": [
            {"name": "inside", "matches": [{"headers": [{"name": "x-to", "value": "front"}]}], "backend": "inside"},
            {"name": "pooled", "path": "/", "backend": "pooled"},
        ],
        **top_level,
    }


def remote_config(addresses: Any, kind: str = "h2c", **fields: Any) -> dict[str, Any]:
    """Everything goes to servers that are not ours to start."""
    return {
        "listeners": [listener(), listener(name="https", tls={"selfSigned": True})],
        "backends": {"remote": {kind: addresses, **fields}},
        "routes": [{"name": "all", "path": "/", "backend": "remote"}],
    }


def worker_command(bind: str, *options: str, app: str = "pooled:app") -> list[str]:
    """``sidegate worker`` for an application of the tests."""
    return [sys.executable, "-m", "sidegate", "worker", app, "--directory", str(APPS), "--bind", bind, *options]


def workers(server: Sidegate, backend: str = "pooled") -> list[dict[str, Any]]:
    """The workers of a pool as ``/status`` tells."""
    return list(status(server)["pools"][backend]["workers"])


def serving_workers(server: Sidegate, backend: str = "pooled") -> list[int]:
    """Pids of the workers that get requests."""
    return [worker["pid"] for worker in workers(server, backend) if worker["state"] == "serving"]


def wait_workers(server: Sidegate, count: int, backend: str = "pooled") -> list[int]:
    """The pids once ``count`` workers serve."""
    found: list[int] = wait_until(
        lambda: len(pids := serving_workers(server, backend)) == count and pids, f"{count} workers of {backend}"
    )
    return found


def answered_by(server: Sidegate, path: str = "/pid") -> int:
    """The pid of the worker that answers."""
    code, body = http_get(server.url(path))
    assert code == 200, body
    return int(body)


def about(server: Sidegate) -> Any:
    """What a worker says of its process."""
    return json.loads(http_get(server.url("/about"))[1])


class Load:
    """h2load in the background: ``16 x 16`` streams over TLS. ``options`` say how long or how many."""

    def __init__(self, server: Sidegate, path: str, *options: str) -> None:
        command = [program("h2load"), "-c", "16", "-m", "16", *options, server.url(path, "https")]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def counts(self, patience: float = LOAD_PATIENCE) -> dict[str, int]:
        """Total, started, done, succeeded, failed, errored, timeout; and answers by class (``2xx``)."""
        output = self._process.communicate(timeout=patience)[0]
        lines = re.findall(r"^(?:requests|status codes): (.*)$", output, re.MULTILINE)
        assert len(lines) == 2, output
        return {word: int(number) for line in lines for number, word in re.findall(r"(\d+) (\w+)", line)}

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def all_succeeded(counts: Mapping[str, int]) -> None:
    """Assert that every request was answered with 200."""
    assert counts["failed"] == counts["errored"] == counts["timeout"] == 0, counts
    assert counts["succeeded"] == counts["2xx"] > 0, counts


def resident(pid: int) -> int:
    """Bytes of memory that the process holds."""
    with open(f"/proc/{pid}/statm") as file:  # noqa: PTH123 - no file system
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Peak:
    """The most memory that processes held while the block ran, by pid, beyond what they had at its begin."""

    def __init__(self, *pids: int) -> None:
        self._first = {pid: resident(pid) for pid in pids}
        self._most = dict(self._first)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            for pid in self._first:
                self._most[pid] = max(self._most[pid], resident(pid))

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def growth(self) -> dict[int, int]:
        """Bytes by pid."""
        return {pid: self._most[pid] - first for pid, first in self._first.items()}
