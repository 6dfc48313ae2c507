"""The compiled modules of a checkout: their sources, and which of these changed since they were compiled.

``setup.py`` compiles what ``sources`` lists. A build in place (``pip install -e``) writes a record beside the modules:
the hash of every source, taken before the compiler read it. ``sidegate/__init__.py`` calls ``check`` where there is a
record; an installed wheel has none and does not import this module. The hashes are of contents, because git, copies
and containers set the times of files as they like.

``.ci/setup`` runs this file as a script: the exit code is 1 if the modules have to be compiled.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import NamedTuple

SETTING = "SIDEGATE_NO_EXTENSIONS"
ALL = "all"  # the value of SETTING that excludes the bindings too

BINDING = "wire/http2/nghttp2"
TLS_BINDING = "server/tls/openssl"
BINDINGS = {BINDING: ["nghttp2"], TLS_BINDING: ["ssl", "crypto"]}
"""The compiled modules that have no other form, and the libraries that they bind; their .pxi files begin alike."""


class Source(NamedTuple):
    """One line of the record: a file below the package, its hash, and whether its module was compiled."""

    digest: str
    built: bool
    path: str


def sources(package: Path) -> dict[str, list[str]]:
    """Every module that is compiled, without suffix, and its sources: first the one that Cython starts from."""
    found = {}
    for path in package.rglob("*.pxd"):
        if path.with_suffix(".py").exists():
            found[path.with_suffix("")] = [path.with_suffix(".py"), path]
    for path in package.rglob("*.pyx"):
        pxd = [path.with_suffix(".pxd")] if path.with_suffix(".pxd").exists() else []
        found[path.with_suffix("")] = [path, *pxd, *sorted(path.parent.glob(f"{path.stem}*.pxi"))]
    return {
        module.relative_to(package).as_posix(): [path.relative_to(package).as_posix() for path in paths]
        for module, paths in sorted(found.items())
    }


def digest(path: Path) -> str:
    """The hash of a file's content; empty if there is no such file."""
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return ""


def record_path(package: Path) -> Path:
    """Each version of Python has compiled modules of its own, and its own record of them."""
    return package / f"compiled{EXTENSION_SUFFIXES[0].rpartition('.')[0]}.txt"


def read_record(package: Path) -> list[Source]:
    """What the last build in place wrote; empty if there was none."""
    try:
        lines = record_path(package).read_text().splitlines()
    except OSError:
        return []
    fields = (line.split(" ", 2) for line in lines)
    return [Source(digest, state == "built", path) for digest, state, path in fields]


def write_record(package: Path, digests: Mapping[str, str], built: Iterable[str]) -> None:
    """Record the hashes of all sources; ``built``: the sources of those modules that could be compiled."""
    compiled = set(built)
    lines = [f"{digest} {'built' if path in compiled else 'failed'} {path}\n" for path, digest in digests.items()]
    target = record_path(package)
    draft = target.with_suffix(".new")
    draft.write_text("".join(lines))
    draft.replace(target)  # a process that starts meanwhile reads the old record or the new one


def changed(package: Path, record: Iterable[Source]) -> list[str]:
    """The sources that no longer are what the record says."""
    return [source.path for source in record if digest(package / source.path) != source.digest]


def of_binding(path: str) -> str | None:
    """The binding that a source belongs to, by its library's name; None if it belongs to none."""
    stem = path.partition(".")[0]
    for binding in BINDINGS:
        if stem == binding or (stem.startswith(f"{binding}_") and path.endswith(".pxi")):
            return binding.rpartition("/")[2]
    return None


def stale(package: Path, only_bindings: bool = False) -> list[str]:
    """The sources that changed since their modules were compiled; ``only_bindings``: of those of the bindings.

    A module that could not be compiled runs from its source anyway.
    """
    record = read_record(package)
    built = [source for source in record if source.built]
    return changed(package, [source for source in built if not only_bindings or of_binding(source.path)])


def check(package: Path, setting: str) -> str:
    """Compare a checkout with its record; the value of SIDEGATE_NO_EXTENSIONS that this process has to obey.

    Other processes of the service agree, because they inherit the environment, and do not repeat the message.
    """
    # With a setting, the sources of everything but the bindings are used anyway.
    decided, message = decide(setting, stale(package, only_bindings=bool(setting)))
    if message:
        os.environ[SETTING] = decided
        if sys.stderr is not None:  # it is None if descriptor 2 was closed, until the command line opens it
            sys.stderr.write(message + "\n")
    return decided


def decide(setting: str, paths: list[str]) -> tuple[str, str]:
    """The value of SIDEGATE_NO_EXTENSIONS where these sources changed, and the message for it (empty: none)."""
    if not paths:
        return setting, ""
    bound = [path for path in paths if of_binding(path)]
    if not bound:
        how = "running from the sources"
    elif setting:
        how = "running without the bindings of C libraries"
    else:
        how = "running from the sources, without the bindings of C libraries"
    first = (bound or paths)[0]
    others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return (
        ALL if bound else "1",
        f'sidegate: {how}: proxy/sidegate/{first}{others} changed since the last compilation; run "make compile"',
    )


def compiler() -> str | None:
    """The C compiler that a build would use; None where there is none or SIDEGATE_COMPILE=0 excludes it."""
    if os.environ.get("SIDEGATE_COMPILE") == "0":
        return None
    return shutil.which((os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0])


def build_needed(package: Path) -> bool:
    """Would a build in place change anything? Sources that were added count, and so do those that failed before."""
    record = read_record(package)
    found = {path for paths in sources(package).values() for path in paths}
    return found != {source.path for source in record} or bool(changed(package, record))


if __name__ == "__main__":
    sys.exit(compiler() is not None and build_needed(Path(__file__).parent))
