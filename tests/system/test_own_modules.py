"""Applications that have modules of their own with the names of Sidegate's, and of the packages that workers borrow."""

from __future__ import annotations

import json
import re
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from sidegate.ipc.borrowed_packages import BORROWED
from tests.conftest import Serve
from tests.support.lifecycle import status
from tests.support.pools import wait_workers
from tests.support.programs import bare_environment
from tests.support.server import Sidegate, http_get, listener
from tests.support.websocket_clients import Conversation, by_websockets

OURS = (
    "admin", "aio", "asgi", "backends", "boot", "child", "cli", "config", "control", "errors", "front", "ipc",
    "lending", "observe", "preload", "process", "proxy", "routing", "runtime", "server", "standalone", "supervisor",
    "versions", "wire", "worker",
)  # fmt: skip

APPLICATION = """
import sys

MODULES = {name: module for name, module in globals().items() if hasattr(module, "OWNER")}

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
        return
    name = scope["path"].rpartition("/")[2]
    module = MODULES[name]
    told = {
        "owner": module.OWNER,
        "is_the_only_one": sys.modules[name] is module,
        "loaded": sorted(sys.modules),
        "prefix": sys.prefix,
    }
    import json
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
"""


def application(folder: Path, beside: Iterable[str], imported: Iterable[str]) -> dict[str, Any]:
    """A backend in ``folder`` that imports modules; those ``beside`` it are written."""
    folder.mkdir()
    for name in beside:
        (folder / f"{name}.py").write_text(f"OWNER = 'the application, {name}'\n")
    (folder / "application.py").write_text(f"import {', '.join(imported)}\n{APPLICATION}")
    return {"app": "application:app", "directory": str(folder), "interface": "asgi", "lifespan": "off"}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that has nothing of ours."""
    return bare_environment(tmp_path_factory.mktemp("bare") / "environment")


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that has packages of the lent names, in versions that Sidegate could not work with."""
    place = bare_environment(tmp_path_factory.mktemp("stocked") / "environment")
    for name in BORROWED:
        package = Path(sysconfig.get_path("purelib", vars={"base": str(place)})) / name
        package.mkdir()
        (package / "__init__.py").write_text(f"OWNER = 'the environment, {name}'\n__version__ = '0.1'\n")
    return place


IN_PROCESS = ("inside",)
BORROWING = ("same", "other", "safe", "preloaded", "installed")


@pytest.fixture(scope="module", params=["auto", "h2"])
def server(
    request: pytest.FixtureRequest,
    serve_module: Serve,
    tmp_path_factory: pytest.TempPathFactory,
    bare: Path,
    stocked: Path,
) -> Sidegate:
    """One application of each kind: in the front, and in pools of this Python and of others."""
    folder = tmp_path_factory.mktemp("applications")
    ours, other = application(folder / "ours", OURS, OURS), str(bare / "bin" / "python")
    whole = application(folder / "whole", (*OURS, *BORROWED), (*OURS, *BORROWED))
    installed = application(folder / "installed", OURS, (*OURS, *BORROWED))
    backends = {
        "inside": ours,
        "same": {**whole, "pool": {}},
        "other": {**whole, "pool": {"python": other}},
        "safe": {**whole, "pool": {"python": other, "env": {"PYTHONSAFEPATH": "1"}}},
        "preloaded": {**whole, "pool": {"python": other, "preload": True}},
        "installed": {**installed, "pool": {"python": str(stocked / "bin" / "python")}},
    }
    started = serve_module(
        {
            "listeners": [listener()],
            "backends": backends,
            "routes": [{"name": name, "path": f"/{name}", "backend": name} for name in backends],
            "http2Engine": request.param,
        }
    )
    for name in BORROWING:
        wait_workers(started, 1, name)
    return started


def ask(server: Sidegate, backend: str, name: str) -> Any:
    code, body = http_get(server.url(f"/{backend}/{name}"))
    assert code == 200, body
    return json.loads(body)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("backend", IN_PROCESS + BORROWING)
def test_a_module_with_the_name_of_one_of_ours(server: Sidegate, backend: str, name: str) -> None:
    told = ask(server, backend, name)
    assert (told["owner"], told["is_the_only_one"]) == (f"the application, {name}", True)


@pytest.mark.parametrize("name", BORROWED)
@pytest.mark.parametrize("backend", BORROWING)
def test_a_module_with_the_name_of_a_lent_package(server: Sidegate, backend: str, name: str) -> None:
    told = ask(server, backend, name)
    owner = "the environment" if backend == "installed" else "the application"
    assert (told["owner"], told["is_the_only_one"]) == (f"{owner}, {name}", True)
    assert not [loaded for loaded in told["loaded"] if loaded.startswith(f"{name}.")], "nothing of ours is below it"


@pytest.mark.parametrize("backend", BORROWING)
def test_sidegate_works_with_what_it_is_lent(server: Sidegate, backend: str, bare: Path, stocked: Path) -> None:
    """The answer has come by the engine of the front, which has the libraries for both."""
    told = ask(server, backend, "config")
    (engine,) = {name.rpartition(".")[2] for name in told["loaded"] if re.search(r"\.wire\.http2\.(nghttp2|h2)$", name)}
    assert status(server)["engines"]["http2"].startswith(f"{engine} ")
    private = {name.split(".")[1] for name in told["loaded"] if name.startswith("_sidegate_borrowed.")}
    assert private == ({"websockets"} if engine == "nghttp2" else set(BORROWED))
    if backend != "same":
        assert told["prefix"] == str(stocked if backend == "installed" else bare)


@pytest.mark.parametrize("backend", IN_PROCESS + BORROWING)
def test_a_websocket_is_served(server: Sidegate, backend: str) -> None:
    messages = ("", "hällo ☃", {"bytes": list(range(256))}, "a longer text, again. " * 10_000)
    told = by_websockets(Conversation(server.url(f"/{backend}/").replace("http", "ws", 1), messages=messages))
    assert (told.received, told.code, told.extensions) == (list(messages), 4000, "permessage-deflate")
