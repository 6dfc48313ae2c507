"""Starts an exchange's coroutine at once, and makes a task for it only if the coroutine has to wait.

The connection calls it for each request. It owns the spare task. It raises no error, because the coroutines that it
starts raise none.

Theory of operation. Most applications answer a small request without waiting for anything. The largest single cost of
such a request would be to create, register, schedule and unregister a task. Python 3.12 has eager tasks
(``eager_start``) for this. On Python 3.11 this module does the same with a *spare*: a real ``asyncio.Task`` that waits
for a future, its *gate*. The first step of a coroutine runs as that task: in the task's context, and
``asyncio.current_task()`` returns the task. Then there are four cases:

* The coroutine has ended, and nothing refers to the spare: the spare is used for the next coroutine.
* The coroutine has ended, but changed the spare (a reference, a callback, a name, a cancellation, a context
  variable): the spare ends, too.
* The coroutine waits for a ``Wakeup`` (``aio/wakeup.py``) and did not change the spare: the spare is used for the next
  coroutine. The coroutine's next step runs as the spare of that time. So a relayed request needs no task at all.
* The coroutine waits for anything else: the spare adopts the coroutine, its gate is opened, and it continues as the
  coroutine's task, which it has been since the first step.

So an application always sees a task and a context that no other coroutine has changed. The context is a copy of the
starter's, in which the variables have the values that the applications' imports gave them. A coroutine that is started
while there is no spare (the spare is in use, or does not wait for its gate yet) gets an ordinary task.

A loop with a task factory has no eager starts: each coroutine gets a task that the factory makes (``aio/tasks.py``).
The spare itself is made without it, because a factory may wrap the coroutine, and the spare would then be another task
than the one that steps it.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from asyncio.tasks import _enter_task, _leave_task  # documented for code that runs tasks ("Extending asyncio")
from collections.abc import Coroutine, Generator
from sys import getrefcount
from typing import Any
from weakref import getweakrefcount

from sidegate.aio.tasks import application_task
from sidegate.aio.wakeup import STEPPING, Wakeup

NAME = "exchange"

_stepping = STEPPING  # when compiled, this name has a C type

Started = Coroutine[Any, Any, None]

try:
    from sidegate.aio.step import ENDED, step  # type: ignore[import-not-found]
except ImportError:
    ENDED = object()

    def step(context: contextvars.Context, coroutine: Started) -> Any:
        """Send None into ``coroutine`` within ``context``. Return what it yields, or ``ENDED``."""
        try:
            return context.run(coroutine.send, None)
        except StopIteration:
            return ENDED


class AdoptingCoroutine(Coroutine[Any, Any, None]):
    """The coroutine of a spare: it waits for the gate, then runs the adopted coroutine, or ends if there is none."""

    __slots__ = ("_awaited", "_gate", "_handed_over", "coroutine")

    def __init__(self, gate: asyncio.Future[None] | None) -> None:
        self._gate: Generator[Any, None, None] | None = gate.__await__() if gate is not None else None
        self._awaited: Any = None
        self._handed_over = True
        self.coroutine: Started | None = None

    def adopt(self, coroutine: Started, awaited: Any) -> None:
        """Continue with ``coroutine``, which waits for ``awaited`` (a future, or None for a bare ``yield``)."""
        self.coroutine = coroutine
        self._awaited = awaited
        self._handed_over = False

    def send(self, value: Any) -> Any:
        """Run the task's next step."""
        if self._gate is not None:
            try:
                return next(self._gate)
            except StopIteration:
                self._gate = None
        if self.coroutine is None:
            raise StopIteration
        return self.coroutine.send(value) if self._handed_over else self._hand_over()

    def throw(self, *error: Any) -> Any:
        """Raise an error in the coroutine: the task was cancelled, or the future that it waits for failed."""
        self._gate = None
        if self.coroutine is None:
            raise StopIteration
        if not self._handed_over:
            awaited = self._hand_over()
            # A cancelled task cancels the future that it waits for; the end of that future then raises the error.
            if awaited is not None and awaited.cancel():
                return awaited
        return self.coroutine.throw(*error)

    def _hand_over(self) -> Any:
        self._handed_over = True
        awaited, self._awaited = self._awaited, None
        return awaited

    def close(self) -> None:
        """Close the coroutine: the task was dropped."""
        if self.coroutine is not None:
            self.coroutine.close()

    def __await__(self) -> Generator[Any, Any, None]:
        raise TypeError("only a spare task runs it")


class EagerCoroutine:
    """A coroutine that runs without a task of its own. It can be cancelled like a task."""

    __slots__ = ("_cancelled", "_spare", "_task", "coroutine")

    def __init__(self, spare: SpareTaskStarter, coroutine: Started) -> None:
        self._spare = spare
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False
        self.coroutine: Started | None = coroutine
        """None while a step runs, and after the coroutine has ended or got a task."""

    def step(self) -> None:
        """See ``Stepper``."""
        if self.coroutine is not None:
            self._spare.step(self)

    def step_done(self, coroutine: Started | None, task: asyncio.Task[None] | None) -> None:
        """Note the result of a step: ``coroutine`` waits again, or ``task`` runs it; with neither, it has ended."""
        self.coroutine = coroutine
        self._task = task
        if self._cancelled:
            self.cancel()

    def cancel(self) -> None:
        """Cancel it like a task: a running coroutine is cancelled where it next waits, an ended one is not."""
        self._cancelled = True
        if self.coroutine is not None:
            self._task = self._spare.task_for(self.coroutine)
            self.coroutine = None
        if self._task is not None:
            self._task.cancel()


class EagerStarter:
    """The interface of the two implementations below. There is one starter for each event loop."""

    __slots__ = ()

    def start(self, coroutine: Started, at_once: bool) -> asyncio.Task[None] | EagerCoroutine | None:
        """Run ``coroutine`` until it waits. Return an object by which to cancel it; None if it has ended.

        ``at_once=False`` is for a caller that runs within a task: the coroutine starts later, in an ordinary task.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """Release the spare task, and make no other."""
        raise NotImplementedError


class SpareTaskStarter(EagerStarter):
    """The implementation for Python 3.11."""

    __slots__ = ("_adopting", "_base", "_context", "_gate", "_loop", "_stopped", "_task", "_task_factory", "_values")

    def __init__(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> None:
        self._loop = loop
        self._task_factory = loop.get_task_factory  # bound once, because each request asks
        self._base = context
        self._values = tuple(context.items())
        self._stopped = False
        self._gate: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None  # the spare, while it waits for the gate

    def start(self, coroutine: Started, at_once: bool) -> asyncio.Task[None] | EagerCoroutine | None:
        """See ``EagerStarter``."""
        if self._task_factory() is not None:
            return application_task(coroutine, self._base.copy(), self._loop)
        if not self._has_spare() or not at_once:
            if self._gate is None:
                self._create_spare()
            return asyncio.Task(coroutine, loop=self._loop, context=self._base.copy())
        return self._step(coroutine, None)

    def step(self, stepped: EagerCoroutine) -> None:
        """Run the next step of a coroutine that has no task."""
        coroutine: Any = stepped.coroutine
        if not self._has_spare():
            stepped.step_done(None, self.task_for(coroutine))
            return
        stepped.coroutine = None
        result: Any = self._step(coroutine, stepped)
        if result is stepped:
            stepped.step_done(coroutine, None)
        else:
            stepped.step_done(None, result)

    def task_for(self, coroutine: Started) -> asyncio.Task[None]:
        """Continue a coroutine that had no task in a new one."""
        adopting = AdoptingCoroutine(None)
        adopting.coroutine = coroutine
        return asyncio.Task(adopting, loop=self._loop, name=NAME, context=self._base.copy())

    def _has_spare(self) -> bool:
        if self._task is not None and self._gate is not None and self._gate.done():
            self._task = None  # the spare was cancelled: an application may cancel all tasks
            self._gate = None
        return self._task is not None

    def _step(self, coroutine: Started, stepped: EagerCoroutine | None) -> asyncio.Task[None] | EagerCoroutine | None:
        """Run one step as the spare. Return what ``start`` returns."""
        task: Any = self._task
        self._task = None
        references = getrefcount(task)
        _enter_task(self._loop, task)
        _stepping.loop = self._loop
        try:
            awaited = step(self._context, coroutine)
        finally:
            _stepping.loop = None
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
        """Whether the coroutine that ran as this task left no trace on it."""
        return (
            self._has_base_values()
            and getweakrefcount(task) == 1  # the reference of asyncio itself, for `all_tasks`
            and self._gate is not None
            and not self._gate.done()  # else the task was cancelled
            and not task.cancelling()
            and task._callbacks is None  # there is no public attribute for this
            and task.get_name() is NAME
        )

    def _has_base_values(self) -> bool:
        """Whether each variable has the same object as in the starter's context; an equal object is a change."""
        context = self._context
        if len(context) != len(self._values):
            return False
        for variable, value in self._values:  # noqa: SIM110 - a generator would cost each request more
            if context.get(variable, self) is not value:
                return False
        return True

    def _replace(self) -> None:
        self._open_gate()
        self._create_spare()

    def _open_gate(self) -> None:
        if self._gate is not None and not self._gate.done():
            self._gate.set_result(None)

    def _create_spare(self) -> None:
        if self._stopped:
            return
        self._gate = self._loop.create_future()
        self._adopting = AdoptingCoroutine(self._gate)
        self._context = self._base.copy()
        task = asyncio.Task(self._adopting, loop=self._loop, name=NAME, context=self._context)
        self._loop.call_soon(self._spare_ready, task)

    def _spare_ready(self, task: asyncio.Task[None]) -> None:
        # The loop runs its callbacks in order, so the task has run its first step and waits for the gate.
        if not self._stopped:
            self._task = task


class EagerTaskStarter(EagerStarter):
    """The implementation for Python 3.12 and later."""

    __slots__ = ("_base", "_loop", "_task_factory")

    def __init__(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> None:
        self._loop = loop
        self._task_factory = loop.get_task_factory  # bound once, because each request asks
        self._base = context

    def start(self, coroutine: Started, at_once: bool) -> asyncio.Task[None] | None:
        """See ``EagerStarter``."""
        if self._task_factory() is not None:
            return application_task(coroutine, self._base.copy(), self._loop)
        make: Any = asyncio.Task  # mypy knows only the signature of Python 3.11
        task = make(coroutine, loop=self._loop, context=self._base.copy(), eager_start=at_once)
        return None if task.done() else task

    def stop(self) -> None:
        """See ``EagerStarter``. There is nothing to release."""


def eager_starter(loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> EagerStarter:
    """Make the starter for the running version of Python. Every coroutine starts in a copy of ``context``."""
    return EagerTaskStarter(loop, context) if sys.version_info >= (3, 12) else SpareTaskStarter(loop, context)
