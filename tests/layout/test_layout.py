"""The tree is what ARCHITECTURE.md says: who may import whom, and how large things may grow."""

from __future__ import annotations

import ast
import graphlib
import re
import shutil
import statistics
import subprocess
import tomllib
from collections.abc import Iterable, Iterator

import pytest

from sidegate.ipc import borrowed_packages
from tests.layout import sizes
from tests.layout.modules import ROOT, Module, modules, own_imports

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
    ("wire", "route"),
    ("config", "ipc", "aio"),
    ("asgi", "errors", "caches"),
    ("",),  # sidegate/__init__.py: the version
    ("compiled", "compile_cache"),
)
ROW_OF = {name: number for number, row in enumerate(ROWS) for name in row}

MAX_FILE_LINES = 500  # a .pyx counts together with what it includes
MAX_MEDIAN_FILE_LINES = 200
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 7  # self counts: it has to be known like any other
MAX_METHODS = 25
MAX_ATTRIBUTES = 20

# What may be larger, and why: `name: ceiling`, as the tests below write it.
EXCEPTIONS = {
    "sidegate.config.pool.PoolConfig: attributes": "data: one field a key of the configuration",
    "sidegate.wire.http1.server.Http1Codec: methods": "the seam of a codec alone has 20",
    "sidegate.wire.http2.server.Http2Codec: methods": "the seam of a codec has 20, and each kind of frame has one",
    "sidegate.wire.http1.client.Http1ClientCodec: methods": "15 for its connection, and one for each part",
    "sidegate.wire.http2.client.Http2ClientCodec: methods": "15 for its connection, and one for each kind of frame",
    "sidegate.server.tls.transport.TlsTransport: methods": "6 of a protocol and 11 of a transport",
    "sidegate.wire.http2.nghttp2: lines": "C callbacks, fields and buffers call each other inline, in one C file",
    "sidegate.wire.http2.nghttp2.Nghttp2Engine: methods": "16 for the codec, and one for each callback of the library",
}

# A codec is sans-I/O: what would let it wait, look at a clock or print is not to be had.
WIRE_FORBIDDEN = {"asyncio", "socket", "ssl", "time", "logging", "threading"}

TOP_LEVEL = {
    ".ci", ".editorconfig", ".github", ".gitignore", ".pre-commit-config.yaml", "ARCHITECTURE.md", "CHANGELOG.md",
    "CONTRIBUTING.md", "DEVELOPERS.md", "LICENSE", "Makefile", "README.md", "SECURITY.md",
    "config", "dashboards", "deploy", "proxy", "pyproject.toml", "setup.py", "tests",
}  # fmt: skip

# Distribution name -> what is imported, where the two differ.
IMPORT_NAMES = {"pyyaml": "yaml"}

cython_sources = sizes.cython_sources()

every_cython_source = pytest.mark.parametrize("name", cython_sources)
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
    lent = set(borrowed_packages.BORROWED)
    importing = {name for name, module in modules().items() if {used.split(".")[0] for used in module.imports} & lent}
    assert importing == set(borrowed_packages.BORROWERS)
    assert not [name for name in importing if modules()[name].path.with_suffix(".pxd").exists()]
    for path in (ROOT / "proxy").rglob("*.p[yx][xi]"):
        words = re.findall(r"^\s*(?:from|import)\s+([A-Za-z_0-9]+)", path.read_text(), re.MULTILINE)
        assert not set(words) & lent, path


@every_module
def test_file_size(module: Module) -> None:
    assert not unexcused(large_file(module.name, module.text))


def test_median_file_size() -> None:
    found = [sizes.lines(module.text) for module in modules().values() if not module.is_package]
    assert statistics.median(found) <= MAX_MEDIAN_FILE_LINES


@every_module
def test_function_size_and_parameters(module: Module) -> None:
    assert not unexcused(large_functions(module.name, sizes.functions(module)))


@every_module
def test_class_size(module: Module) -> None:
    assert not unexcused(large_classes(module.name, sizes.classes(module)))


@every_module
def test_no_attribute_is_stored_in_a_new_object_from_outside(module: Module) -> None:
    assert not unexcused(late_stores(module)), "make it a parameter, or let a function beside the class store it"


@every_cython_source
def test_cython_sizes(name: str) -> None:
    assert not unexcused(large_cython(name))


def test_a_store_from_outside_is_seen() -> None:
    text = """
from sidegate.wire import events as e
from sidegate.wire.events import RequestHead

def made(target):
    head = RequestHead(1, "GET", target, [], "1.1")
    again = head
    other = held[1] = e.End(1, [])
    head.protocol, other.trailers = "websocket", []
    again.method = "POST"
"""
    module = Module("sidegate.made", ROOT / "made.py", is_package=False, text=text, tree=ast.parse(text))
    assert set(sizes.late_stores(module)) == {("made", "RequestHead.protocol"), ("made", "End.trailers")}


def test_every_exception_is_needed() -> None:
    assert not EXCEPTIONS.keys() - {excess for excess, _ in excesses()}


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


Excess = tuple[str, int]
"""`name: ceiling`, and how much it is."""


def unexcused(found: Iterable[Excess]) -> list[Excess]:
    return [excess for excess in found if excess[0] not in EXCEPTIONS]


def excesses() -> Iterator[Excess]:
    """Whatever is too large."""
    for module in modules().values():
        yield from large_file(module.name, module.text)
        yield from large_functions(module.name, sizes.functions(module))
        yield from large_classes(module.name, sizes.classes(module))
        yield from late_stores(module)
    for name in cython_sources:
        yield from large_cython(name)


def large_file(name: str, text: str) -> Iterator[Excess]:
    if sizes.lines(text) > MAX_FILE_LINES:
        yield f"{name}: lines", sizes.lines(text)


def large_functions(module: str, functions: Iterable[tuple[str, int, int]]) -> Iterator[Excess]:
    for name, lines, parameters in functions:
        if lines > MAX_FUNCTION_LINES:
            yield f"{module}.{name}: lines", lines
        if parameters > MAX_PARAMETERS:
            yield f"{module}.{name}: parameters", parameters


def large_classes(module: str, classes: Iterable[tuple[str, int, int]]) -> Iterator[Excess]:
    for name, methods, attributes in classes:
        if methods > MAX_METHODS:
            yield f"{module}.{name}: methods", methods
        if attributes > MAX_ATTRIBUTES:
            yield f"{module}.{name}: attributes", attributes


def late_stores(module: Module) -> Iterator[Excess]:
    for function, attribute in sizes.late_stores(module):
        yield f"{module.name}.{function}: {attribute} from outside", 1


def large_cython(name: str) -> Iterator[Excess]:
    text = cython_sources[name]
    yield from large_file(name, text)
    yield from large_functions(name, sizes.cython_functions(text))
    yield from large_classes(name, sizes.cython_classes(text))
