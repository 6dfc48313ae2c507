"""Programs from outside that tests drive: found, or the test is skipped with the program's name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

IN_A_PID_NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
"""A command that runs the rest of its arguments as PID 1."""

_BLOCK_SIGNALS = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.execv(sys.argv[1], sys.argv[1:])
"""

WITH_BLOCKED_SIGNALS = [sys.executable, "-c", _BLOCK_SIGNALS]
"""A command that runs the rest of its arguments, the first of which is a path, with all signals blocked."""


def program(*names: str) -> str:
    """The path of the first of ``names`` that is here, beside this Python or on PATH; else skip the test."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    for name in names:
        found = shutil.which(name, path=places)
        if found is not None:
            return found
    pytest.skip(f"{' or '.join(names)} is not installed")


def environment(name: str) -> Path:
    """A virtual environment that ``.ci/setup test`` made beside ours; else skip the test."""
    place = Path(sys.prefix) / "pools" / name
    if not (place / ".complete").exists():
        pytest.skip(f"the virtual environment {name} could not be made")
    return place


def bare_environment(place: Path) -> Path:
    """Make a virtual environment of this Python without any package at ``place``."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    return place


def output_of(*command: str, patience: float = 60.0) -> str:
    """What the command prints; its error output and exit code are in the failure when it does not end with 0."""
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=patience, check=False)
    assert result.returncode == 0, f"{command[0]} ended with {result.returncode}: {result.stderr.decode()}"
    return result.stdout.decode()


def works(prefix: list[str], *command: str) -> bool:
    """Whether ``command`` can be run by ``prefix`` here."""
    if shutil.which(prefix[0]) is None:
        return False
    return subprocess.run([*prefix, *command], capture_output=True, check=False).returncode == 0
