"""What a process writes when a fatal signal ends it, and that other signals do it no harm."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

PREPARED = """
import os, signal, sys
from sidegate.process.fatal_signals import print_stacks
print_stacks()
"""

MANY = """
numbers = range(signal.SIGRTMIN, signal.SIGRTMAX + 1)
seen = []
for number in numbers:
    signal.signal(number, lambda number, _: seen.append(number))
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
for number in numbers:
    os.kill(os.getpid(), number)
signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
assert sorted(seen) == list(numbers), seen
print(len(seen))
"""

DEEP = """
def down():
    os.kill(os.getpid(), signal.SIGABRT)
down()
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a process that is prepared as a front or a worker."""
    command = [sys.executable, "-c", PREPARED + textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="the signal stack of Linux")
def test_many_signals_at_once_end_no_process() -> None:
    ended = run(MANY)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert int(ended.stdout) > 20


def test_a_fatal_signal_shows_the_stacks() -> None:
    ended = run(DEEP)
    assert ended.returncode == -signal.SIGABRT
    assert "in down" in ended.stderr
