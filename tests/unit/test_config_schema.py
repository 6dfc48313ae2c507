"""The models from Python: short forms, comparison of the parts, JSON and back, the cost of the import."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from typing import Annotated

import pytest
from pydantic import ValidationError

from sidegate.config.limit import Limit, always, for_listener, kept, worker_values
from sidegate.config.model import Integer, Model, model, setting
from sidegate.config.plain import dump
from sidegate.config.renames import RENAMED, new_name
from sidegate.config.schema import (
    Config,
    ConnectionTimeouts,
    Limits,
    ListenerLimits,
    ListenerTimeouts,
    Match,
    PathMatch,
    limits_of,
)
from sidegate.config.structure import fields, inner, keys_at
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


def test_an_event_loop_may_be_blocked_for_a_second_at_least() -> None:
    for seconds in (0, 1, 86400):
        assert validate(Config, {**MINIMAL, "liveness_timeout": seconds}).liveness_timeout == seconds
    with pytest.raises(ValidationError, match="must be 0s or at least 1s"):
        validate(Config, {**MINIMAL, "liveness_timeout": 0.999})


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


LISTENERS = [
    {"name": "own", "address": ":1", "limits": {"requestBody": 0, "keepUnderscores": []}, "timeouts": {"write": "5s"}},
    {"name": "none", "address": ":2"},
]
LEVELS = {
    **MINIMAL,
    "listeners": LISTENERS,
    "limits": {"requestBody": 1000, "keepUnderscores": ["x_id"], "headerFields": 7, "concurrentRequests": 8},
    "timeouts": {"write": "9s", "keepAlive": "4s"},
}


def test_the_keys_of_a_listener_count_before_those_of_the_top_level() -> None:
    config = validate(Config, LEVELS)
    own, none = (limits_of(config, listener) for listener in config.listeners)
    assert vars(none) == {**vars(config.limits), **vars(config.timeouts)}
    changed = {"request_body": 0, "keep_underscores": (), "write": 5.0}
    assert vars(own) == {**vars(none), **changed}
    assert (none.request_body, none.keep_underscores, none.write, none.header_fields) == (1000, ("x_id",), 9.0, 7)


def test_a_listener_may_set_every_limit_that_is_not_the_processes() -> None:
    top = [fields(Limits), fields(ConnectionTimeouts)]
    own = [fields(ListenerLimits), fields(ListenerTimeouts)]
    assert top[0].keys() - own[0].keys() == {
        "concurrentRequests",
        "requestsPerClient",
        "connections",
        "connectionsPerClient",
        "websockets",
        "websocketsPerClient",
        "queueDelay",
    }
    assert top[1].keys() == own[1].keys()
    for key, field in {**own[0], **own[1]}.items():
        above = {**top[0], **top[1]}[key]
        assert field.default is None
        assert (field.name, field.metadata) == (above.name, above.metadata)
        assert inner(field.annotation) is inner(above.annotation)


def test_a_new_limit_is_one_edit() -> None:
    @model
    class Some(Model):
        anywhere: Annotated[Integer, Limit(kept)] = setting(default=1, ge=1, description="It may stand anywhere.")
        once: Annotated[Integer, Limit(always(0), top_level_only=True)] = setting(default=2, description="It may not.")

    @for_listener(Some)
    class OfListener(Model):
        """What a listener may set of them."""

    assert list(fields(OfListener)) == ["anywhere"]
    assert validate_file(OfListener, {"anywhere": 5}, "/") == validate(OfListener, {"anywhere": 5})
    for wrong in ({"anywhere": 0}, {"once": 1}):
        with pytest.raises(ValidationError):
            validate(OfListener, wrong)
    assert worker_values(Some(anywhere=3, once=4), []) == Some(anywhere=3, once=0)


def test_renamed_keys_are_unknown_and_their_new_names_known() -> None:
    known = {f"{part}.{key}" for part in ("limits", "timeouts") for key in keys_at((part,))}
    for place, new in RENAMED.items():
        assert ".".join(map(str, place)) not in known
        assert new in known
        assert new_name(place) == new_name(("listeners", 3, *place)) == new
    assert new_name(("timeouts", "writeStall")) is None


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
