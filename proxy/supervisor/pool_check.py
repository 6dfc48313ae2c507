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

from proxy.config.schema import Config, Pool, WorkerLimits
from proxy.control import Message, encode, receive_first
from proxy.errors import Problems
from proxy.supervisor.worker import Launch


def check_pools(config: Config) -> Problems:
    """What is wrong with the applications of pools, each with its path in the configuration."""
    found: Problems = []
    for name, backend in config.backends.items():
        if backend.pool is not None and (problem := _import(config, name, backend.pool)):
            found.append((("backends", name, "app"), problem))
    return found


def _import(config: Config, name: str, pool: Pool) -> str:
    """Why the application of one pool cannot be imported; empty if it can."""
    # Whoever checks need not be root, nor short of anything.
    pool = replace(pool, user=None, group=None, nice=0, limits=WorkerLimits())
    launch = Launch(config, name, pool, Path())
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            try:
                pid = launch.spawn(theirs.fileno(), words=("preload",))
            except (OSError, ValueError) as error:
                return f"cannot start a worker process: {error}"
        try:
            answer = _ask(ours, launch, pool.start_timeout)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    if answer is None:
        return "its process ended while it imported the application"
    return "" if answer["type"] == "ready" else str(answer["message"])


def _ask(ours: socket.socket, launch: Launch, patience: float) -> Message | None:
    """A preloader's first message; None if it died."""
    ours.settimeout(patience)
    try:
        ours.sendall(encode("config", **launch.first_message()))
        return receive_first(ours)
    except TimeoutError:
        return {"type": "failed", "message": f"is not imported within startTimeout, {patience:g} s"}
    except OSError:
        return None
