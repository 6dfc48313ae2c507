"""Which processes belong to this test run, found by a mark in their environment.

A front whose supervisor was killed belongs to init, so parenthood alone would miss the very processes that
the check is for.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import psutil

MARK = "SIDEGATE_TEST_RUN"


def mark_descendants() -> None:
    """From now on every process that this one starts carries the mark."""
    os.environ[MARK] = uuid.uuid4().hex


def descendants() -> Iterator[psutil.Process]:
    """Every living process that this one started, directly or not, adopted by init or not."""
    mark = os.environ[MARK]
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    for process in psutil.process_iter():
        try:
            ours = process.pid in children or process.environ().get(MARK) == mark
            if ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except psutil.Error:  # it ended meanwhile, or belongs to someone whose environment we may not read
            continue


def end_descendants(patience: float = 5.0) -> list[str]:
    """Wait for what is just ending, kill what stays; what had to be killed, one line each."""
    _, alive = psutil.wait_procs(list(descendants()), timeout=patience)
    left = []
    for process in alive:
        try:
            left.append(f"{process.pid} {' '.join(process.cmdline())}")
            process.kill()
        except psutil.NoSuchProcess:
            continue
    return left


def tree(pid: int) -> list[psutil.Process]:
    """The process ``pid`` and all its descendants that live now; empty if it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
