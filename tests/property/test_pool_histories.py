"""Random histories of a pool that preloads: processes fork, exit, stop and are reaped in any order.

The test plays the kernel, the preloaders and the workers. In every history: no signal goes to a pid that was reaped,
nothing raises, and a stop ends every process and leaves no file.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from sidegate.ipc.control import Decoder, encode
from tests.support.forked_workers import Service

FIRST_WORKER = 6_000_000
ROUNDS_OF_A_STOP = 80
FATAL = {signal.SIGKILL, signal.SIGABRT}


@dataclass(eq=False)
class Process:
    """A process that is not reaped yet. ``status``: its exit status; None: it runs.

    ``parent``: its preloader; None: the supervisor. ``children``: of a preloader, those that are not reaped.
    """

    pid: int
    control: socket.socket
    parent: Process | None = None
    is_preloader: bool = False
    number: int = 0
    status: int | None = None
    is_stopped: bool = False
    is_ready: bool = False
    children: list[Process] = field(default_factory=list)
    unreported: list[Process] = field(default_factory=list)
    decoder: Decoder = field(default_factory=Decoder)

    def say(self, kind: str, **fields: Any) -> None:
        """Send a message, if the supervisor has not closed its end."""
        if self.status is None:
            try:
                self.control.sendall(encode(kind, **fields))
            except OSError:
                return

    def receive(self) -> tuple[bytes | None, list[int]]:
        """What has arrived, with descriptors; None: nothing; empty: the end."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self.control, 1 << 20, 3)
        except BlockingIOError:
            return None, []
        except OSError:
            return b"", []
        return data, list(descriptors)


class History(Service):
    """``processes``: those that are not reaped, by pid. ``exits``: what the kernel reports to the supervisor."""

    def __init__(self, seed: int, folder: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, patch)
        self.random = random.Random(seed)
        size = self.random.randint(1, 4)
        self.pool.wanted = replace(self.pool.wanted, minimum=size, maximum=size, size=size)
        self.processes: dict[int, Process] = {}
        self.exits_to_report: list[Process] = []
        self._pids = iter(range(FIRST_WORKER, FIRST_WORKER + 10_000))
        self._known: set[int] = set()

    # ---- the kernel ---------------------------------------------------------------------------------------

    def adopt(self) -> None:
        """Take the preloaders that the pool has started."""
        for started in self.preloaders:
            if started.pid not in self._known:
                self._known.add(started.pid)
                started.control.setblocking(False)
                self.processes[started.pid] = Process(started.pid, started.control, is_preloader=True)

    def kill(self, pid: int, number: int) -> None:
        self.adopt()
        assert pid in self.processes, f"signal {number} to {pid}, which was reaped"
        process = self.processes[pid]
        if process.status is not None:
            return
        if number in FATAL:
            self.die(process, -number)
        elif process.is_preloader:
            if not process.is_stopped:
                self.die(process, -number)
        elif self.random.random() < 0.5:
            self.die(process, 0)
        else:
            process.say("draining")

    def die(self, process: Process, status: int) -> None:
        process.status = status
        process.control.close()
        if process.parent is None:
            self.exits_to_report.append(process)
        else:
            process.parent.unreported.append(process)
        for child in process.children:
            child.parent = None
            if child.status is not None:
                self.exits_to_report.append(child)
        self.random.shuffle(self.exits_to_report)

    def reap(self) -> None:
        """What the supervisor does on SIGCHLD."""
        while self.exits_to_report and self.random.random() < 0.8:
            process = self.exits_to_report.pop()
            del self.processes[process.pid]
            assert process.status is not None
            self.pool.ended(process.pid, process.status)

    # ---- the processes ------------------------------------------------------------------------------------

    def run_preloader(self, preloader: Process) -> None:
        if preloader.status is not None or preloader.is_stopped:
            return
        for child in preloader.unreported:
            preloader.say("exited", pid=child.pid, status=child.status)
        preloader.unreported.clear()
        data, descriptors = preloader.receive()
        if data == b"":
            self.die(preloader, 0)
        for message in preloader.decoder.feed(data or b""):
            if message["type"] == "config":
                self.start(preloader)
            elif message["type"] == "fork":
                self.fork(preloader, message["number"], descriptors)
            elif message["type"] == "reap":
                self.reap_child(preloader, message["pid"])

    def reap_child(self, preloader: Process, pid: int) -> None:
        for child in preloader.children:
            if child.pid == pid:
                assert child.status is not None, "a running process is reaped"
                preloader.children.remove(child)
                del self.processes[pid]
                return

    def start(self, preloader: Process) -> None:
        if self.random.random() < 0.1:
            preloader.say("failed", message="no such module")
            self.die(preloader, 3)
        else:
            preloader.say("ready", found="ASGI 3 application")

    def fork(self, preloader: Process, number: int, descriptors: list[int]) -> None:
        for fd in descriptors[1:]:
            os.close(fd)
        control = socket.socket(fileno=descriptors[0])
        control.setblocking(False)
        chance = self.random.random()
        if chance < 0.1:  # not forked: the preloader is killed, or the system refuses
            control.close()
            if chance < 0.05:
                self.die(preloader, -signal.SIGKILL)
            return
        worker = Process(next(self._pids), control, preloader, number=number)
        self.processes[worker.pid] = worker
        preloader.children.append(worker)
        if chance < 0.15:
            self.die(preloader, -signal.SIGKILL)  # before it could tell
        else:
            preloader.say("forked", number=number, pid=worker.pid)

    def run_worker(self, worker: Process) -> None:
        if worker.status is not None:
            return
        data, _ = worker.receive()
        if data == b"":
            self.die(worker, 3)
            return
        for message in worker.decoder.feed(data or b""):
            if message["type"] == "drain":
                worker.say("drained")
            if message["type"] in ("drain", "abort") and self.random.random() < 0.7:
                self.die(worker, 0)
                return
        chance = self.random.random()
        if chance < 0.5 and not worker.is_ready:
            worker.is_ready = True
            worker.say("ready", engines={}, interfaces={})
        elif chance < 0.55:
            worker.say("retire", cause="max_requests")
        elif chance < 0.6:
            self.die(worker, self.random.choice([-signal.SIGKILL, -signal.SIGSEGV, 1]))
        elif chance < 0.62:
            worker.say("ready")  # violates the protocol

    def disturb(self) -> None:
        """Kill, stop or continue a preloader."""
        running = [each for each in self.processes.values() if each.is_preloader and each.status is None]
        if running:
            preloader = self.random.choice(running)
            chance = self.random.random()
            if chance < 0.2:
                self.die(preloader, -signal.SIGKILL)
            else:
                preloader.is_stopped = chance < 0.4

    # ---- the history --------------------------------------------------------------------------------------

    def steps(self) -> list[Callable[[], None]]:
        """Everything that can happen in one round, in a random order."""
        self.adopt()
        steps: list[Callable[[], None]] = [self.reap, self.work, self.work, self.wait]
        for process in self.processes.values():
            run = self.run_preloader if process.is_preloader else self.run_worker
            steps.append(lambda run=run, process=process: run(process))  # type: ignore[misc]
        self.random.shuffle(steps)
        return steps

    def wait(self) -> None:
        self.now += self.random.choice([0.1, 1.0, 10.0, 61.0])

    async def live(self) -> None:
        for _ in range(self.random.randint(5, 60)):
            for step in [*self.steps(), self.disturb]:
                if self.random.random() < 0.7:
                    step()
                if self.random.random() < 0.3:
                    await self.read_all()

    async def stop(self) -> None:
        self.pool.stop(self.now + self.random.choice([0.0, 5.0, 30.0]))
        for _ in range(ROUNDS_OF_A_STOP):
            for step in self.steps():
                step()
            await self.read_all()
            self.work()
        assert not self.pool.processes.alive
        assert self.published == []
        # A worker whose pid was never known exits when its control socket ends.
        assert all(process.is_preloader or process.status is not None for process in self.processes.values())

    async def read_all(self) -> None:
        """Let the event loop read: the callbacks of a socket run in the turn after the one that finds it readable."""
        for _ in range(2):
            await asyncio.sleep(0)

    def close(self) -> None:
        for process in self.processes.values():
            process.control.close()
        super().close()


@pytest.mark.parametrize("seed", range(150))
def test_every_history_ends(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(folder: Path) -> None:
        history = History(seed, folder, monkeypatch)
        try:
            await history.live()
            await history.stop()
        finally:
            history.close()

    with tempfile.TemporaryDirectory(prefix="sg-") as folder:
        asyncio.run(run(Path(folder)))
        assert os.listdir(folder) == []
