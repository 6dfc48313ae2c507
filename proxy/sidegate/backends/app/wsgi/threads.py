"""The threads of one WSGI application in this process.

The backend gives them jobs. A thread is created when there is a job and no idle thread. It raises no error.

Theory of operation. The wait queue belongs to the event loop; it enforces the length and time limits. Its jobs are
*offered* to the threads at the same time: a thread that has finished takes the next job at once, and the loop updates
the queue when it learns of both. So between two requests there is no iteration of the loop and no switch of threads.
A job is taken or withdrawn by removing it from ``_offered``. That is atomic, so only one thread can do it.

The threads are daemons, because Python would wait for a blocked thread before the process exits.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections import deque
from queue import SimpleQueue

from sidegate.backends.app.wsgi.job import Job
from sidegate.backends.load_balancer import Target

logger = logging.getLogger("sidegate.wsgi")


class Threads(Target):
    """The threads as a target of the load balancer. Its capacity is the largest number of threads, ``most``."""

    def __init__(self, name: str, most: int) -> None:
        super().__init__()
        self.capacity = most
        self._name = name
        self._offered: deque[Job] = deque()
        self._signals: SimpleQueue[bool] = SimpleQueue()
        """Each item wakes one thread: True to take the jobs that are offered, False to end."""
        self._made = 0
        self._context = contextvars.copy_context()
        """As the applications' imports have left it; every request runs in a copy of it."""

    def offer(self, job: Job) -> None:
        """Let a thread that becomes free take ``job``, which waits in the queue."""
        self._offered.append(job)

    def withdraw(self, job: Job) -> bool:
        """Stop offering ``job``. Return whether it was still offered; if not, a thread has taken it."""
        try:
            self._offered.remove(job)
        except ValueError:
            return False
        return True

    def start(self, job: Job, offered: bool) -> None:
        """Run ``job``, for which a thread is reserved (``in_use``). ``offered``: it was offered before."""
        if not offered:
            self._offered.append(job)
        elif job.taken:
            return
        if self._made < min(self.in_use, self.capacity):
            self._make(job)
        self._signals.put(True)

    def stop(self) -> None:
        """Let every thread end as soon as it has no job."""
        for _ in range(self._made):
            self._signals.put(False)

    def _make(self, job: Job) -> None:
        try:
            threading.Thread(target=self.work, name=f"{self._name}-{self._made + 1}", daemon=True).start()
        except RuntimeError as error:  # the system cannot create another thread
            if not self._made and self.withdraw(job):
                job.fail(error)
        else:
            self._made += 1

    def work(self) -> None:
        """Run jobs until ``stop``; the target of each thread."""
        while self._signals.get():
            try:
                self._take_all()
            except BaseException:  # an application's thread may raise asynchronously, even outside of a request
                logger.exception("a thread of backend %r goes on after an error", self._name)

    def _take_all(self) -> None:
        while self._offered:
            try:
                job = self._offered.popleft()
            except IndexError:  # another thread has taken it
                return
            job.taken = True
            self._context.copy().run(job.run)
