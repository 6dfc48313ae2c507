"""Says why this process may not use a path: which folder or file, whose it is, and who this process is.

"Permission denied" names neither. Fronts use it for sockets, and workers for what they have to read after the change of
the user. It raises nothing: what cannot be found out is left out.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path


def blocking_folder(path: str) -> str:
    """The first folder on the way to ``path`` that exists and that this process may not enter; empty if none."""
    parents = [*reversed(Path(os.path.abspath(path)).parents)]  # noqa: PTH100 - `resolve` needs the permission
    first = next((str(parent) for parent in parents if not _may(parent, os.X_OK)), "")
    return first if os.path.lexists(first) else ""


def denied(path: str, mode: int = os.R_OK) -> str:
    """Why this process may not use ``path`` with ``mode`` (as for ``os.access``); empty if it may."""
    folder = blocking_folder(path)
    if folder:
        return f"{account()} may not enter the folder {_described(folder)}"
    if _may(Path(path), mode):
        return ""
    try:
        os.lstat(path)
    except OSError as error:
        return f"{path}: {error.strerror}"
    verbs = {
        os.W_OK | os.X_OK: "create files in",
        os.R_OK: "read",
        os.R_OK | os.X_OK: "read",
        os.W_OK: "write to",
        os.X_OK: "enter",
    }
    verb = verbs.get(mode, "use")
    return f"{account()} may not {verb} {_described(path)}"


def denied_folder(folders: Iterable[str]) -> str:
    """Why this process may not read the first of the ``folders`` that it may not read; empty if there is none."""
    mode = os.R_OK | os.X_OK
    return next((denied(path, mode) for path in folders if blocking_folder(path) or _unreadable(path)), "")


def account() -> str:
    """``the user www-data``: whom this process runs as."""
    return f"the user {user_name(os.geteuid())}"


def user_name(uid: int) -> str:
    """The name of a user, or the number of one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """The name of a group, or the number of one without a name."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _unreadable(path: str) -> bool:
    return Path(path).is_dir() and not _may(Path(path), os.R_OK | os.X_OK)


def group_id(group: str) -> int:
    """The number of a group, by name or number. Raises LookupError with a sentence."""
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise LookupError(f"there is no group {group}") from None


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=True)


def _described(path: str) -> str:
    """``/srv (drwx------ root:root)``, as ``ls -l`` shows it."""
    try:
        found = Path(path).stat()
    except OSError:
        return path
    return f"{path} ({stat.filemode(found.st_mode)} {user_name(found.st_uid)}:{group_name(found.st_gid)})"
