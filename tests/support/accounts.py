"""Runs a function as another user. Only root can do that."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import sidegate
from sidegate.ipc import borrowed_packages, permissions

NOBODY = 65534

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can change the user")


def as_nobody(function: Callable[[], str]) -> str:
    """What ``function`` returns in a fork of this process whose user and group are nobody's."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(writing, function().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


@contextmanager
def public_folder() -> Iterator[Path]:
    """A folder that everybody may enter, which pytest's own temporary folders forbid."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def _hidden() -> str:
    """Why nobody may not read this clone, which may be in root's home; empty if nobody may."""
    folders = [*sidegate.__path__, *(f"{path}/{name}" for name, path in borrowed_packages.packages().items())]
    return next((reason for path in folders if (reason := permissions.denied(f"{path}/__init__.py"))), "")


needs_readable_clone = pytest.mark.skipif(
    os.getuid() != 0 or bool(as_nobody(_hidden)), reason="needs root, and a clone that everybody may read"
)
