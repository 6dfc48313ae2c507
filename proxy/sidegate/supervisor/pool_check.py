"""Checks whether the applications of pools can be imported, for ``sidegate check``.

A preloader of its pool imports each application: with the Python, in the folder and in the environment that its workers
will have, and without other applications, because two pools may have modules with the same name. Nothing is served and
no factory is called.
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
    """The problems of the pools' applications, each with its path in the configuration, and their kinds.

    The kinds are descriptions by the backend's name; empty for an application that a factory makes.
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
    # A check must also work without root and without the pool's limits.
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


def _ask(ours: socket.socket, launch: Launch, timeout: float) -> Message:
    """A preloader's first message, or ``failed`` with the reason why there is none."""
    ours.settimeout(timeout)
    try:
        ours.sendall(encode("config", **launch.first_message()))
        answer = receive_first(ours)
    except TimeoutError:
        return _failed(f"is not imported within startTimeout, {timeout:g} s")
    except OSError:
        answer = None
    return answer or _failed("its process ended while it imported the application")


def _failed(message: str) -> Message:
    return {"type": "failed", "message": message}
