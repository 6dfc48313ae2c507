"""What a running service does not hold in memory: libraries whose work is done, or is another process's."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import pytest

from tests.support.server import Sidegate, app_config, http_get

LIBRARIES = {"aiohttp", "cryptography", "prometheus_client", "pydantic", "pydantic_core", "yaml"}


@pytest.fixture
def config() -> dict[str, object]:
    """TLS with the development certificate, which cryptography makes."""
    return app_config("modules:app", tls={"selfSigned": True})


def test_a_front_imports_none_of_the_supervisors_libraries(tmp_path: Path, config: dict[str, object]) -> None:
    with contextlib.closing(Sidegate(tmp_path, config)) as server:
        server.wait_ready()
        status, body = http_get(server.url("/"))
    assert status == 200
    imported = set(json.loads(body))
    assert {"httptools", "sidegate.process.runtime"} <= imported
    assert not imported & (LIBRARIES | {"argparse", "difflib"})  # websockets imports importlib.metadata


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_supervisor_keeps_nothing_of_validation_and_certificates(tmp_path: Path, config: dict[str, object]) -> None:
    with contextlib.closing(Sidegate(tmp_path, config)) as server:
        server.wait_ready()
        mapped = Path(f"/proc/{server.pid}/maps").read_text()
    assert "/aiohttp/" in mapped  # so extension modules do show here
    assert [name for name in ("/pydantic_core/", "/cryptography/", "/yaml/") if name in mapped] == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_without_an_admin_server_there_is_no_web_framework(tmp_path: Path, config: dict[str, object]) -> None:
    with contextlib.closing(Sidegate(tmp_path, {**config, "admin": False})) as server:
        server.wait_log("front process")
        mapped = Path(f"/proc/{server.pid}/maps").read_text()
    assert "/_ssl." in mapped
    assert "/aiohttp/" not in mapped
