"""The kinds of backend: the table of the configuration, and the table of modules."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import json
import socket
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from sidegate.aio.event_loops import ProcessLoop
from sidegate.backends import kinds
from sidegate.backends.app import loading
from sidegate.backends.app.loading import LoadedApp
from sidegate.backends.kinds import MODULES, build_backends
from sidegate.backends.respond import RespondBackend
from sidegate.config.backends import KINDS, BackendConfig, Respond
from sidegate.config.hop import worker_config
from sidegate.config.plain import pack
from sidegate.config.schema import Config, PoolConfig
from sidegate.config.validation import validate
from sidegate.process import worker
from sidegate.process.privileges import PoolKeyError
from sidegate.process.runtime import import_applications

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
    rows = list(KINDS.values())
    for place, row in enumerate(rows):
        assert not [later for later in rows[place + 1 :] if set(row.selected_by) <= set(later.selected_by)]


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


# Modules.


def test_both_tables_name_the_same_kinds() -> None:
    assert list(MODULES) == list(KINDS)


@pytest.mark.parametrize("kind", MODULES)
def test_the_module_of_a_kind_builds_it(kind: str) -> None:
    assert callable(importlib.import_module(MODULES[kind]).build)


def imported_with(*examples: dict[str, Any]) -> set[str]:
    """The modules of kinds that a process has imported which runs these backends and no other."""
    program = (
        "import json, sys; from sidegate.process import front, runtime; from sidegate.backends.kinds import *; "
        "from sidegate.config.plain import unpack; "
        "import_builders(unpack(BackendConfig, one) for one in json.loads(sys.argv[1])); "
        "print(*(name for name in MODULES.values() if name in sys.modules))"
    )
    packed = json.dumps([pack(validate(BackendConfig, example)) for example in examples])
    command = [sys.executable, "-c", program, packed]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("kind", MODULES)
def test_only_the_modules_of_kinds_in_use_are_imported(kind: str) -> None:
    example = next(data for data, name, *_ in EXAMPLES if name == kind)
    assert imported_with(example) == {MODULES[kind]}


def test_without_backends_no_module_of_a_kind_is_imported() -> None:
    assert imported_with() == set()


def test_all_modules_are_imported_before_the_first_application(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def import_module(name: str) -> SimpleNamespace:
        steps.append("import")
        return SimpleNamespace(build=lambda context: steps.append(context.name))

    def load_app(reference: str, *_: Any) -> LoadedApp:
        steps.append(reference)
        return LoadedApp(load_app, "asgi", "ASGI 3 application")

    monkeypatch.setattr(kinds, "import_module", import_module)
    monkeypatch.setattr(loading, "load_app", load_app)
    written = {"first": {"app": "shop:app"}, "second": {"respond": {}}, "third": {"app": "shop:app"}}
    config: Any = SimpleNamespace(backends={name: validate(BackendConfig, data) for name, data in written.items()})
    unused: Any = None
    with ProcessLoop("auto") as loop:
        assert set(import_applications(config, loop).loaded) == {"first", "third"}
    assert steps == ["import", "import", "shop:app", "shop:app"]
    steps.clear()
    assert build_backends(config, unused, unused, {}, []) == {}
    assert steps == ["import", "import", "first", "second", "third"]


def test_a_worker_imports_its_module_before_it_changes_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def apply_privileges(_: PoolConfig) -> None:
        steps.append("change the user")
        raise PoolKeyError("user", "this process is no worker")

    monkeypatch.setattr(worker, "process_log", SimpleNamespace(set_up=lambda _: None))
    monkeypatch.setattr(worker, "import_builders", lambda backends: steps.extend(one.kind for one in backends))
    monkeypatch.setattr(worker, "apply_privileges", apply_privileges)
    written = {
        "listeners": [{"name": "http", "address": ":0"}],
        "backends": {"shop": {"app": "shop:app", "pool": {}}},
        "routes": [{"backend": "shop"}],
    }
    first = {
        "backend": "shop",
        "config": pack(worker_config(validate(Config, written), "shop")),
        "pool": pack(PoolConfig()),
    }
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert worker.prepared(first, theirs)[1] is None
    assert steps == ["app", "change the user"]
