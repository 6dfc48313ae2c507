"""Sidegate's log messages, whatever an application does to the module ``logging``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Sidegate, app_config, http_get


@pytest.mark.parametrize("pool", [{}, {"pool": {"workers": 1}}], ids=["front", "pool"])
def test_an_application_cannot_silence_tracebacks(tmp_path: Path, pool: dict[str, Any]) -> None:
    config = app_config("silencing:app")
    config["backends"]["app"].update(pool)
    with contextlib.closing(Sidegate(tmp_path, config)) as server:
        server.wait_ready()
        for number in range(2):
            assert http_get(server.url(f"/fail/{number}"))[0] == 500
            server.wait_log(f"ValueError: failed at /fail/{number}")
            assert http_get(server.url("/silence")) == (200, "silenced")


def test_a_match_that_no_request_reaches_is_logged(tmp_path: Path) -> None:
    config = app_config("plain:app")
    config["routes"].append({"name": "late", "path": "/", "backend": "app"})
    with contextlib.closing(Sidegate(tmp_path, config)) as server:
        server.wait_ready()
        assert "warning sidegate.supervisor: " in server.log()
        assert "routes[1].path: never matches: routes[0].path in line " in server.log()
