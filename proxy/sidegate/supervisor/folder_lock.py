"""A lock in a private folder, by which the next start finds and removes folders of services that were killed.

The kernel releases the lock with the last process that has its descriptor, and only the supervisor has it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from pathlib import Path

NAME = "lock"


def lock_folder(folder: Path) -> int:
    """Lock ``folder`` until the descriptor that is returned is closed.

    The lock gets its name when it is locked, because a start that found it unlocked would remove the folder.

    :raises OSError: it cannot be created.
    """
    unnamed = folder / f"{NAME}.new"
    fd = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        unnamed.rename(folder / NAME)
    except BaseException:
        os.close(fd)
        raise
    return fd


def remove_abandoned(root: Path, prefix: str) -> None:
    """Remove the folders of this user in ``root`` whose name begins with ``prefix`` and whose lock nobody holds."""
    for folder in root.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # another user's, in use, without a lock, or just being removed
            found = folder.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                _remove_unless_locked(folder)


def _remove_unless_locked(folder: Path) -> None:
    fd = os.open(folder / NAME, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(fd)
