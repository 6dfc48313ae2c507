"""Counters in memory that a child process writes and the supervisor reads.

This module does not interpret cells; ``metrics`` does. An ``Area`` is an array of float64 cells. The supervisor creates
one area for each child and passes its descriptor to the child, which maps the same memory and adds to it. There is no
lock: each cell has one writer, and an aligned 8-byte load or store is one instruction on every 64-bit machine, so a
reader sees the old value or the new one. The counts remain after the child has exited, because the memory belongs to
the descriptor and not to the process.
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
    """Shared float64 cells, initially zero. ``cells`` is the view that both processes index."""

    def __init__(self, fd: int) -> None:
        """Map the area of the descriptor ``fd``, which this object now owns.

        :raises ValueError: the file is empty or not a whole number of cells.
        :raises OSError: the descriptor cannot be mapped.
        """
        size = os.fstat(fd).st_size
        if size == 0 or size % CELL_SIZE:
            raise ValueError(f"descriptor {fd} holds {size} bytes, which is no area of cells")
        self.fd = fd
        self._map = mmap.mmap(fd, size)
        self.cells: Cells = memoryview(self._map).cast("d")

    @classmethod
    def create(cls, count: int) -> Area:
        """Make an area of ``count`` zero cells. The descriptor has the close-on-exec flag.

        :raises OSError: the system cannot allocate it.
        """
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
        """``count`` cells from index ``start`` on, or None if all of them are zero.

        Zeros are detected with ``pread``, because it does not allocate pages that were never written; a load through
        the mapping would. The values are read through the mapping, so each one is consistent.
        """
        size = count * CELL_SIZE
        if os.pread(self.fd, size, start * CELL_SIZE) == bytes(size):
            return None
        return list(self.cells[start : start + count])

    def close(self) -> None:
        """Unmap and close the area. Calling it again does nothing."""
        if self.fd >= 0:
            with contextlib.suppress(BufferError):  # a compiled observer still has a view, which keeps the mapping
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
    """Seal the size: if a child could shrink the area, a process that reads it would get SIGBUS."""
    if hasattr(fcntl, "F_ADD_SEALS") and hasattr(os, "memfd_create"):
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
