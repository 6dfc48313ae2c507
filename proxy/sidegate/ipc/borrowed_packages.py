"""Packages that a pool's worker borrows from this installation: h2, websockets and the packages that they import.

The supervisor names the folders (``packages``); ``process/boot.py`` makes the packages importable in the worker
(``borrow``).

A pool may run on another Python, which has none of our dependencies, or has them in other versions; and its application
may have a module of its own with such a name. So a worker imports the borrowed packages as submodules of ``PRIVATE``
(``h2.events`` is ``_sidegate_borrowed.h2.events`` there): the application can still use the names ``h2`` and
``websockets``, and Sidegate always runs on the versions that it was installed with. Other packages in the same folder
are not importable.

The packages import each other by their ordinary names. CPython executes an import statement by calling ``__import__``
of the builtins of the module that contains the statement, so each borrowed module gets builtins whose ``__import__``
translates the borrowed names. This also covers statements inside functions and a package's own calls of ``__import__``
(the lazy attributes of websockets); it does not cover ``importlib.import_module``, which none of the packages calls
with a borrowed name. Compiled modules do not use these builtins: those of the borrowed packages import nothing, and
ours import the names from the modules in ``BORROWERS``, which are never compiled.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

BORROWED = ("h2", "hpack", "hyperframe", "websockets")
"""The HTTP/2 engine that needs no compiler, with the packages that it imports, and the WebSocket library. They are pure
Python, or their compiled parts are optional, so any version of Python can import them."""

PRIVATE = "_sidegate_borrowed"
"""The package in a worker that has the borrowed packages as submodules."""

BORROWERS = ("sidegate.wire.http2.h2_library", "sidegate.wire.websocket.library")
"""Our modules whose import statements name borrowed packages; all other modules import from these. A worker loads them
with the same translation as the packages. A layout test compares this list with the tree."""

WORKER_BOOT = str(Path(__file__).parents[1] / "process" / "boot.py")
"""The file that a worker's Python is started with."""


borrowed_from: dict[str, str] = {}
"""In a worker: the folder that contains each borrowed package, by the package's name."""


def packages() -> dict[str, str]:
    """The folder in this installation that contains each borrowed package, by the package's name."""
    # The first folder is the script's or, with ``python -m``, the working directory: the application may be in it.
    path = sys.path if sys.flags.safe_path else [*sys.path[1:], sys.path[0]]
    found = {}
    for name in BORROWED:
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.origin is not None:
            found[name] = str(Path(spec.origin).parent.parent)
    return found


def borrow(folders: Mapping[str, str]) -> None:
    """Make the borrowed packages importable under ``PRIVATE``; the supervisor's ``packages`` returned ``folders``."""
    borrowed_from.update(folders)
    # Before the standard finders: they would find the submodules too, and load them without the translation.
    sys.meta_path.insert(0, BorrowedFinder(folders))


class BorrowedFinder:
    """Finds ``PRIVATE``, the packages in it with their submodules, and ``BORROWERS``."""

    def __init__(self, folders: Mapping[str, str]) -> None:
        self._folders = folders

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See ``importlib.abc.MetaPathFinder``."""
        if name == PRIVATE:
            return ModuleSpec(name, None, is_package=True)
        parent, _, package = name.rpartition(".")
        if parent == PRIVATE:
            path = [self._folders[package]] if package in self._folders else []
        elif not name.startswith(f"{PRIVATE}.") and name not in BORROWERS:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = BorrowedLoader(name, spec.loader.path)
        return spec


class BorrowedLoader(SourceFileLoader):
    """Loads a module whose import statements find the borrowed packages in ``PRIVATE``."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """See ``importlib.abc.Loader``. ``exec`` keeps builtins that a namespace already has."""
        module = ModuleType(spec.name)
        module.__dict__["__builtins__"] = _BUILTINS
        return module


def _import(
    name: str,
    globals: Mapping[str, object] | None = None,  # noqa: A002 - Python prescribes these names
    locals: Mapping[str, object] | None = None,  # noqa: A002 - ditto
    fromlist: Sequence[str] = (),
    level: int = 0,
) -> Any:
    """``builtins.__import__``, with borrowed packages by their private names. Relative imports are already private."""
    top = name.partition(".")[0]
    if level or top not in BORROWED:
        return builtins.__import__(name, globals, locals, fromlist, level)
    module = builtins.__import__(f"{PRIVATE}.{name}", globals, locals, fromlist)
    # ``import h2.events`` binds the name h2, so without ``fromlist`` the result is the top-level package.
    return module if fromlist else sys.modules[f"{PRIVATE}.{top}"]


_BUILTINS = {**vars(builtins), "__import__": _import}
