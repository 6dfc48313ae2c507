"""The event loop that the operator has chosen, in every process that runs applications."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Sidegate, app_config, http_get


@pytest.mark.parametrize("pool", [{}, {"pool": {"workers": 1}}], ids=["front", "pool"])
@pytest.mark.parametrize(
    ("loop", "package"), [(None, "uvloop"), ("auto", "uvloop"), ("uvloop", "uvloop"), ("asyncio", "asyncio")]
)
def test_the_event_loop(tmp_path: Path, pool: dict[str, Any], loop: str | None, package: str) -> None:
    chosen: dict[str, Any] = {} if loop is None else {"eventLoop": loop}
    config = app_config("loops:app", **chosen)
    config["backends"]["app"].update(pool)
    with contextlib.closing(Sidegate(tmp_path, config)) as server:
        server.wait_ready()
        assert http_get(server.url("/")) == (200, package)


def test_the_command_line_wins(tmp_path: Path) -> None:
    config = app_config("loops:app", eventLoop="uvloop")
    with contextlib.closing(Sidegate(tmp_path, config, args=["--event-loop", "asyncio"])) as server:
        server.wait_ready()
        assert http_get(server.url("/")) == (200, "asyncio")
