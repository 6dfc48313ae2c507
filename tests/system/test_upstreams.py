"""Workers that somebody else started, other HTTP/2 servers, and workers of other virtual environments."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.conftest import Serve
from tests.support.accounts import public_folder
from tests.support.certificates import Authority
from tests.support.lifecycle import wait_until
from tests.support.pools import Load, all_succeeded, remote_config, wait_workers, worker_command
from tests.support.ports import reserve_port
from tests.support.programs import environment, program, works
from tests.support.server import APPS, Sidegate, http_get

Spawn = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Start a program beside the proxy; ended with the test."""
    with contextlib.ExitStack() as stack:

        def begin(*command: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context((tmp_path / f"program-{time.monotonic_ns()}.log").open("wb"))
            process = subprocess.Popen(command, cwd=APPS, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            stack.callback(end, process)
            return process

        yield begin


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_answer(server: Sidegate, path: str = "/pid") -> str:
    def answer() -> str | None:
        code, body = http_get(server.url(path))
        return body if code == 200 else None

    found: str = wait_until(answer, f"an answer from behind {path}")
    return found


def accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


# ---- sidegate worker --------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["worker", "front"])
def test_a_worker_of_someone_else_behind_a_shared_socket(
    serve: Serve, spawn: Spawn, tmp_path: Path, first: str
) -> None:
    path = f"unix:{tmp_path}/app.sock"
    if first == "worker":
        process = spawn(*worker_command(path))
        server = serve(remote_config(path))
    else:
        server = serve(remote_config(path, queue={"timeout": "1s"}))
        assert http_get(server.url("/pid"))[0] in (502, 503)
        process = spawn(*worker_command(path))
    assert wait_answer(server) == str(process.pid)
    scope = json.loads(http_get(server.url("/a?b"))[1])
    assert (scope["client"][0], scope["http_version"], scope["scheme"]) == ("127.0.0.1", "1.1", "http")
    assert scope["server"] == ["127.0.0.1", server.port()]


def test_a_shared_socket_is_taken_over_under_load(serve: Serve, spawn: Spawn, tmp_path: Path) -> None:
    path = f"unix:{tmp_path}/app.sock"
    processes = [spawn(*worker_command(path))]
    server = serve(remote_config(path, queue={"timeout": "20s"}))
    wait_answer(server)
    with Load(server, "/pid", "-D", "8") as load:
        for _ in range(2):
            wait_until(lambda: http_get(server.url("/pid")) == (200, str(processes[-1].pid)), "the newest answers")
            processes[-1].send_signal(signal.SIGTERM)
            assert processes[-1].wait(20) == 0
            processes.append(spawn(*worker_command(path)))
        counts = load.counts()
    all_succeeded(counts)
    assert wait_answer(server) == str(processes[-1].pid)


def test_workers_on_tcp_and_one_of_them_dies(serve: Serve, spawn: Spawn) -> None:
    ports = [reserve_port() for _ in range(2)]
    addresses = [f"tcp://127.0.0.1:{port}" for port in ports]
    processes = [spawn(*worker_command(address, "--trust", "127.0.0.1")) for address in addresses]
    for port in ports:  # one that refuses connections for seconds would be ejected for longer than the test waits
        wait_until(partial(accepts, port), f"a worker listens on port {port}")
    server = serve(remote_config(addresses))
    seen: set[str] = set()

    def both_answered() -> bool:
        seen.add(wait_answer(server))
        return len(seen) == 2

    wait_until(both_answered, "both answer")
    processes[0].kill()
    processes[0].wait()
    for _ in range(50):
        assert http_get(server.url("/pid")) == (200, str(processes[1].pid))


@pytest.mark.parametrize(("options", "version"), [((), "2"), (("--trust", "127.0.0.1"), "1.1")])
def test_a_worker_on_tcp_believes_a_front_that_it_was_told_of(
    serve: Serve, spawn: Spawn, options: tuple[str, ...], version: str
) -> None:
    """To any other it is a server of somebody else, and the application sees the front's connection."""
    address = f"tcp://127.0.0.1:{reserve_port()}"
    spawn(*worker_command(address, *options))
    server = serve(remote_config(address))
    wait_answer(server)
    scope = json.loads(http_get(server.url("/a"))[1])
    assert (scope["client"][0], scope["http_version"]) == ("127.0.0.1", version)
    assert (scope["server"] == ["127.0.0.1", server.port()]) == (version == "1.1")


def test_a_server_that_is_down_makes_the_service_unready_only_if_that_is_wanted(
    tmp_path: Path, spawn: Spawn, serve: Serve
) -> None:
    path = f"unix:{tmp_path}/app.sock"
    serve(remote_config(path))  # it is ready
    config = {**remote_config(path), "admin": {"address": f"127.0.0.1:{reserve_port()}", "ready": "all"}}
    with contextlib.closing(Sidegate(tmp_path / "all", config)) as server:
        server.wait_serving()
        reason = f"{path}: cannot connect: No such file or directory"
        words = f"backend remote: not reached in the last 30 s ({reason})\n"
        wait_until(lambda: server.admin("/readyz") == (503, words), words)
        spawn(*worker_command(path))
        server.wait_ready()


AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "--unset=COVERAGE_PROCESS_CONFIG"]


@pytest.mark.skipif(
    not works(AS_NOBODY, sys.executable, "-c", "import sidegate"),
    reason="needs root, setpriv(1) and an interpreter that everybody may run",
)
def test_a_socket_that_the_front_may_not_use_is_answered_at_once(spawn: Spawn) -> None:
    with public_folder() as folder, contextlib.ExitStack() as stack:
        path = folder / "app.sock"
        spawn(*worker_command(f"unix:{path}", "--mode", "0600"))
        wait_until(path.exists, "a socket")
        config = remote_config(f"unix:{path}", queue={"timeout": "1h"})
        del config["listeners"][1]  # its certificate would be made in a folder that nobody may not write
        server = stack.enter_context(contextlib.closing(Sidegate(folder / "front", config, prefix=AS_NOBODY)))
        server.wait_ready()
        code, body = http_get(server.url("/pid"))
        assert (code, "No server of this application can be used." in body) == (503, True)
        described = f"the user nobody may not write to {path} (srw------- root:root)"
        assert f"backend remote: unix:{path}: cannot connect: {described}" in server.log()
        path.chmod(0o666)
        wait_answer(server)


def test_a_name_is_resolved_and_the_hop_may_be_tls(serve: Serve, spawn: Spawn, authority: Authority) -> None:
    ours, theirs = authority.server("localhost"), authority.client("front")
    port = reserve_port()
    spawn(
        *worker_command(f"tcp://127.0.0.1:{port}", "--tls-cert", str(ours.cert), "--tls-key", str(ours.key)),
        *("--client-ca", str(authority.ca)),
    )
    tls = {"ca": str(authority.ca), "cert": str(theirs.cert), "key": str(theirs.key)}
    server = serve(remote_config(f"tcp://localhost:{port}", "h2", tls=tls))
    wait_answer(server)
    unknown = serve(remote_config(f"tcp://localhost:{port}", "h2", queue={"timeout": "1s"}))
    assert http_get(unknown.url("/pid"))[0] in (502, 503), "a certificate of an unknown authority is not accepted"


# ---- other servers ----------------------------------------------------------------------------------------


def hypercorn(port: int) -> list[str]:
    return [program("hypercorn"), "plain:app", "--bind", f"127.0.0.1:{port}"]


def granian(port: int) -> list[str]:
    command = [program("granian"), "plain:app", "--interface", "asgi", "--http", "2", "--host", "127.0.0.1"]
    return [*command, "--port", str(port)]


@pytest.mark.parametrize("peer", [hypercorn, granian], ids=lambda peer: peer.__name__)
def test_another_http2_server_stands_behind_it(serve: Serve, spawn: Spawn, peer: Callable[[int], list[str]]) -> None:
    port = reserve_port()
    spawn(*peer(port))
    server = serve(remote_config(f"tcp://127.0.0.1:{port}"))
    wait_answer(server, "/echo")
    with httpx.Client(verify=False, http2=True, trust_env=False) as client:
        scope = client.post(server.url("/echo?x=1", "https"), content=b"some body").json()
    assert scope["body"] == "some body"
    assert (scope["method"], scope["path"], scope["query_string"]) == ("POST", "/echo", "x=1")
    headers = dict(scope["headers"])
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "https"
    assert "for=127.0.0.1" in headers["forwarded"]
    assert not [name for name in headers if name.startswith("x-sidegate")]
    size = 1 << 20
    with httpx.Client(trust_env=False) as client:
        assert len(client.get(server.url(f"/body?size={size}")).content) == size
        assert client.post(server.url("/upload"), content=os.urandom(size)).json()["size"] == size


# ---- other environments -----------------------------------------------------------------------------------


def test_two_versions_of_django_behind_one_listener(serve: Serve) -> None:
    places = {"old": environment("django-4.2"), "new": environment("django-5.2")}
    config = remote_config([])
    config["backends"] = {
        name: {
            "app": "django_version:app",
            "directory": str(APPS),
            "pool": {"python": str(place / "bin" / "python")},
        }
        for name, place in places.items()
    }
    config["routes"] = [{"name": name, "path": f"/{name}", "backend": name} for name in places]
    server = serve(config)
    told = {}
    for name, place in places.items():
        wait_workers(server, 1, name)
        told[name] = json.loads(http_get(server.url(f"/{name}/page"))[1])
        assert told[name]["prefix"] == str(place)
        assert told[name]["path"] == f"/{name}/page"
        assert told[name]["ours"] == []
    assert told["old"]["django"].startswith("4.2.")
    assert told["new"]["django"].startswith("5.2.")
