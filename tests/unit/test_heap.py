"""When memory is given back, and that it is."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest

from sidegate.aio.heap import PERIOD, STEP, Heap, glibc_heap


class Scripted:
    """A heap whose free bytes the test sets."""

    def __init__(self) -> None:
        self.free, self.trimmed, self._now = 0, 0, 1000.0
        self.heap = Heap(lambda: self.free, self._trim)

    def _trim(self) -> None:
        self.trimmed += 1

    def look(self, free: int, after: float = PERIOD) -> int:
        """How often memory has been given back by now."""
        self.free = free
        self._now += after
        self.heap.check(self._now)
        return self.trimmed


def test_memory_is_given_back_when_much_is_free() -> None:
    scripted = Scripted()
    assert [scripted.look(free) for free in (STEP, 2 * STEP, 2 * STEP + 1)] == [0, 0, 1]


def test_what_cannot_be_given_back_is_not_tried_again() -> None:
    scripted = Scripted()
    assert [scripted.look(free) for free in (0, 9 * STEP, 9 * STEP, 10 * STEP, 11 * STEP)] == [0, 1, 1, 1, 2]


def test_memory_that_was_used_again_counts_when_it_is_free_again() -> None:
    scripted = Scripted()
    assert [scripted.look(free) for free in (0, 9 * STEP, 2 * STEP, 9 * STEP)] == [0, 1, 1, 2]


def test_it_looks_only_from_time_to_time() -> None:
    scripted = Scripted()
    assert scripted.look(0) == 0
    assert scripted.look(9 * STEP, PERIOD / 2) == 0
    assert scripted.look(9 * STEP, PERIOD / 2) == 1


class Library:
    """A C library with functions of these names."""

    def __init__(self, *names: str) -> None:
        self.__dict__.update(dict.fromkeys(names, lambda *_: SimpleNamespace(fordblks=5)))


@pytest.mark.parametrize("names", [("malloc_trim", "mallinfo"), ("malloc_trim", "mallinfo", "mallinfo2")])
def test_an_older_glibc_tells_the_same(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library(*names))
    heap = glibc_heap()
    assert heap is not None
    assert heap._free_bytes() == 5


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library())
    assert glibc_heap() is None


PROGRAM = """
import psutil
from sidegate.aio.heap import glibc_heap

heap, process = glibc_heap(), psutil.Process()
heap.check(10)
before = process.memory_info().rss
blocks = [b"x" * 20_000 for _ in range(3_000)]
last = b"x" * 20_000
full = process.memory_info().rss
blocks.clear()
heap.check(20)
print(full - before, process.memory_info().rss - before)
"""


@pytest.mark.skipif(glibc_heap() is None, reason="this C library has no malloc_trim")
def test_the_system_gets_the_pages_back() -> None:
    printed = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    full, left = map(int, printed.split())
    assert full > 50_000_000
    assert left < 20_000_000
