"""Processes that an application makes: they get the signals that the shell gave, and nothing of the server's."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.lifecycle import PATIENCE, status, wait_until
from tests.support.pools import worker_command
from tests.support.processes import tree
from tests.support.server import APPS, Sidegate, http_get, listener

SIGNALS = [signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]

Ask = Callable[[str], Any]


def config(place: str, interface: str, loop: str = "auto") -> dict[str, Any]:
    """``children`` behind one listener: in the front, in a pool, or (``worker``) behind a unix socket."""
    backend: dict[str, Any] = {"app": f"children:{'app' if interface == 'asgi' else 'wsgi'}", "directory": str(APPS)}
    if place != "front":
        backend["pool"] = {"workers": 1, "preload": place == "preload"}
    return {
        "listeners": [listener()],
        "backends": {"app": backend},
        "routes": [{"name": "all", "path": "/", "backend": "app"}],
        "eventLoop": loop,
    }


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Sidegate]]:
    """Start a service with this configuration and these options of ``Sidegate``."""
    with contextlib.ExitStack() as stack:

        def start(config: dict[str, Any], **options: Any) -> Sidegate:
            server = Sidegate(tmp_path / "server", config, **options)
            stack.callback(server.close)
            server.wait_ready()
            return server

        yield start


def asking(server: Sidegate) -> Ask:
    def ask(path: str) -> Any:
        code, body = http_get(server.url(f"/{path}"))
        assert code == 200, body
        return json.loads(body)

    return ask


@contextlib.contextmanager
def worker(folder: Path, interface: str, loop: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A ``sidegate worker``, and the address that a front reaches it by."""
    bind = f"unix:{folder / 'app.sock'}"
    app = "children:app" if interface == "asgi" else "children:wsgi"
    process = subprocess.Popen(worker_command(bind, "--event-loop", loop, app=app), stdin=subprocess.DEVNULL)
    try:
        wait_until((folder / "app.sock").exists, "a worker that listens")
        yield process, bind
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    ("place", "interface", "loop"),
    [
        ("front", "asgi", "uvloop"),
        ("front", "asgi", "asyncio"),
        ("front", "wsgi", "auto"),
        ("pool", "asgi", "auto"),
        ("pool", "wsgi", "auto"),
        ("preload", "wsgi", "auto"),
        ("worker", "asgi", "uvloop"),
        ("worker", "asgi", "asyncio"),
        ("worker", "wsgi", "auto"),
    ],
)
def test_children_are_as_those_of_python_alone(
    begin: Callable[..., Sidegate], tmp_path: Path, place: str, interface: str, loop: str
) -> None:
    with contextlib.ExitStack() as stack:
        if place == "worker":
            _, address = stack.enter_context(worker(tmp_path, interface, loop))
            server = begin({**config("front", interface), "backends": {"app": {"h2c": address}}})
        else:
            server = begin(config(place, interface, loop))
        ask = asking(server)
        pid = ask("pid")
        assert ask("map") == [1, 2]
        assert ask("terminated") == [signal.SIGTERM] * 50
        # The handler of SIGWINCH is the application's own.
        assert ask("handlers") == {"handlers": ["SIGWINCH"], "wakeup": -1, "blocked": [], "listening": []}
        assert ask("interrupted") == SIGNALS
        assert ask("ignored") == []
        for number in SIGNALS if place != "worker" else ():
            os.kill(pid, number)
        assert ask("pid") == pid
        assert status(server)["restarts"] == {}
        served = [process for process in tree(server.pid) if process.pid != server.pid]
        assert server.stop() == 0
    _, alive = psutil.wait_procs(served, timeout=PATIENCE)
    assert not alive


@pytest.mark.parametrize(("place", "interface"), [("front", "asgi"), ("pool", "wsgi"), ("preload", "asgi")])
def test_what_a_forked_process_keeps_is_not_the_port(
    begin: Callable[..., Sidegate], place: str, interface: str
) -> None:
    server = begin(config(place, interface))
    child = psutil.Process(asking(server)("stays"))
    try:
        server.process.kill()
        server.process.wait()
        assert not [process for process in server.survivors() if process != child]
        assert child.is_running()
        again = begin(config(place, interface) | {"listeners": server.config["listeners"]})
        assert asking(again)("pid")
    finally:
        child.terminate()
    child.wait(PATIENCE)


@pytest.mark.parametrize("place", ["front", "preload"])
def test_a_process_forked_at_import_ends_with_sigterm(begin: Callable[..., Sidegate], place: str) -> None:
    server = begin(config(place, "asgi"), env={"CHILDREN_AT_IMPORT": "1"})
    child = psutil.Process(asking(server)("at-import"))
    child.terminate()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "its end")
    assert asking(server)("pid")
    assert status(server)["restarts"] == {}


@pytest.mark.parametrize("place", ["front", "pool", "preload"])
def test_what_the_shell_ignores_children_ignore(begin: Callable[..., Sidegate], place: str) -> None:
    # As ``nohup`` and a shell script's ``&`` do.
    prefix = ["/bin/sh", "-c", 'trap "" HUP INT QUIT; exec "$@"', "sh"]
    server = begin(config(place, "asgi"), prefix=prefix)
    ask = asking(server)
    assert ask("ignored") == [signal.SIGINT, signal.SIGQUIT, signal.SIGHUP]
    assert ask("handlers")["handlers"] == ["SIGWINCH"]
