"""All pools of the service, as the supervisor's loop sees them.

It owns the private folder of the workers' sockets, sends the fronts the lists of workers, and checks workers and files
once a second. It raises ``StartError`` only from ``Pools()``, before any process was started.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sidegate.config.schema import Config, PoolConfig
from sidegate.errors import StartError
from sidegate.ipc.control import Message
from sidegate.supervisor.folder_lock import lock_folder, remove_abandoned
from sidegate.supervisor.front_process import FrontProcess
from sidegate.supervisor.plan import PoolsState
from sidegate.supervisor.pool import Pool, PoolContext
from sidegate.supervisor.runtime_folder import FOLDER_PREFIX, make_runtime_folder
from sidegate.supervisor.sockets import Locate
from sidegate.supervisor.watch import Watch
from sidegate.supervisor.worker_process import Launch

logger = logging.getLogger("sidegate.supervisor")

SAMPLE_PERIOD = 1.0
"""Seconds between two checks of workers and files."""

PR_SET_CHILD_SUBREAPER = 36
"""<linux/prctl.h>: a descendant whose parent has exited becomes our child."""


@dataclass(frozen=True, slots=True)
class SupervisorLoop:
    """Functions of the supervisor's loop that pools need.

    ``now``: its clock, in seconds. ``note``: queues a function that the loop calls before the next plan. ``fronts``:
    the fronts that read messages. ``learn``: takes descriptions of applications, by backend.
    """

    now: Callable[[], float]
    note: Callable[[Callable[[], None]], None]
    fronts: Callable[[], Iterable[FrontProcess]]
    learn: Callable[[Mapping[str, str]], None]


class Pools:
    """The pools by backend. If there are none, ``pools`` is empty and every method does nothing."""

    def __init__(self, config: Config, locate: Locate, loop: SupervisorLoop) -> None:
        """Make the pools, without starting a process.

        :raises StartError: a pool needs root, or the folder for sockets cannot be created or used.
        """
        self.pools: dict[str, Pool] = {}
        self._loop = loop
        self._watches: dict[str, Watch] = {}
        self._folder: Path | None = None
        self._lock = -1
        self._sampling: asyncio.Task[None] | None = None
        pooled = {name: backend.pool for name, backend in config.backends.items() if backend.pool is not None}
        for name, pool in pooled.items():
            for key in ("user", "group"):
                if getattr(pool, key) is not None and os.geteuid() != 0:
                    raise StartError(locate(("backends", name, "pool", key), "only root may set it"))
        if not pooled:
            return
        self._folder = folder = make_runtime_folder(config.runtime_directory)
        try:
            self._lock = lock_folder(folder)
            remove_abandoned(folder.parent, FOLDER_PREFIX)
            self._make(config, pooled, folder, PoolContext(loop.now, loop.note, self._publish, locate, loop.learn))
        except OSError as error:
            self.close()
            raise StartError(f"cannot use the folder {folder} for the workers' sockets: {error.strerror}") from error
        except BaseException:
            self.close()
            raise
        if any(pool.preload for pool in pooled.values()) and sys.platform == "linux":
            import ctypes  # noqa: PLC0415 - only preloading needs its memory

            # The supervisor must reap a worker whose preloader has exited.
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)

    def _make(self, config: Config, pooled: Mapping[str, PoolConfig], folder: Path, context: PoolContext) -> None:
        """Make the pools, each with a folder in ``folder``.

        :raises OSError: a folder cannot be made.
        """
        for number, (name, pool) in enumerate(pooled.items()):
            own = folder / str(number)  # not the backend's name, which may be long
            own.mkdir(0o700)
            self.pools[name] = Pool(Launch(config, name, pool, own), pool, context)
            if pool.reload is not None:
                self._watches[name] = Watch(pool.reload.watch)

    @property
    def phase(self) -> PoolsState:
        """The state of all pools together."""
        pools = self.pools.values()
        if not pools:
            return PoolsState.NONE
        if any(pool.wanted.kill_at is not None for pool in pools):
            return PoolsState.STOPPING if any(pool.processes.alive for pool in pools) else PoolsState.NONE
        return PoolsState.WORKING if all(pool.has_started for pool in pools) else PoolsState.STARTING

    def step(self) -> tuple[bool, float | None]:
        """Carry out the actions that are due. Returns whether there were any, and the time of the next one."""
        if self.pools and self._sampling is None:
            self._sampling = asyncio.create_task(self._sample())
        steps = [pool.step() for pool in self.pools.values()]
        times = [until for _, until in steps if until is not None]
        return any(acted for acted, _ in steps), min(times, default=None)

    def stop(self, kill_at: float) -> None:
        """Drain all workers; those that run at ``kill_at`` are killed. May be called again with another time."""
        for pool in self.pools.values():
            pool.stop(kill_at)

    def close(self) -> None:
        """Kill the processes that still run and remove the folder. Call it last; calling it again does nothing."""
        if self._sampling is not None:
            self._sampling.cancel()
        for pool in self.pools.values():
            for process in pool.processes.all():
                process.signal(signal.SIGKILL)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            if self._lock >= 0:
                os.close(self._lock)
            self._folder = None

    # ---- fronts -------------------------------------------------------------------------------------------

    def introduce(self, front: FrontProcess) -> None:
        """A front is ready to read messages: send it the workers of every pool."""
        for name, pool in self.pools.items():
            front.send("workers", backend=name, workers=pool.published())

    def heard(self, front: FrontProcess, message: Message) -> None:
        """Handle a front's message ``pressure`` or ``stuck``."""
        pool = self.pools[message["backend"]]
        if message["type"] == "pressure":
            pool.pressed(front.serial, message["queued"])
        else:
            pool.stuck(message["serial"])

    def front_ended(self, front: FrontProcess) -> None:
        """A front has exited: no request waits in it any more."""
        for pool in self.pools.values():
            pool.pressed(front.serial, 0)
            del pool.pressure[front.serial]

    def _publish(self, backend: str, workers: list[tuple[int, str]]) -> None:
        for front in self._loop.fronts():
            front.send("workers", backend=backend, workers=workers)

    # ---- children -----------------------------------------------------------------------------------------

    def ended(self, pid: int, status: int) -> bool:
        """A process was reaped. Returns whether it belonged to a pool."""
        return any(pool.ended(pid, status) for pool in self.pools.values())

    async def _sample(self) -> None:
        """Check workers and files once a second until the service stops."""
        while True:
            await asyncio.sleep(SAMPLE_PERIOD)
            for name, pool in self.pools.items():
                if pool.sampled:
                    self._loop.note(pool.sample)
                if name in self._watches:
                    await self._look_for_changes(pool, self._watches[name])

    async def _look_for_changes(self, pool: Pool, watch: Watch) -> None:
        try:
            names = await asyncio.to_thread(watch.changed)  # a folder may be on a slow file system
        except Exception:  # such as no thread; the next second brings the next attempt
            logger.exception("cannot look for changed files")
        else:
            if names:
                self._loop.note(partial(pool.files_changed, names))
