"""No task of Sidegate's own is made by an application's task factory."""

from __future__ import annotations

import ast

import pytest

from tests.layout.modules import Module, modules

WITHOUT_APPLICATIONS = ("sidegate.supervisor.", "sidegate.admin.")
"""Modules of the supervisor's process, in which no application runs."""

MAKERS = {"create_task", "ensure_future", "TaskGroup", "wait_for", "run_coroutine_threadsafe"}
"""Functions that call ``loop.create_task`` on some version of Python; see ``sidegate.aio.tasks``."""

MODULES = [module for name, module in modules().items() if not name.startswith(WITHOUT_APPLICATIONS)]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_tasks_are_made_by_one_module(module: Module) -> None:
    tree = ast.parse(module.path.read_text())
    named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    named |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not named & MAKERS
