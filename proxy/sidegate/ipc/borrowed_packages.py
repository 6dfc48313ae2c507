"""What of this installation a worker gets that runs on another Python: this package, h2 and websockets if it has none.

Where it stands: beside ``control``; the supervisor names the folders, the worker finds modules in them. Only exactly
these packages are lent, by a finder and not by ``sys.path``, because the folder that they stand in has all the rest of
this installation: an application would import from it what its own environment lacks, in versions that were never meant
to be together. What the other environment has itself comes first.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

LENT = ("h2", "hpack", "hyperframe", "websockets")
"""The HTTP/2 engine that needs no compiler, with what it imports, and the frames of WebSockets; pure Python, or able to
do without what was compiled, so any version loads them."""

WORKER_BOOT = str(Path(__file__).parents[1] / "process" / "boot.py")
"""The file that a worker's Python is started with."""


def packages() -> dict[str, str]:
    """The folder of each lent package that is installed here, by its name."""
    found = {}
    for name in LENT:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            found[name] = str(Path(spec.origin).parent)
    return found


def borrow(folders: Mapping[str, str]) -> None:
    """From now on the packages of ``folders`` (name to folder) are found if this environment has none of the name."""
    sys.meta_path.append(Borrowed(folders))


class Borrowed:
    """The finder; its place is the end of ``sys.meta_path``."""

    def __init__(self, folders: Mapping[str, str]) -> None:
        self._folders = folders

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See ``importlib.abc.MetaPathFinder``. Submodules are found through their package's own path."""
        folder = self._folders.get(name)
        if folder is None:
            return None
        return importlib.util.spec_from_file_location(
            name, Path(folder, "__init__.py"), submodule_search_locations=[folder]
        )
