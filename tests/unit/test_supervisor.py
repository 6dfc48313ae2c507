"""The supervisor's loop: the test plays the fronts, so that it decides in which order messages and exits arrive."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sidegate.ipc.control import INVALID_TEXT, decode_keys, encode
from sidegate.observe import heartbeat
from sidegate.observe.heartbeat import STACK_SIGNAL
from sidegate.supervisor import child_process
from sidegate.supervisor import supervisor as module
from sidegate.supervisor.front_process import FrontProcess
from sidegate.supervisor.supervisor import Operator, Supervisor
from tests.support.binding import Bind, a_config, locate

FIRST_PID = 5_000_000  # above the kernel's limit, so it is no process's
PATIENCE = 60.0
LIMIT = 30.0
"""Seconds of the default ``livenessTimeout``, of which the tests let pass what they like."""

READY = encode("ready", engines={}, interfaces={})


class Service:
    """A supervisor with one front. ``fronts``: the test's ends of the control sockets, by pid.

    ``exits``: what the system reports next. ``signals``: pids and numbers of what the supervisor has signalled.
    """

    running: asyncio.Future[int]

    def __init__(self, supervisor: Supervisor, patch: pytest.MonkeyPatch) -> None:
        self.supervisor = supervisor
        self.fronts: dict[int, socket.socket] = {}
        self.exits: list[tuple[int, int]] = []
        self.signals: list[tuple[int, int]] = []
        patch.setattr(FrontProcess, "_spawn", self._spawn)
        patch.setattr(os, "kill", lambda pid, number: self.signals.append((pid, number)))
        patch.setattr(module, "reap", self._reap)

    def _spawn(self, theirs: socket.socket) -> int:
        pid = FIRST_PID + len(self.fronts)
        self.fronts[pid] = theirs.dup()
        return pid

    def _reap(self) -> list[tuple[int, int]]:
        exits, self.exits = self.exits, []
        return exits

    async def started(self, count: int) -> tuple[int, socket.socket]:
        """Wait until ``count`` fronts were started; the last one's pid and control socket."""
        await self.until(lambda: len(self.fronts) >= count)
        return list(self.fronts.items())[-1]

    async def serving(self, count: int = 1) -> tuple[int, socket.socket]:
        """As ``started``; it is ready and serves."""
        pid, control = await self.started(count)
        control.sendall(READY)
        await self.until(lambda: pid in [front.pid for front in self.supervisor.serving])
        return pid, control

    async def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            assert not self.running.done(), self.running
            await asyncio.sleep(0.01)

    def pass_time(self, seconds: float) -> None:
        """Let the supervisor look at the event loops again and again for this time."""
        for _ in range(round(seconds)):
            self.supervisor.liveness.check(1.0)

    def beat(self, pid: int) -> None:
        """Show that the event loop of a front runs."""
        (front,) = (front for front in self.supervisor.fronts.values() if front.pid == pid)
        front.area.cells[len(front.area) - heartbeat.CELLS] += 1
        self.supervisor.liveness.check(0.0)

    def exit(self, pid: int, status: int = 0) -> None:
        """End a front. The supervisor learns of its exit before it has read the front's messages."""
        self.fronts[pid].close()
        self.exits.append((pid, status))
        self.supervisor._on_child_ended()  # what SIGCHLD calls


Test = Callable[[Service], Coroutine[Any, Any, None]]
Run = Callable[[Test], int]


@pytest.fixture
def run(bind: Bind, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a test while the supervisor runs, then stop the fronts; the supervisor's exit code."""

    async def live(test: Test) -> int:
        supervisor = Supervisor(a_config("127.0.0.1:0"), bind("127.0.0.1:0"), Operator(locate, print, lambda: None))
        service = Service(supervisor, monkeypatch)
        service.running = running = asyncio.ensure_future(supervisor.run())
        await test(service)
        signal.raise_signal(signal.SIGTERM)
        await service.until(lambda: supervisor.wanted.stop is not None)
        for front in list(supervisor.fronts.values()):
            assert front.pid is not None
            service.exit(front.pid)
        return await asyncio.wait_for(running, PATIENCE)

    return lambda test: asyncio.run(live(test))


@pytest.mark.parametrize("data", [b"a print of the application\n", encode("pressure"), encode("failed")])
def test_a_bad_message_ends_nobody(run: Run, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def test(service: Service) -> None:
        _, control = await service.serving()
        control.sendall(data)
        await service.until(lambda: INVALID_TEXT in caplog.text)
        assert service.supervisor.serving
        assert service.signals == []

    assert run(test) == 0


@pytest.mark.parametrize("data", [b"a print of the application\n", encode("pressure"), READY + READY])
def test_a_bad_message_hides_no_exit(run: Run, data: bytes) -> None:
    async def test(service: Service) -> None:
        pid, control = await service.serving()
        control.sendall(data)
        service.exit(pid, -signal.SIGSEGV)
        await service.serving(2)
        assert service.supervisor.restarts == {"SIGSEGV": 1}
        assert service.signals == []  # the pid may be another process's

    assert run(test) == 0


def test_a_front_that_violates_the_protocol_is_killed_once(run: Run) -> None:
    async def test(service: Service) -> None:
        pid, control = await service.serving()
        control.sendall(3 * READY)
        await service.until(lambda: bool(service.signals))
        assert service.signals == [(pid, signal.SIGKILL)]
        service.exit(pid, -signal.SIGKILL)
        await service.serving(2)

    assert run(test) == 0


def test_a_front_whose_socket_cannot_be_watched_is_killed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async def test(service: Service) -> None:
        pid, _ = await service.serving()
        with monkeypatch.context() as patch:
            patch.setattr(child_process, "Channel", fail)
            service.exit(pid)
            await service.started(2)
            assert service.signals == [(pid + 1, signal.SIGKILL)]
            assert not service.supervisor.fronts
        service.exit(pid + 1)
        await service.serving(3)

    assert run(test) == 0


# ---- fronts whose event loop is blocked -------------------------------------------------------------------


def test_a_stuck_front_is_ended_when_its_successor_serves(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def test(service: Service) -> None:
        old, _ = await service.serving()
        service.pass_time(LIMIT + 5)
        assert service.signals == [(old, STACK_SIGNAL)]
        await service.started(2)
        assert service.signals == [(old, STACK_SIGNAL)], "it may still answer its requests"
        new, _ = await service.serving(2)
        await service.until(lambda: service.signals[1:] == [(old, signal.SIGABRT)])
        await service.until(lambda: service.signals[2:] == [(old, signal.SIGKILL)])
        service.exit(old, -signal.SIGKILL)
        await service.until(lambda: service.supervisor.restarts == {"stuck": 1})
        assert [front.pid for front in service.supervisor.serving] == [new]

    assert run(test) == 0
    assert f"front {FIRST_PID} is stuck: its event loop has been blocked for 3" in caplog.text
    assert f"front {FIRST_PID} is killed: it is stuck and did not exit after SIGABRT" in caplog.text


def test_a_front_that_runs_again_before_its_successor_serves_is_drained(run: Run) -> None:
    async def test(service: Service) -> None:
        old, control = await service.serving()
        service.pass_time(LIMIT + 5)
        await service.started(2)
        service.beat(old)
        await service.serving(2)
        await read_until(control, "drain")
        service.exit(old)
        await service.until(lambda: service.supervisor.restarts == {"stuck": 1})
        assert service.signals == [(old, STACK_SIGNAL)]

    assert run(test) == 0


def test_a_front_that_runs_again_in_time_is_not_replaced(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def test(service: Service) -> None:
        pid, _ = await service.serving()
        for _ in range(5):
            service.pass_time(LIMIT - 2)
            service.beat(pid)
        assert not service.supervisor.wanted.stuck
        assert len(service.fronts) == 1
        assert set(service.signals) == {(pid, STACK_SIGNAL)}

    assert run(test) == 0
    assert caplog.text.count("its event loop runs again after") == 5


def test_every_front_gets_the_ticket_keys_and_the_new_ones(run: Run) -> None:
    async def test(service: Service) -> None:
        _, control = await service.serving()
        (front,) = service.supervisor.fronts.values()
        front.engines = {"tls": "openssl 3"}  # as of a front that has said so: it gets the new keys
        tickets = service.supervisor._tickets
        first = await ticket_keys(control)
        assert first == list(tickets.keys)
        tickets.rotate()
        assert await ticket_keys(control) == [tickets.keys[0], *first]

    assert run(test) == 0


async def ticket_keys(control: socket.socket) -> list[bytes]:
    """The keys of the next message that has any."""
    return decode_keys((await read_until(control, "ticketKeys"))["keys"])


async def read_until(control: socket.socket, kind: str) -> dict[str, Any]:
    """The next message of this kind."""
    while True:
        message: dict[str, Any] = json.loads(await asyncio.to_thread(read_line, control))
        if message["type"] == kind:
            return message


def read_line(control: socket.socket) -> bytes:
    control.setblocking(True)
    line = b""
    while not line.endswith(b"\n"):
        piece = control.recv(1)
        assert piece
        line += piece
    return line
