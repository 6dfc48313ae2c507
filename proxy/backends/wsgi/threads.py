"""The threads of one WSGI application in this process.

Where it stands: below the backend, which gives each of them one job at a time. A thread is made when there is a job for
it and no other one has time. It never has a queue of its own: who waits, waits in the backend's line. No error leaves
it.

Threads are daemons, because Python would wait for one that hangs before it lets the process end.
"""

from __future__ import annotations

import contextvars
import threading
from queue import SimpleQueue

from proxy.backends.choice import Place
from proxy.backends.wsgi.job import Job


class Threads(Place):
    """As many places as there may be threads."""

    def __init__(self, name: str, most: int) -> None:
        super().__init__()
        self.places = most
        self._name = name
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._made = 0

    def start(self, job: Job) -> None:
        """Run ``job``, which has taken a place."""
        if self._made < self.busy:
            self._made += 1
            name = f"{self._name}-{self._made}"
            threading.Thread(target=_work, args=(self._jobs,), name=name, daemon=True).start()
        self._jobs.put(job)

    def stop(self) -> None:
        """Let every thread end that has nothing to do any more."""
        for _ in range(self._made):
            self._jobs.put(None)


def _work(jobs: SimpleQueue[Job | None]) -> None:
    while True:
        job = jobs.get()
        if job is None:
            return
        contextvars.Context().run(job.run)
        del job  # while this thread waits, nothing of the last request is kept
