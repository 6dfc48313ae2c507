"""An application's task factory runs its requests and disturbs nothing else in the process, whatever it does."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from tests.support.pools import wait_workers
from tests.support.server import APPS, Sidegate, listener

MIB = 1024 * 1024

LIBRARIES = {"sentry": "sentry_sdk", "aiotask_context": "aiotask_context"}
"""What a factory needs."""


@pytest.mark.parametrize(
    "factory", ["wrapping", "without_context", "failing", "eager", "sentry", "aiotask_context"]
)  # fmt: skip
def test_a_task_factory(tmp_path: Path, factory: str) -> None:
    if factory == "eager" and sys.version_info < (3, 12):
        pytest.skip("Python 3.12")
    if factory in LIBRARIES and importlib.util.find_spec(LIBRARIES[factory]) is None:
        pytest.skip(f"{LIBRARIES[factory]} is not installed")
    backends: dict[str, Any] = {  # the ASGI applications set the factory
        "front": {"app": "task_factories:app"},
        "pool": {"app": "task_factories:app", "pool": {"workers": 1}},
        "wsgi": {"app": "task_factories:wsgi"},
        "wsgi-pool": {"app": "task_factories:make_wsgi()", "pool": {"workers": 1}},
    }
    config = {
        "listeners": [listener(), listener(name="https", tls={"selfSigned": True})],
        "backends": {name: {"directory": str(APPS), **backend} for name, backend in backends.items()},
        "routes": [{"name": name, "path": f"/{name}", "backend": name} for name in backends],
        "processes": 1,
    }
    with contextlib.closing(Sidegate(tmp_path, config, env={"TASK_FACTORY": factory})) as server:
        server.wait_ready()
        wait_workers(server, 1, "pool")
        wait_workers(server, 1, "wsgi-pool")
        for http2 in (False, True):
            with httpx.Client(http2=http2, verify=False, base_url=server.url("", "https"), timeout=30) as client:
                check_requests(client)
        for place in ("front", "pool"):
            check_websocket(server, place)
        assert server.stop() == 0
        assert ("Traceback" in server.log()) is (factory == "failing"), server.log()


def check_requests(client: httpx.Client) -> None:
    for place in ("front", "pool"):
        for _ in range(2):
            response = client.get(f"/{place}/wait")
            assert (place, response.status_code, response.text) == (place, 200, "made")
    for place in ("front", "pool", "wsgi", "wsgi-pool"):
        response = client.post(f"/{place}/size", content=iter([b"x" * MIB] * 2))
        assert (place, response.status_code, response.text) == (place, 200, str(2 * MIB))


def check_websocket(server: Sidegate, place: str) -> None:
    with connect(f"ws://127.0.0.1:{server.port()}/{place}/chat") as websocket:
        websocket.send("hello")
        assert websocket.recv(30) == "hello"
