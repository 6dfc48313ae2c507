"""The packages that a worker borrows: under private names, whatever its own environment and application have."""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import sidegate
from sidegate.ipc import borrowed_packages
from sidegate.ipc.borrowed_packages import BORROWED, PRIVATE

ROOT = Path(sidegate.__file__).parents[1]


def write(folder: Path, files: Mapping[str, str]) -> str:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test borrows is gone after it, and the module cache is empty of lent packages before it."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    ours = [name for name in sys.modules if name.partition(".")[0] in BORROWED]
    kept = {name: sys.modules.pop(name) for name in ours}
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in (*BORROWED, PRIVATE)]:
        del sys.modules[name]
    sys.modules.update(kept)


@pytest.fixture
def lent(tmp_path: Path, forget: None) -> str:
    """A folder with a lent h2 and a lent hpack, which are borrowed."""
    folder = write(
        tmp_path / "lent",
        {
            "h2/__init__.py": "from .events import OWNER\n",
            "h2/events.py": "OWNER = 'lent h2'\n",
            "hpack/__init__.py": "OWNER = 'lent hpack'\n",
            "hpack/struct.py": "OWNER = 'lent hpack.struct'\n",
        },
    )
    borrowed_packages.borrow({"h2": folder, "hpack": folder})
    return folder


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An application's folder with its own h2 and hpack, first on the path."""
    folder = write(tmp_path / "application", dict.fromkeys(("h2.py", "hpack.py"), "OWNER = 'application'\n"))
    monkeypatch.syspath_prepend(folder)


def borrowed(name: str) -> ModuleType:
    return importlib.import_module(f"{PRIVATE}.{name}")


def lent_names() -> set[str]:
    return {name for name in sys.modules if name.partition(".")[0] in BORROWED}


# ---- import statements of a lent package ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "expression", "value"),
    [
        ("import hpack", "hpack.OWNER", "lent hpack"),
        ("import hpack as other", "other.OWNER", "lent hpack"),
        ("import hpack.struct", "(hpack.OWNER, hpack.struct.OWNER)", ("lent hpack", "lent hpack.struct")),
        ("import hpack.struct as other", "other.OWNER", "lent hpack.struct"),
        ("from hpack import OWNER", "OWNER", "lent hpack"),
        ("from hpack import struct", "struct.OWNER", "lent hpack.struct"),
        ("from hpack.struct import OWNER", "OWNER", "lent hpack.struct"),
        ("from hpack.struct import *", "OWNER", "lent hpack.struct"),
        ("import h2.events", "h2.events.OWNER", "lent h2"),
        ("from .events import OWNER", "OWNER", "lent h2"),
        ("from . import events", "events.OWNER", "lent h2"),
        ("import json.decoder", "json.decoder.__name__", "json.decoder"),
        ("from json import decoder", "decoder.__name__", "json.decoder"),
        ("other = __import__('hpack.struct', globals(), None, ['OWNER'], 0)", "other.OWNER", "lent hpack.struct"),
        ("other = __import__('events', globals(), None, ['OWNER'], 1)", "other.OWNER", "lent h2"),
    ],
)
def test_a_lent_package_gets_lent_packages(
    lent: str, application: None, statement: str, expression: str, value: Any
) -> None:
    write(Path(lent), {"h2/user.py": f"{statement}\nFOUND = {expression}\n"})
    assert value == borrowed("h2.user").FOUND
    assert not lent_names()


def test_statements_in_functions_are_translated_too(lent: str, application: None) -> None:
    lines = ["def __getattr__(name):", "    import hpack.struct", "    return getattr(hpack.struct, name)"]
    write(Path(lent), {"h2/user.py": "\n".join(lines)})
    assert borrowed("h2.user").OWNER == "lent hpack.struct"
    assert not lent_names()


def test_the_application_gets_its_own(lent: str, application: None) -> None:
    assert borrowed("h2").OWNER == "lent h2"
    for name in ("h2", "hpack"):
        module = importlib.import_module(name)
        assert module.OWNER == "application"
        assert sys.modules[name] is module
    assert borrowed("hpack").OWNER == "lent hpack"


def test_what_is_not_lent_is_not_taken_from_the_application(lent: str, application: None, tmp_path: Path) -> None:
    """Whatever its environment has: it would be another version, or no HTTP/2 at all."""
    write(tmp_path / "application", {"websockets.py": ""})
    write(Path(lent), {"h2/user.py": "import websockets\n"})
    with pytest.raises(ModuleNotFoundError, match=f"No module named '{PRIVATE}.websockets'"):
        borrowed("h2.user")
    assert importlib.import_module("websockets")


def test_nothing_else_of_the_folder_is_lent(lent: str) -> None:
    write(Path(lent), {"pydantic.py": ""})
    for name in ("pydantic", "nothing"):
        with pytest.raises(ModuleNotFoundError):
            borrowed(name)
    with pytest.raises(ModuleNotFoundError):
        borrowed("h2.nothing")


def test_what_was_compiled_is_loaded_as_it_is(lent: str) -> None:
    spec = PathFinder.find_spec(
        "websockets.speedups", [str(Path(borrowed_packages.packages()["websockets"], "websockets"))]
    )
    if spec is None or spec.origin is None:
        pytest.skip("websockets was installed without its C extension")
    shutil.copy(spec.origin, Path(lent, "h2"))
    assert borrowed("h2.speedups").apply_mask(b"ab", b"\1\1\1\1") == b"`c"


# ---- our own modules --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", borrowed_packages.BORROWERS)
def test_our_modules_get_what_is_lent(forget: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """And they work with it: everything that they take is there, from the private packages."""
    folder = write(tmp_path, {f"{lent}.py": "raise SystemExit\n" for lent in BORROWED})
    borrowed_packages.borrow(borrowed_packages.packages())
    monkeypatch.syspath_prepend(folder)
    path = importlib.import_module(name.rpartition(".")[0]).__path__
    finder: Any = sys.meta_path[0]
    spec = finder.find_spec(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    owners = {getattr(getattr(module, taken), "__module__", "") for taken in module.__all__}
    assert [owner for owner in owners if owner.startswith(f"{PRIVATE}.")]
    assert not [owner for owner in owners if owner.partition(".")[0] in BORROWED]
    assert not lent_names()


def test_no_other_module_is_touched(forget: None) -> None:
    borrowed_packages.borrow({})
    finder: Any = sys.meta_path[0]
    for name in ("h2", "sidegate.ipc.borrowed_packages", "json", f"{PRIVATE}_not", f"other.{PRIVATE}"):
        assert finder.find_spec(name, None) is None


# ---- the real packages ------------------------------------------------------------------------------------

# Imports every module of what is lent and asks for every lazy name, on an interpreter that has none of it.
EVERYTHING = """
import json, pkgutil, sys, warnings
sys.path.insert(0, sys.argv[1])
from sidegate.ipc import borrowed_packages
borrowed_packages.borrow(json.loads(sys.argv[2]))
warnings.simplefilter("ignore")
failed = {}
for name in borrowed_packages.BORROWED:
    package = __import__(f"{borrowed_packages.PRIVATE}.{name}", fromlist=["*"])
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + ".", onerror=lambda name: None):
        if not info.name.endswith("__main__"):
            try:
                module = __import__(info.name, fromlist=["*"])
            except ImportError as error:
                failed[info.name] = error.name
    for lazy in dir(package):
        try:
            getattr(package, lazy)
        except ImportError as error:
            failed[lazy] = error.name
print(json.dumps([sorted(sys.modules), failed]))
"""


def test_every_module_of_the_real_packages_stays_private() -> None:
    """Without site-packages (``-S``) an import that is not translated would fail, and would show here."""
    command = [sys.executable, "-S", "-c", EVERYTHING, str(ROOT), json.dumps(borrowed_packages.packages())]
    modules, failed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    private = {name.partition(".")[2] for name in modules if name.startswith(f"{PRIVATE}.")}
    assert {"h2.connection", "hpack.struct", "hyperframe.frame", "websockets.sync.client"} <= private
    assert not [name for name in modules if name.partition(".")[0] in BORROWED]
    assert not [module for module in failed.values() if module.partition(".")[0] in (*BORROWED, PRIVATE)], failed


# ---- the supervisor's side --------------------------------------------------------------------------------


def test_the_folders_are_those_of_this_installation() -> None:
    folders = borrowed_packages.packages()
    assert set(folders) == set(BORROWED)
    assert all(Path(folder, name, "__init__.py").exists() for name, folder in folders.items())


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_package_in_the_working_directory_is_the_applications(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Under ``python -m`` that folder is the first of the path. It is taken only if there is no other."""
    application = write(tmp_path / "application", {"h2/__init__.py": ""})
    installed = write(tmp_path / "installed", {"h2/__init__.py": ""} if place == "first" else {"other.py": ""})
    monkeypatch.setattr(sys, "path", [application, installed])
    assert borrowed_packages.packages() == {"h2": installed if place == "first" else application}


def test_with_a_safe_path_the_first_folder_counts(tmp_path: Path) -> None:
    """``-P``: then it is one that somebody has named."""
    first = write(tmp_path, {"h2/__init__.py": ""})
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]; from sidegate.ipc.borrowed_packages import packages\n"
        "print(packages()['h2'])"
    )
    command = [sys.executable, "-P", "-c", program, first, str(ROOT)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == first


def test_a_namespace_is_not_lent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder ``h2`` without ``__init__.py``, as a checkout's parent has."""
    (tmp_path / "h2").mkdir()
    monkeypatch.setattr(sys, "path", ["", str(tmp_path)])
    monkeypatch.chdir(tmp_path / "h2")
    assert PathFinder.find_spec("h2") is not None
    assert borrowed_packages.packages() == {}
