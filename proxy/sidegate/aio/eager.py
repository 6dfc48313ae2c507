"""Starts an exchange's coroutine at once; a task of its own comes only if it has to wait.

Where it stands: called by the connection for each request. It owns the spare task, nothing of the exchange.

Theory of operation. Most applications answer a small request without waiting for anything. To make a task for each
of them, register it, queue it and forget it again is then the largest single cost of a request. Python 3.12 has eager
tasks (``eager_start``) for this. On Python 3.11 the same is done here, with a *spare*: a real ``asyncio.Task`` that
waits at a gate. The first step of a coroutine runs as that task: in its context, and ``asyncio.current_task()`` names
it. Then there are three cases:

* the coroutine has ended, and nothing holds on to the spare: it serves the next one;
* the coroutine has ended, but left something behind (a reference, a callback, a name, a cancellation, a context
  variable): the spare ends, too;
* the coroutine waits for an ``Wakeup`` (``aio/wakeup.py``) and left nothing behind: the spare serves the next
  one, and whichever spare there is then makes this coroutine's next step. A relayed request so needs no task at all;
* the coroutine waits for anything else: the spare adopts it, passes the gate, and goes on as the coroutine's task,
  which it has been from the first step on.

So an application always sees a task and a context that nobody had before it. A coroutine started while there is no
spare, because one is just being used or is still on its way to the gate, gets an ordinary task.

No error leaves it: the coroutines started here raise none.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from asyncio.tasks import _enter_task, _leave_task  # documented for whoever runs tasks ("Extending asyncio")
from collections.abc import Coroutine, Generator
from sys import getrefcount
from typing import Any
from weakref import getweakrefcount

from sidegate.aio.wakeup import STEPPING, Wakeup

NAME = "exchange"

_stepping = STEPPING  # a name that has a type when it is compiled

Started = Coroutine[Any, Any, None]

try:
    from sidegate.aio.step import ENDED, step  # type: ignore[import-not-found]
except ImportError:
    ENDED = object()

    def step(context: contextvars.Context, coroutine: Started) -> Any:
        """Send None into ``coroutine`` within ``context``: what it yields, or ``ENDED``."""
        try:
            return context.run(coroutine.send, None)
        except StopIteration:
            return ENDED


class AdoptingCoroutine(Coroutine[Any, Any, None]):
    """What a spare runs: it waits at the gate, then it is the coroutine that was adopted, or the end."""

    __slots__ = ("_awaited", "_gate", "_handed_over", "coroutine")

    def __init__(self, gate: asyncio.Future[None] | None) -> None:
        self._gate: Generator[Any, None, None] | None = gate.__await__() if gate is not None else None
        self._awaited: Any = None
        self._handed_over = True
        self.coroutine: Started | None = None

    def adopt(self, coroutine: Started, awaited: Any) -> None:
        """Go on with ``coroutine``, whose first step waits for ``awaited`` (a future, or None for a mere pause)."""
        self.coroutine = coroutine
        self._awaited = awaited
        self._handed_over = False

    def send(self, value: Any) -> Any:
        """The task's next step."""
        if self._gate is not None:
            try:
                return next(self._gate)
            except StopIteration:
                self._gate = None
        if self.coroutine is None:
            raise StopIteration
        return self.coroutine.send(value) if self._handed_over else self._hand_over()

    def throw(self, *error: Any) -> Any:
        """The task was cancelled, or what it waits for failed."""
        self._gate = None
        if self.coroutine is None:
            raise StopIteration
        if not self._handed_over:
            awaited = self._hand_over()
            # A task that is cancelled cancels what it waits for, whose end then brings the error.
            if awaited is not None and awaited.cancel():
                return awaited
        return self.coroutine.throw(*error)

    def _hand_over(self) -> Any:
        self._handed_over = True
        awaited, self._awaited = self._awaited, None
        return awaited

    def close(self) -> None:
        """The task is dropped."""
        if self.coroutine is not None:
            self.coroutine.close()

    def __await__(self) -> Generator[Any, Any, None]:
        raise TypeError("only a spare task runs it")


class EagerCoroutine:
    """A coroutine that is stepped without a task. It is cancelled like one."""

    __slots__ = ("_cancelled", "_spare", "_task", "coroutine")

    def __init__(self, spare: SpareTaskStarter, coroutine: Started) -> None:
        self._spare = spare
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False
        self.coroutine: Started | None = coroutine
        """None while a step runs, and when it has ended or has a task."""

    def step(self) -> None:
        """See ``Stepper``."""
        if self.coroutine is not None:
            self._spare.step(self)

    def went_on(self, coroutine: Started | None, task: asyncio.Task[None] | None) -> None:
        """A step has run: it waits again, has a task from now on, or, with neither, has ended."""
        self.coroutine = coroutine
        self._task = task
        if self._cancelled:
            self.cancel()

    def cancel(self) -> None:
        """As of a task: what runs is cancelled where it next waits, what has ended is not."""
        self._cancelled = True
        if self.coroutine is not None:
            self._task = self._spare.task_for(self.coroutine)
            self.coroutine = None
        if self._task is not None:
            self._task.cancel()


class EagerStarter:
    """One for each event loop; it only says what there is."""

    __slots__ = ()

    def start(self, coroutine: Started, at_once: bool) -> asyncio.Task[None] | EagerCoroutine | None:
        """Run ``coroutine`` up to where it waits. What goes on from there and can be cancelled; None if it has ended.

        ``at_once=False``, from within a task: all of it runs later, in an ordinary task.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """Keep nothing from now on."""
        raise NotImplementedError


class SpareTaskStarter(EagerStarter):
    """Python 3.11's way."""

    __slots__ = ("_adopting", "_context", "_gate", "_loop", "_stopped", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._stopped = False
        self._gate: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None  # the spare, while it waits at the gate

    def start(self, coroutine: Started, at_once: bool) -> asyncio.Task[None] | EagerCoroutine | None:
        """See ``EagerStarter``."""
        if not self._is_there() or not at_once:
            if self._gate is None:
                self._provide()
            return self._loop.create_task(coroutine, context=contextvars.Context())
        return self._step(coroutine, None)

    def step(self, stepped: EagerCoroutine) -> None:
        """The next step of a coroutine that has no task."""
        coroutine: Any = stepped.coroutine
        if not self._is_there():
            stepped.went_on(None, self.task_for(coroutine))
            return
        stepped.coroutine = None
        going_on: Any = self._step(coroutine, stepped)
        if going_on is stepped:
            stepped.went_on(coroutine, None)
        else:
            stepped.went_on(None, going_on)

    def task_for(self, coroutine: Started) -> asyncio.Task[None]:
        """Let a coroutine that had none go on in a task."""
        adopting = AdoptingCoroutine(None)
        adopting.coroutine = coroutine
        return self._loop.create_task(adopting, name=NAME, context=contextvars.Context())

    def _is_there(self) -> bool:
        if self._task is not None and self._gate is not None and self._gate.done():
            self._task = None  # an application has cancelled whatever tasks there were
            self._gate = None
        return self._task is not None

    def _step(self, coroutine: Started, stepped: EagerCoroutine | None) -> asyncio.Task[None] | EagerCoroutine | None:
        """One step as the spare."""
        task: Any = self._task
        self._task = None
        references = getrefcount(task)
        _enter_task(self._loop, task)
        _stepping.now = True
        try:
            awaited = step(self._context, coroutine)
        finally:
            _stepping.now = False
            _leave_task(self._loop, task)
        if (awaited is ENDED or isinstance(awaited, Wakeup)) and (
            getrefcount(task) == references and self._is_untouched(task)
        ):
            self._task = task
            if awaited is ENDED:
                return None
            stepped = EagerCoroutine(self, coroutine) if stepped is None else stepped
            awaited.hand_to(stepped)
            return stepped
        if awaited is not ENDED:
            self._adopting.adopt(coroutine, awaited.hand_to_task() if isinstance(awaited, Wakeup) else awaited)
        self._replace()
        return None if awaited is ENDED else task

    def stop(self) -> None:
        """See ``EagerStarter``."""
        self._stopped = True
        self._task = None
        self._open_gate()

    def _is_untouched(self, task: Any) -> bool:
        """Holds if nobody can tell that a coroutine ran as this task."""
        return (
            not self._context
            and getweakrefcount(task) == 1  # asyncio's own, for `all_tasks`
            and self._gate is not None
            and not self._gate.done()  # else it was cancelled
            and not task.cancelling()
            and task._callbacks is None  # there is no public word for it
            and task.get_name() is NAME
        )

    def _replace(self) -> None:
        self._open_gate()
        self._provide()

    def _open_gate(self) -> None:
        if self._gate is not None and not self._gate.done():
            self._gate.set_result(None)

    def _provide(self) -> None:
        if self._stopped:
            return
        self._gate = self._loop.create_future()
        self._adopting = AdoptingCoroutine(self._gate)
        self._context = contextvars.Context()
        task = self._loop.create_task(self._adopting, name=NAME, context=self._context)
        self._loop.call_soon(self._arrived, task)

    def _arrived(self, task: asyncio.Task[None]) -> None:
        # The loop runs its queue in order, so the task has had its first step and waits at the gate.
        if not self._stopped:
            self._task = task


class EagerTaskStarter(EagerStarter):
    """The way of Python 3.12 and later."""

    __slots__ = ("_loop",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def start(self, coroutine: Started, at_once: bool) -> asyncio.Task[None] | None:
        """See ``EagerStarter``."""
        make: Any = asyncio.Task  # which mypy knows as Python 3.11 has it
        task = make(coroutine, loop=self._loop, context=contextvars.Context(), eager_start=at_once)
        return None if task.done() else task

    def stop(self) -> None:
        """See ``EagerStarter``. There is nothing to let go."""


def eager_starter(loop: asyncio.AbstractEventLoop) -> EagerStarter:
    """The way of the Python that runs."""
    return EagerTaskStarter(loop) if sys.version_info >= (3, 12) else SpareTaskStarter(loop)
