"""All pools of the service, as the supervisor's loop sees them.

Where it stands: beside the loop, above ``pool``. It owns the private folder of the workers' sockets, what the fronts
have been told, and the look at workers and files once a second. The error that leaves it is ``StartError``, before
anything was started.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sidegate.config.schema import Config
from sidegate.errors import StartError
from sidegate.ipc.control import Message
from sidegate.supervisor.front_process import FrontProcess
from sidegate.supervisor.plan import PoolsState
from sidegate.supervisor.pool import Pool, PoolContext
from sidegate.supervisor.sockets import Locate
from sidegate.supervisor.watch import Watch
from sidegate.supervisor.worker_process import Launch

logger = logging.getLogger("sidegate.supervisor")

SAMPLE_PERIOD = 1.0
"""Seconds between two looks at workers and files."""

LONGEST_FOLDER = 90
"""Bytes of a folder's name that leave room for a socket's: sun_path has 104 (macOS) or 108 (Linux)."""

PR_SET_CHILD_SUBREAPER = 36
"""<linux/prctl.h>: who loses its parent becomes our child."""


@dataclass(frozen=True, slots=True)
class SupervisorLoop:
    """What pools need of the supervisor's loop: its clock, its queue of news, the fronts that can be told something.

    ``learn`` is told what applications turned out to be, by backend.
    """

    now: Callable[[], float]
    note: Callable[[Callable[[], None]], None]
    fronts: Callable[[], Iterable[FrontProcess]]
    learn: Callable[[Mapping[str, str]], None]


class Pools:
    """The pools by backend; ``pools`` is empty if there are none, and then nothing here does anything."""

    def __init__(self, config: Config, locate: Locate, loop: SupervisorLoop) -> None:
        """Make them, start nothing.

        :raises StartError: a pool needs what this user may not do, or there is no place for sockets.
        """
        self.pools: dict[str, Pool] = {}
        self._loop = loop
        self._watches: dict[str, Watch] = {}
        self._folder: Path | None = None
        self._sampling: asyncio.Task[None] | None = None
        pooled = {name: backend.pool for name, backend in config.backends.items() if backend.pool is not None}
        for name, pool in pooled.items():
            for key in ("user", "group"):
                if getattr(pool, key) is not None and os.geteuid() != 0:
                    raise StartError(locate(("backends", name, "pool", key), "only root may set it"))
        if not pooled:
            return
        self._folder = _private_folder()
        around = PoolContext(loop.now, loop.note, self._publish, locate, loop.learn)
        for number, (name, pool) in enumerate(pooled.items()):
            folder = self._folder / str(number)  # not its name, which may be long
            folder.mkdir(0o700)
            self.pools[name] = Pool(Launch(config, name, pool, folder), pool, around)
            if pool.reload is not None:
                self._watches[name] = Watch(pool.reload.watch)
        if any(pool.preload for pool in pooled.values()) and sys.platform == "linux":
            import ctypes  # noqa: PLC0415 - memory that only this needs

            # A worker whose preloader has ended is ours to reap.
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)

    @property
    def phase(self) -> PoolsState:
        """What all of them together are doing."""
        pools = self.pools.values()
        if not pools:
            return PoolsState.NONE
        if any(pool.wanted.kill_at is not None for pool in pools):
            return PoolsState.STOPPING if any(pool.processes.alive for pool in pools) else PoolsState.NONE
        return PoolsState.WORKING if all(pool.has_started for pool in pools) else PoolsState.STARTING

    def step(self) -> tuple[bool, float | None]:
        """Do what is due: whether there was anything, and the time of what comes next."""
        if self.pools and self._sampling is None:
            self._sampling = asyncio.create_task(self._sample())
        steps = [pool.step() for pool in self.pools.values()]
        times = [until for _, until in steps if until is not None]
        return any(acted for acted, _ in steps), min(times, default=None)

    def stop(self, kill_at: float) -> None:
        """Drain all workers; what is left at ``kill_at`` is killed. May be called again with another time."""
        for pool in self.pools.values():
            pool.stop(kill_at)

    def close(self) -> None:
        """The last: what still lives is killed, the folder goes."""
        if self._sampling is not None:
            self._sampling.cancel()
        for pool in self.pools.values():
            for process in pool.processes.all():
                process.signal(signal.SIGKILL)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    # ---- fronts -------------------------------------------------------------------------------------------

    def introduce(self, front: FrontProcess) -> None:
        """A front can be told something now: it is told everything."""
        for name, pool in self.pools.items():
            front.send("workers", backend=name, workers=pool.published())

    def heard(self, front: FrontProcess, message: Message) -> None:
        """A front's ``pressure`` or ``stuck``."""
        pool = self.pools[message["backend"]]
        if message["type"] == "pressure":
            pool.pressed(front.serial, message["queued"])
        else:
            pool.stuck(message["serial"])

    def front_ended(self, front: FrontProcess) -> None:
        """Nothing waits in it any more."""
        for pool in self.pools.values():
            pool.pressed(front.serial, 0)
            del pool.pressure[front.serial]

    def _publish(self, backend: str, workers: list[tuple[int, str]]) -> None:
        for front in self._loop.fronts():
            front.send("workers", backend=backend, workers=workers)

    # ---- children -----------------------------------------------------------------------------------------

    def ended(self, pid: int, status: int) -> bool:
        """A process was reaped. Whether it was one of a pool's."""
        return any(pool.ended(pid, status) for pool in self.pools.values())

    async def _sample(self) -> None:
        """Once a second, as long as the service lives."""
        while True:
            await asyncio.sleep(SAMPLE_PERIOD)
            for name, pool in self.pools.items():
                # Beside the loop: a folder may be on a slow file system.
                if name in self._watches and (names := await asyncio.to_thread(self._watches[name].changed)):
                    self._loop.note(partial(pool.files_changed, names))
                if pool.sampled:
                    self._loop.note(pool.sample)


def _private_folder() -> Path:
    """For the sockets of workers: nobody else may reach them.

    :raises StartError: there is no place for it.
    """
    places = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"]  # noqa: S108 - mkdtemp is safe there
    fit = [
        place for place in places if place and len(os.fsencode(place)) < LONGEST_FOLDER and os.access(place, os.W_OK)
    ]
    try:
        return Path(tempfile.mkdtemp(prefix="sidegate-", dir=next(iter(fit), None)))
    except OSError as error:
        raise StartError(f"cannot create the folder for the workers' sockets: {error}") from error
