"""Notices fronts whose event loop is blocked.

A front that serves shows beats (``observe/heartbeat``). For each front this module adds up the time without a beat. At
a third of ``livenessTimeout`` it logs a warning with the stack of the blocked loop; from then on the front counts as
*blocked*, at the whole time as *stuck*. The plan decides what follows. It raises no errors.

* **Time in which the supervisor did not run does not count**: SIGSTOP, a frozen cgroup, a paused virtual machine. The
  front has been stopped too, or its beats have been there all the time. So a step from one check to the next counts as
  two periods at most. A machine without CPU time slows both processes: the time does not end until the supervisor has
  run at least six times while the front has not run once.
* **A debugger may hold a front as long as it likes.** One that traces the process (gdb, strace) is found in /proc, and
  the prompt of one that runs within it (pdb, pydevd) in the stack. Both are looked for whenever a third has passed.
* A front that imports, starts or drains has time limits of its own and is not watched.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable

from sidegate.observe.heartbeat import STACK_SIGNAL, Heartbeat, period
from sidegate.supervisor.front_process import FrontProcess

logger = logging.getLogger("sidegate.supervisor")

LONGEST_STEP = 2
"""Periods that count of the time between two checks."""

_DEBUGGER = re.compile(r'[/\\](bdb|pydevd)\.py", line ')


class LoopWatch:
    """One front's event loop.

    ``blocked``: it has not run for a third of the limit, as far as the time counts. ``stuck``: it has not run for the
    whole limit. ``total``: seconds without a beat that count, also those in which a debugger held the front.
    """

    def __init__(self, front: FrontProcess, limit: float) -> None:
        self.blocked = self.stuck = False
        self.total = 0.0
        self._front = front
        self._limit = limit
        self._heartbeat = Heartbeat(front.area)
        self._beats = self._heartbeat.beats
        self._silence = 0.0  # the part of ``total`` since a debugger was found last
        self._asked = self._read = False  # for the stack

    def check(self, elapsed: float) -> None:
        """Look for a beat; ``elapsed``: the seconds since the last look that count."""
        beats = self._heartbeat.beats
        if beats != self._beats:
            self._beats = beats
            self._runs()
            return
        self.total += elapsed
        self._silence += elapsed
        if self._silence < self._limit / 3:
            return
        if self._front.is_traced:
            self._held()
        elif not self._asked:
            self._asked = True
            self._heartbeat.expect_stack()
            self._front.signal(STACK_SIGNAL)
        elif not self._read:
            self._read = True
            self._take_stack(self._heartbeat.stack())
        elif self._silence >= self._limit and not self.stuck:
            self.stuck = True
            text = "front %d is stuck: its event loop has been blocked for %.1f s; starting its successor"
            logger.error(text, self._front.pid, self.total)

    def _runs(self) -> None:
        if self.blocked:
            logger.warning("front %d: its event loop runs again after %.1f s", self._front.pid, self.total)
        self.blocked = self.stuck = self._asked = self._read = False
        self.total = self._silence = 0.0

    def _take_stack(self, stack: str) -> None:
        if _DEBUGGER.search(stack):
            self._held()
        elif not self.blocked:
            self.blocked = True
            text = "front %d: its event loop has been blocked for %.1f s: %s"
            logger.warning(text, self._front.pid, self.total, stack.strip() or "it wrote no stack")

    def _held(self) -> None:
        """A debugger holds the front: begin anew, but it counts as blocked until its loop runs."""
        if not self.blocked:
            text = "front %d: its event loop is blocked, and a debugger holds it, so it is not replaced"
            logger.warning(text, self._front.pid)
        self.blocked = True
        self.stuck = self._asked = self._read = False
        self._silence = 0.0


class Liveness:
    """The event loops of all fronts that serve. ``blocked`` and ``stuck``: the serials of such fronts."""

    def __init__(self, limit: float, fronts: Callable[[], Iterable[FrontProcess]], changed: Callable[[], None]) -> None:
        """``limit``: ``livenessTimeout``; 0 watches nothing. ``fronts``: those that serve.

        ``changed`` is called when ``blocked`` or ``stuck`` has changed.
        """
        self.blocked: frozenset[int] = frozenset()
        self.stuck: frozenset[int] = frozenset()
        self._limit = limit
        self._fronts = fronts
        self._changed = changed
        self._watches: dict[int, LoopWatch] = {}
        self._checked = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Check again and again in the running event loop."""
        if self._limit:
            self._checked = asyncio.get_running_loop().time()
            self._schedule()

    def stop(self) -> None:
        """Check no more."""
        if self._timer is not None:
            self._timer.cancel()

    def blocked_for(self, front: FrontProcess) -> float:
        """Seconds for which its event loop has been blocked; 0 while it is not."""
        watch = self._watches.get(front.serial)
        return watch.total if watch is not None and watch.blocked else 0.0

    def check(self, elapsed: float) -> None:
        """Look at all fronts; ``elapsed``: seconds since the last look."""
        counted = min(elapsed, LONGEST_STEP * period(self._limit))
        before = self._watches
        self._watches = {
            front.serial: before.get(front.serial) or LoopWatch(front, self._limit) for front in self._fronts()
        }
        for watch in self._watches.values():
            watch.check(counted)
        blocked = frozenset(serial for serial, watch in self._watches.items() if watch.blocked)
        stuck = frozenset(serial for serial, watch in self._watches.items() if watch.stuck)
        if (blocked, stuck) != (self.blocked, self.stuck):
            self.blocked, self.stuck = blocked, stuck
            self._changed()

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(period(self._limit), self._wake)

    def _wake(self) -> None:
        self._schedule()  # first, so that an error does not end the checks
        now = asyncio.get_running_loop().time()
        elapsed, self._checked = now - self._checked, now
        self.check(elapsed)
