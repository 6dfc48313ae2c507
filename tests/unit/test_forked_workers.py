"""Exits and messages of a preloader and its workers, in every order: the test plays the processes."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidegate.ipc.control import INVALID_TEXT, encode
from sidegate.supervisor import child_process
from sidegate.supervisor.child_state import State
from tests.support.forked_workers import KILLED, WORKER, Service

Test = Callable[[Service], Coroutine[Any, Any, None]]
Run = Callable[[Test], None]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a test with a service, then stop the service."""
    with tempfile.TemporaryDirectory(prefix="sg-") as folder:

        async def live(test: Test) -> None:
            service = Service(Path(folder), monkeypatch)
            try:
                await test(service)
                await service.stop()
            finally:
                service.close()

        yield lambda test: asyncio.run(live(test))
        assert os.listdir(folder) == []


# ---- exits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preloader_first", [True, False])
@pytest.mark.parametrize("ready", [True, False])
def test_a_worker_and_its_preloader_exit_before_the_pid_is_known(run: Run, preloader_first: bool, ready: bool) -> None:
    async def test(service: Service) -> None:
        preloader = await service.preloader()
        worker = preloader.fork()
        if ready:
            worker.say("ready", engines={}, interfaces={})
            await service.turn()
            assert service.published
        preloader.say("forked", number=worker.number, pid=WORKER)
        preloader.exit()
        worker.exit()
        exits = [preloader.pid, WORKER] if preloader_first else [WORKER, preloader.pid]
        for pid in exits:
            assert service.pool.ended(pid, KILLED)
        service.work()
        assert service.published == []
        assert not service.pool.processes.alive
        assert service.pool.restarts == service.pool.preloader_restarts == {"SIGKILL": 1}
        assert service.signals == []

    run(test)


def test_the_exit_of_another_process_is_ignored(run: Run) -> None:
    async def test(service: Service) -> None:
        preloader = await service.preloader()
        worker = preloader.fork()
        assert not service.pool.ended(WORKER, 0)  # an orphan that had this pid before
        preloader.say("forked", number=worker.number, pid=WORKER)
        worker.say("ready", engines={}, interfaces={})
        await service.turn()
        assert service.state(worker) is State.SERVING
        worker.exit()
        assert service.exits(preloader, WORKER, KILLED)

    run(test)


def test_a_worker_whose_exit_is_seen_before_its_pid_was_forked(run: Run) -> None:
    async def test(service: Service) -> None:
        preloader = await service.preloader()
        worker = preloader.fork()
        preloader.say("forked", number=worker.number, pid=WORKER)
        worker.exit()
        service.workers()[worker.number].read_available()
        service.work()
        assert service.state(worker) is State.ENDING
        assert service.exits(preloader, WORKER, -signal.SIGSEGV)
        await service.turn()
        assert service.pool.restarts == {"SIGSEGV": 1}

    run(test)


def test_a_worker_that_was_not_forked_is_forgotten(run: Run) -> None:
    async def test(service: Service) -> None:
        preloader = await service.preloader()
        worker = preloader.fork()
        worker.exit()
        await service.turn()
        assert worker.number not in service.workers()
        assert service.pool.restarts == {"not_forked": 1}

    run(test)


def test_an_exit_that_is_reported_late_hides_no_dead_worker(run: Run) -> None:
    async def test(service: Service) -> None:
        preloader = await service.preloader()
        worker = await service.worker(preloader)
        assert [serial for serial, _ in service.published] == [worker.number]
        worker.exit()  # the preloader is stopped
        await service.turn()
        assert service.published == []
        service.now += 10
        await service.turn()
        successor = preloader.fork()
        assert successor.number != worker.number
        service.now += 100
        await service.turn()
        assert (WORKER, signal.SIGKILL) in service.signals  # nobody has reaped it
        for pid in (preloader.pid, WORKER):
            service.pool.ended(pid, KILLED)
        preloader.exit()
        successor.exit()
        await service.turn()
        assert not service.workers()

    run(test)


@pytest.mark.parametrize("reaped_first", [True, False])
def test_an_exit_that_is_reported_twice_counts_once(run: Run, reaped_first: bool) -> None:
    async def test(service: Service) -> None:
        preloader = await service.preloader()
        worker = await service.worker(preloader)
        worker.exit()
        preloader.say("exited", pid=WORKER, status=KILLED)
        if not reaped_first:
            await service.turn()
        preloader.exit()
        assert service.pool.ended(WORKER, KILLED) is reaped_first
        service.pool.ended(preloader.pid, KILLED)
        await service.turn()
        assert service.pool.restarts == {"SIGKILL": 1}

    run(test)


def test_a_worker_is_reaped_when_it_gets_no_signal_any_more(run: Run) -> None:
    async def test(service: Service) -> None:
        preloader = await service.preloader()
        worker = await service.worker(preloader)
        for _ in range(2):
            worker.say("ready")  # violates the protocol: it would be killed
        worker.exit()
        assert service.exits(preloader, WORKER, 0)
        assert service.signals == []
        assert preloader.hear()[0] == {"type": "reap", "pid": WORKER}
        preloader.say("exited", pid=WORKER + 1, status=0)  # a worker that was given up
        await service.turn()
        assert preloader.hear()[0] == {"type": "reap", "pid": WORKER + 1}

    run(test)


def test_no_signal_follows_an_exit(run: Run) -> None:
    async def test(service: Service) -> None:
        preloader = await service.preloader()
        worker = await service.worker(preloader)
        worker.say("ready")  # violates the protocol: it would be killed
        worker.exit()
        preloader.exit()
        service.pool.ended(WORKER, KILLED)
        service.pool.ended(preloader.pid, KILLED)
        await service.turn()
        assert not service.pool.processes.alive
        assert service.signals == []

    run(test)


@pytest.mark.parametrize("preloader_first", [True, False])
def test_a_signal_that_waits_for_the_pid_does_not_follow_the_exit(run: Run, preloader_first: bool) -> None:
    async def test(service: Service) -> None:
        preloader = await service.preloader()
        worker = preloader.fork()
        service.pool.stop(service.now + 60)
        service.work()
        preloader.say("forked", number=worker.number, pid=WORKER)
        preloader.exit()
        worker.exit()
        for pid in [preloader.pid, WORKER] if preloader_first else [WORKER, preloader.pid]:
            service.pool.ended(pid, KILLED)
        await service.turn()
        assert service.signals == [(preloader.pid, signal.SIGTERM)]
        assert not service.pool.processes.alive

    run(test)


# ---- what the fronts get ----------------------------------------------------------------------------------


def test_the_fronts_get_one_list_for_all_changes_of_a_turn(run: Run) -> None:
    async def test(service: Service) -> None:
        service.pool.wanted = replace(service.pool.wanted, minimum=9, maximum=9, size=9)
        preloader = await service.preloader()
        workers = [preloader.fork() for _ in range(9)]
        for number, worker in enumerate(workers):
            preloader.say("forked", number=worker.number, pid=WORKER + number)
            worker.say("ready", engines={}, interfaces={})
        service.read()
        assert service.lists == []
        service.work()
        assert [[serial for serial, _ in each] for each in service.lists] == [[worker.number for worker in workers]]
        for worker in workers:
            worker.exit()
        service.read()
        service.work()
        assert service.lists[1:] == [[]]
        assert all(service.state(worker) is State.ENDING for worker in workers)

    run(test)


def test_a_front_knows_that_a_worker_drains_before_the_worker_does(run: Run) -> None:
    async def test(service: Service) -> None:
        preloader = await service.preloader()
        worker = await service.worker(preloader)
        sent: list[tuple[str, object]] = []
        process = service.workers()[worker.number]
        service.on_publish = lambda: sent.append(("workers", service.published))
        process.send = lambda kind, **fields: sent.append((kind, fields))  # type: ignore[method-assign]
        service.pool.stop(service.now + 60)
        service.work()
        assert [kind for kind, _ in sent] == ["workers", "drain"]

    run(test)


# ---- messages that are none -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"a print of the application\n",
        encode("retire"),
        encode("failed", problems=[1]),
        encode("forked"),
        encode("forked", number=[], pid={}),
    ],
)
@pytest.mark.parametrize("sender", ["preloader", "worker"])
def test_a_bad_message_ends_nobody(run: Run, sender: str, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def test(service: Service) -> None:
        preloader = await service.preloader()
        worker = await service.worker(preloader)
        (preloader if sender == "preloader" else worker).control.sendall(data)
        await service.turn()
        assert service.published
        assert service.signals == []
        assert INVALID_TEXT in caplog.text
        worker.exit()
        assert service.exits(preloader, WORKER, 0)

    run(test)


# ---- a preloader that does not fork -----------------------------------------------------------------------


def test_a_preloader_that_does_not_fork_is_replaced(run: Run) -> None:
    async def test(service: Service) -> None:
        preloader = await service.preloader()
        (number,) = service.workers()
        service.now += service.pool.wanted.start_timeout
        await service.turn()
        assert service.signals == [(preloader.pid, signal.SIGKILL)]
        assert number not in service.workers()
        assert service.pool.restarts == {"start_timeout": 1}
        late = preloader.fork()  # it was forked just before the signal came: it has to exit by itself
        late.control.settimeout(60)
        assert late.control.recv(1) == b""
        late.exit()
        preloader.exit()
        service.pool.ended(preloader.pid, KILLED)
        assert service.pool.preloader_restarts == {}
        successor = await service.preloader()
        service.now += 10  # the slot's back-off
        await service.worker(successor)
        assert service.pool.preloader_restarts == {"SIGKILL": 1}

    run(test)


def fail(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_preloader_whose_socket_cannot_be_watched_is_killed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(service: Service) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(child_process, "Channel", fail)
            service.work()
        assert service.signals == [(service.preloaders[0].pid, signal.SIGKILL)]
        assert not service.pool.processes.alive
        service.now += 10
        await service.worker(await service.preloader())

    run(test)


def test_a_worker_whose_socket_cannot_be_watched_is_not_forked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(service: Service) -> None:
        await service.turn()
        (preloader,) = service.preloaders
        assert preloader.hear()[0]["type"] == "config"
        preloader.say("ready", found="ASGI 3 application")
        service.read()
        with monkeypatch.context() as patch:
            patch.setattr(child_process, "Channel", fail)
            service.work()
        assert not service.workers()
        forked = preloader.fork()
        forked.control.settimeout(60)
        assert forked.control.recv(1) == b""  # it has to exit by itself
        service.now += 10
        await service.worker(preloader)

    run(test)


def test_a_stop_waits_for_no_worker_that_was_not_forked(run: Run) -> None:
    async def test(service: Service) -> None:
        await service.preloader()
        assert service.workers()

    run(test)


def test_a_signal_waits_for_the_pid(run: Run) -> None:
    async def test(service: Service) -> None:
        preloader = await service.preloader()
        worker = preloader.fork()
        service.pool.stop(service.now + 60)
        service.work()
        assert service.signals == [(preloader.pid, signal.SIGTERM)]
        preloader.say("forked", number=worker.number, pid=WORKER)
        await service.turn()
        assert service.signals[1:] == [(WORKER, signal.SIGTERM)]
        worker.exit()
        assert service.exits(preloader, WORKER, -signal.SIGTERM)

    run(test)
