"""``make attacks`` runs: one attack on one server, for a moment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.layout.modules import ROOT

RUNS = {
    "ping-flood": ("GOAWAY ENHANCE_YOUR_CALM", "connection_errors control_flood"),
    "request-line": ("FIN", "requests_refused request_line_too_long"),
    "tls-unfinished": ("", ""),
}


@pytest.mark.parametrize("attack", RUNS)
def test_an_attack_has_its_row(attack: str, tmp_path: Path) -> None:
    data, markdown = tmp_path / "r.json", tmp_path / "r.md"
    options = ["--attacks", attack, "--servers", "sidegate-h2", "--seconds", "1", "--after", "0"]
    result = subprocess.run(
        [sys.executable, "-m", "tests.attacks", *options, "--json", str(data), "--markdown", str(markdown)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    # A loaded machine may exceed a budget.
    assert result.returncode in (0, 1), result.stdout + result.stderr
    (row,) = json.loads(data.read_text())["rows"]
    assert row["note"] == "", result.stdout
    (only,) = row["rounds"]
    assert only["honest"]["requests"] == 200
    assert row["quiet"]["requests"] == 100
    end, reason = RUNS[attack]
    assert not end or end in only["attacker"]["ends"]
    assert not reason or reason in row["reasons"]
    assert only["attacker"]["sent"]
    assert attack in markdown.read_text()
