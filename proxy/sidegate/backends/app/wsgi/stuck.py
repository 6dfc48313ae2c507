"""The stuck threads of a WSGI application: each runs a cancelled request for too long.

The backend calls it when a thread becomes stuck, and when a stuck thread is free again. It counts these threads, and
reports when all threads are stuck. It raises no error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sidegate.backends.app.wsgi.threads import Threads
from sidegate.observe import process_log
from sidegate.observe.thread_meter import ThreadMeter

logger = logging.getLogger("sidegate.wsgi")


class StuckThreads:
    """One for each backend; ``threads``: all of its threads.

    ``stuck_after``: seconds that a request may run; after them the thread of a cancelled request is stuck. 0: never.
    ``on_exhausted`` is called when all threads are stuck.
    """

    def __init__(
        self, name: str, threads: Threads, meter: ThreadMeter, stuck_after: float, on_exhausted: Callable[[], None]
    ) -> None:
        self.meter = meter
        self.stuck_after = stuck_after
        self.count = 0
        self._name = name
        self.threads = threads
        self._on_exhausted = on_exhausted

    def add(self) -> bool:
        """Count one more stuck thread. Return whether all threads are stuck now."""
        self.count += 1
        self.meter.stuck()
        logger.error("backend %r: %d of %d threads are stuck", self._name, self.count, self.threads.capacity)
        if self.count < self.threads.capacity:
            return False
        process_log.write_stacks()  # the stacks show where the threads are blocked
        self._on_exhausted()
        return True

    def remove(self) -> None:
        """A stuck thread is free again."""
        self.count -= 1
        self.meter.unstuck()
