"""Where and how it is started: PID 1, an ordinary user, systemd, inherited sockets, the command line."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import psutil
import pytest

from tests.support.lifecycle import PATIENCE, Start, serving, status, wait_until
from tests.support.ports import reserve_port
from tests.support.programs import IN_A_PID_NAMESPACE, WITH_BLOCKED_SIGNALS, works
from tests.support.server import Sidegate, app_config, http_get, listener, run_cli


@pytest.mark.skipif(
    not works(IN_A_PID_NAMESPACE, "true"), reason="needs unshare(1) and the right to make a PID namespace"
)
def test_as_pid_1_orphans_are_reaped_and_signals_work(start: Start, switches: Path) -> None:
    # The shell orphans a process, then becomes the server, so that the orphan's death is PID 1's to see.
    script = '(sleep 0.5 &) ; exec "$@"'
    prefix = [*IN_A_PID_NAMESPACE, "sh", "-c", script, "sh"]
    server = start(prefix=prefix)
    assert status(server)["pid"] == 1
    (supervisor,) = psutil.Process(server.pid).children()
    # `sleep` was given to PID 1; nobody else can reap it.
    (front,) = wait_until(lambda: len(supervisor.children()) == 1 and supervisor.children(), "no zombie")
    front.kill()
    server.wait_log("exited (SIGKILL)")
    server.wait_ready()
    supervisor.send_signal(signal.SIGTERM)
    assert server.wait() == 0


def test_blocked_signals_are_unblocked(start: Start) -> None:
    server = start(prefix=WITH_BLOCKED_SIGNALS)
    (front,) = serving(server)
    os.kill(front, signal.SIGKILL)
    wait_until(lambda: [pid for pid in serving(server) if pid != front], "a successor")
    assert server.stop() == 0


READ_ONLY = """
for folder in /tmp /var/tmp /usr/tmp; do
    if [ -d $folder ]; then mount --bind $folder $folder && mount -o remount,ro,bind $folder || exit 99; fi
done
unset XDG_RUNTIME_DIR RUNTIME_DIRECTORY TMPDIR COVERAGE_PROCESS_CONFIG
cd /proc && mount -t tmpfs tmpfs "$1" && shift && exec "$@"
"""
IN_A_MOUNT_NAMESPACE = ["unshare", "--mount", "sh", "-c"]


@pytest.mark.skipif(
    not works(IN_A_MOUNT_NAMESPACE, "mount -t tmpfs tmpfs /mnt"),
    reason="needs unshare(1) and the right to make a mount namespace",
)
def test_a_pool_without_a_writable_temporary_folder(tmp_path: Path) -> None:
    """As in a container with a read-only root: the places that were tried are named, and one may be mounted."""
    config = app_config("plain:app")
    config["backends"]["app"]["pool"] = {"workers": 1}
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    prefix = [*IN_A_MOUNT_NAMESPACE, READ_ONLY, "sh", str(mounted)]
    with contextlib.closing(Sidegate(tmp_path / "none", config, prefix=prefix)) as server:
        assert server.wait() == 3
        assert "Traceback" not in server.log()
        assert "the temporary folder (/tmp): Read-only file system. Mount a writable folder" in server.log()
    config["runtimeDirectory"] = str(mounted)
    with contextlib.closing(Sidegate(tmp_path / "some", config, prefix=prefix)) as server:
        server.wait_ready()
        assert http_get(server.url("/"))[0] == 200


# Coverage data would belong to a user who cannot write where it goes. `env` also is a second exec, which ends the
# last of root's rights.
AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "--unset=COVERAGE_PROCESS_CONFIG"]


@pytest.mark.skipif(
    not works(AS_NOBODY, sys.executable, "-c", "import sidegate"),
    reason="needs root, setpriv(1) and an interpreter that everybody may run",
)
def test_as_an_ordinary_user() -> None:
    with tempfile.TemporaryDirectory(prefix="sidegate-test-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        config = {**app_config("lifecycle:app"), "backends": {"app": {"respond": {"body": "hello"}}}}
        config["listeners"].append({"name": "unix", "address": f"unix:{folder / 'socket'}", "mode": "0660"})
        server = Sidegate(folder / "server", config, prefix=AS_NOBODY, env={"HOME": str(folder)})
        try:
            server.wait_ready()
            assert {process.uids().effective for process in [psutil.Process(server.pid), *server.fronts]} == {65534}
            assert http_get(server.url())[1] == "hello"
            assert server.stop() == 0
        finally:
            server.close()


ACTIVATE = """\
import os, sys
fd, names, *command = sys.argv[1:]
os.dup2(int(fd), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES=names)
os.execvp(command[0], command)
"""


def test_socket_activation(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        port = given.getsockname()[1]
        server = start(
            config={"listeners": [{"name": "http", "address": "systemd:web"}]},
            prefix=[sys.executable, "-c", ACTIVATE, str(given.fileno()), "web"],
            pass_fds=[given.fileno()],
        )
        assert http_get(f"http://127.0.0.1:{port}/pid")[0] == 200
        assert server.stop() == 0
        # systemd keeps its socket: the next start finds the connections made meanwhile.
        with socket.create_connection(("127.0.0.1", port)):
            pass


def test_an_inherited_descriptor(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        port = given.getsockname()[1]
        fd = given.fileno()
        server = start(config={"listeners": [{"name": "http", "address": f"fd:{fd}"}]}, pass_fds=[fd])
        assert http_get(f"http://127.0.0.1:{port}/pid")[0] == 200
        assert server.stop() == 0


def test_clients_of_an_inherited_socket_wait_for_the_start(start: Start, switches: Path) -> None:
    (switches / "hang").touch()
    with socket.create_server(("127.0.0.1", 0), backlog=1) as given, contextlib.ExitStack() as stack:
        fd, address = given.fileno(), given.getsockname()
        listeners = [{"name": "http", "address": f"fd:{fd}"}]
        start(ready=False, config={"listeners": listeners}, pass_fds=[fd])
        wait_until((switches / "hanging").exists, "an import under way")
        clients = [stack.enter_context(socket.create_connection(address, PATIENCE)) for _ in range(20)]
        for client in clients:
            client.sendall(b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n")
        (switches / "hang").unlink()
        for client in clients:
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_a_unix_socket_with_its_mode(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    server = start(config={"listeners": [{"name": "http", "address": f"unix:{path}", "mode": "0620"}]})
    assert stat.S_IMODE(path.stat().st_mode) == 0o620
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        client.sendall(b"GET /pid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert server.stop() == 0
    assert not path.exists()


def test_a_killed_supervisors_unix_socket_does_not_stop_the_next_start(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    config = {"listeners": [{"name": "http", "address": f"unix:{path}"}]}
    first = start(config=config)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not first.survivors()
    assert path.exists()
    start(config=config)


def test_several_processes_share_one_development_certificate(start: Start, tmp_path: Path) -> None:
    server = start(config={"listeners": [listener(name="http", tls={"selfSigned": True})], "processes": 2})
    assert (server.folder / "cache" / "sidegate" / "self-signed.pem").exists()


def test_a_service_without_an_admin_server(start: Start) -> None:
    server = start(ready=False, config={"admin": False})
    server.wait_log("stop with ^C or SIGTERM", PATIENCE)
    (front,) = server.fronts
    assert http_get(server.url("/pid")) == (200, str(front.pid))
    front.kill()
    server.wait_log("exited (SIGKILL)", PATIENCE)
    wait_until(lambda: [pid.pid for pid in server.fronts if pid.pid != front.pid], "a successor")
    assert http_get(server.url("/pid"))[0] == 200


def test_the_summary_names_everything(start: Start) -> None:
    server = start(config={"processes": 2})
    log = server.log()
    assert f"  http://127.0.0.1:{server.port()}  http: h2, http/1.1" in log
    assert f"  {server.admin_url('')}  admin: /metrics" in log
    assert "  all  /*  -> app (lifecycle:app)" in log
    assert f"2 front processes, supervisor pid {server.pid}" in log
    assert "\x1b" not in log


def test_a_json_log_is_json_from_the_first_line(start: Start) -> None:
    server = start(config={"logging": {"format": "json"}})
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.log().splitlines()]
    assert lines[0]["message"] == "backend app: lifecycle:app is an ASGI 3 application"
    assert lines[1]["message"] == "serving"
    assert lines[1]["listeners"] == {"http": [server.url("")]}
    assert lines[-2]["message"] == "SIGTERM: stopping"
    assert re.fullmatch(r"stopped after \d+\.\d s: no request was aborted", lines[-1]["message"])


def test_the_working_directory_may_hold_a_package_called_like_ours(tmp_path: Path) -> None:
    other = tmp_path / "sidegate"
    other.mkdir()
    (other / "__init__.py").write_text("raise RuntimeError('the wrong sidegate')\n")
    result = subprocess.run(
        [sys.executable, "-P", "-m", "sidegate", "run", "nothing_here:app", "--port", "0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "proxy")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    # The front has come as far as the application.
    assert result.returncode == 2
    assert "there is no module 'nothing_here'" in result.stderr


def test_run_serves_an_application_without_a_file(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text(
        textwrap.dedent(
            """
            async def app(scope, receive, send):
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"hello"})
            """
        )
    )
    port = reserve_port()
    command = [sys.executable, "-m", "sidegate", "run", "hello:app", "--app-dir", str(tmp_path)]
    with subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port)], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if b"stop with ^C" in line:
                    break
            assert http_get(f"http://127.0.0.1:{port}/") == (200, "hello")
        finally:
            process.terminate()
        assert process.wait(PATIENCE) == 0


def test_what_run_prints_as_a_configuration_passes_check(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("async def app(scope, receive, send): ...\n")
    options = ["--app-dir", str(tmp_path), "--processes", "2", "--admin", "127.0.0.1:0", "--access-log", "json"]
    printed = run_cli("run", "hello:app", "--tls", *options, "--print-config")
    assert printed.returncode == 0, printed.stderr
    (tmp_path / "sidegate.yaml").write_text(printed.stdout)
    checked = run_cli("check", str(tmp_path / "sidegate.yaml"))
    assert (checked.returncode, checked.stderr) == (0, "")
