"""Servers whose application the tests direct (``apps/lifecycle.py``)."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.lifecycle import Start
from tests.support.server import Sidegate, app_config


@pytest.fixture
def switches(tmp_path: Path) -> Path:
    """The folder that directs the application ``lifecycle``."""
    folder = tmp_path / "switches"
    folder.mkdir()
    return folder


@pytest.fixture
def start(tmp_path: Path, switches: Path) -> Iterator[Start]:
    """Start servers of the application ``lifecycle``; ``ready=False`` does not wait for them."""
    numbers = itertools.count()
    with contextlib.ExitStack() as stack:

        def begin(*, ready: bool = True, config: dict[str, Any] | None = None, **options: Any) -> Sidegate:
            env = {"LIFECYCLE_FOLDER": str(switches), **options.pop("env", {})}
            whole = {**app_config("lifecycle:app"), **(config or {})}
            server = Sidegate(tmp_path / f"server-{next(numbers)}", whole, env=env, **options)
            stack.callback(server.close)
            if ready:
                server.wait_ready()
            return server

        yield begin
