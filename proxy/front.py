"""A front process: ``python -m proxy.front DESCRIPTOR``, started by the supervisor only.

Where it stands: the child's end of the control socket, above the runtime. It owns the process: its event loop,
signals, logging and the order *build, start, say ready, serve, drain, say drained*. What is served, and how, is
the runtime's. It reports every failure to start through the control socket, because the supervisor knows
where in the configuration file it belongs; no error leaves it.

It never outlives its supervisor: the kernel kills it when the supervisor dies (Linux), and the end of the control
socket tells it everywhere.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

from proxy import __version__
from proxy.config.plain import unpack
from proxy.config.schema import Config
from proxy.control import Channel, Message, receive_first, send_last, share_of_front
from proxy.errors import AccessLogError, StartError
from proxy.observe import process_log
from proxy.observe.access_log import AccessLog, open_access_log
from proxy.observe.cells import Area
from proxy.observe.observer import Observer
from proxy.runtime import BuildError, Runtime
from proxy.versions import engines

new_event_loop: Callable[[], asyncio.AbstractEventLoop]
try:
    from uvloop import new_event_loop
except ImportError:
    new_event_loop = asyncio.new_event_loop

STATISTICS_PERIOD = 5.0
"""Seconds between two messages to the supervisor, which shows the last one in ``/status``."""

PR_SET_PDEATHSIG = 1
"""<linux/prctl.h>: the signal that the kernel sends to this process when its parent ends."""

BAD_CONFIGURATION = 2
FAILED_START = 3


def main(argv: list[str]) -> int:
    """Run one front to its end; the exit code."""
    control = socket.socket(fileno=int(argv[1]))
    # Applications start programs of their own; none of them may hold our end open.
    control.set_inheritable(False)
    _leave_signals_to_the_supervisor()
    first = receive_first(control)
    if first is None or first["supervisor"] != os.getppid():
        return FAILED_START  # the supervisor died before it could be watched
    if first["version"] != __version__:
        reason = f"Sidegate was upgraded from {first['version']} to {__version__} while it runs; restart it"
        send_last(control, "failed", message=reason)
        return FAILED_START
    config = unpack(Config, first["config"])
    process_log.set_up(config.logging)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        failure = runner.run(Front(config, first, control).run())
    if failure is None:
        return 0
    send_last(control, "failed", **failure)
    return BAD_CONFIGURATION if "problems" in failure else FAILED_START


def _leave_signals_to_the_supervisor() -> None:
    """^C and a closed terminal reach the whole group, but only the supervisor may decide; its death is ours."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # log rotation may signal the whole group; the supervisor tells us
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Front:
    """The life of one front. ``first`` is the supervisor's first message."""

    def __init__(self, config: Config, first: Message, control: socket.socket) -> None:
        self._config = config
        self._first = first
        self._control = control
        self._drain_asked = asyncio.Event()
        self._abort_asked = asyncio.Event()
        self._grace = 0.0
        self._access_log: AccessLog | None = None

    async def run(self) -> dict[str, Any] | None:
        """Start, serve, drain. What the message ``failed`` is to say, or None after an orderly end."""
        try:
            self._access_log = open_access_log(self._config, asyncio.get_running_loop().call_later)
            self._runtime = self._build(self._access_log)
            await self._live()
        except BuildError as error:
            return {"problems": error.problems}
        except AccessLogError as error:
            return {"problems": [(("logging", "accessLogFile"), str(error))]}
        except StartError as error:
            return {"message": str(error)}
        except Exception:  # noqa: BLE001 - the operator gets to see whatever it is
            return {"message": f"a front failed: {traceback.format_exc()}"}
        finally:
            if self._access_log is not None:
                self._access_log.close()
        return None

    def _build(self, access_log: AccessLog | None) -> Runtime:
        # SIGTERM keeps its default effect meanwhile: an import may take long, and nothing would be lost.
        os.set_inheritable(self._first["cells"], False)
        observer = Observer(self._config, Area(self._first["cells"]).cells, access_log)
        sockets = {name: [_inherited(fd) for fd in fds] for name, fds in self._first["sockets"].items()}
        runtime = Runtime.build(self._config, sockets, observer)
        process_log.set_up(self._config.logging)  # an application's logging configuration may have disabled it
        return runtime

    async def _live(self) -> None:
        """Until drained or aborted."""
        self._channel = Channel(self._control, self._on_message, self._on_supervisor_gone)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._on_terminate)
        work = asyncio.create_task(self._work())
        try:
            if not await _first_of(work, self._abort_asked):
                self._runtime.abort()
            else:
                work.result()
        finally:
            self._channel.close()

    async def _work(self) -> None:
        start = asyncio.create_task(self._runtime.start())
        if not await _first_of(start, self._drain_asked):
            return  # nobody was served yet, so nothing is to be finished
        start.result()
        # What was imported stays for ever: the collector need not look at it again, and pages stay shared.
        gc.collect()
        gc.freeze()
        loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
        self._channel.send("ready", engines=engines(self._config.http2_engine, loop))
        await self._drain_asked.wait()
        await self._runtime.drain(0.0, self._grace)
        self._channel.send("drained")

    def _on_message(self, message: Message) -> None:
        match message["type"]:
            case "serve":
                self._runtime.serve()
                self._tell_statistics()
            case "drain":
                self._grace = message["grace"]
                self._drain_asked.set()
            case "reopen":
                if self._access_log is not None:
                    self._access_log.reopen()
            case "abort":
                self._abort_asked.set()

    def _on_terminate(self) -> None:
        """Somebody wants this one front to go: the supervisor starts another one beside it."""
        if not self._drain_asked.is_set():
            self._channel.send("draining")
            self._grace = share_of_front(self._config.grace_period)
            self._drain_asked.set()

    def _on_supervisor_gone(self) -> None:
        os._exit(FAILED_START)

    def _tell_statistics(self) -> None:
        self._channel.send("statistics", statistics=self._runtime.statistics())
        asyncio.get_running_loop().call_later(STATISTICS_PERIOD, self._tell_statistics)


async def _first_of(task: asyncio.Task[None], event: asyncio.Event) -> bool:
    """Whether ``task`` ended before ``event`` was set; if not, it is cancelled and has ended as well."""
    waiter = asyncio.create_task(event.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    ended = task.done()
    task.cancel()
    waiter.cancel()
    await asyncio.wait({task, waiter})
    return ended


def _inherited(fd: int) -> socket.socket:
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    return sock


if __name__ == "__main__":
    sys.exit(main(sys.argv))
