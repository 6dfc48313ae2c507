"""A cache of compiled modules by content, so that a second environment or clone takes seconds instead of minutes.

``setup.py`` loads this file by its path; nothing that serves imports it. A compiled module is found again by the hash
of everything that it depends on: its sources, the ``.pxd`` files that they cimport, the build's own settings, and the
versions of Cython, Python and the C compiler. ``SIDEGATE_COMPILE_CACHE`` names another folder; ``0`` switches the cache
off. A folder that cannot be read or written is the same as no cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

SETTING = "SIDEGATE_COMPILE_CACHE"
_CIMPORT = re.compile(r"^\s*(?:from|cimport)\s+sidegate\.([\w.]+)", re.MULTILINE)

KEPT_DAYS = 30
"""How long a module is kept after its last use."""


def folder(environment: Mapping[str, str]) -> Path | None:
    """Where compiled modules are kept; None if the cache is off."""
    chosen = environment.get(SETTING, "")
    if chosen == "0":
        return None
    if chosen:
        return Path(chosen)
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sidegate" / "compiled"


def toolchain(compiler: str, flags: Iterable[str], cython: str) -> list[str]:
    """What a compiled module depends on besides its sources; ``compiler``: the program, ``cython``: the version."""
    version = ""
    with contextlib.suppress(OSError):
        version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    settings = [f"{name}={os.environ.get(name, '')}" for name in ("CFLAGS", "CPPFLAGS", "LDFLAGS")]
    header = Path(sysconfig.get_path("include")) / "patchlevel.h"
    return [compiler, version, *flags, *settings, cython, sys.version, sysconfig.get_platform(), digest(header)]


def digest(path: Path) -> str:
    """The hash of a file's content; empty if it cannot be read."""
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return ""


def closure(package: Path, sources: Iterable[str]) -> set[str]:
    """``sources`` and the ``.pxd`` files that they cimport, also through others; paths below ``package``."""
    found: set[str] = set()
    open_paths = set(sources)
    while open_paths:
        path = open_paths.pop()
        found.add(path)
        if not path.endswith(".py") and (package / path).exists():
            names = _CIMPORT.findall((package / path).read_text(encoding="utf-8"))
            declared = {f"{name.replace('.', '/')}.pxd" for name in names}
            open_paths |= {one for one in declared - found if (package / one).exists()}
    return found


class CompileCache:
    """The modules of one package; ``common``: what all of them depend on (``toolchain``)."""

    def __init__(self, place: Path | None, package: Path, common: Iterable[str]) -> None:
        self._place = place
        self._package = package
        self._common = "\0".join(common)
        self._before: dict[str, Path] = {}  # by module: its entry when it was looked for

    def _entry(self, place: Path, module: str, sources: Iterable[str]) -> Path:
        paths = sorted(closure(self._package, sources))
        parts = [self._common, module, *paths, *(digest(self._package / path) for path in paths)]
        name = hashlib.blake2b("\0".join(parts).encode(), digest_size=20).hexdigest()
        return place / f"{module.replace('/', '.')}-{name}"

    def has(self, module: str, sources: Iterable[str]) -> bool:
        """Whether the module was compiled from these sources before. Call it before the compiler reads them."""
        if self._place is None:
            return False
        self._before[module] = entry = self._entry(self._place, module, sources)
        return entry.is_file()

    def fetch(self, module: str, sources: Iterable[str], target: Path) -> bool:
        """Copy the compiled module to ``target``. Returns false if it is not there, or cannot be read."""
        if self._place is None:
            return False
        entry = self._entry(self._place, module, sources)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(entry, target)
            os.utime(entry)
        except OSError:
            return False
        return True

    def store(self, module: str, sources: Iterable[str], made: Path) -> None:
        """Keep a module that was just compiled, unless its sources were edited since ``has``.

        A build takes minutes: then it is unknown which of the two contents the compiler has read.
        """
        if self._place is None:
            return
        entry = self._entry(self._place, module, sources)
        if self._before.get(module) != entry:
            return
        draft = entry.with_name(f"{entry.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            self._place.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made, draft)
            draft.replace(entry)  # another build may read or write it meanwhile

    def prune(self) -> None:
        """Delete the modules that were not used for ``KEPT_DAYS``."""
        if self._place is None:
            return
        oldest = time.time() - KEPT_DAYS * 86400
        with contextlib.suppress(OSError):
            for entry in self._place.iterdir():
                if entry.stat().st_mtime < oldest:
                    entry.unlink()
