"""A worker all of whose threads are stuck, seen by its pool: a real process plays it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest

from sidegate.config.schema import Config
from sidegate.config.validation import validate
from sidegate.supervisor.interfaces import Interfaces
from sidegate.supervisor.pool import Pool
from sidegate.supervisor.pools import Pools, SupervisorLoop

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0


class Service:
    """The pool ``shop`` with one worker, which ``tests/support/scripted_worker.py`` plays; a supervisor's loop."""

    def __init__(self, folder: Path, **pool: int) -> None:
        python = folder / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m tests.support.scripted_worker "$@"\n')
        python.chmod(0o755)
        self.config = a_config(python, **pool)
        self.interfaces = Interfaces(self.config.backends)
        self._news: deque[Callable[[], None]] = deque()
        loop = SupervisorLoop(asyncio.get_running_loop().time, self._news.append, list, self.interfaces.learn)
        self._pools = Pools(self.config, lambda path, message: message, loop)

    @property
    def pool(self) -> Pool:
        return self._pools.pools["shop"]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Go on as the supervisor does until ``condition``."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            self._reap()
            while self._news:
                self._news.popleft()()
            self._pools.step()
            await asyncio.sleep(0.01)

    def _reap(self) -> None:
        for worker in list(self.pool.processes.workers.values()):
            assert worker.pid is not None, "nobody forks it"
            with contextlib.suppress(ChildProcessError):  # reaped a moment ago, and not forgotten yet
                pid, status = os.waitpid(worker.pid, os.WNOHANG)
                if pid:
                    self._pools.ended(pid, os.waitstatus_to_exitcode(status))

    async def close(self) -> None:
        """No process of it stays behind."""
        self._pools.stop(asyncio.get_running_loop().time())
        await self.until(lambda: not self.pool.processes.alive)
        self._pools.close()


def a_config(python: Path, **pool: int) -> Config:
    whole = {"workers": 1, "python": str(python), "env": {"PYTHONPATH": str(ROOT)}, **pool}
    return validate(
        Config,
        {
            "listeners": [{"name": "http", "address": "127.0.0.1:0"}],
            "backends": {"shop": {"app": "shop:app", "pool": whole}},
            "routes": [{"path": "/", "backend": "shop"}],
        },
    )


def test_a_worker_with_nothing_but_stuck_threads_is_replaced_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sidegate")

    async def live() -> None:
        service = Service(tmp_path)
        pool = service.pool
        try:
            await service.until(lambda: bool(pool.published()))
            assert service.interfaces.found == {"shop": "WSGI application, 1 thread"}
            assert dict(pool.processes.threads()) == {"busy": 0, "stuck": 1}
            ((serial, worker),) = pool.processes.workers.items()
            worker.send("go on")
            await service.until(lambda: bool(pool.published()) and serial not in pool.processes.workers)
            assert dict(pool.restarts) == {"stuck_threads": 1}
        finally:
            await service.close()

    asyncio.run(live())
    assert caplog.text.count("is stuck: all of its WSGI threads are blocked; replacing it") == 1
    assert caplog.text.count("exited (stuck_threads)") == 1
    assert caplog.text.count("backend shop: shop:app is a WSGI application, 1 thread") == 1


@pytest.mark.parametrize(("pool", "places"), [({}, 4), ({"threads": 8}, 8), ({"threads": 8, "concurrency": 6}, 6)])
def test_a_pool_shrinks_by_the_number_of_threads(tmp_path: Path, pool: dict[str, int], places: int) -> None:
    async def live() -> None:
        service = Service(tmp_path, **pool)
        try:
            service.pool.sample()
            assert service.pool.wanted.concurrency == pool.get("concurrency", 100)
            await service.until(lambda: bool(service.pool.published()))
            service.pool.sample()
            assert service.pool.wanted.concurrency == places
        finally:
            await service.close()

    asyncio.run(live())


def test_the_first_word_on_a_standstill_counts(tmp_path: Path) -> None:
    async def live() -> None:
        service = Service(tmp_path)
        pool = service.pool
        try:
            await service.until(lambda: bool(pool.published()))
            (serial,) = pool.processes.workers
            pool.stuck(serial)
            pool.stuck(serial, "stuck_threads")
            await service.until(lambda: serial not in pool.processes.workers)
            pool.stuck(serial)  # a front's word may come when it is gone
            assert dict(pool.restarts) == {"stuck": 1}
        finally:
            await service.close()

    asyncio.run(live())


def test_what_an_application_is_said_to_be_is_logged_when_it_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sidegate")
    interfaces = Interfaces(a_config(Path(sys.executable)).backends)
    for words in ("ASGI 3 application", "ASGI 3 application", "WSGI application, 4 threads"):
        interfaces.learn({"shop": words})
    assert [record.message for record in caplog.records] == [
        "backend shop: shop:app is an ASGI 3 application",
        "backend shop: shop:app is a WSGI application, 4 threads",
    ]
    assert interfaces.found == {"shop": "WSGI application, 4 threads"}
