"""A front process: ``python -m sidegate.process.front DESCRIPTOR``, started by the supervisor only.

A front is a child that accepts client connections. ``process/child.py`` contains the steps of every child; this module
adds what only a front has: the service's listening sockets, the access log and the order ``serve``.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys

from sidegate.config.plain import unpack
from sidegate.config.schema import Config
from sidegate.errors import AccessLogError
from sidegate.ipc.control import Message, decode_keys
from sidegate.observe import process_log
from sidegate.observe.access_log import AccessLog, open_access_log
from sidegate.observe.cells import Area
from sidegate.observe.heartbeat import start_heartbeat
from sidegate.observe.observer import Observer
from sidegate.process import child
from sidegate.process.child import ChildMain, Failure
from sidegate.process.fatal_signals import print_stacks
from sidegate.process.runtime import BuildError, Runtime
from sidegate.versions import engines

STATISTICS_PERIOD = 5.0
"""Seconds between two messages ``statistics`` to the supervisor, which shows the last one in ``/status``."""


def main(argv: list[str]) -> int:
    """Run one front until it ends and return its exit code."""
    control = socket.socket(fileno=int(argv[1]))
    gc.disable()  # nothing of a configuration is garbage; with thousands of routes, to look for some takes long
    first = child.first_message(control)
    if first is None:
        return child.FAILED_START
    config = unpack(Config, first["config"])
    gc.enable()
    process_log.set_up(config.logging)
    print_stacks()  # before the imports: an application may choose another file
    return child.run(Front(config, first, control), config.event_loop, control)


class Front(ChildMain):
    """One front. ``first`` is the supervisor's first message."""

    noun = "front"

    def __init__(self, config: Config, first: Message, control: socket.socket) -> None:
        super().__init__(config, control)
        self._first = first
        self._access_log: AccessLog | None = None
        # Before the imports: a program that an application starts must not inherit these.
        os.set_inheritable(first["cells"], False)
        self._sockets = {name: [child.inherited(fd) for fd in fds] for name, fds in first["sockets"].items()}

    async def run(self) -> Failure | None:
        """See ``ChildMain``; afterwards the access log is closed."""
        try:
            return await super().run()
        finally:
            if self._access_log is not None:
                self._access_log.close()

    def build(self) -> Runtime:
        self._access_log = self._open_access_log()
        self._area = Area(self._first["cells"])
        observer = Observer(self._config, self._area.cells, self._access_log)
        process_log.stderr.count_in(self._area.cells, observer.process_log_cell(self.noun))
        return Runtime.build(self._config, self._sockets, observer, self.applications, report=self._tell)

    def _open_access_log(self) -> AccessLog | None:
        try:
            return open_access_log(self._config, asyncio.get_running_loop().call_later)
        except AccessLogError as error:
            raise BuildError([(("logging", "accessLogFile"), str(error))]) from error

    def started(self) -> None:
        parts = engines(self._config, child.loop_package())
        self._tell("ready", engines=parts, interfaces=self._runtime.interfaces)

    def on_message(self, message: Message) -> None:
        match message["type"]:
            case "serve":
                self._runtime.serve()
                self._tell_statistics()
                if self._config.liveness_timeout:
                    start_heartbeat(self._area, self._config.liveness_timeout)
            case "workers":
                self._runtime.set_workers(message["backend"], message["workers"])
            case "ticketKeys":
                self._runtime.set_ticket_keys(decode_keys(message["keys"]))
            case "reopen":
                if self._access_log is not None:
                    self._access_log.reopen()

    def _tell_statistics(self) -> None:
        # First, so that an error of one report does not end the reports.
        asyncio.get_running_loop().call_later(STATISTICS_PERIOD, self._tell_statistics)
        self._tell("statistics", statistics=self._runtime.statistics())


if __name__ == "__main__":
    sys.exit(main(sys.argv))
