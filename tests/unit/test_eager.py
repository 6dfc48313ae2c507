"""An exchange's coroutine begins at once, and sees a task and a context that nobody had before it."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import pytest
import uvloop

from sidegate.aio.eager import AdoptingCoroutine, EagerStarter, EagerTaskStarter, SpareTaskStarter, eager_starter

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

WAYS = [
    SpareTaskStarter,
    pytest.param(EagerTaskStarter, marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12")),
]

pytestmark = pytest.mark.parametrize("way", WAYS)


T = TypeVar("T")

Way = Callable[[asyncio.AbstractEventLoop, contextvars.Context], EagerStarter]


async def as_callback(function: Callable[[], T]) -> T:
    """Call it as the loop calls a protocol: outside of any task."""
    called: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def call() -> None:
        try:
            called.set_result(function())
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
            called.set_exception(error)

    asyncio.get_running_loop().call_soon(call)
    return await called


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(
    way: Way,
    test: Callable[[EagerStarter], Coroutine[Any, Any, None]],
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    context: contextvars.Context | None = None,
) -> None:
    async def main() -> None:
        steps = way(asyncio.get_running_loop(), contextvars.Context() if context is None else context)
        steps.start(turns(), at_once=False)  # the first of all provides the spare
        await turns()
        try:
            await test(steps)
        finally:
            steps.stop()
            await turns()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def test_what_does_not_wait_is_over_at_once(way: Way) -> None:
    async def test(steps: EagerStarter) -> None:
        seen: list[asyncio.Task[Any] | None] = []

        async def work() -> None:
            seen.append(asyncio.current_task())

        def start() -> None:
            assert steps.start(work(), at_once=True) is None
            assert asyncio.current_task() is None

        for _ in range(3):
            await as_callback(start)
            await turns()
        # Each was kept here, so none of them served a second time.
        assert len({id(task) for task in seen}) == 3

    run(way, test)


def test_a_task_that_nobody_kept_serves_again(way: Way) -> None:
    async def test(steps: EagerStarter) -> None:
        seen = []

        async def work() -> None:
            seen.append(id(asyncio.current_task()))

        await as_callback(lambda: [steps.start(work(), at_once=True) for _ in range(5)])
        assert len(set(seen)) == 1

    run(SpareTaskStarter, test)


@pytest.mark.parametrize(
    "leave", ["reference", "callback", "name", "cancellation", "variable", "uncounted cancellation", "weak reference"]
)
def test_whoever_left_something_behind_leaves_it_to_nobody(way: Way, leave: str) -> None:
    async def test(steps: EagerStarter) -> None:
        kept: list[Any] = []
        seen: list[tuple[str, int, str]] = []

        async def work() -> None:
            task = asyncio.current_task()
            assert task is not None
            seen.append((variable.get("unset"), task.cancelling(), task.get_name()))
            if leave == "reference":
                kept.append(task)
            elif leave == "callback":
                task.add_done_callback(lambda _: kept.append("done"))
            elif leave == "name":
                task.set_name("mine")
            elif leave == "cancellation":
                task.cancel()
            elif leave == "uncounted cancellation":
                task.cancel()
                task.uncancel()
            elif leave == "weak reference":
                import weakref  # noqa: PLC0415

                kept.append(weakref.ref(task))
            else:
                variable.set("mine")

        for _ in range(3):
            await as_callback(lambda: steps.start(work(), at_once=True))
            await turns()
        assert len(seen) == 3
        assert {(value, count) for value, count, _ in seen} == {("unset", 0)}
        assert "mine" not in {name for _, _, name in seen}
        if leave == "callback":
            assert kept == ["done"] * 3

    run(way, test)


def context_with(value: Any) -> contextvars.Context:
    context = contextvars.Context()
    context.run(variable.set, value)
    return context


@pytest.mark.parametrize("waits", ["never", "before", "after"])
@pytest.mark.parametrize("factory", [False, True])
def test_all_start_with_the_same_variables(way: Way, waits: str, factory: bool) -> None:
    other: contextvars.ContextVar[str] = contextvars.ContextVar("other")
    equal = "".join(["as ", "imported"])  # an equal value that is another object is still a change
    seen: list[tuple[Any, str]] = []

    async def test(steps: EagerStarter) -> None:
        async def work(value: str) -> None:
            if waits == "before":
                await asyncio.sleep(0)
            seen.append((variable.get("unset"), other.get("unset")))
            variable.set(value)
            if value == "second":
                other.set("mine")
            if waits == "after":
                await asyncio.sleep(0)
                assert variable.get() is value

        if factory:
            set_factory(wrapping)
        for value in ("first", equal, "second", "third"):
            await as_callback(partial(steps.start, work(value), at_once=True))
            await turns()

    run(way, test, context=context_with("as imported"))
    assert [value for value, _ in seen] == ["as imported"] * 4
    assert equal == "as imported"
    assert all(value is not equal for value, _ in seen)
    assert {value for _, value in seen} == {"unset"}


def test_a_variable_that_was_reset_costs_no_task(way: Way) -> None:
    async def test(steps: EagerStarter) -> None:
        seen = []

        async def work() -> None:
            variable.reset(variable.set("mine"))
            seen.append(id(asyncio.current_task()))

        await as_callback(lambda: [steps.start(work(), at_once=True) for _ in range(5)])
        assert len(set(seen)) == 1

    run(SpareTaskStarter, test, context=context_with("as imported"))


def test_what_waits_goes_on_as_the_task_it_began_as(way: Way) -> None:
    async def test(steps: EagerStarter) -> None:
        gate = asyncio.get_running_loop().create_future()
        seen: list[Any] = []

        async def work() -> None:
            variable.set("mine")
            seen.append(asyncio.current_task())
            await asyncio.sleep(0)
            seen.append(asyncio.current_task())
            seen.append(await gate)
            seen.append(asyncio.current_task())
            try:
                await failing
            except ValueError as error:
                seen.append(str(error))
            seen.append(variable.get())

        failing = asyncio.get_running_loop().create_future()
        task = await as_callback(lambda: steps.start(work(), at_once=True))
        assert isinstance(task, asyncio.Task)
        await turns()
        gate.set_result("value")
        await turns()
        failing.set_exception(ValueError("no"))
        await task
        assert seen == [task, task, "value", task, "no", "mine"]
        assert variable.get("unset") == "unset"

    run(way, test)


@pytest.mark.parametrize("when", ["before its second step", "later"])
@pytest.mark.parametrize("pause", ["future", "sleep"])
def test_a_cancelled_task_cancels_what_it_waits_for(way: Way, when: str, pause: str) -> None:
    async def test(steps: EagerStarter) -> None:
        gate = asyncio.get_running_loop().create_future()
        seen: list[str] = []

        async def work() -> None:
            try:
                while True:
                    await (gate if pause == "future" else asyncio.sleep(0))
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        def start() -> asyncio.Task[None]:
            task = steps.start(work(), at_once=True)
            assert isinstance(task, asyncio.Task)
            if when == "before its second step":
                task.cancel()
            return task

        task = await as_callback(start)
        await turns()
        task.cancel()
        await turns()
        assert task.cancelled()
        assert seen == ["cancelled"]
        assert gate.cancelled() is (pause == "future")

    run(way, test)


def set_factory(factory: Any) -> None:
    asyncio.get_running_loop().set_task_factory(factory)


def wrapping(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **kwargs: Any) -> Any:
    async def wrapper() -> Any:
        return await coroutine

    return asyncio.Task(wrapper(), loop=loop, name="by a factory", **kwargs)


def without_context(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.Task(coroutine, loop=loop, name="by a factory")


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("factory", [wrapping, without_context])
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_task_factory_makes_the_task(way: Way, new_loop: Any, factory: Any, at_once: bool) -> None:
    async def test(steps: EagerStarter) -> None:
        seen: list[tuple[str, str]] = []

        async def work() -> None:
            await asyncio.sleep(0)
            task = asyncio.current_task()
            assert task is not None
            seen.append((task.get_name(), variable.get("unset")))
            variable.set("mine")

        set_factory(factory)  # while the spare is ready
        for _ in range(3):
            await as_callback(lambda: steps.start(work(), at_once))
            await turns()
        set_factory(None)
        await as_callback(lambda: steps.start(work(), at_once))
        await turns()
        assert seen[:3] == [("by a factory", "unset")] * 3
        assert seen[3][0] != "by a factory"
        assert variable.get("unset") == "unset"

    run(way, test, new_loop)


def test_a_task_that_a_factory_made_can_be_cancelled(way: Way) -> None:
    async def test(steps: EagerStarter) -> None:
        seen: list[str] = []

        async def work() -> None:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                seen.append("cancelled")

        set_factory(wrapping)
        task = await as_callback(lambda: steps.start(work(), at_once=True))
        assert task is not None
        await turns()
        task.cancel()
        await turns()
        assert seen == ["cancelled"]

    run(way, test)


def test_a_factory_that_fails_is_logged_and_not_used(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    def failing(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> Any:
        raise ValueError("no task today")

    async def test(steps: EagerStarter) -> None:
        seen: list[str] = []

        async def work() -> None:
            await asyncio.sleep(0)
            seen.append("done")

        set_factory(failing)
        await as_callback(lambda: steps.start(work(), at_once=True))
        await turns()
        assert seen == ["done"]
        set_factory(None)

    run(way, test)
    (record,) = caplog.records
    assert "task factory failed" in record.message
    assert record.exc_text is not None
    assert "no task today" in record.exc_text


def test_it_may_begin_inside_another_and_outside_of_the_first_step(way: Way) -> None:
    async def test(steps: EagerStarter) -> None:
        seen: list[str] = []

        async def inner() -> None:
            seen.append("inner")

        async def outer() -> None:
            steps.start(inner(), at_once=way is EagerTaskStarter)
            seen.append("outer")

        await as_callback(lambda: steps.start(outer(), at_once=True))
        await turns()
        assert sorted(seen) == ["inner", "outer"]

    run(way, test)


@pytest.mark.parametrize("turn", ["in the same turn", "after its end"])
def test_whoever_cancels_all_tasks_cancels_no_later_request(way: Way, turn: str) -> None:
    async def test(steps: EagerStarter) -> None:
        seen: list[str] = []

        async def work() -> None:
            await asyncio.sleep(0)
            seen.append("done")

        def cancel_all() -> None:
            for task in asyncio.all_tasks() - {this}:
                task.cancel()
            if turn == "in the same turn":
                steps.start(work(), at_once=True)

        this = asyncio.current_task()
        await as_callback(cancel_all)
        await turns()
        await as_callback(lambda: steps.start(work(), at_once=True))
        await turns()
        await as_callback(lambda: steps.start(work(), at_once=True))
        await turns()
        assert seen == ["done"] * (3 if turn == "in the same turn" else 2)

    run(way, test)


def test_after_the_stop_everything_is_an_ordinary_task(way: Way) -> None:
    async def test(steps: EagerStarter) -> None:
        seen: list[str] = []

        async def work() -> None:
            await asyncio.sleep(0)
            seen.append("done")

        steps.stop()
        await as_callback(lambda: steps.start(work(), at_once=True))
        await turns()
        assert seen == ["done"]

    run(way, test)


def test_the_way_is_that_of_the_python_that_runs(way: Way) -> None:
    async def main() -> None:
        assert type(eager_starter(asyncio.get_running_loop(), contextvars.Context())) is (
            EagerTaskStarter if sys.version_info >= (3, 12) else SpareTaskStarter
        )

    asyncio.run(main())


def test_a_dropped_task_closes_what_it_adopted(way: Way) -> None:
    loop = asyncio.new_event_loop()
    closed: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            closed.append("closed")

    coroutine = work()
    adopting = AdoptingCoroutine(loop.create_future())
    with pytest.raises(TypeError, match="spare"):
        adopting.__await__()
    adopting.close()
    adopting.adopt(coroutine, contextvars.Context().run(coroutine.send, None))
    adopting.close()
    loop.close()
    assert closed == ["closed"]
