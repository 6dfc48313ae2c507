"""Shared cells: real memory, real processes."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidegate.observe.cells import Area

CHILD = """
import os, signal, sys
from sidegate.observe.cells import Area
cells = Area(int(sys.argv[1])).cells
cells[3] += 2.5
cells[511] += 1
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def area() -> Iterator[Area]:
    area = Area.create(512)
    yield area
    area.close()


def test_what_a_killed_child_counted_is_kept(area: Area) -> None:
    child = subprocess.run([sys.executable, "-c", CHILD, str(area.fd)], pass_fds=[area.fd], check=False)
    assert child.returncode == -signal.SIGKILL
    assert len(area) == 512
    assert area.read(2, 3) == [0.0, 2.5, 0.0]
    assert area.read(510, 2) == [0.0, 1.0]


def test_cells_that_are_all_zero_read_as_none(area: Area) -> None:
    assert area.read(0, 512) is None
    area.cells[100] = -1.0
    assert area.read(0, 100) is None
    assert area.read(100, 1) == [-1.0]


def test_reading_zeros_allocates_no_memory() -> None:
    area = Area.create(1 << 17)
    area.cells[0] = 1.0
    assert area.read(1, (1 << 17) - 1) is None
    assert os.fstat(area.fd).st_blocks * 512 <= 64 * 1024
    area.close()


def test_a_child_cannot_resize_the_area(area: Area) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(area.fd, 8)
    with pytest.raises(PermissionError):
        fcntl.fcntl(area.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def test_the_descriptor_does_not_leak_through_exec(area: Area) -> None:
    assert not os.get_inheritable(area.fd)


def test_closing_twice_is_fine(area: Area) -> None:
    area.close()
    area.close()
    assert area.fd == -1


@pytest.mark.parametrize("content", [b"", b"1234567"])
def test_a_descriptor_that_is_no_area_is_refused(content: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        with pytest.raises(ValueError, match=f"holds {len(content)} bytes"):
            Area(file.fileno())


def test_a_failed_creation_leaves_no_descriptor() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ValueError, match="holds 0 bytes"):
        Area.create(0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_without_memfd_an_unlinked_file_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    area = Area.create(4)
    area.cells[1] += 7
    assert area.read(0, 4) == [0.0, 7.0, 0.0, 0.0]
    assert os.fstat(area.fd).st_nlink == 0
    area.close()
