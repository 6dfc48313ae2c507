"""Makes the private folder of the workers' sockets, where this service may write.

Containers often have a read-only root and a user without a home, so several places are tried, and the error names each
of them with the reason why it cannot be used.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sidegate.errors import StartError

LONGEST_FOLDER = 90
"""Longest name, in bytes, that leaves room for a socket's name: sun_path has 104 (macOS) or 108 (Linux)."""

FOLDER_PREFIX = "sidegate-"
"""A later start recognises by it the folders of services that were killed."""

_REMEDY = "Mount a writable folder, such as a tmpfs or an emptyDir, and name it in the key 'runtimeDirectory'"


def make_runtime_folder(configured: str | None) -> Path:
    """Create a folder that no other user can access.

    ``configured``: ``runtimeDirectory``; then no other place is tried.

    :raises StartError: no place can be used.
    """
    reasons = []
    for name, place in [("runtimeDirectory", configured)] if configured else _places():
        try:
            return Path(_make_in(place))
        except OSError as error:
            reasons.append(f"{name} ({place}): {error.strerror}" if place else f"{name}: {error.strerror}")
    raise StartError(f"cannot create the folder for the workers' sockets: {'; '.join(reasons)}. {_REMEDY}")


def _places() -> Iterator[tuple[str, str]]:
    """The names and paths of the places, in order; an empty path is not set."""
    yield "XDG_RUNTIME_DIR", os.environ.get("XDG_RUNTIME_DIR", "")
    # systemd separates several folders by colons
    yield "RUNTIME_DIRECTORY", os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    try:
        temporary = tempfile.gettempdir()
    except FileNotFoundError:  # none of those that Python knows can be written
        temporary = os.environ.get("TMPDIR", "/tmp")  # noqa: S108 - mkdtemp is safe there
    # The second one because the first may have a long name.
    for place in dict.fromkeys([temporary, "/tmp"]):  # noqa: S108 - mkdtemp is safe there
        yield "the temporary folder", place


def _make_in(place: str) -> str:
    """:raises OSError: the folder cannot be created."""
    if not place:
        raise OSError(0, "not set")
    if len(os.fsencode(place)) >= LONGEST_FOLDER:
        raise OSError(0, "the name is too long for a unix socket's")
    return tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=place)
