"""A worker process: one backend's application behind HTTP/2 on a unix socket, for the fronts of the same service.

A worker is a child that runs a pool's application; ``process/boot.py`` or a preloader starts it. ``process/child.py``
contains the steps of every child, and the Runtime runs the same server as in a front, with the limits of a trusted hop
and with the facts about the client that the front sends (``server/hop.py``). This module adds what only a worker has:
the pool's user and limits, and the request to be retired.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import socket

from sidegate.backends.kinds import import_builders
from sidegate.config.plain import unpack
from sidegate.config.schema import Config, PoolConfig
from sidegate.ipc.control import Message, send_last
from sidegate.observe import process_log
from sidegate.observe.cells import Area
from sidegate.observe.metrics import CellLayout
from sidegate.observe.observer import Observer
from sidegate.process import child
from sidegate.process.child import ChildMain, Failure
from sidegate.process.privileges import PoolKeyError, apply_privileges
from sidegate.process.runtime import Runtime
from sidegate.server.forwarded import TrustedProxies
from sidegate.versions import engines

COUNT_PERIOD = 0.1
"""Seconds between two checks of the number of requests, if ``maxRequests`` is set."""

FRONTS = TrustedProxies(["unix"])
"""Only fronts can connect: the socket is in a private folder."""


def main(control_fd: int) -> int:
    """Run one worker until it ends and return its exit code."""
    control = socket.socket(fileno=control_fd)
    first = child.first_message(control)
    if first is None:
        return child.FAILED_START
    config, pool = prepared(first, control)
    if pool is None:
        return child.FAILED_START
    os.set_inheritable(first["cells"], False)
    return serve(config, pool, control, child.inherited(first["socket"]), first["cells"])


def prepared(first: Message, control: socket.socket) -> tuple[Config, PoolConfig | None]:
    """Read the first message and apply the pool's privileges and limits.

    If that is not possible, it tells the supervisor and returns None for the pool.
    """
    config, pool = unpack(Config, first["config"]), unpack(PoolConfig, first["pool"])
    process_log.set_up(config.logging)
    import_builders(config.backends.values())  # while this user may read the files, and before a preloader forks
    try:
        apply_privileges(pool)
    except PoolKeyError as error:
        send_last(control, "failed", problems=[[["backends", first["backend"], "pool", *error.key], error.reason]])
        return config, None
    child.exit_with_parent()  # again: the change of the user cleared the setting
    return config, pool


def serve(config: Config, pool: PoolConfig, control: socket.socket, listening: socket.socket, cells: int) -> int:
    """Run a prepared worker until it ends and return its exit code. ``cells``: the descriptor of its counters."""
    worker = Worker(config, pool, control, listening, Area(cells))
    return child.run(worker, config.event_loop, control)


class Worker(ChildMain):
    """One worker."""

    noun = "worker"

    def __init__(
        self, config: Config, pool: PoolConfig, control: socket.socket, listening: socket.socket, area: Area
    ) -> None:
        super().__init__(config, control)
        self._listening = listening
        self._serves = False  # and has not been told to end
        self._area = area
        self._layout = CellLayout(config)
        self._most_requests = pool.max_requests - math.floor(pool.max_requests * _random_part(pool.recycle_jitter))

    async def run(self) -> Failure | None:
        """See ``ChildMain``. A worker's problems have no position in the file, so only their messages are sent."""
        failure = await super().run()
        if failure is not None and "problems" in failure:
            return {"message": "\n".join(message for _, message in failure["problems"])}
        return failure

    def build(self) -> Runtime:
        observer = Observer(self._config, self._area.cells)
        process_log.stderr.count_in(self._area.cells, observer.process_log_cell(self.noun))
        sockets = {self._config.listeners[0].name: [self._listening]}
        return Runtime.build(self._config, sockets, observer, self.applications, fronts=FRONTS, report=self._tell)

    def started(self) -> None:
        self._runtime.serve()
        self._serves = True
        parts = engines(self._config, child.loop_package(), http1=False)
        self._tell("ready", engines=parts, interfaces=self._runtime.interfaces)
        if self._most_requests:
            self._watch_requests()

    def _on_terminate(self) -> None:
        """Request a successor, and serve until the supervisor drains this worker; a second SIGTERM drains at once."""
        if self._serves:
            self._serves = False
            self._tell("retire", cause="drained")
        else:
            super()._on_terminate()

    def _watch_requests(self) -> None:
        """Request a successor once; until the supervisor drains this worker, it serves requests as before."""
        if self._layout.ended(self._area.cells, self._config.routes[0].name) >= self._most_requests:
            self._tell("retire", cause="max_requests")
        else:
            asyncio.get_running_loop().call_later(COUNT_PERIOD, self._watch_requests)


def _random_part(percent: int) -> float:
    """A random fraction between 0 and ``percent``/100, so that workers that started together do not end together."""
    return random.random() * percent / 100  # noqa: S311 - it need not be unpredictable
