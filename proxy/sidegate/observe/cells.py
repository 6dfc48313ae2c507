"""Counters in memory that a child process writes and the supervisor reads.

Where it stands: the bottom of ``observe``; it knows cells, not metrics. An ``Area`` is an array of float64
cells. The supervisor creates one area per child and hands its descriptor down; the child maps the same memory
and adds to it. There is no lock: each cell has one writer, and an aligned 8-byte load or store is one
instruction on every 64-bit machine, so a reader sees the old value or the new one. What a dead child counted
is still there, because the memory belongs to the descriptor and not to the process.

It never interprets a cell. Errors that leave it: ``OSError`` from the system, ``ValueError`` for a descriptor
that is no area.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import tempfile
from pathlib import Path
from typing import TypeAlias

Cells: TypeAlias = "memoryview[float]"

CELL_SIZE = 8
"""Bytes of one float64 cell. Counts stay exact up to 2**53."""


class Area:
    """Shared float64 cells, zero at first. ``cells`` is the view that both sides index."""

    def __init__(self, fd: int) -> None:
        """Map the area behind ``fd``, which now belongs to this object."""
        size = os.fstat(fd).st_size
        if size == 0 or size % CELL_SIZE:
            raise ValueError(f"descriptor {fd} holds {size} bytes, which is no area of cells")
        self.fd = fd
        self._map = mmap.mmap(fd, size)
        self.cells: Cells = memoryview(self._map).cast("d")

    @classmethod
    def create(cls, count: int) -> Area:
        """Make an area of ``count`` zero cells. The descriptor is closed on exec unless it is passed on."""
        fd = _anonymous_file()
        try:
            os.ftruncate(fd, count * CELL_SIZE)
            _fix_size(fd)
            return cls(fd)
        except BaseException:
            os.close(fd)
            raise

    def __len__(self) -> int:
        return len(self.cells)

    def read(self, start: int, count: int) -> list[float] | None:
        """``count`` cells from ``start`` on, or None if all of them are zero.

        Zeros are looked for by ``pread``: it leaves pages that no one wrote unallocated, where a load through
        the mapping would allocate them. The values come from the mapping, cell by cell, never torn.
        """
        size = count * CELL_SIZE
        if os.pread(self.fd, size, start * CELL_SIZE) == bytes(size):
            return None
        return list(self.cells[start : start + count])

    def close(self) -> None:
        """Unmap and close. Twice is fine."""
        if self.fd >= 0:
            with contextlib.suppress(BufferError):  # a compiled observer's view; the mapping goes with it
                self.cells.release()
                self._map.close()
            os.close(self.fd)
            self.fd = -1


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("sidegate-cells", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fd, path = tempfile.mkstemp(prefix="sidegate-cells-")  # systems without memfd (macOS)
    Path(path).unlink()
    return fd


def _fix_size(fd: int) -> None:
    """Nobody may resize the area: a child that shrank it would kill its reader with SIGBUS."""
    if hasattr(fcntl, "F_ADD_SEALS") and hasattr(os, "memfd_create"):
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
