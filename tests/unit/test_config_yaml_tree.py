"""YAML as plain values: core schema of YAML 1.2, variables, positions, bounds."""

from __future__ import annotations

import pytest
import yaml

from sidegate.config import yaml_tree
from sidegate.config.yaml_tree import YamlError, escape, read_document, resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(text, None) for text in ("", "~", "null", "Null", "NULL")],
        *[(text, True) for text in ("true", "True", "TRUE")],
        *[(text, False) for text in ("false", "False", "FALSE")],
        *[
            ("0660", 660),
            ("-5", -5),
            ("+5", 5),
            ("0o17", 15),
            ("0x1F", 31),
            ("1e3", 1000.0),
            (".5", 0.5),
            ("-1.", -1.0),
        ],
        *[
            (text, text)
            for text in ("yes", "off", "0:30", "1_000", "2026-01-01", ".inf", ".nan", ".", "0b1", "1" * 101)
        ],
    ],
)
def test_plain_scalars_resolve_by_the_core_schema(text: str, value: object) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${N}", 2),
        ("'${N}'", "2"),
        ("${N}0", 20),
        ("a${N}b${N}", "a2b2"),
        ("${UNSET:-x y}", "x y"),
        ("${UNSET:-}", None),
        ("'${UNSET:-}'", ""),
        ("${EMPTY:-5}", 5),
        ("${EMPTY}", None),
        ("$${N}", "${N}"),
        ("$$${N}", "$${N}"),
        ("$N $ {N} 5$", "$N $ {N} 5$"),
        ("${LIST}", "[1, 2]"),
        ("|\n  ${N}\n", "2\n"),
    ],
)
def test_variables(text: str, value: object) -> None:
    document = read_document(text, {"N": "2", "EMPTY": "", "LIST": "[1, 2]"})
    assert document.mistakes == []
    assert document.value == value


@pytest.mark.parametrize("text", ["${", "$${", "$$${", "$$$${a}", "a${b}", "$", "{$$}"])
def test_escaped_text_comes_back(text: str) -> None:
    assert read_document(yaml.safe_dump([escape(text)]), {}).value == [text]


def test_positions_are_those_of_keys_and_values() -> None:
    document = read_document("\ufeffa:\n  - b: 'c'\n    d: &x [1,2]\ne: *x\n", {})
    assert document.value == {"a": [{"b": "c", "d": [1, 2]}], "e": [1, 2]}
    assert document.values[("a", 0, "b")] == (2, 8)
    assert document.values[("a", 0, "d", 1)] == (3, 14)
    assert document.values[("e",)] == (3, 8)
    assert document.keys == {("a",): (1, 1), ("a", 0, "b"): (2, 5), ("a", 0, "d"): (3, 5), ("e",): (4, 1)}


def test_explicit_keys_win_over_merged_ones_and_the_first_merged_over_later_ones() -> None:
    text = "{a: &a {x: 1, y: 1}, b: &b {x: 2, z: 2}, c: {<<: [*a, *b], y: 3}, d: {y: 4, <<: *a}, e: {'<<': 5}}"
    value = read_document(text, {}).value
    assert value["c"] == {"x": 1, "y": 3, "z": 2}
    assert value["d"] == {"x": 1, "y": 4}
    assert value["e"] == {"<<": 5}


def test_a_mistake_is_told_wherever_an_alias_brings_it() -> None:
    document = read_document("{a: &a {k: 1, k: 2}, b: {<<: *a}, c: {<<: *a}}", {})
    assert [(position, message) for position, _, message in document.mistakes] == [
        ((1, 15), "the key 'k' is already in line 1")
    ] * 3
    assert len({path for _, path, _ in document.mistakes}) == 3


@pytest.mark.parametrize("text", ["", "# comment", "\ufeff", "---\n", "--- null"])
def test_no_content_is_none(text: str) -> None:
    document = read_document(text, {})
    assert document.value is None
    assert document.mistakes == []


@pytest.mark.parametrize("text", ["a\0", "a: \ud800", "\x1b", "x\uffff"])
def test_characters_that_yaml_does_not_know_are_told_with_their_place(text: str) -> None:
    with pytest.raises(YamlError, match="is not allowed") as caught:
        read_document("ok: 1\n" + text, {})
    assert caught.value.position == (2, len(text))


def test_the_python_parser_of_pyyaml_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: [1, {b: c}]\nd: |\n  e\nf: &x 'g'\nh: *x\n"
    expected = read_document(text, {})
    monkeypatch.setattr(yaml_tree, "_LOADER", yaml.SafeLoader)
    assert read_document(text, {}) == expected
    with pytest.raises(YamlError, match="not valid YAML"):
        read_document("a: [1", {})
    with pytest.raises(YamlError, match="not valid YAML"):
        read_document('"\\ud800', {})
    document = read_document('"\\ud800"', {})
    assert [message for *_, message in document.mistakes] == ["must be valid Unicode after its variables were replaced"]
