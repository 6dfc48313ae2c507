"""One child process from the supervisor's side: starting it, sending it messages and signals, reaping it.

``front_process`` and ``worker_process`` define what the child runs. This module owns the child's pid until it is reaped
(the kernel may then give the number to another process), and the supervisor's end of the socket pair. The supervisor's
loop and the pools decide what a message or an exit means.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from sidegate.ipc import signals
from sidegate.ipc.control import Channel, Message
from sidegate.observe.resident import resident_bytes

Spawn: TypeAlias = Callable[[socket.socket], int | None]
"""Starts a process with its end of the control socket; returns its pid, or None if the pid is reported later."""


_TRACED = re.compile(r"^TracerPid:\s*[1-9]", re.MULTILINE)


class ChildProcess:
    """A child that was started and is not reaped yet.

    ``engines``: the engines that it reported. ``cause``: why it exits, in one word, if the supervisor knows more than
    the exit status shows. ``started``: when it was started, in Unix seconds. ``exited``: its exit was reported, so its
    pid may be another process's.
    """

    def __init__(self, serial: int, slot: int, spawn: Spawn) -> None:
        """Start the process.

        :raises OSError: the system cannot start another process, or the program does not exist any more.
        """
        self.serial = serial
        self.slot = slot
        self.started = time.time()
        self.engines: Mapping[str, str] = {}
        self.cause = ""
        self.exited = False
        self._pending_signal: signal.Signals | None = None
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                self.pid = spawn(theirs)
            except BaseException:
                self._socket.close()
                raise

    def listen(self, on_message: Callable[[Message], None], on_gone: Callable[[], None]) -> None:
        """Open the channel: from now on ``on_message`` is called, and ``on_gone`` when the child has closed its end.

        :raises OSError: the system cannot watch another socket; then the child is killed.
        """
        try:
            self._channel = Channel(self._socket, on_message, on_gone)
        except OSError:
            self.signal(signal.SIGKILL)
            self._socket.close()
            raise

    def send(self, kind: str, **fields: Any) -> None:
        """Send one message; do nothing if the child has closed its end."""
        self._channel.send(kind, **fields)

    def pass_on(self, descriptors: Sequence[int], kind: str, **fields: Any) -> None:
        """Send one small message together with descriptors.

        :raises OSError: that is not possible now.
        """
        self._channel.pass_on(descriptors, kind, **fields)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal now, or by ``send_pending_signal``, if the pid is not known; do nothing after the child's exit.

        A child whose pid is not known cannot be killed. It exits by itself when the supervisor closes the connection.
        """
        if self.exited:
            return
        if self.pid is None:
            self._pending_signal = number
            if number is signal.SIGKILL:
                self._disconnect()
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    @property
    def resident(self) -> int:
        """Its resident memory in bytes; 0 while its pid is not known and after its exit."""
        return 0 if self.pid is None or self.exited else resident_bytes(self.pid)

    @property
    def is_traced(self) -> bool:
        """Whether a debugger (gdb, strace) traces it; False on systems without Linux's /proc and after its exit."""
        if self.exited:
            return False
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        return _TRACED.search(status) is not None

    def send_pending_signal(self) -> None:
        """The pid is known, and the exit too if the child has been reaped: send a signal that waited for the pid."""
        if self._pending_signal is not None:
            self.signal(self._pending_signal)
            self._pending_signal = None

    def read_available(self) -> None:
        """Handle the messages that have arrived."""
        self._channel.read_available()

    def read_remaining_messages(self) -> None:
        """The process has exited: handle its remaining messages, then close the channel and its socket."""
        self.exited = True
        self._channel.read_available()
        self._channel.close()
        self._socket.close()

    def _disconnect(self) -> None:
        """End the connection in both directions, as the exit of either process would."""
        with contextlib.suppress(OSError):  # it has ended already
            self._socket.shutdown(socket.SHUT_RDWR)


def spawn(command: list[str], environment: Mapping[str, str], inherited: Sequence[int]) -> int:
    """Start ``command`` and return its pid. Of our descriptors it inherits only ``inherited``, with the same numbers.

    A descriptor duplicated onto itself loses its close-on-exec flag only in the child (POSIX 2024, posix_spawn;
    glibc 2.29, musl 1.1.24, macOS). ``LEFT_TO_SUPERVISOR`` stays blocked until the child ignores it, because ^C and
    a closed terminal reach the whole process group at once.
    """
    return os.posix_spawn(
        command[0],
        command,
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, fd, fd) for fd in inherited],
        setsigmask=signals.LEFT_TO_SUPERVISOR,
    )


def exit_cause(status: int) -> str:
    """The cause of an exit as one word for logs and the metric's label, such as ``SIGKILL`` or ``exit_1``."""
    if status >= 0:
        return f"exit_{status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal_{-status}"
