"""Which event loop a process runs on."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from sidegate.aio.event_loops import EventLoopName, ProcessLoop, loop_factory
from sidegate.errors import StartError


def test_the_loops_by_name() -> None:
    assert loop_factory("asyncio") is asyncio.new_event_loop
    assert loop_factory("uvloop") is loop_factory("auto") is uvloop.new_event_loop


def test_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory("auto") is loop_factory("asyncio") is asyncio.new_event_loop
    with pytest.raises(StartError, match="install it, or set eventLoop: auto"):
        loop_factory("uvloop")


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> Iterator[ProcessLoop]:
    with ProcessLoop(request.param) as loop:
        yield loop


async def running() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def nothing() -> None:
    pass


def test_the_loop_that_is_offered_runs(loop: ProcessLoop) -> None:
    loop.offer()
    offered = asyncio.get_event_loop()
    assert not offered.is_running()
    assert loop.run(running()) is offered


def test_it_runs_in_the_context_of_its_caller(loop: ProcessLoop) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def get() -> str:
        return variable.get("unset")

    def run() -> str:
        loop.offer()
        variable.set("after the loop was made")
        return loop.run(get())

    assert contextvars.copy_context().run(run) == "after the loop was made"


def close_it() -> None:
    asyncio.get_event_loop().close()


def set_another() -> None:
    asyncio.set_event_loop(None)


@pytest.mark.parametrize("misuse", [lambda: asyncio.run(nothing()), close_it, set_another])
def test_whatever_an_import_did_the_next_one_is_offered_a_loop_that_will_run(
    loop: ProcessLoop, misuse: Callable[[], None]
) -> None:
    loop.offer()
    misuse()
    loop.offer()
    offered = asyncio.get_event_loop()
    assert not offered.is_closed()
    misuse()
    assert loop.run(running()) is asyncio.get_event_loop()


def test_tasks_of_an_import_run_later(loop: ProcessLoop) -> None:
    seen: list[str] = []

    async def work() -> None:
        seen.append("ran")

    loop.offer()
    task = asyncio.get_event_loop().create_task(work())
    assert not seen
    loop.run(asyncio.wait_for(task, 30))
    assert seen == ["ran"]


@pytest.mark.parametrize("when", ["before it runs", "while it runs"])
def test_a_task_factory_that_cannot_make_our_tasks(loop: ProcessLoop, when: str) -> None:
    def without_context(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.Task(coroutine, loop=loop)

    def set_factory() -> None:
        any_loop: Any = asyncio.get_event_loop()
        any_loop.set_task_factory(without_context)

    async def main() -> str:
        set_factory()
        return "ran"

    loop.offer()
    if when == "before it runs":
        set_factory()
    assert loop.run(main()) == "ran"


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("name", ["uvloop", "asyncio"])
def test_a_closed_loop_that_is_kept_is_reported(name: EventLoopName, keep: bool) -> None:
    process_loop = ProcessLoop(name)
    process_loop.offer()
    kept = asyncio.get_event_loop() if keep else None
    process_loop.run(running())
    assert process_loop.close() is keep
    assert kept is None or kept.is_closed()
