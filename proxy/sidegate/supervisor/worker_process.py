"""One worker process, and the preloader that workers may be forked from, from the supervisor's side.

Where it stands: between a child process and its pool. A worker owns its listening socket's file and its counters; the
socket itself is the worker's alone as soon as it lives, so that the socket of a dead worker refuses. It judges nothing.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sidegate import __version__
from sidegate.config import hop
from sidegate.config.env_file import read_env_file
from sidegate.config.plain import pack
from sidegate.config.schema import Config, PoolConfig
from sidegate.ipc import borrowed_packages
from sidegate.ipc.control import Message
from sidegate.observe import metrics
from sidegate.observe.cells import Area
from sidegate.observe.metrics import Layout
from sidegate.observe.worker_counts import Counts, worker_counts
from sidegate.supervisor.child_process import ChildProcess, spawn
from sidegate.supervisor.child_state import ChildStatus
from sidegate.supervisor.unix_socket import UnixSocket

SOCKET_MODE = 0o600


class Launch:
    """What every process of one pool is started with. ``folder`` is the private one for sockets."""

    def __init__(self, config: Config, name: str, pool: PoolConfig, folder: Path) -> None:
        self.name = name
        self.folder = folder
        own = hop.worker_config(config, name)
        self.layout = Layout(own)
        self.route = own.routes[0].name  # of every request
        self._pool = pool
        self._message = {"version": __version__, "config": pack(own), "pool": pack(pool), "backend": name}

    def spawn(self, control: int, *inherited: int, words: tuple[str, ...] = ()) -> int:
        """Start the pool's Python with ``inherited`` open.

        :raises OSError: the system has no room for another process, or there is no such Python any more.
        :raises ValueError: the file of environment variables cannot be read.
        """
        # Not -P, which a Python before 3.11 does not know: the script leaves its folder and says what is too old.
        command = [self._pool.python or sys.executable, borrowed_packages.WORKER_BOOT, str(control)]
        command += [json.dumps(borrowed_packages.packages()), *words]
        return spawn(command, self._environment(), [control, *inherited])

    def first_message(self, **fields: Any) -> dict[str, Any]:
        """The fields of ``config``."""
        return {**self._message, "supervisor": os.getpid(), **fields}

    def _environment(self) -> Mapping[str, str]:
        """Ours, then the file's, then what the configuration itself says."""
        path = self._pool.env_file
        return {**os.environ, **(read_env_file(path) if path else {}), **self._pool.env}


class PreloaderProcess(ChildProcess):
    """The process that has imported the application and forks workers."""

    def __init__(self, child: ChildStatus, launch: Launch) -> None:
        """Start it. Raises what ``Launch.spawn`` does."""
        self._launch = launch
        super().__init__(child.serial, child.slot, lambda sock: launch.spawn(sock.fileno(), words=("preload",)))

    def open(self, on_message: Callable[[Message], None]) -> None:
        """Begin to talk: send the configuration."""
        self.listen(on_message, on_gone=lambda: None)
        self.send("config", **self._launch.first_message())


class WorkerProcess(ChildProcess):
    """A worker that was started and is not reaped yet. ``path`` is its socket's.

    ``baseline`` is its resident memory, in bytes, when it was ready. ``forked``: it is no child of ours but a
    preloader's, and its pid is told later.
    """

    def __init__(self, child: ChildStatus, launch: Launch, preloader: PreloaderProcess | None) -> None:
        """Start it, or have it forked by ``preloader``. Raises what ``Launch.spawn`` does."""
        self.forked = preloader is not None
        self.baseline = 0
        self._launch = launch
        self._unix = UnixSocket(str(launch.folder / str(child.serial)), SOCKET_MODE)
        self._area = Area.create(launch.layout.size)
        try:
            with self._unix.socket as listening:
                listening.listen(socket.SOMAXCONN)
                self._listening = listening.fileno()
                super().__init__(child.serial, child.slot, self._starter(preloader))
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> str:
        return self._unix.path

    def open(self, on_message: Callable[[Message], None], on_gone: Callable[[], None]) -> None:
        """Begin to talk: send the configuration, unless it was forked from a process that has it."""
        self.listen(on_message, on_gone)
        if not self.forked:
            descriptors = {"socket": self._listening, "cells": self._area.fd}
            self.send("config", **self._launch.first_message(**descriptors))

    def in_flight(self) -> int:
        """Exchanges that have begun and not ended, at this moment."""
        return int(self._area.cells[self._launch.layout.cell(metrics.IN_FLIGHT, hop.NAME)])

    def requests(self) -> int:
        """Exchanges that have ended since it started."""
        return self._launch.layout.ended(self._area.cells, self._launch.route)

    def threads(self) -> Mapping[str, int]:
        """The threads of its WSGI application that have work, by state; empty if it shows no sign of being one."""
        return self._launch.layout.threads(self._area, self._launch.name)

    def counts(self) -> Counts:
        """What it has counted that the fronts cannot see."""
        return worker_counts(self._area, self._launch.layout)

    def close(self) -> None:
        """The process is gone: remove the socket's file, let go of the counters."""
        self._unix.unlink()
        self._area.close()

    def _starter(self, preloader: PreloaderProcess | None) -> Callable[[socket.socket], int | None]:
        def start(theirs: socket.socket) -> int | None:
            control = theirs.fileno()
            if preloader is None:
                return self._launch.spawn(control, self._listening, self._area.fd)
            preloader.pass_on([control, self._listening, self._area.fd], "fork", number=self.serial)
            return None

        return start
