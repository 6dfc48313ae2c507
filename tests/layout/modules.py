"""What the layout tests know about the tree: every module of ``proxy``, parsed, with its imports and functions."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "proxy"
PACKAGE = "sidegate"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    name: str
    path: Path
    is_package: bool
    text: str = field(repr=False)
    tree: ast.Module = field(repr=False)

    @property
    def imports(self) -> frozenset[str]:
        """Full dotted names of what is imported anywhere in the file, inside functions too.

        ``from a import b`` gives ``a.b``: whether ``b`` is a module or a name in ``a``, only the tree knows.
        """
        return frozenset(self._imports())

    def _imports(self) -> Iterator[str]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from (f"{self._base(node)}.{alias.name}" for alias in node.names)

    def _base(self, node: ast.ImportFrom) -> str:
        if node.level == 0:
            return node.module or ""
        package = self.name.split(".") if self.is_package else self.name.split(".")[:-1]
        base = package[: len(package) - node.level + 1]
        return ".".join([*base, node.module] if node.module else base)

    @property
    def functions(self) -> list[Function]:
        """Every function and method, nested ones too."""
        return [node for node in ast.walk(self.tree) if isinstance(node, Function)]


@functools.cache
def modules() -> dict[str, Module]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted((SOURCE / PACKAGE).rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        text = path.read_text()
        found[name] = Module(name, path, is_package, text, ast.parse(text, str(path)))
    return found


def own_imports(module: Module) -> set[str]:
    """The modules of the package that ``module`` imports (the extension module counts under its own name)."""
    return {_module_of(name) for name in module.imports if name.split(".")[0] == PACKAGE} - {module.name}


def _module_of(name: str) -> str:
    """``sidegate.errors.Refused`` -> ``sidegate.errors``; the name of a module stays."""
    is_extension = (SOURCE / Path(*name.split("."))).with_suffix(".pyx").exists()
    parent = name.rpartition(".")[0]
    return parent if name not in modules() and not is_extension and parent in modules() else name
