"""The duties of PID 1 in a container: it reaps every orphan, and signals reach it only if it handles them.

The supervisor has no children that it does not know, so it reaps all of them by ``reap``. The process of ``sidegate
worker`` must not: it would take the exit statuses that its application waits for. So as PID 1 it forks, and the parent,
``divide``, does nothing else. It is imported before anything large, because the parent keeps what it has imported.
"""

from __future__ import annotations

import os
import signal

from sidegate.ipc import signals


def reap() -> list[tuple[int, int]]:
    """Reap all children that have exited: pid and exit status, negative for a signal. As PID 1, also orphans."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, os.waitstatus_to_exitcode(status)))


def divide() -> int | None:
    """Fork. In the child return None; in the parent, when the child has exited, its exit code (128 + N for a signal).

    The parent passes every signal of ``signals.HANDLED`` to the child and reaps orphans.
    """
    awaited = {*signals.HANDLED, signal.SIGCHLD}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # PID 1 gets no signal that has its default effect; but it gets those that are blocked.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if os.environ.get("LISTEN_PID") == str(os.getppid()):
            os.environ["LISTEN_PID"] = str(os.getpid())  # sockets that were passed are for the process that serves
        return None
    while True:
        number = signal.sigwait(awaited)
        if number != signal.SIGCHLD:
            os.kill(child, number)
            continue
        for pid, status in reap():
            if pid == child:
                return status if status >= 0 else 128 - status
