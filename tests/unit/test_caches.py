"""The rule that bounds caches, and that every cache of what peers send obeys it."""

from __future__ import annotations

import ast

from sidegate.caches import remember
from tests.layout.modules import PACKAGE, SOURCE


def test_a_full_cache_is_emptied_and_what_is_usual_is_cached_again() -> None:
    cache: dict[int, str] = {}
    for number in range(100):  # one client that fills it
        remember(cache, number, "attack", 8)
        assert len(cache) <= 8
        assert cache[number] == "attack"
    remember(cache, -1, "usual", 8)
    assert cache[-1] == "usual"


def test_a_cache_of_one_entry() -> None:
    cache: dict[int, int] = {}
    for number in (1, 2, 2):
        remember(cache, number, number, 1)
        assert cache == {number: number}


def test_no_module_bounds_a_cache_by_a_rule_of_its_own() -> None:
    """Neither "store it unless the cache is full", which one client could switch off, nor ``clear`` by hand."""
    folder = SOURCE / PACKAGE
    found = []
    for path in sorted(folder.rglob("*.py")):
        if path.name != "caches.py":
            found += [
                f"{path.relative_to(folder)}:{node.lineno}" for node in bounded_by_hand(ast.parse(path.read_text()))
            ]
    assert found == []


def bounded_by_hand(tree: ast.AST) -> list[ast.If]:
    """Each ``if`` that compares the length of something with a bound and then stores into it or clears it."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and any(stores_into(node, name) for name in measured_in(node.test))
    ]


def measured_in(test: ast.expr) -> list[str]:
    """``x`` of each comparison ``len(x) < BOUND``, where the bound is a constant of a module."""
    found = []
    for node in ast.walk(test):
        if isinstance(node, ast.Compare) and isinstance(node.comparators[0], ast.Name):
            left = node.left
            if isinstance(left, ast.Call) and ast.unparse(left.func) == "len" and node.comparators[0].id.isupper():
                found.append(ast.unparse(left.args[0]))
    return found


def stores_into(node: ast.If, name: str) -> bool:
    """Whether the body assigns ``name[...]`` or calls ``name.add`` or ``name.clear``."""
    for child in ast.walk(ast.Module(node.body, [])):
        if isinstance(child, ast.Subscript) and isinstance(child.ctx, ast.Store) and ast.unparse(child.value) == name:
            return True
        if isinstance(child, ast.Call) and ast.unparse(child.func) in (f"{name}.add", f"{name}.clear"):
            return True
    return False


def test_a_rule_of_its_own_is_found() -> None:
    by_hand = "if len(seen) < MOST and small:\n    seen[key] = value\nif len(self.all) >= MOST:\n    self.all.clear()\n"
    assert len(bounded_by_hand(ast.parse(by_hand))) == 2
    assert bounded_by_hand(ast.parse("if len(key) < MOST:\n    seen[key] = value\n")) == []
