"""The threads of one WSGI application in this process.

Where it stands: below the backend, which gives them jobs. A thread is made when there is a job for it and no other one
has time. No error leaves it.

Theory of operation. Who waits, waits in the backend's line, which knows of bounds and time, in the loop's thread. Its
jobs are *offered* here as well: a thread that is done takes the next of them at once, and the loop does the line's
accounts when it hears of both. So between two requests there is no turn of the loop and no switch of threads. Whether
a job is offered is what all agree on: to take it away is one step, in whichever thread.

Threads are daemons, because Python would wait for one that hangs before it lets the process end.
"""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from queue import SimpleQueue

from sidegate.backends.app.wsgi.job import Job
from sidegate.backends.load_balancer import Target

_new_context = contextvars.Context  # a name that is not looked up in a module


class Threads(Target):
    """As many places as there may be threads."""

    def __init__(self, name: str, most: int) -> None:
        super().__init__()
        self.capacity = most
        self._name = name
        self._offered: deque[Job] = deque()
        self._calls: SimpleQueue[bool] = SimpleQueue()
        """Each makes one thread look at what is offered; False: and end."""
        self._made = 0

    def offer(self, job: Job) -> None:
        """``job`` has no place yet: a thread that becomes free may take it before it has."""
        self._offered.append(job)

    def withdraw(self, job: Job) -> bool:
        """Whether it was only offered: then it is no more. Else a thread has begun with it."""
        try:
            self._offered.remove(job)
        except ValueError:
            return False
        return True

    def start(self, job: Job, offered: bool) -> None:
        """Run ``job``, which has a place; ``offered``: and was offered before."""
        if not offered:
            self._offered.append(job)
        elif job.taken:
            return
        if self._made < min(self.in_use, self.capacity):
            self._make(job)
        self._calls.put(True)

    def stop(self) -> None:
        """Let every thread end that has nothing to do any more."""
        for _ in range(self._made):
            self._calls.put(False)

    def _make(self, job: Job) -> None:
        try:
            threading.Thread(target=self.work, name=f"{self._name}-{self._made + 1}", daemon=True).start()
        except RuntimeError as error:  # the system has no room for it
            if not self._made and self.withdraw(job):
                job.fail(error)
        else:
            self._made += 1

    def work(self) -> None:
        """What a thread does."""
        while self._calls.get():
            self._take_all()

    def _take_all(self) -> None:
        while self._offered:
            try:
                job = self._offered.popleft()
            except IndexError:  # another thread was faster
                return
            job.taken = True
            _new_context().run(job.run)
