"""The words of other servers: what is advised has to exist."""

from __future__ import annotations

import re

import pytest

from sidegate.config import foreign
from sidegate.config.model import Model
from sidegate.config.schema import Config
from sidegate.config.structure import fields, inner, is_model

QUOTED = re.compile(r"(?<!\w)'([A-Za-z0-9.]+)'")


def every_key(model: type[Model], found: set[str]) -> set[str]:
    """The keys of ``model`` and of the models in it."""
    found |= {*model.short_forms, *fields(model)}
    for field in fields(model).values():
        inside = inner(field.annotation)
        if is_model(inside):
            every_key(inside, found)
    return found


KEYS = every_key(Config, set())
EVERY = {"": foreign._ADVICE, **foreign._ADVICE_AT}


@pytest.mark.parametrize("part", EVERY)
def test_every_key_that_is_named_exists(part: str) -> None:
    for advice in EVERY[part].values():
        for name in QUOTED.findall(advice.replace("'app: module:attribute'", "'app'")):
            assert set(name.split(".")) <= KEYS, advice


@pytest.mark.parametrize("part", EVERY)
def test_every_word_stands_once_and_is_folded(part: str) -> None:
    words = [word for row in EVERY[part] for word in row.split()]
    assert len(set(words)) == len(words) > 3
    assert [foreign.folded(word) for word in words] == words
    assert all(foreign.advice(word, part) for word in words)


def test_a_word_in_any_spelling() -> None:
    assert foreign.advice("proxy_pass") == foreign.advice("proxyPass") == foreign.advice("PROXY-PASS") != ""
    assert foreign.advice("sidegate") == ""


def test_a_word_may_mean_something_else_in_a_route() -> None:
    assert "hostnames" in foreign.advice("host", "routes")
    assert "address" in foreign.advice("host", "listeners")
