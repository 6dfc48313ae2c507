"""A preloader: imports a pool's application once and forks the pool's workers from there, which share its pages.

Where it stands: above the worker, which a forked process becomes; started by the supervisor like a worker. It has no
event loop and starts no thread: neither survives a fork. It owns the workers' pids until they are reaped, and judges
nothing: who is forked and when is the supervisor's business. When it dies, its workers go on.
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

from sidegate.backends.app.loading import LoadError, find_kind
from sidegate.config.schema import BackendConfig, Config, PoolConfig
from sidegate.ipc.control import READ_SIZE, Decoder, encode, send_last
from sidegate.process import child, worker

logger = logging.getLogger("sidegate.preload")

DESCRIPTORS = 3
"""Beside each message ``fork``: control socket, listening socket, cells."""


@dataclass(frozen=True, slots=True)
class ForkedWorker:
    """What a forked process is to become: a worker with these descriptors."""

    control: int
    listening: int
    cells: int


def main(control_fd: int) -> int:
    """Import, then fork on demand until the supervisor is gone; the exit code. In a forked process: a worker's."""
    control = socket.socket(fileno=control_fd)
    first = child.first_message(control)
    if first is None:
        return child.FAILED_START
    config, pool = worker.prepared(first, control)
    kind = None if pool is None else _import(config.backends[first["backend"]], control)
    if pool is None or kind is None:
        return child.FAILED_START
    born = Preloader(control, kind).run()
    return 0 if born is None else _become_worker(config, pool, born)


def _import(backend: BackendConfig, control: socket.socket) -> str | None:
    """The words for the application's kind; None, and the supervisor told, if it cannot be run."""
    # What a collection frees before the fork leaves holes, and whatever is put there later unshares a page.
    gc.disable()
    try:
        kind = find_kind(str(backend.app), backend.directory, backend.interface)
    except LoadError as error:
        send_last(control, "failed", message=str(error))
        return None
    gc.freeze()
    if threading.active_count() > 1:
        logger.warning("the application started threads while it was imported: the forked workers do not have them")
    return kind


def _become_worker(config: Config, pool: PoolConfig, born: ForkedWorker) -> int:
    gc.enable()
    os.set_inheritable(born.cells, False)
    control = child.inherited(born.control)
    _die_with_supervisor(born.control)
    return worker.serve(config, pool, control, child.inherited(born.listening), born.cells)


def _die_with_supervisor(control: int) -> None:
    """The kernel's signal would tell of the preloader's death. An event loop that stands still tells of nothing."""
    poll = select.poll()
    poll.register(control, select.POLLHUP)  # only the end of the stream; what arrives is the event loop's

    def wait() -> None:
        poll.poll()
        os._exit(child.FAILED_START)

    threading.Thread(target=wait, daemon=True, name="supervisor's end").start()


class Preloader:
    """The process's two tasks: to fork, and to reap."""

    def __init__(self, control: socket.socket, kind: str) -> None:
        self._control = control
        self._kind = kind
        self._decoder = Decoder()
        # The loop below sleeps in poll(); the death of a worker has to wake it.
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)

    def run(self) -> ForkedWorker | None:
        """Until the supervisor is gone: None. In each forked process: what it is to become."""
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        self._tell("ready", found=self._kind)
        while True:
            for fd, _ in poll.poll():
                if fd == self._wake.fileno():
                    self._reap()
                    continue
                born, ended = self._receive()
                if born is not None or ended:
                    return born

    def _receive(self) -> tuple[ForkedWorker | None, bool]:
        """Take what the supervisor says. What a forked process is to become; whether the supervisor is gone.

        The kernel ends a read behind a message that has descriptors, so they are always those of the last line.
        """
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, READ_SIZE, DESCRIPTORS)
        except ConnectionResetError:
            data = b""
        if not data:
            return None, True
        for message in self._decoder.feed(data):
            if message["type"] == "fork":
                born = self._fork(message["number"], descriptors)
                if born is not None:
                    return born, False
        return None, False

    def _fork(self, number: int, descriptors: list[int]) -> ForkedWorker | None:
        pid = os.fork()
        if pid == 0:
            self._leave()
            return ForkedWorker(*descriptors)
        for fd in descriptors:
            os.close(fd)
        self._tell("forked", pid=pid, number=number)
        return None

    def _leave(self) -> None:
        """In a forked process: let go of what is the preloader's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for sock in (self._control, self._wake, self._woken):
            sock.close()

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake.recv(READ_SIZE):
                pass
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self._tell("exited", pid=ended[0], status=os.waitstatus_to_exitcode(ended[1]))

    def _tell(self, kind: str, **fields: object) -> None:
        with contextlib.suppress(BrokenPipeError):  # the next read tells that the supervisor is gone
            self._control.sendall(encode(kind, **fields))
