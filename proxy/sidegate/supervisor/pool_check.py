"""Checks whether the applications of pools can be imported, for ``sidegate check``.

A preloader of its pool imports each application: with the Python, in the folder and in the environment that its workers
will have, as their user if root checks, and without other applications, because two pools may have modules with the
same name. Nothing is served and no factory is called.
"""

from __future__ import annotations

import grp
import os
import pwd
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sidegate.config.schema import Config, PoolConfig, WorkerLimits
from sidegate.errors import Problems
from sidegate.ipc.control import Message, encode, receive_first
from sidegate.supervisor.worker_process import Launch


def check_pools(config: Config) -> tuple[Problems, dict[str, str]]:
    """The problems of pools and of their applications, each with its path in the configuration, and their kinds.

    The kinds are descriptions by the backend's name; empty for an application that a factory makes.
    """
    problems: Problems = []
    kinds = {}
    for name, backend in config.backends.items():
        if backend.pool is None:
            continue
        if unknown := list(_unknown_accounts(backend.pool)):
            problems += [(("backends", name, "pool", key), reason) for key, reason in unknown]
            continue
        answer = _import(config, name, backend.pool)
        if answer["type"] == "ready":
            kinds[name] = str(answer["found"])
        else:
            problems += [(tuple(path), str(reason)) for path, reason in answer["problems"]]
    return problems, kinds


def _unknown_accounts(pool: PoolConfig) -> Iterator[tuple[str, str]]:
    """``user`` and ``group``, if the system has no account of that name."""
    for key, account, find in (("user", pool.user, pwd.getpwnam), ("group", pool.group, grp.getgrnam)):
        if account is not None and not account.isdecimal():
            try:
                find(account)
            except KeyError:
                yield key, f"there is no {key} {account}"


def _import(config: Config, name: str, pool: PoolConfig) -> Message:
    """Import the application of one pool: ``ready`` with what was ``found``, or ``failed`` with ``problems``."""
    # A check must also work without root and without the pool's limits.
    pool = replace(pool, nice=0, limits=WorkerLimits())
    if os.geteuid() != 0:
        pool = replace(pool, user=None, group=None)
    launch = Launch(config, name, pool, Path())
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            try:
                pid = launch.spawn(theirs.fileno(), words=("preload",))
            except OSError as error:
                return _failed(name, f"cannot start a worker process: {error}")
            except ValueError as error:
                return _failed(name, str(error), "pool", "envFile")
        try:
            answer = _ask(ours, launch, pool.start_timeout)
            return _failed(name, str(answer["message"])) if "message" in answer else answer
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
        return {"type": "failed", "message": f"is not imported within startTimeout, {timeout:g} s"}
    except OSError:
        answer = None
    return answer or {"type": "failed", "message": "its process ended while it imported the application"}


def _failed(name: str, message: str, *key: str) -> Message:
    return {"type": "failed", "problems": [(("backends", name, *(key or ("app",))), message)]}
