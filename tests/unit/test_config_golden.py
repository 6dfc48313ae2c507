"""Files with mistakes and the exact lines they give; good files and what they mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sidegate.config.load import loads
from sidegate.config.plain import dump
from sidegate.config.write import to_yaml

GOLDEN = Path(__file__).parents[1] / "config" / "golden"
ENVIRON = {"PORT": "8080", "EMPTY": "", "WORD": "word", "SURROGATE": "a\udc80", "LEVEL": "debug"}


@pytest.mark.parametrize("expected", sorted(GOLDEN.glob("*.txt")), ids=lambda path: path.stem)
def test_mistakes_give_exactly_these_lines(expected: Path) -> None:
    text = expected.with_suffix(".yaml").read_text(encoding="utf-8")
    loaded = loads(text, f"/etc/sidegate/{expected.stem}.yaml", ENVIRON)
    assert "".join(f"{problem}\n" for problem in loaded.problems) == expected.read_text(encoding="utf-8")
    assert loaded.config is None


@pytest.mark.parametrize("expected", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_good_files_mean_exactly_this(expected: Path) -> None:
    text = expected.with_suffix(".yaml").read_text(encoding="utf-8")
    loaded = loads(text, f"/etc/sidegate/{expected.stem}.yaml", ENVIRON)
    assert loaded.problems == ()
    assert loaded.config is not None
    assert dump(loaded.config, defaults=False) == json.loads(expected.read_text(encoding="utf-8"))


def test_every_golden_input_has_its_expectation() -> None:
    inputs = {path.stem for path in GOLDEN.glob("*.yaml")}
    assert len(inputs) > 20
    assert inputs == {path.stem for path in GOLDEN.iterdir() if path.suffix in (".txt", ".json")}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_good_files_come_back_from_their_short_yaml(path: Path) -> None:
    text = path.with_suffix(".yaml").read_text(encoding="utf-8")
    config = loads(text, f"/etc/sidegate/{path.stem}.yaml", ENVIRON).config
    assert config is not None
    assert loads(to_yaml(config), "anywhere.yaml", {}).config == config
