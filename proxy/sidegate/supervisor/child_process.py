"""One child process from the supervisor's side: starting it, talking to it, ending it.

Where it stands: between the table of states and the loops; ``front`` and ``worker`` say what the child runs. It owns
the child's pid until it is reaped, and its end of the socket pair. It judges nothing: what a message or a death means
is the loop's business.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from sidegate.ipc.control import Channel, Message
from sidegate.observe.resident import resident_bytes

Spawn: TypeAlias = Callable[[socket.socket], int | None]
"""Starts a process with its end of the control socket; its pid, or None if that is told later."""


class ChildProcess:
    """A child that was started and is not reaped yet.

    ``engines`` is what it said that it runs on. ``cause`` says in one word why it ends, if that is known better than
    its exit status will tell. ``started`` is in Unix seconds.
    """

    def __init__(self, serial: int, slot: int, spawn: Spawn) -> None:
        """Start the process.

        :raises OSError: the system has no room for another process, or its program is gone.
        """
        self.serial = serial
        self.slot = slot
        self.started = time.time()
        self.engines: Mapping[str, str] = {}
        self.cause = ""
        self._owed: signal.Signals | None = None
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                self.pid = spawn(theirs)
            except BaseException:
                self._socket.close()
                raise

    def listen(self, on_message: Callable[[Message], None], on_gone: Callable[[], None]) -> None:
        """Begin to talk: from now on ``on_message`` is called, and ``on_gone`` when it has closed its end."""
        self._channel = Channel(self._socket, on_message, on_gone)

    def send(self, kind: str, **fields: Any) -> None:
        """Send one message; a child that is gone gets none."""
        self._channel.send(kind, **fields)

    def pass_on(self, descriptors: Sequence[int], kind: str, **fields: Any) -> None:
        """Send one small message with descriptors beside it. Raises OSError if that cannot be done now."""
        self._channel.pass_on(descriptors, kind, **fields)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, or send it when the pid is known."""
        if self.pid is None:
            self._owed = number
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    @property
    def resident(self) -> int:
        """Its resident memory in bytes; 0 while its pid is not known."""
        return 0 if self.pid is None else resident_bytes(self.pid)

    def found(self, pid: int) -> None:
        """Its pid is known now."""
        self.pid = pid
        if self._owed is not None:
            self.signal(self._owed)

    def take_last_words(self) -> None:
        """The process was reaped: take the messages it left behind, then let go of the socket pair."""
        self._channel.read_available()
        self._channel.close()
        self._socket.close()


def spawn(command: list[str], environment: Mapping[str, str], inherited: Sequence[int]) -> int:
    """Start ``command`` with ``inherited`` open under the same numbers, everything else of ours closed; its pid.

    A descriptor duplicated onto itself loses its close-on-exec flag in the child alone (POSIX 2024, posix_spawn;
    glibc 2.29, musl 1.1.24, macOS). SIGINT, SIGHUP and SIGUSR1 stay blocked until the child ignores them, because ^C
    and a closed terminal reach the whole process group at once.
    """
    return os.posix_spawn(
        command[0],
        command,
        environment,
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
