"""The kinds of backend: the table of the configuration, and the table of modules."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from sidegate.backends.respond import RespondBackend
from sidegate.config.backends import KINDS, BackendConfig, Respond
from sidegate.config.validation import validate

# One backend of each kind, or several of one: kind, description, whether requests may queue, whether on threads.
EXAMPLES: list[tuple[dict[str, Any], str, str, bool, bool]] = [
    ({"app": "shop:app", "pool": {"workers": 1}}, "pool", "shop:app, 1 worker", True, False),
    ({"app": "shop:app", "pool": {"workers": 2}}, "pool", "shop:app, 2 workers", True, False),
    ({"app": "shop:app", "pool": {"workers": {"max": 3}}}, "pool", "shop:app, 1 to 3 workers", True, False),
    ({"app": "shop:app"}, "app", "shop:app", True, True),
    ({"app": "shop:app", "interface": "wsgi"}, "app", "shop:app", True, True),
    ({"app": "shop:app", "interface": "asgi"}, "app", "shop:app", False, False),
    ({"respond": {}}, "respond", "responds 200", False, False),
    ({"respond": {"status": 503}}, "respond", "responds 503", False, False),
    ({"h2c": ["unix:/a", "tcp://b:1"]}, "h2c", "h2c unix:/a, h2c tcp://b:1", True, False),
    ({"h2": "tcp://b:1"}, "h2", "h2 tcp://b:1", True, False),
]


@pytest.mark.parametrize(("data", "kind", "text", "queue", "threads"), EXAMPLES, ids=str)
def test_the_kind_of_a_backend(data: dict[str, Any], kind: str, text: str, queue: bool, threads: bool) -> None:
    backend = validate(BackendConfig, data)
    assert backend.kind == kind
    assert backend.describe() == text
    assert (backend.may_queue, backend.may_have_threads) == (queue, threads)


def test_every_kind_has_an_example() -> None:
    assert {kind for _, kind, *_ in EXAMPLES} == set(KINDS)


def test_every_key_of_a_backend_belongs_to_a_kind() -> None:
    known = {key for kind in KINDS.values() for key in (*kind.selected_by, *kind.keys)}
    assert known == {field.name for field in dataclasses.fields(BackendConfig)}


def test_a_kind_that_needs_more_keys_comes_before_one_that_needs_some_of_them() -> None:
    kinds = list(KINDS.values())
    for place, kind in enumerate(kinds):
        assert not [later for later in kinds[place + 1 :] if set(kind.selected_by) <= set(later.selected_by)]


def test_what_a_kind_does_not_need_it_need_not_have() -> None:
    backend = RespondBackend("fixed", Respond())
    assert (backend.name, backend.interface, backend.statistics(), backend.put_behind_front()) == (
        "fixed",
        "",
        {},
        None,
    )
    backend.set_workers([(1, "/run/worker")])
    asyncio.run(backend.start())
    asyncio.run(backend.stop())
