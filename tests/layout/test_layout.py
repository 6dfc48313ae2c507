"""The tree is what ARCHITECTURE.md says: who may import whom, and how large things may grow."""

from __future__ import annotations

import ast
import graphlib
import re
import shutil
import statistics
import subprocess
import tomllib

import pytest

from sidegate.ipc import borrowed_packages
from tests.layout.modules import ROOT, Function, Module, modules, own_imports

# From top to bottom. A module may import what stands on a lower row, or what is in its own folder;
# names on one row do not know each other.
ROWS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("standalone",),
    ("process", "supervisor"),
    ("admin", "versions"),
    ("server",),
    ("filters",),
    ("routing", "backends"),
    ("observe",),
    ("wire",),
    ("config", "ipc", "aio"),
    ("asgi", "errors"),
    ("",),  # sidegate/__init__.py: the version
)
ROW_OF = {name: number for number, row in enumerate(ROWS) for name in row}

MAX_FILE_LINES = 400
MAX_MEDIAN_FILE_LINES = 200
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 7  # self counts: it has to be known like any other

# A codec is sans-I/O: what would let it wait, look at a clock or print is not to be had.
WIRE_FORBIDDEN = {"asyncio", "socket", "ssl", "time", "logging", "threading"}

TOP_LEVEL = {
    ".ci", ".editorconfig", ".github", ".gitignore", ".pre-commit-config.yaml", "ARCHITECTURE.md", "CHANGELOG.md",
    "CONTRIBUTING.md", "DEVELOPERS.md", "LICENSE", "Makefile", "README.md", "SECURITY.md",
    "config", "dashboards", "deploy", "proxy", "pyproject.toml", "setup.py", "tests",
}  # fmt: skip

# Distribution name -> what is imported, where the two differ.
IMPORT_NAMES = {"pyyaml": "yaml"}

every_module = pytest.mark.parametrize("module", modules().values(), ids=lambda module: module.name)


def part(name: str) -> str:
    """``sidegate.wire.http1.server`` -> ``wire``: the name that stands in a row."""
    return [*name.split("."), ""][1]


@every_module
def test_every_module_has_a_row(module: Module) -> None:
    known = part(module.name) in ROW_OF
    assert known, f"give {part(module.name)!r} a row in ROWS and in ARCHITECTURE.md"


@every_module
def test_imports_go_only_downwards(module: Module) -> None:
    here = part(module.name)
    wrong = [
        name
        for name in own_imports(module)
        if part(name) != here and ROW_OF.get(part(name), -1) <= ROW_OF.get(here, len(ROWS))
    ]
    assert not wrong, f"{module.name} must not import {', '.join(sorted(wrong))}"


def test_no_import_cycle() -> None:
    graph = {module.name: own_imports(module) for module in modules().values()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError and names the cycle


@pytest.mark.parametrize("module", [m for m in modules().values() if part(m.name) == "wire"], ids=lambda m: m.name)
def test_wire_is_sans_io(module: Module) -> None:
    wrong = {name for name in module.imports if name.split(".")[0] in WIRE_FORBIDDEN}
    assert not wrong, f"{module.name} must not import {', '.join(sorted(wrong))}"


def test_the_binding_is_sans_io() -> None:
    text = (ROOT / "proxy" / "sidegate" / "wire" / "http2" / "nghttp2.pyx").read_text()
    imported = set(re.findall(r"^\s*(?:from|c?import)\s+([A-Za-z_0-9]+)", text, re.MULTILINE))
    assert "libc" in imported
    assert not imported & WIRE_FORBIDDEN


def test_lent_packages_are_imported_where_a_worker_can_translate_their_names() -> None:
    """In a compiled module an import statement would find the application's module (``ipc/borrowed_packages.py``)."""
    lent = set(borrowed_packages.LENT)
    importing = {name for name, module in modules().items() if {used.split(".")[0] for used in module.imports} & lent}
    assert importing == set(borrowed_packages.BORROWERS)
    assert not [name for name in importing if modules()[name].path.with_suffix(".pxd").exists()]
    for path in (ROOT / "proxy").rglob("*.p[yx][xi]"):
        words = re.findall(r"^\s*(?:from|import)\s+([A-Za-z_0-9]+)", path.read_text(), re.MULTILINE)
        assert not set(words) & lent, path


@every_module
def test_file_size(module: Module) -> None:
    size = module.text.count("\n")
    assert size <= MAX_FILE_LINES, module.name


def test_median_file_size() -> None:
    sizes = [module.text.count("\n") for module in modules().values() if not module.is_package]
    assert statistics.median(sizes) <= MAX_MEDIAN_FILE_LINES


@every_module
def test_function_size(module: Module) -> None:
    long = [f"{f.name} ({lines(f)})" for f in module.functions if lines(f) > MAX_FUNCTION_LINES]
    assert not long, f"{module.name}: more than {MAX_FUNCTION_LINES} lines: {', '.join(long)}"


@every_module
def test_parameters(module: Module) -> None:
    greedy = [f"{f.name} ({parameters(f)})" for f in module.functions if parameters(f) > MAX_PARAMETERS]
    assert not greedy, f"{module.name}: more than {MAX_PARAMETERS} parameters: {', '.join(greedy)}"


@every_module
def test_docstring(module: Module) -> None:
    # A package's __init__ may be empty: its modules speak for it.
    assert not module.text or ast.get_docstring(module.tree), f"{module.name} does not say what it is"


def test_every_dependency_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    used = {name.split(".")[0] for module in modules().values() for name in module.imports}
    names = [re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0] for requirement in project["dependencies"]]
    unused = [name for name in names if IMPORT_NAMES.get(name, name) not in used]
    assert not unused, f"named in pyproject.toml, imported nowhere in sidegate: {', '.join(unused)}"


def test_top_level_names() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git clone: what belongs to the repository cannot be told from what was built")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    strange = {name.split("/")[0] for name in listed} - TOP_LEVEL
    assert not strange, f"not a place that ARCHITECTURE.md knows: {', '.join(sorted(strange))}"


def lines(function: Function) -> int:
    """Lines from ``def`` to the end, docstring included: it has to be read too."""
    return (function.end_lineno or 0) - function.lineno + 1


def parameters(function: Function) -> int:
    arguments = function.args
    return len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)
