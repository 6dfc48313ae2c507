"""Whether files have changed, for ``pool.reload`` (development).

Where it stands: a helper of the pools. It compares modification times and sizes once a second instead of asking the
kernel for notifications: those need a dependency on each system, do not cross the mounts that development in
containers stands on, and a tree of a thousand files costs some 10 ms a look. Within a folder only Python files
count, because applications write into their own folders (databases, caches, logs); other files are named singly.
No error leaves it: what cannot be read is as good as absent.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TypeAlias

SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})
"""Folders that are large and are not edited; those whose name begins with a dot are left out, too."""

Look: TypeAlias = dict[str, tuple[int, int]]
"""Modification time in ns and size, by path."""


class Watch:
    """The files and folders in ``paths``, as they are now."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = tuple(paths)
        self._last = self._look()

    def changed(self) -> list[str]:
        """The files that were changed, added or removed since this was last asked."""
        last, self._last = self._last, self._look()
        return sorted(path for path in last.keys() | self._last.keys() if last.get(path) != self._last.get(path))

    def _look(self) -> Look:
        found: Look = {}
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
