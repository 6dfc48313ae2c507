"""How large files, functions and classes are, and which attributes are stored in objects after their construction.

Python is read with ``ast``, Cython (``.pyx``, ``.pxi``, ``.pxd``) with regular expressions: enough for the layout of
definitions that the formatter of Python would leave, which is the layout used here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.layout.modules import PACKAGE, SOURCE, Function, Module, modules

_INCLUDE = re.compile(r'^include "([^"]+)"', re.MULTILINE)
_DEFINITION = re.compile(
    r"^(?P<indent> *)(?:async )?(?:def|cdef|cpdef)\s(?!class\b)[^(=\n]*?"
    r"(?P<name>\w+)\((?P<parameters>[^)]*)\)[^:=\n]*:[ ]*(?:#.*)?$",
    re.MULTILINE,
)
_CYTHON_CLASS = re.compile(r"^cdef class (?P<name>\w+).*:$", re.MULTILINE)
_CYTHON_ATTRIBUTE = re.compile(
    r"^ {4}cdef (?!class\b|inline\b)[^(=\n]*?(?P<name>\w+)(?:\[[^\n]*\])?\s*(?:#.*)?$", re.MULTILINE
)


def cython_sources() -> dict[str, str]:
    """The text of each ``.pyx``, with the files that it includes, and of each ``.pxd``, by dotted name."""
    found = {}
    for path in sorted((SOURCE / PACKAGE).rglob("*.p[yx][xd]")):
        included = [(path.parent / name).read_text() for name in _INCLUDE.findall(path.read_text())]
        found[_dotted(path) + (".pxd" if path.suffix == ".pxd" else "")] = "".join([path.read_text(), *included])
    return found


def lines(text: str) -> int:
    """Lines of a file."""
    return text.count("\n")


def functions(module: Module) -> Iterator[tuple[str, int, int]]:
    """Name, lines and parameters of each function and method; the lines from ``def`` to the end, docstring included."""
    for function in module.functions:
        arguments = function.args
        parameters = len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)
        yield function.name, (function.end_lineno or 0) - function.lineno + 1, parameters


def cython_functions(text: str) -> Iterator[tuple[str, int, int]]:
    """The same of Cython."""
    for match in _DEFINITION.finditer(text):
        names = [name for name in match["parameters"].split(",") if name.strip(" \n*")]
        yield match["name"], lines(match[0]) + 1 + lines(_block(text, match.end(), len(match["indent"]))), len(names)


def classes(module: Module) -> Iterator[tuple[str, int, int]]:
    """Name, number of methods and number of attributes of each class.

    A property is a method. An attribute is what a method stores in ``self``, a slot, or an annotated name of the class;
    what a base class counts is counted once more only if it is stored here as well.
    """
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef):
            methods = [item.name for item in node.body if isinstance(item, Function)]
            yield node.name, len(methods), len(set(_attributes(node)))


def cython_classes(text: str) -> Iterator[tuple[str, int, int]]:
    """The same of Cython: there every attribute is declared."""
    for match in _CYTHON_CLASS.finditer(text):
        body = _block(text, match.end(), 0)
        methods = [found["name"] for found in _DEFINITION.finditer(body) if found["indent"] == " " * 4]
        yield match["name"], len(methods), len(_CYTHON_ATTRIBUTE.findall(body))


def late_stores(module: Module) -> Iterator[tuple[str, str]]:
    """Function and ``Class.attribute`` for each attribute that a function stores in an object which it has made.

    Only objects of our own classes count, and only outside of their modules: what a class cannot be given by its
    parameters is a matter of its own module.
    """
    known = _own_classes(module)
    for function in module.functions:
        made: dict[str, str] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
                called = ast.unparse(node.value.func)
                names = [target.id for target in _targets(node) if isinstance(target, ast.Name)]
                made.update(dict.fromkeys(names, known[called]) if called in known else {})
        for node in ast.walk(function):
            for target in _targets(node):
                if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id in made:
                    yield function.name, f"{made[target.value.id]}.{target.attr}"


def _own_classes(module: Module) -> dict[str, str]:
    """The names by which ``module`` may call the classes of other modules of the package, and what they are called."""
    names = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                name = alias.asname or alias.name
                if alias.name in _class_names(node.module):
                    names[name] = alias.name
                for inner in _class_names(f"{node.module}.{alias.name}"):
                    names[f"{name}.{inner}"] = inner
    return names


def _class_names(module: str) -> set[str]:
    if module not in modules():
        return set()
    return {node.name for node in modules()[module].tree.body if isinstance(node, ast.ClassDef)}


def _attributes(node: ast.ClassDef) -> Iterator[str]:
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            yield item.target.id
        elif isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "__slots__":
            yield from ast.literal_eval(item.value)
        elif isinstance(item, Function) and item.args.args:
            yield from _stored(item, item.args.args[0].arg)


def _stored(function: Function, self: str) -> Iterator[str]:
    for node in ast.walk(function):
        for target in _targets(node):
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == self:
                yield target.attr


def _targets(node: ast.AST) -> Iterator[ast.expr]:
    """What a statement stores to, the items of tuples singly."""
    if isinstance(node, ast.Assign):
        found = list(node.targets)
    elif isinstance(node, ast.AnnAssign | ast.AugAssign):
        found = [node.target]
    else:
        return
    while found:
        target = found.pop()
        if isinstance(target, ast.Tuple | ast.List):
            found += target.elts
        else:
            yield target


def _block(text: str, start: int, indent: int) -> str:
    """The lines behind ``start`` that stand deeper than ``indent``."""
    end = re.compile(rf"\n(?:[ \t]*\n)*(?! {{{indent + 1}}})(?=[^\n])").search(text, start)
    return text[start : end.start() + 1 if end else len(text)].removeprefix("\n")


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)
