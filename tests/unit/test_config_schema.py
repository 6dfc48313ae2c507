"""The models from Python: short forms, comparison of the parts, JSON and back, the cost of the import."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from sidegate.config.plain import dump
from sidegate.config.schema import Config, ConnectionTimeouts, Limits, Match, PathMatch
from sidegate.config.structure import fields
from sidegate.config.validation import validate, validate_file

MINIMAL = {
    "listeners": [{"name": "http", "address": ":8080"}],
    "backends": {"hello": {"respond": {}}},
    "routes": [{"path": "/x", "backend": "hello"}],
}


def test_short_forms_become_long_ones() -> None:
    config = validate(Config, MINIMAL)
    assert config.listeners[0].addresses == (":8080",)
    assert config.routes[0].matches == (Match(path=PathMatch(value="/x")),)
    assert [(ref.name, ref.weight) for ref in config.routes[0].backend_refs] == [("hello", 1)]
    assert config.routes[0].name == "route-1"


def test_defaults_of_the_design() -> None:
    config = validate(Config, MINIMAL)
    assert config.limits == Limits()
    assert (config.admin, config.processes, config.http2_engine) == (None, 1, "auto")
    assert config.listeners[0].protocols == ("h2", "http/1.1")
    assert (config.limits.request_line, config.timeouts.keep_alive, config.limits.request_body) == (8192, 75.0, 2**24)
    assert config.limits.concurrent_requests == 1000


@pytest.mark.parametrize("number", [-1, 1_000_001, 1.5, "many"])
def test_concurrent_requests_are_a_number_within_bounds(number: object) -> None:
    with pytest.raises(ValidationError, match=r"limits\.concurrentRequests"):
        validate(Config, {**MINIMAL, "limits": {"concurrentRequests": number}})


def test_json_comes_back_equal() -> None:
    limits = {"limits": {"request_body": 1000}, "timeouts": {"keep_alive": "1m30s"}}
    config = validate(Config, {**MINIMAL, **limits, "grace_period": 10.5, "admin": {}})
    assert validate_file(Config, dump(config), "/") == config


def test_mistakes_between_the_parts_are_all_in_one_error() -> None:
    with pytest.raises(ValidationError) as caught:
        validate(
            Config,
            {
                **MINIMAL,
                "listeners": [*MINIMAL["listeners"], *MINIMAL["listeners"]],
                "routes": [{"backend": "helo"}],
                "shutdown_delay": 30,
                "admin": {"address": ":8080"},
            },
        )
    (error,) = caught.value.errors()
    assert error["msg"] == (
        "Value error, listeners[1].name: the name 'http' is already used by listeners[0]; "
        "listeners[1].addresses[0]: the address ':8080' is already used by listeners[0]; "
        "admin.address: the address ':8080' is already used by listeners[0]; "
        "routes[0].backendRefs[0].name: there is no backend 'helo'; did you mean 'hello'?; "
        "shutdownDelay: must not be longer than gracePeriod, of which it is a part"
    )


def test_models_are_frozen() -> None:
    config = validate(Config, MINIMAL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.processes = 2  # type: ignore[misc]  # mypy says it too


def test_processes_auto_counts_the_cpus_where_affinity_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert validate(Config, {**MINIMAL, "processes": "auto"}).processes == 3


def test_every_field_is_described() -> None:
    for field in (*fields(Limits).values(), *fields(ConnectionTimeouts).values()):
        assert field.metadata["description"]


@pytest.mark.parametrize(
    "module",
    [
        "pydantic",
        "pydantic_core",
        "yaml",
        "sidegate.config.load",
        "sidegate.config.reference",
        "sidegate.config.json_schema",
    ],
)
def test_the_schema_is_imported_without(module: str) -> None:
    program = f"import sys, sidegate.config.schema; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
