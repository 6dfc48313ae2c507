"""A preloader: it imports a pool's application once and forks the pool's workers, which share its memory pages.

The supervisor starts it like a worker; a forked process runs ``worker.serve``. The preloader starts no thread and
closes the event loop that the import may use, because neither works after a fork. It reaps a worker when the
supervisor, which sends the worker's signals, permits it. The supervisor decides when it forks. When the preloader
exits, its workers go on.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import threading
from dataclasses import dataclass

from sidegate.aio.event_loops import EventLoopName, ProcessLoop
from sidegate.backends.app.loading import LoadError, find_kind
from sidegate.config.schema import BackendConfig, Config, PoolConfig
from sidegate.errors import StartError
from sidegate.ipc import signals
from sidegate.ipc.control import READ_SIZE, Decoder, encode, send_last
from sidegate.observe import process_log
from sidegate.process import child, worker

logger = logging.getLogger("sidegate.preload")

DESCRIPTORS = 3
"""Number of descriptors with each message ``fork``: control socket, listening socket, cells."""


@dataclass(frozen=True, slots=True)
class ForkedWorker:
    """The descriptors of the worker that a forked process runs."""

    control: int
    listening: int
    cells: int


def main(control_fd: int) -> int:
    """Import, then fork on demand until the supervisor exits. Returns the exit code; in a forked process a worker's."""
    control = socket.socket(fileno=control_fd)
    first = child.first_message(control)
    if first is None:
        return child.FAILED_START
    config, pool = worker.prepared(first, control)
    if pool is None:
        return child.FAILED_START
    kind = _import(config.backends[first["backend"]], pool.preload, config.event_loop, control)
    if kind is None:
        return child.FAILED_START
    forked = Preloader(control, kind).run()
    return 0 if forked is None else _run_worker(config, pool, forked)


def _import(backend: BackendConfig, warn: bool, event_loop: EventLoopName, control: socket.socket) -> str | None:
    """A description of the application's kind. If it cannot be run, tell the supervisor and return None.

    ``warn`` of what a fork loses: ``sidegate check`` imports without a fork, too.
    """
    # Objects that a collection frees before the fork leave free memory, and a worker that reuses it unshares a page.
    gc.disable()
    try:
        loop = ProcessLoop(event_loop)
        kind = find_kind(str(backend.app), backend.directory, backend.interface, loop.offer)
        keeps_loop = loop.close()
    except (LoadError, StartError) as error:
        send_last(control, "failed", message=str(error))
        return None
    gc.freeze()
    if warn and keeps_loop:
        logger.warning(
            "the application kept the event loop, or started a task, while it was imported: the forked workers have "
            "another loop, in which that cannot be used"
        )
    if warn and threading.active_count() > 1 + process_log.stderr.has_thread:
        logger.warning("the application started threads while it was imported: the forked workers do not have them")
    return kind


def _run_worker(config: Config, pool: PoolConfig, forked: ForkedWorker) -> int:
    gc.enable()
    os.set_inheritable(forked.cells, False)
    control = child.inherited(forked.control)
    _exit_with_supervisor(forked.control)
    return worker.serve(config, pool, control, child.inherited(forked.listening), forked.cells)


def _exit_with_supervisor(control: int) -> None:
    """Start a thread that exits the process when the supervisor has exited.

    The kernel's signal (``exit_with_parent``) would follow the preloader's exit, because that is the parent; and a
    blocked event loop does not notice the end of the control socket.
    """
    poll = select.poll()
    poll.register(control, select.POLLHUP)  # only the end of the stream; the event loop reads the data

    def wait() -> None:
        poll.poll()
        os._exit(child.FAILED_START)

    threading.Thread(target=wait, daemon=True, name="supervisor's end").start()


def _exit_status(pid: int) -> int | None:
    """The exit status of a child, negative for a signal; None if it runs. The child is not reaped.

    macOS has ``waitid`` since Python 3.13; before, the child is reaped.
    """
    if not hasattr(os, "waitid"):
        ended, status = os.waitpid(pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


class Preloader:
    """Forks workers and reports their exits."""

    def __init__(self, control: socket.socket, kind: str) -> None:
        self._control = control
        self._kind = kind
        self._decoder = Decoder()
        self._workers: set[int] = set()  # pids of the forked processes whose exit was not reported yet
        # The loop in ``run`` sleeps in poll(); SIGCHLD must wake it when a worker exits.
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)

    def run(self) -> ForkedWorker | None:
        """Fork on demand. Returns None when the supervisor has exited; in each forked process, its descriptors."""
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        self._tell("ready", found=self._kind)
        while True:
            for fd, _ in poll.poll():
                if fd == self._wake.fileno():
                    self._report_exits()
                    continue
                forked, ended = self._receive()
                if forked is not None or ended:
                    return forked

    def _receive(self) -> tuple[ForkedWorker | None, bool]:
        """Handle messages. Returns, in a forked process, its descriptors; and whether the supervisor has exited.

        The kernel ends a read after a message with descriptors, so the descriptors belong to the last message.
        """
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, READ_SIZE, DESCRIPTORS)
        except ConnectionResetError:
            data = b""
        if not data:
            return None, True
        for message in self._decoder.feed(data):
            if message["type"] == "fork":
                forked = self._fork(message["number"], descriptors)
                if forked is not None:
                    return forked, False
            elif message["type"] == "reap":
                with contextlib.suppress(ChildProcessError):  # reaped when its exit was reported
                    os.waitpid(message["pid"], 0)
        return None, False

    def _fork(self, number: int, descriptors: list[int]) -> ForkedWorker | None:
        try:
            pid = signals.fork()
        except OSError as error:
            logger.error("cannot fork a worker: %s", error.strerror)
            pid = -1
        if pid == 0:
            self._forget()
            return ForkedWorker(*descriptors)
        if pid > 0:
            self._workers.add(pid)
            self._tell("forked", pid=pid, number=number)
        # Not earlier: the end of the control socket means to the supervisor that the worker has exited, or that it was
        # not forked if its pid is not known then.
        for fd in descriptors:
            os.close(fd)
        return None

    def _forget(self) -> None:
        """In a forked process: reset the preloader's signal handling and close its sockets."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for sock in (self._control, self._wake, self._woken):
            sock.close()

    def _report_exits(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake.recv(READ_SIZE):
                pass
        for pid in list(self._workers):
            status = _exit_status(pid)
            if status is not None:
                self._workers.remove(pid)
                self._tell("exited", pid=pid, status=status)

    def _tell(self, kind: str, **fields: object) -> None:
        with contextlib.suppress(BrokenPipeError):  # the next read shows that the supervisor has exited
            self._control.sendall(encode(kind, **fields))
