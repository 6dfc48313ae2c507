"""One worker process, and the preloader that workers may be forked from, from the supervisor's side.

``WorkerProcess`` owns the file of the worker's listening socket, and its counters. Once the worker has started, only
the worker has the socket open, so connections to a worker that has exited are refused. The pool decides what a message
or an exit means.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sidegate import __version__
from sidegate.config import hop
from sidegate.config.env_file import read_env_file
from sidegate.config.plain import pack
from sidegate.config.schema import Config, PoolConfig
from sidegate.ipc import borrowed_packages, signals
from sidegate.ipc.control import Message
from sidegate.observe import metrics
from sidegate.observe.cells import Area
from sidegate.observe.metrics import CellLayout
from sidegate.observe.worker_counts import Counts, worker_counts
from sidegate.supervisor.child_process import ChildProcess, spawn
from sidegate.supervisor.child_state import ChildStatus
from sidegate.supervisor.unix_socket import UnixSocket

SOCKET_MODE = 0o600


class Launch:
    """The command, environment and first message of every process of one pool. ``folder``: the one for its sockets."""

    def __init__(self, config: Config, name: str, pool: PoolConfig, folder: Path) -> None:
        self.name = name
        self.folder = folder
        own = hop.worker_config(config, name)
        self.layout = CellLayout(own)
        self.route = own.routes[0].name  # the only route: every request matches it
        self._pool = pool
        self._message = {"version": __version__, "config": pack(own), "pool": pack(pool), "backend": name}

    def spawn(self, control: int, *inherited: int, words: tuple[str, ...] = ()) -> int:
        """Start the pool's Python with ``inherited`` open and return its pid. ``words``: additional arguments.

        :raises OSError: the system cannot start another process, or the Python does not exist any more.
        :raises ValueError: the file of environment variables cannot be read.
        """
        # Not -P, which a Python before 3.11 rejects; boot.py removes its folder from the path and checks the version.
        command = [self._pool.python or sys.executable, borrowed_packages.WORKER_BOOT, str(control)]
        command += [json.dumps(borrowed_packages.packages()), *words]
        return spawn(command, self._environment(), [control, *inherited])

    def first_message(self, **fields: Any) -> dict[str, Any]:
        """The fields of the message ``config``."""
        return {**self._message, "supervisor": os.getpid(), "ignored": signals.ignored(), **fields}

    def _environment(self) -> Mapping[str, str]:
        """Our variables, replaced by those of the file, replaced by those of the configuration."""
        path = self._pool.env_file
        return {**os.environ, **(read_env_file(path) if path else {}), **self._pool.env}


class PreloaderProcess(ChildProcess):
    """The process that has imported the application and forks workers."""

    def __init__(self, child: ChildStatus, launch: Launch) -> None:
        """Start it. Raises the errors of ``Launch.spawn``."""
        self._launch = launch
        super().__init__(child.serial, child.slot, lambda sock: launch.spawn(sock.fileno(), words=("preload",)))

    def open(self, on_message: Callable[[Message], None]) -> None:
        """Open the channel and send the configuration.

        :raises OSError: the system cannot watch another socket; then the preloader is killed.
        """
        self.listen(on_message, on_gone=lambda: None)
        self.send("config", **self._launch.first_message())


class WorkerProcess(ChildProcess):
    """A worker that was started and is not reaped yet. ``path``: the path of its socket.

    ``baseline``: its resident memory, in bytes, when it was ready. ``preloader``: the process that forks it and reports
    its pid later (None: the supervisor has started it).
    """

    def __init__(self, child: ChildStatus, launch: Launch, preloader: PreloaderProcess | None) -> None:
        """Start it, or let ``preloader`` fork it. Raises the errors of ``Launch.spawn``."""
        self.preloader = preloader
        self.baseline = 0
        self._launch = launch
        with ExitStack() as undo:
            self._area = Area.create(launch.layout.size)
            undo.callback(self._area.close)
            self._unix = UnixSocket(str(launch.folder / str(child.serial)), SOCKET_MODE)
            undo.callback(self._unix.unlink)
            with self._unix.socket as listening:
                listening.listen(socket.SOMAXCONN)
                self._listening = listening.fileno()
                super().__init__(child.serial, child.slot, self._start)
            undo.pop_all()

    @property
    def path(self) -> str:
        return self._unix.path

    def open(self, on_message: Callable[[Message], None], on_gone: Callable[[], None]) -> None:
        """Open the channel; send the configuration, unless the worker was forked from a preloader, which has it.

        :raises OSError: the system cannot watch another socket; then the worker is killed and closed.
        """
        try:
            self.listen(on_message, on_gone)
        except OSError:
            self.close()
            raise
        if self.preloader is None:
            descriptors = {"socket": self._listening, "cells": self._area.fd}
            self.send("config", **self._launch.first_message(**descriptors))

    def in_flight(self) -> int:
        """The number of exchanges in flight now."""
        return int(self._area.cells[self._launch.layout.cell(metrics.IN_FLIGHT, hop.NAME)])

    def requests(self) -> int:
        """The number of exchanges that have ended since it started."""
        return self._launch.layout.ended(self._area.cells, self._launch.route)

    def threads(self) -> Mapping[str, int]:
        """The number of WSGI threads that run a request, by state; empty as long as no WSGI request was counted."""
        return self._launch.layout.threads(self._area, self._launch.name)

    def counts(self) -> Counts:
        """Its counts of the metrics that fronts cannot count (``WORKER_METRICS``)."""
        return worker_counts(self._area, self._launch.layout)

    def close(self) -> None:
        """The process has exited: remove the socket's file and close the counters."""
        self._unix.unlink()
        self._area.close()

    def _start(self, theirs: socket.socket) -> int | None:
        control = theirs.fileno()
        if self.preloader is None:
            return self._launch.spawn(control, self._listening, self._area.fd)
        self.preloader.pass_on([control, self._listening, self._area.fd], "fork", number=self.serial)
        return None
