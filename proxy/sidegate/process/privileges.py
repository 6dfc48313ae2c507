"""Applies a pool's niceness, limits, user, umask and folder to a worker, before it imports the application.

A worker calls it once, or the preloader for all workers that it forks. The steps that need root come first, then the
change of the user, then the steps that need the new user's permissions. An error names the pool's key that caused it.

After the change, the worker imports more of Sidegate whenever it needs it, so the new user has to be able to read the
installation. Otherwise a package would seem not to be installed.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from sidegate.config.schema import PoolConfig
from sidegate.errors import StartError
from sidegate.ipc import borrowed_packages, permissions
from sidegate.process.fatal_signals import print_stacks


class PoolKeyError(StartError):
    """A key of the pool cannot be applied; ``key`` is its path in the pool."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"the pool's {key!r}: {reason}")
        self.key = tuple(key.split("."))
        self.reason = reason


def apply_privileges(pool: PoolConfig) -> None:
    """Apply niceness, limits, user, umask and folder. From now on SIGABRT prints the stack of every thread.

    :raises PoolKeyError: the system refuses one of them, or the new user cannot read what a worker needs.
    """
    print_stacks()
    with _blamed("nice"):
        os.nice(pool.nice)
    _limit("openFiles", resource.RLIMIT_NOFILE, pool.limits.open_files)
    _limit("memory", resource.RLIMIT_DATA, pool.limits.memory)
    if pool.user is not None:
        _become(pool.user, pool.group)
        _check_readable(pool)
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
        raise PoolKeyError(key, f"needs root ({error.strerror})") from error
    except (OSError, ValueError) as error:
        raise PoolKeyError(key, str(error)) from error


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
        raise PoolKeyError("user", f"{user} is not in the system's user database and so has no group; set 'group' too")
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


def _check_readable(pool: PoolConfig) -> None:
    """Check that the new user can read this installation and the interpreter that the pool names."""
    packages = [Path(folder, name) for name, folder in borrowed_packages.borrowed_from.items()]
    for package in (Path(__file__).parents[1], *packages):
        if reason := permissions.denied(str(package / "__init__.py")):
            raise PoolKeyError("user", f"{reason}, but has to read Sidegate's installation in {package}")
    if pool.python is not None:
        for file in (pool.python, os.path.realpath(pool.python), os.__file__):
            if reason := permissions.denied(file):
                raise PoolKeyError("python", f"{reason}, but has to read the interpreter")


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise PoolKeyError("directory", permissions.denied(folder, os.X_OK) or str(error)) from error
    resolved = str(Path(folder).resolve())
    if resolved not in sys.path:
        sys.path.insert(0, resolved)
