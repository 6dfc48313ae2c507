"""Whether the applications of pools can be imported, for ``sidegate check``.

Where it stands: beside the pools; used by the command line. Each application is imported by a preloader of its pool, so
by the Python, in the folder and with the environment that its workers will have, and beside no other application: two
pools may have a module of one name. Nothing is served and no factory is called. No error leaves it.
"""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

from sidegate.config.schema import Config, PoolConfig, WorkerLimits
from sidegate.errors import Problems
from sidegate.ipc.control import Message, encode, receive_first
from sidegate.supervisor.worker_process import Launch


def check_pools(config: Config) -> tuple[Problems, dict[str, str]]:
    """What is wrong with the applications of pools, each with its path in the configuration; what the others are.

    That is in words, by the backend's name; empty for what a factory makes.
    """
    problems: Problems = []
    kinds = {}
    for name, backend in config.backends.items():
        if backend.pool is not None:
            answer = _import(config, name, backend.pool)
            if answer["type"] == "ready":
                kinds[name] = str(answer["found"])
            else:
                problems.append((("backends", name, "app"), str(answer["message"])))
    return problems, kinds


def _import(config: Config, name: str, pool: PoolConfig) -> Message:
    """Import the application of one pool: ``ready`` with what was ``found``, or ``failed`` with a ``message``."""
    # Whoever checks need not be root, nor short of anything.
    pool = replace(pool, user=None, group=None, nice=0, limits=WorkerLimits())
    launch = Launch(config, name, pool, Path())
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            try:
                pid = launch.spawn(theirs.fileno(), words=("preload",))
            except (OSError, ValueError) as error:
                return _failed(f"cannot start a worker process: {error}")
        try:
            return _ask(ours, launch, pool.start_timeout)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _ask(ours: socket.socket, launch: Launch, patience: float) -> Message:
    """A preloader's first message, or why there is none."""
    ours.settimeout(patience)
    try:
        ours.sendall(encode("config", **launch.first_message()))
        answer = receive_first(ours)
    except TimeoutError:
        return _failed(f"is not imported within startTimeout, {patience:g} s")
    except OSError:
        answer = None
    return answer or _failed("its process ended while it imported the application")


def _failed(message: str) -> Message:
    return {"type": "failed", "message": message}
