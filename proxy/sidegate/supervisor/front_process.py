"""One front process from the supervisor's side.

It defines what a front inherits: the descriptors of the listening sockets, under the same numbers, and the shared
memory of its counters.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

from sidegate import __version__
from sidegate.config.plain import pack
from sidegate.config.schema import Config
from sidegate.ipc import signals
from sidegate.ipc.control import Message
from sidegate.observe.cells import Area
from sidegate.supervisor.child_process import ChildProcess, spawn
from sidegate.supervisor.child_state import ChildStatus
from sidegate.supervisor.subprocess_call import environment


class FrontProcess(ChildProcess):
    """A front that was spawned and is not reaped yet.

    ``statistics``: the last ones of its Runtime that it sent, at the time ``reported`` (``time.monotonic``).
    """

    def __init__(self, child: ChildStatus, area: Area, sockets: Mapping[str, list[socket.socket]]) -> None:
        """Start the process; ``area`` is for its counters.

        :raises OSError: the system cannot start another process.
        """
        self.area = area
        self.statistics: Mapping[str, Any] = {}
        self.reported = 0.0
        self._descriptors = {name: [sock.fileno() for sock in group] for name, group in sockets.items()}
        super().__init__(child.serial, child.slot, self._spawn)

    def _spawn(self, theirs: socket.socket) -> int:
        """Start the front. ``-P``: the working directory may contain another ``sidegate`` and is not on the path."""
        control = theirs.fileno()
        inherited = [control, self.area.fd, *(fd for group in self._descriptors.values() for fd in group)]
        return spawn([sys.executable, "-P", "-m", "sidegate.process.front", str(control)], environment(), inherited)

    def open(self, config: Config, on_message: Callable[[Message], None]) -> None:
        """Open the channel and send the configuration; from now on ``on_message`` is called.

        :raises OSError: the system cannot watch another socket; then the front is killed.
        """
        # ``on_gone`` does nothing: the front's exit is reported by waitpid.
        self.listen(on_message, on_gone=lambda: None)
        self.send(
            "config",
            version=__version__,
            config=pack(config),
            sockets=self._descriptors,
            cells=self.area.fd,
            supervisor=os.getpid(),
            ignored=signals.ignored(),
        )
