"""``make soak``: what pools promise, for minutes where the tests take seconds. A line of figures for each case.

Workers are killed, recycled and restarted under load, and bodies of a gibibyte stream through them: no request may
fail, no process may grow. The last cases have a server behind ``h2c`` that misbehaves (``upstreams.py``). It ends with
1 if a case failed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.soak.upstreams import misbehaving as misbehave
from tests.support.http2 import ENGINES
from tests.support.lifecycle import status, wait_until
from tests.support.pools import (
    Load,
    Peak,
    all_succeeded,
    pool_config,
    remote_config,
    resident,
    serving_workers,
    wait_workers,
    worker_command,
)
from tests.support.server import APPS, Sidegate, http_get
from tests.support.streaming import GROWTH, MIB, VERSIONS, download, processes_of, upload

PERIOD = 2.0
"""Seconds from one blow to the next."""

PATIENCE = 1800.0
ONE_CONNECTION: dict[str, Any] = {"limits": {"connectionRequests": 0}}
"""h2load opens no second one when the first was asked to end."""

PROGRAMS = ("h2load", "curl")


@dataclass(frozen=True)
class Extent:
    """``seconds`` of load where time counts, ``requests`` where their number does, MiB of a body."""

    seconds: int
    requests: int
    mebibytes: int


Case = Callable[[Path, Extent], str]


def killed(folder: Path, extent: Extent, count: int) -> str:
    """``kill -9`` of a random worker every two seconds."""
    with served(folder, pool_config({"workers": count}, **ONE_CONNECTION)) as server:
        wait_workers(server, count)
        with Load(server, "/pid", "-D", str(extent.seconds)) as load:
            while load.running:
                time.sleep(PERIOD)
                pids = wait_until(partial(serving_workers, server), "a worker")
                with contextlib.suppress(ProcessLookupError):
                    os.kill(random.choice(pids), signal.SIGKILL)
            return figures(server, load.counts())


def recycled_by_count(folder: Path, extent: Extent) -> str:
    with served(folder, pool_config({"workers": 2, "maxRequests": 500}, **ONE_CONNECTION)) as server:
        wait_workers(server, 2)
        with Load(server, "/pid", "-n", str(extent.requests)) as load:
            return figures(server, load.counts(PATIENCE), "max_requests")


def recycled_by_memory(folder: Path, extent: Extent) -> str:
    with served(folder, pool_config({"workers": 2, "maxMemory": "150Mi"}, **ONE_CONNECTION)) as server:
        wait_workers(server, 2)
        with Load(server, "/grow?size=8192", "-D", str(extent.seconds)) as load:
            return figures(server, load.counts(PATIENCE), "max_memory")


def restarted_elsewhere(folder: Path, extent: Extent) -> str:
    """``sidegate worker`` behind a shared socket: ended and started again as often as it comes up."""
    bind = f"unix:{folder}/app.sock"
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(program_beside(bind, folder))
        server = stack.enter_context(
            served(folder, {**remote_config(bind, queue={"timeout": "30s"}), **ONE_CONNECTION})
        )
        wait_until(lambda: http_get(server.url("/pid"))[0] == 200, "an answer")
        load = stack.enter_context(Load(server, "/pid", "-D", str(extent.seconds)))
        times = 0
        while load.running:
            wait_until(partial(answers, server, process.pid), "the newest answers")
            time.sleep(PERIOD)
            process.terminate()
            assert process.wait(30) == 0
            process = stack.enter_context(program_beside(bind, folder))
            times += 1
        return f"{figures(server, load.counts())}, {times} restarts"


def streamed(folder: Path, extent: Extent, listener: str, ways: str) -> str:
    """A large body through a pool, ``up`` or ``down``: what each process grows by."""
    size = extent.mebibytes * MIB
    with served(folder, pool_config({"workers": 1}, processes=1, limits={"requestBody": size})) as server:
        wait_workers(server, 1)
        with Peak(*processes_of(server)) as peak:
            if ways == "down":
                download(server, listener, size)
            else:
                upload(server, listener, size, folder)
        growth = list(peak.growth().values())
        assert max(growth) < GROWTH, growth
        return "{:.1f} MiB in the front, {:.1f} MiB in the worker".format(*(grown / MIB for grown in growth))


def misbehaving(folder: Path, extent: Extent, engine: str) -> str:
    """An HTTP/2 server that does at random what servers do wrong; both engines take 5 minutes."""
    return misbehave(folder, 2.5 * extent.seconds, engine)


CASES: dict[str, Case] = {
    "killed-2": partial(killed, count=2),
    "killed-4": partial(killed, count=4),
    "recycled-by-count": recycled_by_count,
    "recycled-by-memory": recycled_by_memory,
    "restarted-elsewhere": restarted_elsewhere,
    **{
        f"{way}-h{VERSIONS[listener][1]}": partial(streamed, listener=listener, ways=way)
        for listener in VERSIONS
        for way in ("down", "up")
    },
    **{f"misbehaving-{engine}": partial(misbehaving, engine=engine) for engine in ENGINES},
}


def answers(server: Sidegate, pid: int) -> bool:
    return http_get(server.url("/pid")) == (200, str(pid))


def figures(server: Sidegate, counts: Mapping[str, int], cause: str = "") -> str:
    """In words. Raises ``AssertionError`` if a request failed, or if nothing happened by ``cause``."""
    all_succeeded(counts)
    if cause:
        wait_until(lambda: restarts(server).get(cause), f"a restart because of {cause}")
    told = [f"{cause} {count}" for cause, count in restarts(server).items()]
    fronts = ", ".join(f"{resident(process.pid) // MIB} MiB" for process in server.fronts)
    return ", ".join([f"{counts['2xx']} answered, 0 failed", *told, f"fronts {fronts}"])


def restarts(server: Sidegate) -> dict[str, int]:
    """By cause."""
    pools = status(server).get("pools") or {"pooled": {"restarts": {}}}
    return dict(pools["pooled"]["restarts"])


@contextlib.contextmanager
def served(folder: Path, config: Mapping[str, Any]) -> Iterator[Sidegate]:
    server = Sidegate(folder / "server", config)
    try:
        server.wait_ready()
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def program_beside(bind: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "worker.log").open("ab") as log:
        command = worker_command(bind)
        process = subprocess.Popen(command, cwd=APPS, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=", ".join(CASES))
    options = parser.parse_args()
    for program in PROGRAMS:
        if shutil.which(program) is None:
            sys.exit(f"{program} is not installed (Debian: apt-get install nghttp2-client curl)")
    extent = Extent(options.seconds, options.requests, options.mebibytes)
    failed = [name for name in options.cases if not run(name, extent)]
    sys.exit(f"failed: {' '.join(failed)}" if failed else 0)


def run(name: str, extent: Extent) -> bool:
    """Print what one case gave; whether it held."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        try:
            found, held = CASES[name](Path(folder), extent), True
        except (AssertionError, subprocess.TimeoutExpired) as error:
            found, held = f"FAILED: {error}", False
    print(f"{name:20} {time.monotonic() - began:5.0f} s  {found}", flush=True)
    return held


if __name__ == "__main__":
    main()
