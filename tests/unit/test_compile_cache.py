"""Which compiled modules are found again, and that a cache that cannot be used changes nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sidegate.compile_cache import KEPT_DAYS, SETTING, CompileCache, closure, folder, toolchain

FILES = {
    "wire/fields.py": "from x import y",
    "wire/fields.pxd": "from sidegate.wire.events cimport Head\nfrom sidegate.gone cimport x",
    "wire/events.pxd": "cimport cython\ncimport sidegate.aio.step",
    "aio/step.pyx": "from sidegate.wire.fields cimport f",
    "aio/step.pxd": "from sidegate.wire.events cimport Head",
}
FIELDS = ["wire/fields.py", "wire/fields.pxd"]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "package"


def cache(package: Path, *common: str) -> CompileCache:
    return CompileCache(package.parent / "cache", package, common)


def test_where_it_is() -> None:
    assert folder({SETTING: "0"}) is None
    assert folder({SETTING: "/x", "XDG_CACHE_HOME": "/y"}) == Path("/x")
    assert folder({"XDG_CACHE_HOME": "/y"}) == Path("/y/sidegate/compiled")
    assert folder({}) == Path.home() / ".cache/sidegate/compiled"


def test_what_a_module_depends_on(package: Path) -> None:
    assert closure(package, FIELDS) == {*FIELDS, "wire/events.pxd", "aio/step.pxd"}
    assert closure(package, ["aio/step.pyx"]) == {"aio/step.pyx", "wire/fields.pxd", "wire/events.pxd", "aio/step.pxd"}


def test_a_module_is_found_by_its_content(package: Path) -> None:
    made, target = package.parent / "made.so", package.parent / "new/place.so"
    made.write_bytes(b"machine code")
    first = cache(package)
    assert not first.has("wire/fields", FIELDS)
    assert not first.fetch("wire/fields", FIELDS, target)
    first.store("wire/fields", FIELDS, made)
    for path in package.rglob("*.p*"):
        os.utime(path)  # the times of files mean nothing
    assert cache(package).has("wire/fields", FIELDS)
    assert cache(package).fetch("wire/fields", FIELDS, target)
    assert target.read_bytes() == b"machine code"
    assert not cache(package, "another compiler").has("wire/fields", FIELDS)
    assert not cache(package).has("wire/events", FIELDS)


@pytest.mark.parametrize("changed", ["wire/fields.py", "wire/fields.pxd", "wire/events.pxd", "aio/step.pxd"])
def test_a_change_of_what_it_depends_on(package: Path, changed: str) -> None:
    made = package.parent / "made.so"
    made.touch()
    first = cache(package)
    assert not first.has("wire/fields", FIELDS)
    first.store("wire/fields", FIELDS, made)
    (package / "aio/step.pyx").write_text("nothing that fields depends on")
    assert cache(package).has("wire/fields", FIELDS)
    (package / changed).write_text("changed")
    assert not cache(package).has("wire/fields", FIELDS)


@pytest.mark.parametrize("changed", ["wire/fields.py", "aio/step.pxd"])
def test_an_edit_during_the_compilation(package: Path, changed: str) -> None:
    """Else the machine code of the old content would be found under the new one, by every clone."""
    made = package.parent / "made.so"
    made.touch()
    first = cache(package)
    assert not first.has("wire/fields", FIELDS)
    (package / changed).write_text("changed")
    first.store("wire/fields", FIELDS, made)
    assert not cache(package).has("wire/fields", FIELDS)


def test_no_cache(package: Path) -> None:
    blocked = package.parent / "blocked"
    blocked.touch()  # a file where the folder would be
    for place in (None, blocked):
        none = CompileCache(place, package, [])
        none.store("wire/fields", FIELDS, package / "wire/fields.py")
        none.prune()
        assert not none.has("wire/fields", FIELDS)
        assert not none.fetch("wire/fields", FIELDS, package / "target")


def test_modules_that_nobody_uses_are_deleted(package: Path) -> None:
    made = package.parent / "made.so"
    made.touch()
    used = cache(package)
    assert not used.has("wire/fields", FIELDS)
    assert not used.has("aio/step", ["aio/step.pyx"])
    used.store("wire/fields", FIELDS, made)
    used.store("aio/step", ["aio/step.pyx"], made)
    (old,) = (package.parent / "cache").glob("wire.fields-*")
    os.utime(old, (0, time.time() - KEPT_DAYS * 86400 - 1))
    used.prune()
    assert (used.has("wire/fields", FIELDS), used.has("aio/step", ["aio/step.pyx"])) == (False, True)


def test_the_toolchain() -> None:
    assert toolchain("cc", ["-O2"], "3.1") == toolchain("cc", ["-O2"], "3.1")
    assert toolchain("cc", ["-O2"], "3.1") != toolchain("cc", ["-O2"], "3.2")
    assert toolchain("/no/compiler", [], "3.1")[:2] == ["/no/compiler", ""]
