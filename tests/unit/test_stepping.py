"""Coroutines that wait for an arrival: stepped without a task as long as nobody can tell the difference."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import uvloop

from sidegate.aio.eager import EagerCoroutine, SpareTaskStarter
from sidegate.aio.wakeup import STEPPING, Wakeup


def run(test: Callable[[SpareTaskStarter, Wakeup], Awaitable[None]]) -> None:
    """Run ``test`` with a spare task that is ready."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        steps = SpareTaskStarter(loop, contextvars.Context())
        steps.start(nothing(), at_once=False)  # which provides the spare
        await turns()
        await test(steps, Wakeup(loop))
        steps.stop()
        await turns()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def nothing() -> None:
    pass


async def turns(count: int = 4) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def begin(steps: SpareTaskStarter, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | EagerCoroutine | None:
    """Start ``work`` as a connection does: from a callback of the loop, not from within a task."""
    done: asyncio.Future[asyncio.Task[None] | EagerCoroutine | None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: done.set_result(steps.start(work, at_once=True)))
    return await done


async def begin_stepped(steps: SpareTaskStarter, work: Coroutine[Any, Any, None]) -> EagerCoroutine:
    """The same for ``work`` that waits for an arrival, and so has no task."""
    stepped = await begin(steps, work)
    assert isinstance(stepped, EagerCoroutine)
    return stepped


def test_many_wait_at_once_and_none_has_a_task() -> None:
    async def test(steps: SpareTaskStarter, _arrival: Wakeup) -> None:
        loop = asyncio.get_running_loop()
        arrivals = [Wakeup(loop) for _ in range(3)]
        ended: list[int] = []

        async def work(number: int) -> None:
            for _ in range(2):
                await arrivals[number].wakeup()
            ended.append(number)

        before = asyncio.all_tasks()
        for number in range(3):
            assert isinstance(await begin(steps, work(number)), EagerCoroutine)
        assert asyncio.all_tasks() == before
        for _ in range(2):
            for wakeup in reversed(arrivals):
                wakeup.wake()
            await turns()
        assert ended == [2, 1, 0]
        assert STEPPING.loop is None

    run(test)


def test_a_step_of_another_loop_is_no_step_of_this_one() -> None:
    """Another thread may be within one, while a task of this loop begins to wait."""

    async def test(steps: SpareTaskStarter, wakeup: Wakeup) -> None:
        other = asyncio.new_event_loop()
        STEPPING.loop = other
        try:
            waiting = wakeup.wakeup()
        finally:
            STEPPING.loop = None
            other.close()
        assert isinstance(waiting, asyncio.Future)
        wakeup.wake()
        await waiting

    run(test)


def test_a_future_after_an_arrival_gives_it_a_task() -> None:
    async def test(steps: SpareTaskStarter, wakeup: Wakeup) -> None:
        seen: list[object] = []

        async def work() -> None:
            await wakeup.wakeup()
            await asyncio.sleep(0)
            seen.append(asyncio.current_task())
            await wakeup.wakeup()  # a future, within a task
            seen.append(asyncio.current_task())

        await begin(steps, work())
        wakeup.wake()
        await turns()
        wakeup.wake()
        await turns()
        assert seen[0] is seen[1] is not None

    run(test)


def test_who_keeps_the_task_has_it_for_good() -> None:
    async def test(steps: SpareTaskStarter, wakeup: Wakeup) -> None:
        kept: list[object] = []

        async def work() -> None:
            kept.append(asyncio.current_task())
            await wakeup.wakeup()
            kept.append(asyncio.current_task())

        task = await begin(steps, work())
        assert task is kept[0]
        await turns()
        wakeup.wake()
        await turns()
        assert kept == [task, task]

    run(test)


def test_without_a_spare_the_next_step_is_a_tasks() -> None:
    async def test(steps: SpareTaskStarter, wakeup: Wakeup) -> None:
        seen: list[object] = []

        async def work() -> None:
            await wakeup.wakeup()
            seen.append(asyncio.current_task())

        await begin(steps, work())
        wakeup.wake()
        steps.stop()
        await turns()
        assert isinstance(seen[0], asyncio.Task)

    run(test)


def test_it_is_cancelled_where_it_waits() -> None:
    async def test(steps: SpareTaskStarter, wakeup: Wakeup) -> None:
        seen: list[str] = []

        async def work() -> None:
            try:
                await wakeup.wakeup()
            except asyncio.CancelledError:
                seen.append("cancelled")

        stepped = await begin_stepped(steps, work())
        stepped.cancel()
        wakeup.wake()
        await turns()
        stepped.cancel()
        await turns()
        assert seen == ["cancelled"]

    run(test)


def test_cancelled_while_it_runs_it_ends_or_is_cancelled_at_its_next_wait() -> None:
    async def test(steps: SpareTaskStarter, wakeup: Wakeup) -> None:
        seen: list[str] = []
        stepped: list[EagerCoroutine] = []

        async def work(waits: bool) -> None:
            await wakeup.wakeup()
            stepped[-1].cancel()
            try:
                if waits:
                    await wakeup.wakeup()
                seen.append("ended")
            except asyncio.CancelledError:
                seen.append("cancelled")

        for waits in (False, True):
            stepped.append(await begin_stepped(steps, work(waits)))
            wakeup.wake()
            await turns()
        assert seen == ["ended", "cancelled"]

    run(test)


def test_cancelled_while_it_runs_before_it_waits_for_a_future() -> None:
    async def test(steps: SpareTaskStarter, wakeup: Wakeup) -> None:
        seen: list[str] = []
        stepped: list[EagerCoroutine] = []

        async def work() -> None:
            await wakeup.wakeup()
            stepped[0].cancel()
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                seen.append("cancelled")

        stepped.append(await begin_stepped(steps, work()))
        wakeup.wake()
        await turns()
        assert seen == ["cancelled"]

    run(test)
