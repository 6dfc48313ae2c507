"""No error ends a thread, a timer or a task of ours: it is logged, and the next call follows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sidegate.aio.clock import Clock
from sidegate.backends.app.wsgi.job import Job, Mailbox
from sidegate.backends.app.wsgi.threads import Threads
from sidegate.process.front import Front
from sidegate.supervisor import pools as pools_module
from sidegate.supervisor.pools import Pools
from sidegate.supervisor.watch import Watch
from tests.unit.test_pools import a_config, make

PATIENCE = 30.0


def test_a_connection_whose_check_fails_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    checked: list[str] = []

    def check(name: str, now: float) -> None:
        checked.append(name)
        raise RuntimeError("not foreseen")

    loop = asyncio.new_event_loop()
    clock: Clock[str] = Clock(loop, check)
    clock.add("one")
    clock.add("two")
    clock._tick()
    assert sorted(checked) == ["one", "two"]
    assert clock._handle is not None
    assert caplog.text.count("RuntimeError: not foreseen") == 2
    clock.stop()
    loop.close()


def test_a_thread_that_an_error_reaches_between_requests_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """Libraries for timeouts raise in other threads (PyThreadState_SetAsyncExc), perhaps too late."""
    ran, failed = threading.Event(), threading.Event()

    def fail() -> None:
        failed.set()
        raise SystemExit

    threads = Threads("shop", 1)
    threads.in_use = 1
    run: Callable[[], object]
    for run in (fail, ran.set):
        threads.start(cast(Job, SimpleNamespace(run=run, taken=False)), offered=False)
    assert ran.wait(PATIENCE)
    assert failed.is_set()
    threads.stop()
    assert "backend 'shop' goes on" in caplog.text


def test_a_request_that_cannot_be_released_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def release(job: Any) -> None:
        raise RuntimeError("not foreseen")

    woken: list[int] = []
    mailbox = Mailbox(asyncio.new_event_loop(), release)
    mailbox._loop.close()
    for number in range(2):
        job = SimpleNamespace(ended=True, released=False, wake=lambda number=number: woken.append(number))
        mailbox.post(cast(Job, job))
    mailbox.deliver()
    assert woken == [0, 1]
    assert "not foreseen" in caplog.text


def test_statistics_that_fail_are_sent_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("not foreseen")

    scheduled: list[Callable[[], None]] = []
    loop = SimpleNamespace(call_later=lambda delay, callback: scheduled.append(callback))
    monkeypatch.setattr("sidegate.process.front.asyncio.get_running_loop", lambda: loop)
    front = Front.__new__(Front)
    front._runtime = cast(Any, SimpleNamespace(statistics=fail))
    with pytest.raises(RuntimeError, match="not foreseen"):  # the event loop logs it
        front._tell_statistics()
    assert len(scheduled) == 1


def test_files_that_cannot_be_looked_at_are_looked_at_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes: list[Callable[[], list[str]]] = [[].pop, list, lambda: ["changed.py"]]
    monkeypatch.setattr(pools_module, "SAMPLE_PERIOD", 0.0)
    monkeypatch.setattr(Watch, "changed", lambda self: outcomes.pop(0)())

    async def sample(pools: Pools) -> list[str]:
        changed: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        monkeypatch.setattr(pools.pools["shop"], "files_changed", changed.set_result)
        task = asyncio.create_task(pools._sample())
        try:
            return await asyncio.wait_for(changed, PATIENCE)
        finally:
            task.cancel()

    pools = make(a_config(reload={"watch": ["."]}))
    assert asyncio.run(sample(pools)) == ["changed.py"]
    pools.close()
    assert "cannot look for changed files" in caplog.text
