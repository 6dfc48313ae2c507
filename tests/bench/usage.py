"""What processes use: CPU time and resident memory of whole trees, read from the kernel."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from tests.support import processes


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time so far of these processes and all their descendants, those that ended included.

    The kernel adds a child's time to its parent's account when the parent has waited for it. It counts in ticks of
    10 ms, so a run should last a second.
    """
    return sum(_each(pids, _cpu))


def resident_bytes(pids: Iterable[int]) -> int:
    """Resident memory now, summed over the trees; memory that processes share counts in each of them."""
    return int(sum(_each(pids, lambda process: process.memory_info().rss)))


def reset_peaks(pids: Iterable[int]) -> None:
    """Let ``peak_bytes`` count from now. Without Linux there is no such thing, and the present size has to do."""
    for process in _trees(pids):
        with contextlib.suppress(OSError):
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")


def peak_bytes(pids: Iterable[int]) -> int:
    """The sum of each process's highest resident memory since ``reset_peaks``."""
    return int(sum(_each(pids, _peak)))


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system + getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)


def _peak(process: psutil.Process) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return process.memory_info().rss


def _each(pids: Iterable[int], value: Callable[[psutil.Process], float]) -> list[float]:
    values = []
    for process in _trees(pids):
        with contextlib.suppress(psutil.Error):  # it ended just now
            values.append(value(process))
    return values


def _trees(pids: Iterable[int]) -> list[psutil.Process]:
    return [process for pid in pids for process in processes.tree(pid)]
