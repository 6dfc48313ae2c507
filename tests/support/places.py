"""One application in every place where Sidegate runs applications, behind one front."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.lifecycle import wait_until
from tests.support.pools import wait_workers, worker_command
from tests.support.server import APPS, Sidegate, http_get, listener

PLACES = ("front", "pool", "preload", "worker")
"""In the front, in a pool, in a worker that was forked from a preloader, in ``sidegate worker``."""


@contextlib.contextmanager
def everywhere(folder: Path, apps: Mapping[str, str], **top_level: Any) -> Iterator[Sidegate]:
    """Serve each application (``module:attribute`` by a name) in each place, at ``/PLACE/NAME``.

    The listener ``https`` is for HTTP/2.
    """
    backends: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        for name, app in apps.items():
            own = {"app": app, "directory": str(APPS)}
            backends[f"front-{name}"] = own
            backends[f"pool-{name}"] = {**own, "pool": {"workers": 1}}
            backends[f"preload-{name}"] = {**own, "pool": {"workers": 1, "preload": True}}
            address = f"unix:{folder / name}.sock"
            backends[f"worker-{name}"] = {"h2c": address}
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            worker = subprocess.Popen(
                worker_command(address, app=app), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
            stack.callback(_end, worker)
        config = {
            "listeners": [listener(), listener(name="https", tls={"selfSigned": True})],
            "backends": backends,
            "routes": [{"name": name, "path": f"/{name.replace('-', '/')}", "backend": name} for name in backends],
            "processes": 1,
            **top_level,
        }
        server = stack.enter_context(contextlib.closing(Sidegate(folder / "service", config)))
        server.wait_ready()
        for name in apps:
            wait_workers(server, 1, f"pool-{name}")
            wait_workers(server, 1, f"preload-{name}")
            wait_until(partial(_answers, server, f"/worker/{name}/"), f"the worker of {name}")
        yield server


def _answers(server: Sidegate, path: str) -> bool:
    return http_get(server.url(path))[0] == 200


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.terminate()
    worker.wait(60)
