"""What ``make`` runs for those who only read and lay out code."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.layout.modules import ROOT


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
@pytest.mark.parametrize(
    ("target", "purpose"), [("lint", "lint"), ("format", "lint"), ("check", "lint"), ("compile", "run")]
)
def test_only_who_runs_compiles(target: str, purpose: str) -> None:
    command = ["make", "--dry-run", "--no-print-directory", target]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line for line in lines if ".ci/" in line] == [f".ci/setup {purpose}"]
