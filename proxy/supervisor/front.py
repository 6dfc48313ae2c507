"""One front process from the supervisor's side: spawning it, talking to it, ending it.

Where it stands: between the table of states and the supervisor's loop. It owns the child's pid until it is reaped, its
end of the socket pair and its counters. It judges nothing: what a message or a death means is the loop's business.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from proxy import __version__
from proxy.config.plain import pack
from proxy.config.schema import Config
from proxy.control import Channel, Message
from proxy.observe.cells import Area
from proxy.supervisor.apart import environment
from proxy.supervisor.process import Child


class Front:
    """A front that was spawned and is not reaped yet.

    ``engines`` and ``statistics`` are what it said about itself. ``cause`` says in one word why it ends, if that
    is known better than its exit status will tell.
    """

    def __init__(self, child: Child, area: Area, sockets: Mapping[str, list[socket.socket]]) -> None:
        """Start the process; ``area`` is for its counters.

        :raises OSError: the system has no room for another process.
        """
        self.serial = child.serial
        self.slot = child.slot
        self.started = time.time()
        self.area = area
        self.engines: Mapping[str, str] = {}
        self.statistics: Mapping[str, Any] = {}
        self.cause = ""
        self._descriptors = {name: [sock.fileno() for sock in group] for name, group in sockets.items()}
        self._socket, theirs = socket.socketpair()
        with theirs:
            inherited = [theirs.fileno(), area.fd, *(fd for group in self._descriptors.values() for fd in group)]
            try:
                self.pid = _spawn(theirs.fileno(), inherited)
            except OSError:
                self._socket.close()
                raise

    def open(self, config: Config, on_message: Callable[[Message], None]) -> None:
        """Begin to talk: send the configuration; from now on ``on_message`` is called."""
        # The end of the stream says no more than the death that follows it.
        self._channel = Channel(self._socket, on_message, on_gone=lambda: None)
        self._channel.send(
            "config",
            version=__version__,
            config=pack(config),
            sockets=self._descriptors,
            cells=self.area.fd,
            supervisor=os.getpid(),
        )

    def send(self, kind: str, **fields: Any) -> None:
        """Send one message; a child that is gone gets none."""
        self._channel.send(kind, **fields)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def take_last_words(self) -> None:
        """The process was reaped: take the messages it left behind, then let go of the socket pair."""
        self._channel.read_available()
        self._channel.close()
        self._socket.close()


def _spawn(control: int, inherited: list[int]) -> int:
    """Start ``proxy.front`` with ``inherited`` open under the same numbers, everything else of ours closed.

    A descriptor duplicated onto itself loses its close-on-exec flag in the child alone (POSIX 2024, posix_spawn;
    glibc 2.29, musl 1.1.24, macOS). ``-P`` keeps the working directory off the import path: it may hold a ``proxy``
    of its own. SIGINT, SIGHUP and SIGUSR1 stay blocked until the child ignores them, because ^C and a closed
    terminal reach the whole process group at once.
    """
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", "proxy.front", str(control)],
        environment(),
        file_actions=[(os.POSIX_SPAWN_DUP2, fd, fd) for fd in inherited],
        setsigmask=[signal.SIGINT, signal.SIGHUP, signal.SIGUSR1],
    )


def reap() -> list[tuple[int, int]]:
    """Every child that has ended: pid and exit status, negative for a signal. As PID 1, also orphans we inherited."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, os.waitstatus_to_exitcode(status)))


def cause_of_death(status: int) -> str:
    """``SIGKILL``, ``exit_1``: one word for logs and the metric's label."""
    if status >= 0:
        return f"exit_{status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal_{-status}"
