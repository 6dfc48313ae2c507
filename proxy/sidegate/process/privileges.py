"""Applies a pool's niceness, limits, user, umask and folder to a worker, before it imports the application.

A worker calls it once, or the preloader for all workers that it forks. The steps that need root come first, then the
change of the user, then the steps that need the new user's permissions. An error names the pool's key that caused it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import grp
import os
import pwd
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from sidegate.config.schema import PoolConfig
from sidegate.errors import StartError

STDERR = 2


def apply_privileges(pool: PoolConfig) -> None:
    """Apply niceness, limits, user, umask and folder. From now on SIGABRT prints the stack of every thread.

    :raises StartError: the system refuses one of them.
    """
    faulthandler.enable(STDERR)
    with _blamed("nice"):
        os.nice(pool.nice)
    _limit("openFiles", resource.RLIMIT_NOFILE, pool.limits.open_files)
    _limit("memory", resource.RLIMIT_DATA, pool.limits.memory)
    if pool.user is not None:
        _become(pool.user, pool.group)
    elif pool.group is not None:
        _join(pool.group)
    if pool.umask is not None:
        os.umask(pool.umask)
    if pool.directory is not None:
        _enter(pool.directory)


@contextlib.contextmanager
def _blamed(key: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise StartError(f"the pool's '{key}' needs root ({error.strerror})") from error
    except (OSError, ValueError) as error:
        raise StartError(f"the pool's '{key}': {error}") from error


def _limit(key: str, number: int, value: int | None) -> None:
    """Set the hard limit too, so that the application cannot raise it again."""
    if value is not None:
        with _blamed(f"limits.{key}"):
            resource.setrlimit(number, (value, value))


def _become(user: str, group: str | None) -> None:
    """Change groups, then the user: a user who is not root cannot change groups."""
    with _blamed("user"):
        account = _account(user)
    uid = int(user) if account is None else account.pw_uid
    if group is not None:
        gid = _group(group)
    elif account is not None:
        gid = account.pw_gid
    else:
        raise StartError(
            f"the pool's 'user': {user} is not in the system's user database and so has no group; set 'group' too"
        )
    if (uid, gid) == (os.getuid(), os.getgid()):
        return
    before = os.getuid()
    with _blamed("user"):
        if account is None:
            os.setgroups([gid])
        else:
            os.initgroups(account.pw_name, gid)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    if account is not None:
        _move_home(account, before)


def _join(group: str) -> None:
    gid = _group(group)
    if gid != os.getgid():
        with _blamed("group"):
            os.setgroups([gid])
            os.setresgid(gid, gid, gid)


def _account(user: str) -> pwd.struct_passwd | None:
    """The user's entry in the user database; None for a number without an entry."""
    try:
        return pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        if user.isdecimal():
            return None
        raise ValueError(f"there is no user {user}") from None


def _group(group: str) -> int:
    if group.isdecimal():
        return int(group)
    with _blamed("group"):
        try:
            return grp.getgrnam(group).gr_gid
        except KeyError:
            raise ValueError(f"there is no group {group}") from None


def _move_home(account: pwd.struct_passwd, before: int) -> None:
    """Set HOME, USER and LOGNAME to the new user's if they are those of Sidegate's own user, as systemd does."""
    try:
        old = pwd.getpwuid(before)
    except KeyError:
        return
    for key, inherited, own in (
        ("HOME", old.pw_dir, account.pw_dir),
        ("USER", old.pw_name, account.pw_name),
        ("LOGNAME", old.pw_name, account.pw_name),
    ):
        if os.environ.get(key, inherited) == inherited:
            os.environ[key] = own


def _enter(folder: str) -> None:
    with _blamed("directory"):
        os.chdir(folder)
    resolved = str(Path(folder).resolve())
    if resolved not in sys.path:
        sys.path.insert(0, resolved)
