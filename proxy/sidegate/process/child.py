"""The code that all children of the supervisor share: a child's run, from the first message to the exit code.

``front`` and ``worker`` build on this module, which uses the runtime. It owns the process: its event loop, its signals
and the order *import, build, start, send ready, serve, drain, send drained*. The subclass decides what is built and
what is sent; the runtime serves. A child reports a failure to start through the control socket, because the supervisor
knows its position in the configuration file.

A child never runs longer than its supervisor: the kernel kills it when the supervisor exits (Linux), and on every
system the child exits when the control socket is closed.
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
from collections.abc import Iterable
from typing import Any

from sidegate import __version__
from sidegate.aio.event_loops import EventLoopName, ProcessLoop
from sidegate.aio.tasks import internal_task
from sidegate.config.schema import Config
from sidegate.errors import StartError
from sidegate.ipc import signals
from sidegate.ipc.control import Channel, Message, front_drain_time, receive_first, send_last
from sidegate.observe import process_log
from sidegate.process.runtime import BuildError, Runtime, import_applications

PR_SET_PDEATHSIG = 1
"""<linux/prctl.h>: the signal that the kernel sends to this process when its parent exits."""

COLLECT_AFTER = 10_000
"""Number of new containers after which the garbage collector runs; Python's default is 700. Hundreds of requests in
flight have hundreds of thousands of containers, all in use: visiting them again and again took a sixth of the CPU time
of a front that relays."""

BAD_CONFIGURATION = 2
FAILED_START = 3

Failure = dict[str, Any]
"""Fields of the message ``failed``."""


def first_message(control: socket.socket) -> Message | None:
    """The supervisor's first message; None if the supervisor has exited or another version was installed meanwhile."""
    # Applications start other programs; none of them may inherit our end and keep it open.
    control.set_inheritable(False)
    signals.remember_given()
    signals.close_in_children(control)
    leave_signals_to_the_supervisor()
    exit_with_parent()
    first = receive_first(control)
    if first is None or first["supervisor"] != os.getppid():
        return None  # the supervisor exited before ``exit_with_parent`` was called
    if first["version"] != __version__:
        reason = f"Sidegate was upgraded from {first['version']} to {__version__} while it was running; restart it"
        send_last(control, "failed", message=reason)
        return None
    leave_signals_to_the_supervisor(first["ignored"])
    return first


def leave_signals_to_the_supervisor(ignored: Iterable[int] = ()) -> None:
    """Ignore the signals of ^C, of a closed terminal, of log rotation: only the supervisor decides.

    ``ignored``: the signals that the supervisor was told to ignore, which the application's children ignore too.
    """
    signals.ignore(signals.LEFT_TO_SUPERVISOR, ignored)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def exit_with_parent() -> None:
    """Let the kernel kill this process when its parent exits.

    Call it again after the process has changed its user: that change clears the setting.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run(child: ChildMain, event_loop: EventLoopName, control: socket.socket) -> int:
    """Import the applications of ``child``, then run it in its event loop. Returns the exit code.

    A failure is reported to the supervisor.
    """
    failure: Failure | None
    try:
        with ProcessLoop(event_loop) as loop:
            child.import_applications(loop)
            failure = loop.run(child.run())
    except StartError as error:
        failure = {"message": str(error)}
    if failure is None:
        return 0
    send_last(control, "failed", **failure)
    return BAD_CONFIGURATION if "problems" in failure else FAILED_START


def inherited(fd: int) -> socket.socket:
    """The socket that this process inherited from the supervisor as descriptor ``fd``."""
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    signals.close_in_children(sock)
    return sock


class ChildMain:
    """One child, from building its runtime to its exit."""

    noun = "child"
    """The kind of the child in messages."""

    def __init__(self, config: Config, control: socket.socket) -> None:
        self._config = config
        self._control = control
        self._drain_asked = asyncio.Event()
        self._abort_asked = asyncio.Event()
        self._grace = 0.0

    # Methods of the subclass.

    def build(self) -> Runtime:
        """Build the runtime. Runs in the event loop, before the channel exists."""
        raise NotImplementedError

    def started(self) -> None:
        """Called when the applications are ready: tell the supervisor, by ``self._tell``."""
        raise NotImplementedError

    def on_message(self, message: Message) -> None:
        """Handle a message of the supervisor that only this kind of child gets."""

    # The steps of every child.

    def import_applications(self, loop: ProcessLoop) -> None:
        """Import what ``build`` needs, before the event loop runs.

        SIGTERM keeps its default effect meanwhile: an import may take long, and no request would be lost.
        """
        self.applications = import_applications(self._config, loop)
        process_log.set_up(self._config.logging)  # again: an import may have changed the loggers

    async def run(self) -> Failure | None:
        """Start, serve, drain. Returns the fields of the message ``failed``, or None if nothing failed."""
        try:
            self._runtime = self.build()
            await self._until_ended()
        except BuildError as error:
            return {"problems": error.problems}
        except StartError as error:
            return {"message": str(error)}
        except Exception:  # noqa: BLE001 - the operator gets the traceback of any exception
            return {"message": f"a {self.noun} failed: {traceback.format_exc()}"}
        return None

    async def _until_ended(self) -> None:
        """Start and serve; return when the runtime has drained or was aborted."""
        self._channel = Channel(self._control, self._on_message, _on_supervisor_gone)
        signals.handle(asyncio.get_running_loop(), signal.SIGTERM, self._on_terminate)
        work = internal_task(self._work())
        try:
            if not await first_of(work, self._abort_asked):
                self._runtime.abort()
            else:
                work.result()
        finally:
            self._channel.finish()

    async def _work(self) -> None:
        start = internal_task(self._runtime.start())
        if not await first_of(start, self._drain_asked):
            return  # no request was accepted yet, so there is nothing to finish
        start.result()
        # Imported objects are never freed: the garbage collector need not visit them, and their pages stay shared.
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER, 20, 20)
        self.started()
        await self._drain_asked.wait()
        await self._runtime.drain(0.0, self._grace)
        self._tell("drained")

    def _tell(self, kind: str, **fields: Any) -> None:
        """Send the supervisor one message."""
        self._channel.send(kind, **fields)

    def _on_message(self, message: Message) -> None:
        match message["type"]:
            case "drain":
                self._grace = message["grace"]
                self._drain_asked.set()
            case "abort":
                self._abort_asked.set()
            case _:
                self.on_message(message)

    def _on_terminate(self) -> None:
        """Drain, because this child itself got SIGTERM. The supervisor starts another child in its slot."""
        if not self._drain_asked.is_set():
            self._tell("draining")
            self._grace = front_drain_time(self._config.grace_period)
            self._drain_asked.set()


def loop_package() -> str:
    """The package of the running event loop's class."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


async def first_of(task: asyncio.Task[None], event: asyncio.Event) -> bool:
    """Whether ``task`` ended before ``event`` was set; if not, it was cancelled and has ended."""
    waiter = internal_task(event.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    ended = task.done()
    task.cancel()
    waiter.cancel()
    await asyncio.wait({task, waiter})
    return ended


def _on_supervisor_gone() -> None:
    os._exit(FAILED_START)
