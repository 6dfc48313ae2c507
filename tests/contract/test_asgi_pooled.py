"""The ASGI contract once more, for an application in a worker behind a front: the tests of ``test_asgi.py``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract import test_asgi
from tests.contract.test_asgi import *  # noqa: F403 - the same tests
from tests.support.relaying import Both, pooled


@pytest.fixture(autouse=True)
def _in_a_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @contextlib.contextmanager
    def running(app: Callable[..., Any], codec: str = "http1", **settings: Any) -> Iterator[Both]:
        settings.pop("loop_factory", None)
        backend = {key: settings.pop(key) for key in ("lifespan",) if key in settings}
        with pooled(app, tmp_path, codec, backend=backend, **settings) as (front, worker):
            yield Both(front, worker)

    monkeypatch.setattr(test_asgi, "running", running)
