from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.bench import usage

HELD = 64 * 2**20

BURNING_CHILD = """
import subprocess, sys
burn = "import time\\nwhile time.process_time() < 0.2: pass"
subprocess.run([sys.executable, "-c", burn], check=True)
print("done", flush=True)
input()
"""

LARGE_ONCE = f"""
held = bytearray({HELD})
del held
print("done", flush=True)
input()
"""


@contextlib.contextmanager
def waiting(script: str) -> Iterator[int]:
    """The process of a script that has said ``done`` and waits to be let go."""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        yield process.pid
        process.communicate("\n")


def test_the_time_of_a_child_that_ended_counts() -> None:
    with waiting(BURNING_CHILD) as pid:
        assert usage.cpu_seconds([pid]) >= 0.2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a peak that can be reset")
def test_the_peak_is_that_since_the_reset() -> None:
    with waiting(LARGE_ONCE) as pid:
        assert usage.peak_bytes([pid]) >= HELD
        usage.reset_peaks([pid])
        assert usage.resident_bytes([pid]) <= usage.peak_bytes([pid]) < HELD


def test_a_process_that_is_gone_uses_nothing() -> None:
    with waiting(LARGE_ONCE) as pid:
        pass
    assert usage.cpu_seconds([pid]) == usage.peak_bytes([pid]) == usage.resident_bytes([pid]) == 0
