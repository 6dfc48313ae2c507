"""The sign of life of a front's event loop, and the stack of a loop that is blocked, in shared memory.

Both are behind the front's counters (``cells``). The front adds one to a cell again and again; the supervisor reads
it. No message could do that: a queue of messages says what was true when they were sent.

The supervisor asks for the stack by a signal. ``faulthandler`` answers in C, so it also works while an extension holds
the GIL. It reads the stack of the main thread only, which runs the event loop and is interrupted meanwhile: other
threads may change theirs at that moment. It writes into the shared memory, because a write to standard error waits
while nobody reads that. An application that is not blocked is not interrupted, and there is no thread for all this.
The kernel restarts the system call that the signal interrupts, except for waits with a time limit, such as nanosleep
and poll. Python itself goes on with those, and C libraries have to expect their early end, as for every other signal.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
from typing import Final

from sidegate.observe.cells import CELL_SIZE, Area

STACK_SIGNAL: Final = signal.SIGURG
"""Has no effect in a process without a handler for it, and C libraries expect it at any time: Go's runtime, too, uses
it for itself. Nobody sends it otherwise, unless a process asks for it by F_SETOWN."""

STACK_SIZE: Final = 16 * 1024
"""Bytes of the longest stack that is kept. ``faulthandler`` writes the innermost frames first, and at most 100."""

CELLS: Final = 1 + STACK_SIZE // CELL_SIZE
"""Cells that an area has behind the counters."""

LONGEST_PERIOD: Final = 1.0
PERIODS_PER_LIMIT: Final = 12


def period(limit: float) -> float:
    """Seconds between two beats, and between two looks at them, for a ``livenessTimeout`` of ``limit`` seconds."""
    return min(LONGEST_PERIOD, limit / PERIODS_PER_LIMIT)


def start_heartbeat(area: Area, limit: float) -> None:
    """Beat from now on in the running event loop, and write the stack into ``area`` when the supervisor asks for it."""
    faulthandler.register(STACK_SIGNAL, area.fd, all_threads=False)
    loop, pause, cells, cell = asyncio.get_running_loop(), period(limit), area.cells, len(area) - CELLS

    def beat() -> None:
        cells[cell] += 1.0
        loop.call_later(pause, beat)

    beat()


class Heartbeat:
    """The supervisor's view of one front."""

    def __init__(self, area: Area) -> None:
        self._area = area
        self._start = (len(area) - CELLS + 1) * CELL_SIZE

    @property
    def beats(self) -> float:
        """The number of beats so far."""
        return self._area.cells[len(self._area) - CELLS]

    def expect_stack(self) -> None:
        """Let the next stack begin at its place: the descriptors of both processes have one position."""
        os.lseek(self._area.fd, self._start, os.SEEK_SET)

    def stack(self) -> str:
        """The stack that was written since ``expect_stack``; empty if none was."""
        end = os.lseek(self._area.fd, 0, os.SEEK_CUR)
        return os.pread(self._area.fd, end - self._start, self._start).decode(errors="replace")
