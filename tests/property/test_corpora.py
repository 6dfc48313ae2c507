"""The inputs that the fuzzer has kept (``make fuzz``), replayed without it."""

from __future__ import annotations

import importlib

import pytest

from tests.fuzz import corpora


@pytest.mark.parametrize("target", corpora.TARGETS)
def test_kept_inputs_break_no_invariant(target: str) -> None:
    check = importlib.import_module(f"tests.fuzz.targets.{target}").check
    inputs = corpora.read(target)
    assert inputs
    for data in inputs:
        check(data)


def test_the_corpora_are_small() -> None:
    assert sum(path.stat().st_size for path in corpora.FOLDER.iterdir()) <= corpora.MOST_BYTES
