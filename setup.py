"""The compiled modules; all other metadata is in pyproject.toml.

Some plain Python modules on the request path are also compiled by Cython: the same source, typed by the ``.pxd`` file
beside it. Every one of them still runs uncompiled, and does where there is no compiler or where
``SIDEGATE_NO_EXTENSIONS`` is set; ``optional`` lets an installation without compiler or without the headers of a
library go on.
``SIDEGATE_COMPILE=0`` compiles nothing. ``proxy/sidegate/compiled.py`` says which modules these are, and
``compile_cache.py`` finds a module again that was compiled before. ``SIDEGATE_PROGRESS`` names a file to which the
progress is written as well: pip shows the output of a build only with ``-v``.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import threading
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import Cython
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PACKAGE = Path("proxy/sidegate")


def load(name: str):
    """Import one file: the package cannot be imported, because its dependencies are not installed where it is built."""
    spec = importlib.util.spec_from_file_location(name, PACKAGE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


compiled = load("compiled")
compile_cache = load("compile_cache")

MODULES = compiled.sources(PACKAGE)

# Declarations of C functions, which belong to no module. As what extensions depend on they get into the sdist.
SHARED = [
    str(path) for path in PACKAGE.rglob("*.pxd") if path.with_suffix("").relative_to(PACKAGE).as_posix() not in MODULES
]

# Taken now: a source that is edited while the compiler runs counts as changed afterwards.
DIGESTS = {path: compiled.digest(PACKAGE / path) for paths in MODULES.values() for path in paths}

# Debug information would be five sixths of the files.
FLAGS = ["-g0", "-O2"]

COMPILER = compiled.compiler()
CACHE = compile_cache.CompileCache(
    compile_cache.folder(os.environ) if COMPILER else None,
    PACKAGE,
    [*compile_cache.toolchain(COMPILER or "", FLAGS, Cython.__version__), compiled.digest(Path(__file__))],
)
CACHED = {module for module, paths in MODULES.items() if CACHE.has(module, paths)}


def report(line: str) -> None:
    """Show what the build does."""
    print(line, flush=True)  # noqa: T201
    if path := os.environ.get("SIDEGATE_PROGRESS"):
        with Path(path).open("a") as stream:
            stream.write(line + "\n")


class Progress:
    """Counts the modules that were compiled; several threads compile."""

    def __init__(self, total: int) -> None:
        self._lock = threading.Lock()
        self._total = total
        self._done = 0

    def compiled(self, module: str) -> None:
        with self._lock:
            self._done += 1
            report(f"compiled {self._done} of {self._total} modules: {module}")


class BuildExtensions(build_ext):
    """A build in place replaces all compiled modules of this Python, and records what they were compiled from."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = os.cpu_count()  # as an option of setup() it does not reach an editable build
        self.progress = Progress(len(MODULES) - len(CACHED))

    def build_extensions(self) -> None:
        """Take what was compiled before, compile the rest."""
        if CACHED:
            report(f"{len(CACHED)} of {len(MODULES)} modules were compiled before")
        super().build_extensions()
        CACHE.prune()

    def build_extension(self, ext: Extension) -> None:
        """Keep what stands in place and is newer than its C file, which Cython writes anew only after a change."""
        module = ext.name.removeprefix(f"{PACKAGE.name}.").replace(".", "/")
        target = Path(self.get_ext_fullpath(ext.name))
        if CACHE.fetch(module, MODULES[module], target):
            return
        in_place = PACKAGE.parent / f"{ext.name.replace('.', '/')}{EXTENSION_SUFFIXES[0]}"
        made_from = [Path(ext.sources[0]), Path(__file__)]
        if self.editable_mode and in_place.exists() and modified(in_place) > max(map(modified, made_from)):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(in_place, target)
        else:
            super().build_extension(ext)
        if target.exists():
            CACHE.store(module, MODULES[module], target)
        self.progress.compiled(module)

    def copy_extensions_to_source(self) -> None:
        """Called by a build in place only, after it has compiled."""
        if not self.extensions:
            return  # nothing was to be compiled: what was compiled before stays, with its record
        # A module that did not compile this time, or is none any more, must not stay behind in its old form.
        for old in PACKAGE.rglob(f"*{EXTENSION_SUFFIXES[0]}"):
            old.unlink()
        super().copy_extensions_to_source()
        built = [module for module in MODULES if (PACKAGE / f"{module}{EXTENSION_SUFFIXES[0]}").exists()]
        compiled.write_record(PACKAGE, DIGESTS, [path for module in built for path in MODULES[module]])


def modified(path: Path) -> float:
    """When the file was written."""
    return path.stat().st_mtime


def dotted(module: str) -> str:
    """``wire/fields`` -> ``sidegate.wire.fields``."""
    return f"{PACKAGE.name}.{module.replace('/', '.')}"


def touch_changed() -> None:
    """Cython compares the times of files: give a source of other content than last time a new time."""
    for path in compiled.changed(PACKAGE, compiled.read_record(PACKAGE)):
        if (PACKAGE / path).exists():
            os.utime(PACKAGE / path)


def extensions(cached: bool) -> list[Extension]:
    """The modules that were compiled before, or the others, as Cython and the C compiler get them."""
    return [
        Extension(
            dotted(module),
            [str(PACKAGE / paths[0])],
            depends=[*[str(PACKAGE / path) for path in paths[1:]], *SHARED],
            libraries=compiled.BINDINGS.get(module, []),
            extra_compile_args=FLAGS,
            optional=True,
        )
        for module, paths in MODULES.items()
        if (module in CACHED) == cached
    ]


def translated() -> list[Extension]:
    """The modules that were not compiled before, as C."""
    wanted = extensions(cached=False) if COMPILER else []
    if wanted:
        report(f"translating {len(wanted)} modules to C")
    return cythonize(
        wanted,
        build_dir="build/cython",
        include_path=[str(PACKAGE.parent)],
        nthreads=os.cpu_count() or 1,
        # Annotations stay mypy's business: as C types they would refuse subclasses and None where Python does not.
        compiler_directives={"language_level": 3, "annotation_typing": False, "binding": False},
    )


touch_changed()
# Questions about metadata need no modules.
building = not {"egg_info", "dist_info"} & set(sys.argv)
setup(
    cmdclass={"build_ext": BuildExtensions},
    ext_modules=[*extensions(cached=True), *translated()] if building else [],
)
