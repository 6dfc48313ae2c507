"""``sidegate worker``: a worker that nobody supervises."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from sidegate.wire import hop
from tests.support.accounts import needs_root
from tests.support.certificates import Authority
from tests.support.lifecycle import wait_until
from tests.support.ports import reserve_port
from tests.support.programs import IN_A_PID_NAMESPACE, WITH_BLOCKED_SIGNALS, works
from tests.support.server import run_cli
from tests.support.workers import FrontClient

PATIENCE = 60.0

APP = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("shut down", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(0.5)
    if scope["path"] == "/hang":
        await asyncio.sleep(3600)
    text = f"{scope['client']} {scope['scheme']} {scope['root_path']} {scope['path']}"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})
"""

FACTS = [(hop.PEER, hop.encode_peer(("192.0.2.7", 1234), None, "https", "1.1", "/front"))]


class Command:
    """One running command."""

    def __init__(self, folder: Path, *arguments: str, app: str = "served:app", prefix: Sequence[str] = ()) -> None:
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "sidegate", "worker", app, "--directory", str(folder), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def ready(self) -> Command:
        """Return once it serves."""
        wait_until(lambda: " worker (" in self.log() or self.process.poll() is not None, "a worker that serves")
        assert self.process.poll() is None, self.log()
        return self

    def log(self) -> str:
        return self._log.read_text()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE)


Start = Callable[..., Command]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """``start(…arguments)`` gives a worker that serves."""
    (tmp_path / "served.py").write_text(APP)
    with contextlib.ExitStack() as stack:

        def begin(*arguments: str, **options: Any) -> Command:
            command = Command(tmp_path, *arguments, **options)
            stack.callback(command.process.wait)
            stack.callback(command.process.kill)
            return command.ready()

        yield begin


@contextlib.contextmanager
def connected(path: Path) -> Iterator[FrontClient]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        yield FrontClient(sock)


@contextlib.contextmanager
def connected_tcp(port: int, context: ssl.SSLContext | None = None) -> Iterator[FrontClient]:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        if context is None:
            yield FrontClient(sock)
        else:
            with context.wrap_socket(sock, server_hostname="localhost") as tls:
                yield FrontClient(tls)


def told(client: FrontClient) -> str:
    """What the application answers to a request with a front's facts."""
    return client.finish(client.begin("/x", FACTS)).body.decode()


def test_a_unix_socket_is_for_the_group_of_its_folder(start: Start, tmp_path: Path) -> None:
    """So that a front of another user in this group can connect."""
    folder = tmp_path / "shared"
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, -1, 54322)
    start("--bind", f"unix:{folder}/a")
    found = (folder / "a").stat()
    assert (found.st_mode & 0o777, found.st_gid) == (0o660, folder.stat().st_gid)


@needs_root
def test_a_unix_socket_has_the_group_that_is_named(start: Start, tmp_path: Path) -> None:
    start("--bind", f"unix:{tmp_path}/a", "--group", "54321", "--mode", "0666")
    found = (tmp_path / "a").stat()
    assert (found.st_mode & 0o777, found.st_gid) == (0o666, 54321)


def test_on_a_unix_socket(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    command = start("--bind", f"unix:{path}", "--mode", "0600", "--concurrency", "7")
    assert f"served:app at unix:{path}" in command.log()
    assert path.stat().st_mode & 0o777 == 0o600
    with connected(path) as client:
        assert (client.codec.hop, client.codec.max_streams) == (True, 7)
        assert told(client) == "('192.0.2.7', 1234) https /front /x"
        assert client.get("/x") == "None http  /x"
    assert command.stop() == 0
    assert "shut down" in command.log()
    assert command.log().endswith(" s: no request was aborted\n")
    assert not path.exists()


def test_its_own_root_path_goes_before_the_fronts(start: Start, tmp_path: Path) -> None:
    start("--bind", f"unix:{tmp_path / 'app.sock'}", "--root-path", "/own", "--lifespan", "off")
    with connected(tmp_path / "app.sock") as client:
        assert told(client) == "('192.0.2.7', 1234) https /own /x"
        assert client.get("/%2fown//x").endswith(" /own /own/x")


def test_the_path_is_as_the_front_sent_it(start: Start, tmp_path: Path) -> None:
    start("--bind", f"unix:{tmp_path / 'app.sock'}", "--lifespan", "off")
    with connected(tmp_path / "app.sock") as client:
        assert client.get("/%2fown//x").endswith(" //own//x")


def test_the_event_loop(start: Start, tmp_path: Path) -> None:
    for loop in ("uvloop", "asyncio"):
        command = start("--bind", f"unix:{tmp_path / loop}", "--event-loop", loop)
        assert f" worker ({loop} " in command.log()
        with connected(tmp_path / loop) as client:
            assert told(client)


def test_on_tcp_only_those_are_trusted_that_are_named(start: Start) -> None:
    """Any user of the machine can connect to a port on loopback."""
    port, limit = reserve_port(), 32 * 1024  # of the header fields of a client, not of a front
    command = start("--bind", f"tcp://127.0.0.1:{port}", "--lifespan", "off")
    assert "no peer is trusted: what fronts say about their clients is dropped" in command.log()
    with connected_tcp(port) as client:
        assert not client.codec.hop
        assert told(client).startswith("('127.0.0.1', ")
        forwarded = [(b"x-forwarded-for", b"192.0.2.7")]
        assert client.finish(client.begin("/x", forwarded)).body.decode().startswith("('127.0.0.1', ")
        assert client.finish(client.begin("/x", [(b"x-large", b"x" * limit)])).status == 431
    command.stop()
    command = start("--bind", f"tcp://127.0.0.1:{port}", "--lifespan", "off", "--trust", "127.0.0.1")
    assert "no peer is trusted" not in command.log()
    with connected_tcp(port) as client:
        assert client.codec.hop
        assert told(client).startswith("('192.0.2.7', 1234)")
        assert client.finish(client.begin("/x", [(b"x-large", b"x" * limit)])).status == 200


def test_with_tls_and_client_certificates(start: Start, authority: Authority) -> None:
    port, pair, own = reserve_port(), authority.server("localhost"), authority.client("front")
    tls = ["--tls-cert", str(pair.cert), "--tls-key", str(pair.key), "--client-ca", str(authority.ca)]
    start("--bind", f"tcp://127.0.0.1:{port}", *tls)
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.set_alpn_protocols(["h2"])
    with pytest.raises((OSError, AssertionError)), connected_tcp(port, context) as client:
        client.get("/x")
    context.load_cert_chain(own.cert, own.key)
    with connected_tcp(port, context) as client:
        assert told(client).startswith("('192.0.2.7', 1234)")


def test_an_expired_certificate_is_reported(start: Start, authority: Authority) -> None:
    pair = authority.server("localhost", days=-1)
    tls = ["--tls-cert", str(pair.cert), "--tls-key", str(pair.key)]
    command = start("--bind", f"tcp://127.0.0.1:{reserve_port()}", *tls)
    assert f"<command line>: --tls-cert: the certificate {pair.cert} expired at " in command.log()


def test_sigterm_finishes_what_has_begun_and_a_successor_can_bind(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    command = start("--bind", f"unix:{path}")
    with connected(path) as client:
        stream = client.begin("/slow")
        client.get("/x")
        command.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not path.exists(), "the path is free")
        successor = start("--bind", f"unix:{path}")
        assert client.finish(stream).body.endswith(b"/slow")
    assert command.process.wait(PATIENCE) == 0
    assert path.exists()
    assert successor.stop() == 0


ORPHANING = """
import os, subprocess

def is_zombie(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return ") Z " in stat.read()
    except OSError:  # it was reaped meanwhile
        return False

async def app(scope, receive, send):
    if scope["path"] == "/orphans":
        for _ in range(5):
            subprocess.run(["/bin/sh", "-c", "sleep 0 &"], check=True)
        text = str(subprocess.run(["/bin/sh", "-c", "exit 7"]).returncode)
    else:
        text = f"{os.getppid()} {sum(map(is_zombie, filter(str.isdigit, os.listdir('/proc'))))}"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})
"""


@pytest.mark.skipif(
    not works(IN_A_PID_NAMESPACE, "true"), reason="needs unshare(1) and the right to make a PID namespace"
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_as_pid_1_orphans_are_reaped_and_signals_work(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "orphaning.py").write_text(ORPHANING)
    path = tmp_path / "app.sock"
    bind = ["--bind", f"unix:{path}", "--lifespan", "off"]
    command = start(*bind, app="orphaning:app", prefix=IN_A_PID_NAMESPACE)
    with connected(path) as client:
        assert client.get("/orphans") == "7"  # the application waits for its own child itself
        wait_until(lambda: client.get("/x") == "1 0", "no zombie")
    (parent,) = psutil.Process(command.process.pid).children()
    parent.send_signal(number)
    assert command.process.wait(PATIENCE) == 0
    assert not path.exists()


def test_blocked_signals_are_unblocked(start: Start, tmp_path: Path) -> None:
    assert start("--bind", f"unix:{tmp_path}/a.sock", prefix=WITH_BLOCKED_SIGNALS).stop() == 0


def test_the_last_line_says_what_was_aborted(start: Start, tmp_path: Path) -> None:
    command = start("--bind", f"unix:{tmp_path / 'app.sock'}", "--grace-period", "500ms")
    with connected(tmp_path / "app.sock") as client:
        client.begin("/hang")
        client.get("/x")
        assert command.stop() == 0
    assert command.log().endswith(" s: 1 request was aborted\n")


def test_a_second_signal_ends_at_once(start: Start, tmp_path: Path) -> None:
    command = start("--bind", f"unix:{tmp_path / 'app.sock'}", "--grace-period", "1h")
    with connected(tmp_path / "app.sock") as client:
        client.begin("/hang")
        client.get("/x")
        command.process.send_signal(signal.SIGINT)
        client.read_to_goaway()
        command.process.send_signal(signal.SIGTERM)
        assert command.process.wait(PATIENCE) == 128 + signal.SIGTERM


def test_a_stop_during_the_start(tmp_path: Path) -> None:
    waits = "    print('begun', flush=True)\n    await asyncio.sleep(3600)\n"
    (tmp_path / "served.py").write_text(f"import asyncio\nasync def app(scope, receive, send):\n{waits}")
    command = Command(tmp_path, "--bind", f"unix:{tmp_path / 'app.sock'}")
    wait_until(lambda: "begun\n" in command.log(), "a startup that has begun")
    assert command.stop() == 0


BLOCKING = {
    "import": """
import time
print("begun", flush=True)
while True:
    try:
        time.sleep(3600)
    except BaseException:
        pass
""",
    "startup": """
import time
async def app(scope, receive, send):
    print("begun", flush=True)
    time.sleep(3600)
""",
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("blocked", BLOCKING)
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_stop_while_the_application_blocks_its_start(
    tmp_path: Path, blocked: str, loop: str, number: signal.Signals
) -> None:
    (tmp_path / "served.py").write_text(BLOCKING[blocked])
    path = tmp_path / "app.sock"
    command = Command(tmp_path, "--bind", f"unix:{path}", "--event-loop", loop)
    wait_until(lambda: "begun\n" in command.log(), "a start that blocks")
    command.process.send_signal(number)
    assert command.process.wait(PATIENCE) == 128 + number
    assert command.log() == "begun\n"
    assert not path.exists()


def test_signals_of_other_servers_end_nothing(start: Start, tmp_path: Path) -> None:
    command = start("--bind", f"unix:{tmp_path / 'app.sock'}")
    with connected(tmp_path / "app.sock") as client:
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
            command.process.send_signal(number)
        wait_until(lambda: "SIGHUP: a worker cannot reload" in command.log(), "an answer")
        assert client.get("/x")
    command.process.send_signal(signal.SIGQUIT)
    assert command.process.wait(PATIENCE) == 0
    assert "shut down" in command.log()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("nosuch:app --bind unix:{folder}/a.sock", 2, "there is no module 'nosuch'"),
        ("broken:app --bind unix:{folder}/a.sock", 3, "LookupError: no database"),
        ("served:app --bind nonsense", 2, "address"),
        ("served:app --bind unix:{folder}/a.sock --trust nonsense", 2, "nonsense"),
        ("served:app --bind unix:{folder}/taken.sock", 3, "cannot listen on unix:{folder}/taken.sock"),
        ("served:app --bind unix:{folder}/a.sock --client-ca x", 2, "--client-ca needs --tls-cert"),
        ("served:app --bind unix:{folder}/a.sock --tls-key x", 2, "--tls-key needs --tls-cert"),
        ("served:app --bind unix:{folder}/a.sock --tls-cert {folder}/served.py", 2, "PEM"),
    ],
)
def test_what_does_not_start_says_why(tmp_path: Path, arguments: str, code: int, words: str) -> None:
    (tmp_path / "served.py").write_text(APP)
    failing = "async def app(scope, receive, send):\n    await receive()\n    raise LookupError('no database')\n"
    (tmp_path / "broken.py").write_text(failing)
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(tmp_path / "taken.sock"))
        taken.listen()
        result = run_cli("worker", *arguments.format(folder=tmp_path).split(), "--directory", str(tmp_path))
    assert words.format(folder=tmp_path) in result.stderr
    assert result.returncode == code


LOSES_ITS_PATH = """
import pathlib

async def app(scope, receive, send):
    await receive()
    pathlib.Path("a.sock").unlink()  # as another server that starts at the same time
    await send({"type": "lifespan.startup.complete"})
    await receive()
    pathlib.Path("shutdown").touch()
    await send({"type": "lifespan.shutdown.complete"})
"""


def test_an_application_that_has_started_is_shut_down(tmp_path: Path) -> None:
    (tmp_path / "loses.py").write_text(LOSES_ITS_PATH.replace('Path("', f'Path("{tmp_path}/'))
    result = run_cli("worker", "loses:app", "--bind", f"unix:{tmp_path}/a.sock", "--directory", str(tmp_path))
    assert "another server has taken the path" in result.stderr
    assert result.returncode == 3
    assert (tmp_path / "shutdown").exists()
