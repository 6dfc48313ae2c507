"""Detects changed files, for ``pool.reload`` (development).

The pools use it. It compares modification times and sizes once a second instead of using the kernel's notifications:
those need another dependency on each system and do not work across the mounts that containers for development use, and
one check of a thousand files costs only some 10 ms. Within a folder only Python files count, because applications write
into their own folders (databases, caches, logs); other files must be named one by one. A file that cannot be read
counts as absent.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TypeAlias

SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})
"""Folders that are large and are not edited; folders whose names begin with a dot are left out, too."""

Snapshot: TypeAlias = dict[str, tuple[int, int]]
"""Modification time in ns and size, by path."""


class Watch:
    """Watches the files and folders in ``paths`` from now on."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = tuple(paths)
        self._last = self._snapshot()

    def changed(self) -> list[str]:
        """The files that were changed, added or removed since the last call, sorted."""
        last, self._last = self._last, self._snapshot()
        return sorted(path for path in last.keys() | self._last.keys() if last.get(path) != self._last.get(path))

    def _snapshot(self) -> Snapshot:
        found: Snapshot = {}
        for path in self._paths:
            for file in _files(path):
                try:
                    status = os.stat(file)  # noqa: PTH116 - a Path for each would take longer than the call
                except OSError:
                    continue
                found[file] = (status.st_mtime_ns, status.st_size)
        return found


def _files(path: str) -> Iterator[str]:
    if not os.path.isdir(path):  # noqa: PTH112 - as below
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if name not in SKIPPED and not name.startswith(".")]
        yield from (os.path.join(folder, name) for name in names if name.endswith(".py"))  # noqa: PTH118 - as above
