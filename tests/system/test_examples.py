"""Every example configuration passes ``sidegate check``, applications and certificates included."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.server import run_cli

EXAMPLES = sorted((Path(__file__).parents[2] / "config").glob("*.yaml"))


@pytest.fixture
def certificates(tmp_path: Path, authority: Authority) -> Path:
    """The folder that the examples' ``${CERTIFICATES}`` stands for."""
    for name, host in [("example.com", "example.com"), ("wildcard.example.com", "*.example.com")]:
        pair = authority.server(host)
        shutil.copy(pair.cert, tmp_path / f"{name}.crt")
        shutil.copy(pair.key, tmp_path / f"{name}.key")
    shutil.copy(authority.ca, tmp_path / "partners-ca.crt")
    return tmp_path


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_check_accepts(path: Path, certificates: Path) -> None:
    result = run_cli("check", str(path), env={"CERTIFICATES": str(certificates)})
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{path}: ok\n")
