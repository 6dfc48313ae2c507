"""Applications are imported, and their factories called, before the event loop runs: everywhere, and by ``check``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.places import PLACES, everywhere
from tests.support.server import Sidegate, app_config, http_get, run_cli

APPS = {"asgi": "early_imports:asgi", "wsgi": "early_imports:wsgi", "made": "early_imports:make()"}

KEPT = "the application kept the event loop, or started a task, while it was imported"


def test_what_fails_within_a_running_loop_works(tmp_path: Path) -> None:
    with everywhere(tmp_path, APPS) as server:
        found = {(place, name): http_get(server.url(f"/{place}/{name}/")) for place in PLACES for name in APPS}
        # A preloader closes its loop, and each forked worker has its own.
        other = {("preload", "asgi"), ("preload", "wsgi")}
        assert found == {key: (200, str(key not in other)) for key in found}
        checked = run_cli("check", str(server.config_path))
        assert checked.returncode == 0
        assert checked.stderr.count(KEPT) == server.log().count(KEPT) == len(APPS)  # one for each preloader


NEEDS_A_LOOP = {
    "import": "asyncio.get_running_loop()\ndef make(): return app\n",
    "task": "async def work(): pass\nasyncio.create_task(work())\ndef make(): return app\n",
    "cause": """
try:
    asyncio.get_running_loop()
except RuntimeError as error:
    raise ValueError("no pool") from error
""",
    "factory": "def make(): return asyncio.get_running_loop()\n",
}
"""Modules whose import or factory fails without a running loop."""

ADVICE = "belongs into the lifespan startup"


def write(folder: Path, name: str, **backend: Any) -> dict[str, Any]:
    """The module ``needy`` and the configuration that serves it."""
    text = f"import asyncio\nasync def app(scope, receive, send): pass\n{NEEDS_A_LOOP[name]}"
    (folder / "needy.py").write_text(text)
    config = app_config("needy:make()")
    config["backends"]["app"].update(directory=str(folder), **backend)
    return config


@pytest.mark.parametrize("name", NEEDS_A_LOOP)
def test_what_needs_a_running_loop_is_told_where_it_belongs(tmp_path: Path, name: str) -> None:
    path = tmp_path / "sidegate.yaml"
    path.write_text(yaml.safe_dump({**write(tmp_path, name), "admin": False}))
    commands = [
        ["check", str(path)],
        ["serve", str(path)],
        ["worker", "needy:make()", "--directory", str(tmp_path), "--bind", f"unix:{tmp_path}/socket"],
    ]
    for command in commands:
        result = run_cli(*command)
        assert result.returncode == 2, (command, result)
        assert ADVICE in result.stderr


@pytest.mark.parametrize(("name", "preload"), [("import", True), ("factory", True), ("factory", False)])
def test_in_a_pool_it_is_in_the_log(tmp_path: Path, name: str, preload: bool) -> None:
    config = write(tmp_path, name, pool={"workers": 1, "preload": preload})
    with contextlib.closing(Sidegate(tmp_path, config)) as server:
        server.wait_log(ADVICE, patience=60)
