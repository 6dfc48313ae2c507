"""Binding a unix socket where an earlier server may have left its file, and taking the file away again.

Where it stands: below ``sockets.py``. Two servers that start at the same moment must not both believe that they
own the path, and a file whose server was killed must not stop the next start. No lock file is needed:

* ``bind()`` creates the file and fails if there is one, so creation is atomic.
* A file is stale if connecting to it is refused. It is first renamed, then asked again under a name that only this
  process uses: a server that began to listen in between is put back with ``link()``, which replaces nothing.
* A server that has bound and does not listen yet cannot be told from a stale file and may lose its path that way.
  So the owner looks, after ``listen()``, whether the path still leads to its own file.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from sidegate.errors import SidegateError


class PathTakenError(SidegateError):
    """The path belongs to something else; the message says to what."""


class UnixSocket:
    """A bound unix socket and the file that belongs to it."""

    def __init__(self, path: str, mode: int | None) -> None:
        """Bind at ``path`` with permissions ``mode`` (None: what the umask leaves).

        :raises PathTakenError: a server listens there, or the file is no socket.
        :raises OSError: as ``bind()`` does.
        """
        _remove_stale(path)
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _bind(self.socket, path, mode)
            self._identity = _identity(path)
        except BaseException:
            self.socket.close()
            raise

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
    """``bind()`` creates the file with the umask's permissions; a later ``chmod`` would leave a moment without them."""
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
    # Not longer than the path itself, which may have every byte that sun_path holds.
    folder, name = os.path.split(path)
    own = f".{os.getpid():x}"
    aside = Path(path).rename(Path(folder, own if len(name) <= len(own) else name[: -len(own)] + own))
    try:
        if _answers(str(aside)):
            os.link(aside, path)
            raise PathTakenError("another server is starting on this path; stop it or choose another path")
    finally:
        aside.unlink()


def _answers(path: str) -> bool:
    """Whether anybody may be listening: everything except a refused connection counts as yes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except OSError:
            # A full backlog (EAGAIN), another socket type (EPROTOTYPE), no permission to connect, a path too long.
            return True
        return True
