"""Random histories of fronts: they start, fail, block, leave and exit in any order, and so do the operator's signals.

The test plays the kernel and the fronts; time passes when it says so. In every history: no signal goes to a pid that
was reaped, nothing raises, no front is told to serve before the sockets listen, and a stop ends every process.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from sidegate.config.schema import Config
from sidegate.config.validation import validate
from sidegate.ipc.control import Decoder, encode
from sidegate.observe import heartbeat
from sidegate.supervisor import supervisor as module
from sidegate.supervisor.front_process import FrontProcess
from sidegate.supervisor.plan import Sockets
from sidegate.supervisor.sockets import ServiceSockets
from sidegate.supervisor.supervisor import Operator, Supervisor
from sidegate.supervisor.systemd import PassedSockets
from tests.support.binding import locate
from tests.support.manual_loop import ManualTimeLoop

FIRST_PID = 5_000_000  # above the kernel's limit, so it is no process's
PROCESSES = 3
ROUNDS_OF_A_STOP = 60
FATAL = {signal.SIGKILL, signal.SIGABRT}


@dataclass(eq=False)
class Front:
    """A front that is not reaped yet. ``status``: its exit status; None: it runs."""

    pid: int
    control: socket.socket
    status: int | None = None
    is_ready: bool = False
    is_blocked: bool = False
    is_leaving: bool = False
    decoder: Decoder = field(default_factory=Decoder)

    def say(self, kind: str, **fields: Any) -> None:
        """Send a message, if the supervisor has not closed its end."""
        if self.status is None:
            try:
                self.control.sendall(encode(kind, **fields))
            except OSError:
                return

    def receive(self) -> bytes:
        try:
            return self.control.recv(1 << 20)
        except OSError:
            return b""


class History:
    """``fronts``: those that are not reaped, by pid. ``exits``: what the kernel has not reported yet."""

    def __init__(self, seed: int, patch: pytest.MonkeyPatch) -> None:
        self.random = random.Random(seed)
        self.loop = ManualTimeLoop()
        self.fronts: dict[int, Front] = {}
        self.exits: list[Front] = []
        self._spawned = 0
        patch.setattr(FrontProcess, "_spawn", lambda _, theirs: self.spawn(theirs))
        patch.setattr(FrontProcess, "is_traced", False)
        patch.setattr(os, "kill", self.kill)
        patch.setattr(module, "reap", self.reap)
        config = validate(
            Config,
            {
                "processes": PROCESSES,
                "listeners": [{"name": "http", "address": "127.0.0.1:0"}],
                "backends": {"b": {"respond": {}}},
                "routes": [{"backend": "b"}],
            },
        )
        self.sockets = ServiceSockets(config, PassedSockets([]), locate)
        self.loop.do(self.build, config)
        self.work = self.loop.create_task(self.supervisor._work())
        self.loop.do(self.supervisor.liveness.start)

    def build(self, config: Config) -> None:
        self.supervisor = Supervisor(config, self.sockets, Operator(locate, lambda _: None, lambda: None))

    # ---- the kernel ---------------------------------------------------------------------------------------

    def spawn(self, theirs: socket.socket) -> int:
        if self.random.random() < 0.03:
            raise OSError(11, "Resource temporarily unavailable")
        self._spawned += 1
        pid = FIRST_PID + self._spawned
        control = theirs.dup()
        control.setblocking(False)
        self.fronts[pid] = Front(pid, control)
        return pid

    def kill(self, pid: int, number: int) -> None:
        assert pid in self.fronts, f"signal {number} to {pid}, which was reaped"
        front = self.fronts[pid]
        if number in FATAL:
            self.die(front, -number)
        elif number == signal.SIGTERM and self.random.random() < 0.6:
            self.die(front, 0)

    def die(self, front: Front, status: int) -> None:
        if front.status is None:
            front.status = status
            front.control.close()
            self.exits.append(front)
            self.random.shuffle(self.exits)

    def reap(self) -> list[tuple[int, int]]:
        found = []
        while self.exits and self.random.random() < 0.8:
            front = self.exits.pop()
            del self.fronts[front.pid]
            assert front.status is not None
            found.append((front.pid, front.status))
        return found

    # ---- the fronts ---------------------------------------------------------------------------------------

    def run(self, front: Front) -> None:
        if front.status is not None or front.is_blocked:
            return
        for message in front.decoder.feed(front.receive()):
            if message["type"] == "serve":
                assert front.is_ready
                assert self.supervisor.wanted.sockets is not Sockets.BOUND
            elif message["type"] == "drain":
                front.is_leaving = True
            elif message["type"] == "abort" and self.random.random() < 0.7:
                self.die(front, 0)
                return
        self.beat(front)
        if not front.is_ready:
            self.start(front)
        elif front.is_leaving and self.random.random() < 0.5:
            front.say("drained")
            if self.random.random() < 0.7:
                self.die(front, 0)

    def start(self, front: Front) -> None:
        chance = self.random.random()
        if chance < 0.6:
            front.is_ready = True
            front.say("ready", engines={"http2": "test"}, interfaces={})
        elif chance < 0.63:
            front.say("failed", message="no such module")
            self.die(front, 3)

    def beat(self, front: Front) -> None:
        """Count up the cell by which a front shows that its event loop runs."""
        for known in self.supervisor.fronts.values():
            if known.pid == front.pid:
                known.area.cells[len(known.area) - heartbeat.CELLS] += 1

    def disturb(self) -> None:
        """Something happens to a front that is ready, or it says something."""
        running = [front for front in self.fronts.values() if front.status is None and front.is_ready]
        if not running:
            return
        front = self.random.choice(running)
        chance = self.random.random()
        if chance < 0.3:
            self.die(front, self.random.choice([-signal.SIGKILL, -signal.SIGSEGV, 1, 0]))
        elif chance < 0.6:
            front.is_blocked = not front.is_blocked
        elif chance < 0.7:
            front.is_leaving = True
            front.say("draining")
        elif chance < 0.75:
            front.say("ready", engines={}, interfaces={})  # violates the protocol
        elif chance < 0.85:
            front.say(self.random.choice(["pressure", "stuck", "statistics", "nonsense"]))

    # ---- the history --------------------------------------------------------------------------------------

    def steps(self) -> list[Callable[[], None]]:
        """Everything that can happen in one round, in a random order."""
        steps: list[Callable[[], None]] = [self.supervisor._on_child_ended, self.pass_time, self.pass_time]
        steps += [lambda front=front: self.run(front) for front in self.fronts.values()]  # type: ignore[misc]
        self.random.shuffle(steps)
        return steps

    def pass_time(self) -> None:
        self.loop.now += self.random.choice([0.1, 1.0, 3.0, 11.0, 61.0])

    def check(self) -> None:
        if self.work.done():
            self.work.result()
        assert self.loop.unhandled == []
        serving = [front.slot for front in self.supervisor.serving]
        assert all(serving.count(slot) <= 2 for slot in serving), "a front, and one that is stuck"

    def live(self) -> None:
        for _ in range(self.random.randint(5, 60)):
            disturbances = [self.disturb] * 3 if self.supervisor.wanted.sockets is Sockets.LISTENING else []
            batch: list[Callable[[], None]] = []
            for step in [*self.steps(), *disturbances]:
                if self.work.done():
                    return
                batch.append(step)
                if self.random.random() < 0.6:  # else the supervisor learns of this and the next step at once
                    self.loop.do(self.make, batch)
                    batch = []
                    self.check()

    def make(self, steps: list[Callable[[], None]]) -> None:
        for step in steps:
            step()

    def stop(self) -> None:
        for number in range(ROUNDS_OF_A_STOP):
            if self.work.done():
                break
            if number == 0 or self.random.random() < 0.02:
                self.loop.do(self.supervisor._note, partial(self.supervisor._stop, signal.SIGTERM))
            for step in self.steps():
                self.loop.do(step)
            self.check()
        assert self.work.done(), "the stop does not end"
        assert not self.supervisor.fronts
        assert all(front.status is not None for front in self.fronts.values())

    def close(self) -> None:
        self.supervisor.liveness.stop()
        self.work.cancel()
        for front in self.fronts.values():
            front.control.close()
        for known in self.supervisor.fronts.values():
            known.read_remaining_messages()
            known.area.close()
        self.loop.do(lambda: None)
        self.sockets.close()
        self.loop.close()


@pytest.mark.parametrize("seed", range(100))
def test_every_history_ends(seed: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "sidegate")
    history = History(seed, monkeypatch)
    try:
        history.live()
        history.stop()
    finally:
        history.close()
