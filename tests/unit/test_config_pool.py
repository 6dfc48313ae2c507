"""Pools and servers that somebody else runs: defaults, short forms, what is checked on this machine."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sidegate.config.address import Address, parse_upstream, upstream_text
from sidegate.config.load import loads
from sidegate.config.loaded import Loaded
from sidegate.config.plain import dump, pack, unpack
from sidegate.config.schema import (
    BackendConfig,
    Config,
    PoolConfig,
    Queue,
    Reload,
    UpstreamTls,
    WorkerCount,
    WorkerLimits,
)
from sidegate.config.validation import validate
from sidegate.config.write import to_yaml

GOOD = """\
listeners: [{name: http, address: ":8080"}]
routes: [{backend: shop}]
"""


def load_backend(text: str, folder: Path = Path("/etc/sidegate")) -> Loaded:
    return loads(f"{GOOD}backends:\n  shop: {text}\n", f"{folder}/a.yaml", {})


def backend(text: str, folder: Path = Path("/etc/sidegate")) -> BackendConfig:
    loaded = load_backend(text, folder)
    assert [str(problem) for problem in loaded.problems] == []
    return loaded.backends["shop"]


def only(loaded: Loaded) -> str:
    (problem,) = loaded.problems
    return str(problem)


def test_defaults_of_a_pool() -> None:
    shop = backend("{app: 'a:b', pool: {workers: 2}}")
    assert shop.pool == PoolConfig(workers=WorkerCount(min=2, max=2))
    pool = shop.pool
    assert (pool.concurrency, pool.start_timeout, pool.stop_timeout, pool.liveness_timeout) == (100, 60.0, 30.0, 30.0)
    assert (pool.max_requests, pool.max_age, pool.max_memory, pool.recycle_jitter) == (0, 0.0, 0, 10)
    assert (pool.python, pool.directory, pool.env, pool.env_file, pool.umask) == (None, None, {}, None, None)
    assert (pool.limits, pool.preload, pool.reload) == (WorkerLimits(), False, None)
    assert shop.queue == Queue(size=1000, timeout=10.0)
    assert pool.workers.idle_timeout == 60.0


def test_values_of_a_pool() -> None:
    pool = backend(
        "{app: 'a:b', pool: {workers: {max: 3}, umask: '027', maxMemory: 1Gi, limits: {memory: 2Gi}, "
        "env: {A: b}, reload: {watch: [src]}}}"
    ).pool
    assert pool is not None
    assert (pool.workers, pool.umask, pool.max_memory) == (WorkerCount(min=1, max=3), 0o027, 2**30)
    assert (pool.limits.memory, pool.env) == (2**31, {"A": "b"})
    assert pool.reload == Reload(watch=("/etc/sidegate/src",))


def test_auto_is_one_worker_for_each_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    pool = backend("{app: 'a:b', pool: {workers: auto}}").pool
    assert pool is not None
    assert pool.workers == WorkerCount(min=3, max=3)


def test_python_code_may_pass_models_and_tuples() -> None:
    workers = WorkerCount(min=1, max=2)
    assert validate(PoolConfig, {"workers": workers, "max_requests": 5, "recycle_jitter": 0}).workers == workers
    assert validate(BackendConfig, {"h2c": ("tcp://a:1",)}).h2c == ("tcp://a:1",)


def test_the_interpreter_is_one(tmp_path: Path) -> None:
    pool = backend(f"{{app: 'a:b', pool: {{workers: 1, python: {sys.executable}}}}}").pool
    assert pool is not None
    assert pool.python == os.path.normpath(sys.executable)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    pool = backend("{app: 'a:b', pool: {workers: 1, python: bin/python}}", tmp_path).pool
    assert pool is not None
    assert pool.python == f"{tmp_path}/bin/python"  # not what it points to: the virtual environment would be lost


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("venv", "'{folder}/venv' is a folder; did you mean '{folder}/venv/bin/python'?"),
        ("empty", "'{folder}/empty' is a folder"),
        ("text", "'{folder}/text' is not executable"),
        ("known", "there is no file '{folder}/known'; did you mean '{folder}/on-path/known'?"),
        ("unknown", "there is no file '{folder}/unknown'"),
    ],
)
def test_an_interpreter_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, message: str
) -> None:
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "on-path").mkdir()
    (tmp_path / "text").touch()
    for place in ("venv/bin/python", "on-path/known"):
        (tmp_path / place).symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path / "on-path"))
    found = only(load_backend(f"{{app: 'a:b', pool: {{workers: 1, python: {written}}}}}", tmp_path))
    expected = message.format(folder=tmp_path)
    assert found == f"{tmp_path}/a.yaml:4:49: backends.shop.pool.python: must be a Python interpreter, and {expected}"


def test_one_address_may_stand_without_a_list() -> None:
    assert backend("{h2c: 'unix:run/app.sock'}").h2c == ("unix:/etc/sidegate/run/app.sock",)
    assert backend("{h2: 'tcp://A.example:1'}").h2 == ("tcp://a.example:1",)
    assert backend("{h2: ['tcp://a:1', 'tcp://[::0:1]:1'], tls: {}}") == BackendConfig(
        h2=("tcp://a:1", "tcp://[::1]:1"), tls=UpstreamTls()
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{h2c: 'tcp://LABEL.test:80'}", "h2c: a label of a host name may have 63 characters, 'LABEL' has 70"),
        ("{h2c: ['tcp://a:1', 'tcp://é:1']}", "h2c[1]: must be in ASCII: write 'é' in its xn-- form"),
        ("{h2: 'tcp://a:1', tls: {serverName: a.LABEL}}", "tls.serverName: a label of a host name may have 63"),
        ("{h2: 'tcp://a:1', tls: {serverName: 'fe80::1%1'}}", "tls.serverName: must be without a zone"),
        ("{h2: 'tcp://a:1', tls: {serverName: a..b}}", "tls.serverName: must be a host name"),
    ],
)
def test_a_name_that_cannot_be_looked_up_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    label = "x" * 70
    found = only(load_backend(text.replace("LABEL", label), tmp_path))
    assert f"backends.shop.{problem.replace('LABEL', label)}" in found


def test_callers_place_problems_at_one_address_or_in_a_list() -> None:
    place = ("backends", "shop", "h2c", 0)
    assert str(load_backend("{h2c: 'tcp://a:1'}").problem(place, "x")) == (
        "/etc/sidegate/a.yaml:4:15: backends.shop.h2c: x"
    )
    assert str(load_backend("{h2c: ['tcp://a:1']}").problem(place, "x")) == (
        "/etc/sidegate/a.yaml:4:16: backends.shop.h2c[0]: x"
    )


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/a.sock", Address("unix", path="/run/a.sock")),
        ("tcp://Host.example:65535", Address("tcp", host="host.example", port=65535)),
        ("tcp://127.0.0.1:1", Address("tcp", host="127.0.0.1", port=1)),
        ("tcp://[::1]:8000", Address("tcp", host="::1", port=8000)),
    ],
)
def test_upstream_addresses(text: str, address: Address) -> None:
    assert parse_upstream(text) == address
    assert upstream_text(address) == text.lower()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("localhost:80", "tcp://localhost:80"),
        ("tcp:localhost:80", "tcp://localhost:80"),
        ("tcp:/localhost:80", "tcp://localhost:80"),
        ("http://localhost:80/", "tcp://localhost:80"),
        ("h2c://[::1]:80", "tcp://[::1]:80"),
        ("//run/app", "unix:/run/app"),
        ("unix://run/app", "unix:/run/app"),
    ],
)
def test_what_was_meant_by_other_forms_of_an_address(text: str, meant: str) -> None:
    with pytest.raises(ValueError, match="must be an address") as caught:
        parse_upstream(text)
    assert str(caught.value).endswith(f"; did you mean {meant!r}?")


@pytest.mark.parametrize(
    "text", ["", "unix://", "tcp://", "tcp://a b:1", "http://a/b", "localhost", "tcp://a:99999999"]
)
def test_what_has_no_likely_meaning_gets_no_hint(text: str) -> None:
    with pytest.raises(ValueError, match="must be an address") as caught:
        parse_upstream(text)
    assert "did you mean" not in str(caught.value)


def test_a_port_too_high() -> None:
    with pytest.raises(ValueError, match="from 1 to 65535, not '65536'"):
        parse_upstream("tcp://a:65536")


def test_pools_come_back_from_json_yaml_and_the_control_socket() -> None:
    text = (Path(__file__).parents[1] / "config" / "golden" / "good-pools.yaml").read_text(encoding="utf-8")
    config = loads(text, "/etc/sidegate/a.yaml", {}).config
    assert config is not None
    assert unpack(Config, json.loads(json.dumps(pack(config)))) == config
    assert validate(Config, dump(config)) == config
    assert loads(to_yaml(config), "a.yaml", {}).config == config
    for one in config.backends.values():
        if one.pool:
            assert unpack(PoolConfig, json.loads(json.dumps(pack(one.pool)))) == one.pool


def test_short_forms_are_written() -> None:
    pools: dict[str, Any] = {
        "a": {"app": "a:b", "pool": {"workers": 2}},
        "b": {"app": "a:b", "pool": {"workers": {"max": 1}}},
        "c": {"app": "a:b", "pool": {"workers": {"min": 2, "max": 2, "idleTimeout": "1s"}}},
        "d": {"h2c": ["tcp://a:1"]},
        "e": {"h2c": ["tcp://a:1", "tcp://b:1"]},
    }
    config = validate(
        Config,
        {"listeners": [{"name": "a", "address": ":1"}], "backends": pools, "routes": [{"backend": "a"}]},
    )
    written = to_yaml(config)
    assert "workers: 2\n" in written
    assert "pool: {}\n" in written
    assert "idleTimeout: 1s\n" in written
    assert "h2c: tcp://a:1\n" in written
    assert "h2c:\n    - tcp://a:1\n" in written
    assert loads(written, "a.yaml", {}).config == config


@pytest.mark.parametrize("workers", [0, 1025, True, 1.5, None, [1]])
def test_workers_that_are_no_number(workers: object) -> None:
    with pytest.raises(ValidationError, match="must be"):
        validate(PoolConfig, {"workers": workers})
