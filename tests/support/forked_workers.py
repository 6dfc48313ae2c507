"""A pool that preloads, whose processes a test plays, so that it decides in which order messages and exits arrive."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidegate.config.schema import PoolConfig
from sidegate.ipc.control import Decoder, Message, encode
from sidegate.supervisor.child_state import State
from sidegate.supervisor.pool import Pool, PoolContext
from sidegate.supervisor.worker_process import Launch, WorkerProcess
from tests.support.workers import pool_of_one

FIRST_PID = 5_000_000  # above the kernel's limit, so it is no process's
WORKER = 6_000_000
KILLED = -signal.SIGKILL


class Forked:
    """A worker's descriptors, as its preloader got them. ``number``: the worker's serial."""

    def __init__(self, number: int, descriptors: list[int]) -> None:
        self.number = number
        self.control = socket.socket(fileno=descriptors[0])
        for fd in descriptors[1:]:
            os.close(fd)

    def say(self, kind: str, **fields: Any) -> None:
        self.control.sendall(encode(kind, **fields))

    def exit(self) -> None:
        """End the control socket, as a process that exits."""
        self.control.close()


class Preloader:
    """The test's end of a preloader's control socket."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid = pid
        self.control = control
        self.control.settimeout(60)
        self.forked: list[Forked] = []
        self._decoder = Decoder()

    def say(self, kind: str, **fields: Any) -> None:
        self.control.sendall(encode(kind, **fields))

    def hear(self) -> tuple[Message, list[int]]:
        """The next message, and its descriptors."""
        while True:
            data, descriptors, _, _ = socket.recv_fds(self.control, 1 << 20, 3)
            assert data, "the supervisor has closed the connection"
            messages = self._decoder.feed(data)
            if messages:
                assert len(messages) == 1
                return messages[0], list(descriptors)

    def fork(self) -> Forked:
        message, descriptors = self.hear()
        assert message["type"] == "fork"
        self.forked.append(Forked(message["number"], descriptors))
        return self.forked[-1]

    def exit(self) -> None:
        self.control.close()


class Service:
    """A pool that preloads one worker, with a clock and a supervisor's loop that the test drives.

    ``lists``: the lists of workers that the fronts got. ``signals``: pids and numbers of what the pool has signalled.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.lists: list[list[tuple[int, str]]] = []
        self.on_publish: Callable[[], None] = lambda: None
        self.signals: list[tuple[int, int]] = []
        self.preloaders: list[Preloader] = []
        patch.setattr(Launch, "spawn", self._spawn)
        patch.setattr(os, "kill", self.kill)
        config = pool_of_one("shop:app", folder, {"preload": True})
        pool = config.backends["app"].pool
        assert isinstance(pool, PoolConfig)
        self._news: deque[Callable[[], None]] = deque()
        context = PoolContext(lambda: self.now, self._news.append, self._publish, lambda _, text: text, lambda _: None)
        self.pool = Pool(Launch(config, "app", pool, folder), pool, context)

    def _spawn(self, control: int, *_: int, words: tuple[str, ...] = ()) -> int:
        assert words == ("preload",), "workers are forked"
        self.preloaders.append(Preloader(FIRST_PID + len(self.preloaders), socket.socket(fileno=os.dup(control))))
        return self.preloaders[-1].pid

    def _publish(self, _backend: str, workers: list[tuple[int, str]]) -> None:
        self.lists.append(workers)
        self.on_publish()

    @property
    def published(self) -> list[tuple[int, str]]:
        """The workers that the fronts know."""
        return self.lists[-1] if self.lists else []

    def read(self) -> None:
        """Read all sockets: what the event loop does between two turns."""
        for process in self.pool.processes.all():
            process.read_available()

    def kill(self, pid: int, number: int) -> None:
        """What the pool calls instead of ``os.kill``."""
        self.signals.append((pid, number))

    def work(self) -> None:
        """Handle what is queued, then plan, until nothing is left to do: one turn of the supervisor's loop."""
        acted = True
        while acted or self._news:
            while self._news:
                self._news.popleft()()
            acted, _ = self.pool.step()

    async def turn(self) -> None:
        """Read all sockets, then ``work``, until nothing is left to do."""
        for _ in range(4):
            await asyncio.sleep(0)
            self.work()

    async def preloader(self) -> Preloader:
        """The newest preloader, which was just started; it is ready then."""
        await self.turn()
        preloader = self.preloaders[-1]
        assert preloader.hear()[0]["type"] == "config"
        preloader.say("ready", found="ASGI 3 application")
        await self.turn()
        return preloader

    def state(self, worker: Forked) -> State:
        return self.pool.state(worker.number)

    def workers(self) -> dict[int, WorkerProcess]:
        return self.pool.processes.workers

    async def worker(self, preloader: Preloader) -> Forked:
        """A worker that serves, as the process ``WORKER``."""
        await self.turn()
        worker = preloader.fork()
        preloader.say("forked", number=worker.number, pid=WORKER)
        worker.say("ready", engines={}, interfaces={})
        await self.turn()
        assert self.state(worker) is State.SERVING
        return worker

    def exits(self, preloader: Preloader, pid: int, status: int) -> bool:
        """Let the preloader report an exit, at once. Returns whether a worker has exited."""
        before = set(self.workers())
        preloader.say("exited", pid=pid, status=status)
        self.pool.processes.read_preloaders()
        self.work()
        return not before <= set(self.workers())

    async def stop(self) -> None:
        """Stop the pool: no process may be left when those that were signalled have exited."""
        self.pool.stop(self.now)
        for _ in range(5):
            self.now += 100
            await self.turn()
        for pid, number in self.signals:
            if number == signal.SIGKILL:
                self.pool.ended(pid, KILLED)
        await self.turn()
        assert not self.pool.processes.alive

    def close(self) -> None:
        for preloader in self.preloaders:
            for worker in preloader.forked:
                worker.exit()
            preloader.exit()
        for process in self.pool.processes.all():
            process.read_remaining_messages()
