"""What the supervisor's children share: the way from the first message to an exit code, and the life in between.

Where it stands: above the runtime, below ``front`` and ``worker``. It owns the process: its event loop, its signals and
the order *build, start, say ready, serve, drain, say drained*. What is built and said is the subclass's, what is served
the runtime's. A failure to start goes through the control socket, because the supervisor knows where in the
configuration file it belongs; no error leaves a child.

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
from collections.abc import Callable, Coroutine
from typing import Any

from sidegate import __version__
from sidegate.config.schema import Config
from sidegate.errors import StartError
from sidegate.ipc.control import Channel, Message, receive_first, send_last, share_of_front
from sidegate.process.runtime import BuildError, Runtime

new_event_loop: Callable[[], asyncio.AbstractEventLoop]
try:
    from uvloop import new_event_loop
except ImportError:
    new_event_loop = asyncio.new_event_loop

PR_SET_PDEATHSIG = 1
"""<linux/prctl.h>: the signal that the kernel sends to this process when its parent ends."""

COLLECT_AFTER = 10_000
"""New containers that the collector waits for, Python's own being 700: hundreds of requests under way are as many
thousand, all alive, and to walk them again and again took a sixth of a relaying front's time."""

BAD_CONFIGURATION = 2
FAILED_START = 3

Failure = dict[str, Any]
"""Fields of the message ``failed``."""


def first_message(control: socket.socket) -> Message | None:
    """What the supervisor says first; None if there is nobody to serve any more, or another version was installed."""
    # Applications start programs of their own; none of them may hold our end open.
    control.set_inheritable(False)
    leave_signals_to_the_supervisor()
    die_with_parent()
    first = receive_first(control)
    if first is None or first["supervisor"] != os.getppid():
        return None  # the supervisor died before it could be watched
    if first["version"] != __version__:
        reason = f"Sidegate was upgraded from {first['version']} to {__version__} while it was running; restart it"
        send_last(control, "failed", message=reason)
        return None
    return first


def leave_signals_to_the_supervisor() -> None:
    """^C and a closed terminal reach the whole group, but only the supervisor may decide."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # log rotation may signal the whole group; the supervisor tells us
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def die_with_parent() -> None:
    """The supervisor's death is ours. To be called again when the user changes: then the kernel forgets it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run(life: Coroutine[Any, Any, Failure | None], control: socket.socket) -> int:
    """Run a child's life in an event loop of its own and tell how it ended; the exit code."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        failure = runner.run(life)
    if failure is None:
        return 0
    send_last(control, "failed", **failure)
    return BAD_CONFIGURATION if "problems" in failure else FAILED_START


def inherited(fd: int) -> socket.socket:
    """A socket of the supervisor's under the number it has here too."""
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    return sock


class ChildMain:
    """The life of one child, from building its runtime to the end."""

    noun = "child"
    """What it is called in messages."""

    def __init__(self, config: Config, control: socket.socket) -> None:
        self._config = config
        self._control = control
        self._drain_asked = asyncio.Event()
        self._abort_asked = asyncio.Event()
        self._grace = 0.0

    # What a subclass says.

    def build(self) -> Runtime:
        """Make what is served. Runs in the event loop, before there is a channel."""
        raise NotImplementedError

    def started(self) -> None:
        """The applications are ready: tell the supervisor, by ``self._tell``."""
        raise NotImplementedError

    def on_message(self, message: Message) -> None:
        """The supervisor said something that is not for every child."""

    # The life.

    async def run(self) -> Failure | None:
        """Start, serve, drain. What the message ``failed`` is to say, or None after an orderly end."""
        try:
            # SIGTERM keeps its default effect meanwhile: an import may take long, and nothing would be lost.
            self._runtime = self.build()
            await self._live()
        except BuildError as error:
            return {"problems": error.problems}
        except StartError as error:
            return {"message": str(error)}
        except Exception:  # noqa: BLE001 - the operator gets to see whatever it is
            return {"message": f"a {self.noun} failed: {traceback.format_exc()}"}
        return None

    async def _live(self) -> None:
        """Until drained or aborted."""
        self._channel = Channel(self._control, self._on_message, _on_supervisor_gone)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._on_terminate)
        work = asyncio.create_task(self._work())
        try:
            if not await first_of(work, self._abort_asked):
                self._runtime.abort()
            else:
                work.result()
        finally:
            self._channel.close()

    async def _work(self) -> None:
        start = asyncio.create_task(self._runtime.start())
        if not await first_of(start, self._drain_asked):
            return  # nobody was served yet, so nothing is to be finished
        start.result()
        # What was imported stays for ever: the collector need not look at it again, and pages stay shared.
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
        """Somebody wants this one child to go: the supervisor starts another one beside it."""
        if not self._drain_asked.is_set():
            self._tell("draining")
            self._grace = share_of_front(self._config.grace_period)
            self._drain_asked.set()


def loop_package() -> str:
    """The package that the running event loop comes from."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


async def first_of(task: asyncio.Task[None], event: asyncio.Event) -> bool:
    """Whether ``task`` ended before ``event`` was set; if not, it is cancelled and has ended as well."""
    waiter = asyncio.create_task(event.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    ended = task.done()
    task.cancel()
    waiter.cancel()
    await asyncio.wait({task, waiter})
    return ended


def _on_supervisor_gone() -> None:
    os._exit(FAILED_START)
