"""The threads of a WSGI application that are stuck: nobody waits for their response, and they run on.

Where it stands: beside the backend, which tells it when a thread becomes stuck and when it is free again. It counts
them and reports when no other thread is left. No error leaves it.
"""

from __future__ import annotations

import faulthandler
import logging
from collections.abc import Callable

from sidegate.observe.thread_meter import ThreadMeter

STDERR = 2

logger = logging.getLogger("sidegate.wsgi")


class StuckThreads:
    """One for each backend. ``patience``: seconds after which an abandoned thread is stuck; 0: never.

    ``on_exhausted`` is called when all ``capacity`` threads are stuck.
    """

    def __init__(
        self, name: str, capacity: int, meter: ThreadMeter, patience: float, on_exhausted: Callable[[], None]
    ) -> None:
        self.meter = meter
        self.patience = patience
        self.count = 0
        self._name = name
        self._places = capacity
        self._on_exhausted = on_exhausted

    def add(self) -> bool:
        """One more is stuck. Whether all are now."""
        self.count += 1
        self.meter.stuck()
        logger.error("backend %r: %d of %d threads are stuck", self._name, self.count, self._places)
        if self.count < self._places:
            return False
        faulthandler.dump_traceback(STDERR)  # it shows where they hang
        self._on_exhausted()
        return True

    def remove(self) -> None:
        """One of them is free again."""
        self.count -= 1
        self.meter.unstuck()
