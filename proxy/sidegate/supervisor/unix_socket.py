"""Binds a unix socket at a path where an earlier server may have left its file, and removes the file later.

If two servers start at the same moment, only one of them may own the path, and a file whose server was killed must not
prevent the next start. No lock file is needed:

* ``bind()`` creates the file and fails if there is one, so creation is atomic.
* A file is stale if a connection to it is refused. Whether a server listens cannot be found out if this user may not
  connect; then the file is left alone. Before it is removed, it is renamed to a name that only this process
  uses, and a connection is tried once more: if a server has begun to listen in between, ``link()`` restores its path.
  ``link()`` never replaces another file.
* The file of a server that has bound and does not listen yet looks like a stale file, so that server may lose its path.
  Therefore an owner checks, after ``listen()``, whether the path still leads to its own file.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from sidegate.errors import SidegateError
from sidegate.ipc import permissions


class PathTakenError(SidegateError):
    """Another server, another kind of file or another user's socket has the path; the message says which."""


class UnixSocket:
    """A bound unix socket and the file that belongs to it."""

    def __init__(self, path: str, mode: int | None, group: int | None = None) -> None:
        """Bind at ``path`` with permissions ``mode`` (None: those that the umask leaves) and ``group`` (None: own).

        :raises PathTakenError: a server listens there, the file is no socket, or it cannot be removed.
        :raises OSError: ``bind()`` fails.
        """
        _remove_stale(path)
        self.path = path
        self._identity: tuple[int, int] | None = None
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _bind(self.socket, path, mode)
            self._identity = _identity(path)
            if group is not None:
                self._set_group(group)
        except BaseException:
            if self._identity is not None:
                self.unlink()
            self.socket.close()
            raise

    def _set_group(self, group: int) -> None:
        """Before anybody can connect, because the socket does not listen yet."""
        try:
            os.chown(self.path, -1, group, follow_symlinks=False)
        except PermissionError as error:
            name = permissions.group_name(group)
            raise PathTakenError(f"{permissions.account()} is not in the group {name}, which 'group' names") from error

    def owns_path(self) -> bool:
        """Whether the path still leads to this socket."""
        try:
            return _identity(self.path) == self._identity
        except FileNotFoundError:
            return False

    def unlink(self) -> None:
        """Remove the file, if it is still this socket's."""
        if self.owns_path():
            Path(self.path).unlink()


def _bind(sock: socket.socket, path: str, mode: int | None) -> None:
    """Bind with the permissions ``mode``, by the umask: before a later ``chmod`` the file would be accessible."""
    if mode is None:
        sock.bind(path)
        return
    previous = os.umask(~mode & 0o777)
    try:
        sock.bind(path)
    finally:
        os.umask(previous)


def _identity(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _remove_stale(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise PathTakenError("the file exists and is not a socket; remove it or choose another path")
    if _answers(path):
        raise PathTakenError("another server listens on this path; stop it or choose another path")
    # Not longer than the path itself, which may already have the full length of sun_path.
    folder, name = os.path.split(path)
    own = f".{os.getpid():x}"
    try:
        renamed = Path(path).rename(Path(folder, own if len(name) <= len(own) else name[: -len(own)] + own))
    except PermissionError as error:
        raise PathTakenError(
            f"no server listens on this path, but {permissions.account()} may not remove the socket that "
            f"{_owner(path)} has left; remove it or choose another path"
        ) from error
    try:
        if _answers(str(renamed)):
            os.link(renamed, path)
            raise PathTakenError("another server is starting on this path; stop it or choose another path")
    finally:
        renamed.unlink()


def _owner(path: str) -> str:
    return f"the user {permissions.user_name(os.lstat(path).st_uid)}"


def _answers(path: str) -> bool:
    """Whether a server may be listening: every other result than a refused connection counts as yes.

    :raises PathTakenError: this user may not connect.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except PermissionError as error:
            raise PathTakenError(
                f"the socket there belongs to {_owner(path)}, and {permissions.account()} may not connect to it to "
                "find out whether a server listens; remove it or choose another path"
            ) from error
        except OSError:
            # A full backlog (EAGAIN), another socket type (EPROTOTYPE), a path too long.
            return True
        return True
