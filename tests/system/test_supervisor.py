"""Starting, replacing and stopping real processes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from proxy.control import encode
from tests.support.ports import reserve_port
from tests.support.server import Sidegate, app_config, http_get, listener, run_cli

PATIENCE = 30.0

Start = Callable[..., Sidegate]


def wait_until(condition: Callable[[], object], what: str) -> Any:
    """The first true value of ``condition``."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(0.02)
    return value


@pytest.fixture
def switches(tmp_path: Path) -> Path:
    """The folder that directs the application ``lifecycle``."""
    folder = tmp_path / "switches"
    folder.mkdir()
    return folder


@pytest.fixture
def start(tmp_path: Path, switches: Path) -> Iterator[Start]:
    """Start servers of the application ``lifecycle``; ``ready=False`` does not wait for them."""
    numbers = itertools.count()
    with contextlib.ExitStack() as stack:

        def begin(*, ready: bool = True, config: dict[str, Any] | None = None, **options: Any) -> Sidegate:
            env = {"LIFECYCLE_FOLDER": str(switches), **options.pop("env", {})}
            whole = {**app_config("lifecycle:app"), **(config or {})}
            server = Sidegate(tmp_path / f"server-{next(numbers)}", whole, env=env, **options)
            stack.callback(server.close)
            if ready:
                server.wait_ready()
            return server

        yield begin


def status(server: Sidegate) -> Any:
    return json.loads(server.admin("/status")[1])


def serving(server: Sidegate) -> list[int]:
    """The pids of the fronts that serve."""
    return [process["pid"] for process in status(server)["processes"] if process["state"] == "serving"]


def get_in_background(url: str) -> tuple[threading.Thread, list[tuple[int, str]]]:
    """A GET on a thread of its own, and the list that its answer will be in."""
    answers: list[tuple[int, str]] = []
    thread = threading.Thread(target=lambda: answers.append(http_get(url)))
    thread.start()
    return thread, answers


@contextlib.contextmanager
def held_open(server: Sidegate, path: str) -> Iterator[socket.socket]:
    """A connection whose request was begun and is not answered to its end."""
    with socket.create_connection(("127.0.0.1", server.port())) as client:
        client.settimeout(PATIENCE)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield client


# ---- replacing fronts -------------------------------------------------------------------------------------


def test_a_killed_front_is_replaced_and_its_counts_are_kept(start: Start) -> None:
    server = start()
    (victim,) = serving(server)
    for _ in range(3):
        assert http_get(server.url("/pid")) == (200, str(victim))
    wait_until(lambda: requests_counted(server) == 3, "three requests")
    os.kill(victim, signal.SIGKILL)
    (successor,) = wait_until(lambda: [pid for pid in serving(server) if pid != victim], "a successor")
    assert http_get(server.url("/pid")) == (200, str(successor))
    assert 'sidegate_process_restarts_total{cause="SIGKILL",kind="front"} 1.0' in server.admin("/metrics")[1]
    wait_until(lambda: requests_counted(server) == 4, "three requests of the dead front and one of its successor")
    assert f"front {victim} ended (SIGKILL)" in server.log()


def requests_counted(server: Sidegate) -> float:
    counts = re.findall(r'sidegate_requests_total\{.*code="200".*\} (\S+)', server.admin("/metrics")[1])
    return sum(map(float, counts))


def test_one_front_dies_the_others_go_on(start: Start) -> None:
    server = start(config={"processes": 3})
    pids = wait_until(lambda: len(serving(server)) == 3 and serving(server), "three fronts")
    os.kill(pids[0], signal.SIGSEGV)
    for _ in range(20):
        assert int(http_get(server.url("/pid"))[1]) != pids[0]
    wait_until(lambda: len(serving(server)) == 3, "three fronts again")
    assert set(pids[1:]) < set(serving(server))


def test_an_exit_of_the_application_is_a_cause(start: Start) -> None:
    server = start()
    with contextlib.suppress(OSError):
        http_get(server.url("/exit"))
    wait_until(lambda: status(server)["restarts"] == {"exit_7": 1}, "the cause")
    wait_until(lambda: serving(server), "a successor")


def test_a_crash_loop_backs_off_and_recovers(start: Start, switches: Path) -> None:
    server = start()
    (switches / "crash").touch()
    os.kill(serving(server)[0], signal.SIGKILL)
    wait_until(lambda: status(server)["restarts"].get("exit_9", 0) >= 3, "three failed attempts")
    assert server.admin("/readyz") == (503, "no front process serves yet\n")
    assert server.admin("/livez")[0] == 200
    (switches / "crash").unlink()
    server.wait_ready()
    stamps = re.findall(r"^(\S+) .*front \d+ ended", server.log(), re.MULTILINE)
    times = [datetime.fromisoformat(stamp) for stamp in stamps[:4]]
    gaps = [(after - before).total_seconds() for before, after in itertools.pairwise(times)]
    assert all(gap >= 0.5 * 2**number for number, gap in enumerate(gaps)), gaps


def test_a_later_failure_to_start_is_logged_and_tried_again(start: Start, switches: Path) -> None:
    server = start()
    (switches / "raise").touch()
    os.kill(serving(server)[0], signal.SIGKILL)
    log = server.wait_log("the database is down", PATIENCE)
    assert "RuntimeError" in log
    (switches / "raise").unlink()
    server.wait_ready()
    assert status(server)["restarts"]["failed_start"] >= 1


def test_sigterm_to_a_front_drains_it_beside_its_successor(start: Start, switches: Path) -> None:
    server = start()
    (old,) = serving(server)
    thread, answers = get_in_background(server.url("/hold"))
    wait_until((switches / "holding").exists, "a request in flight")
    os.kill(old, signal.SIGTERM)
    (new,) = wait_until(lambda: [pid for pid in serving(server) if pid != old], "a successor")
    assert http_get(server.url("/pid")) == (200, str(new))
    states = {process["pid"]: process["state"] for process in status(server)["processes"]}
    assert states == {old: "draining", new: "serving"}
    (switches / "release").touch()
    thread.join(PATIENCE)
    assert answers == [(200, str(old))]
    wait_until(lambda: status(server)["restarts"] == {"drained": 1}, "the cause")


def test_a_front_that_never_becomes_ready_is_ended(start: Start, switches: Path) -> None:
    (switches / "hang").touch()
    server = start(ready=False, config={"startTimeout": "1s"})
    assert server.wait() == 3
    assert "is killed: not ready within 1 s" in server.log()


# ---- stopping ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_graceful_stop_finishes_what_is_in_flight(start: Start, switches: Path, number: signal.Signals) -> None:
    server = start(config={"gracePeriod": "20s"})
    (front,) = serving(server)
    thread, answers = get_in_background(server.url("/hold"))
    wait_until((switches / "holding").exists, "a request in flight")
    server.send_signal(number)
    wait_until(lambda: refused(server.port()), "closed listeners")
    assert server.admin("/readyz") == (503, "stopping\n")
    (switches / "release").touch()
    assert server.wait() == 0
    thread.join(PATIENCE)
    assert answers == [(200, str(front))]
    assert (switches / f"shutdown-{front}").exists()


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass
    return False


def test_requests_are_served_during_the_shutdown_delay(start: Start) -> None:
    server = start(config={"shutdownDelay": "3s", "gracePeriod": "20s"})
    server.send_signal(signal.SIGTERM)
    wait_until(lambda: server.admin("/readyz")[0] == 503, "not ready any more")
    assert http_get(server.url("/pid"))[0] == 200
    assert server.wait() == 0


def test_a_second_signal_ends_at_once(start: Start, switches: Path) -> None:
    server = start(config={"gracePeriod": "1h", "shutdownDelay": "30m"})
    with held_open(server, "/hold"):
        wait_until((switches / "holding").exists, "a request in flight")
        server.send_signal(signal.SIGTERM)
        server.wait_log("SIGTERM: stopping")
        assert server.stop(signal.SIGTERM) == 128 + signal.SIGTERM


def test_what_is_left_at_the_end_of_the_grace_period_is_cut(start: Start, switches: Path) -> None:
    server = start(config={"gracePeriod": "2s"})
    with held_open(server, "/hold") as client:
        wait_until((switches / "holding").exists, "a request in flight")
        assert server.stop() == 0
        with contextlib.suppress(ConnectionResetError):
            while client.recv(4096):
                pass


def test_a_front_that_is_stuck_is_killed_at_the_end(start: Start, switches: Path) -> None:
    server = start(config={"gracePeriod": "1s"})
    with held_open(server, "/block"):
        wait_until((switches / "blocking").exists, "a blocked event loop")
        assert server.stop() == 0
    assert "is killed: it said its last word and does not end" in server.log()


def test_a_stop_while_applications_are_imported(start: Start, switches: Path) -> None:
    (switches / "hang").touch()
    server = start(ready=False)
    wait_until(lambda: server.fronts, "a front that imports")
    assert server.stop() == 0


def test_a_stop_while_an_application_starts_up(start: Start, switches: Path) -> None:
    (switches / "wait").touch()
    server = start(ready=False)
    wait_until((switches / "waiting").exists, "a startup under way")
    assert server.admin("/readyz") == (503, "no front process serves yet\n")
    assert server.stop() == 0


def test_sighup_does_not_end_the_service(start: Start) -> None:
    server = start()
    (front,) = serving(server)
    os.killpg(server.pid, signal.SIGHUP)  # as a closing terminal does
    server.wait_log("SIGHUP: this version cannot reload")
    assert http_get(server.url("/pid")) == (200, str(front))


def test_ctrl_c_reaches_every_process_and_stops_gracefully(start: Start, switches: Path) -> None:
    server = start()
    (front,) = serving(server)
    os.killpg(server.pid, signal.SIGINT)
    assert server.wait() == 0
    assert (switches / f"shutdown-{front}").exists()


def test_no_front_survives_the_supervisor(start: Start, switches: Path) -> None:
    server = start(config={"processes": 2})
    (switches / "hang").touch()
    os.kill(wait_until(lambda: serving(server), "a front")[0], signal.SIGKILL)
    # One serves, one is stuck in an import and reads no control socket.
    fronts = wait_until(lambda: len(server.fronts) == 2 and server.fronts, "two fronts")
    os.kill(server.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(fronts, timeout=PATIENCE)
    assert not [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


# ---- failing starts ---------------------------------------------------------------------------------------


def test_a_failing_startup_shows_its_traceback_once(start: Start, switches: Path) -> None:
    (switches / "raise").touch()
    server = start(ready=False, config={"processes": 3})
    assert server.wait() == 3
    log = server.log()
    assert log.count("RuntimeError: the database is down") == 1
    assert 'raise RuntimeError("the database is down")' in log
    assert not server.survivors()


def test_a_front_that_dies_before_it_is_ready_ends_the_start(start: Start, switches: Path) -> None:
    (switches / "crash").touch()
    server = start(ready=False)
    assert server.wait() == 3
    assert re.search(r"front \d+ ended before it was ready \(exit_9\)", server.log())


def test_applications_that_cannot_be_imported_are_problems_with_positions(start: Start) -> None:
    config = app_config("no_such_module:app")
    config["backends"]["other"] = {"app": "lifecycle:no_such_attribute"}
    server = start(ready=False, config={"backends": config["backends"], "processes": 2})
    assert server.wait() == 2
    problems = [line for line in server.log().splitlines() if line.startswith(str(server.config_path))]
    assert len(problems) == 2
    assert re.match(r".*\.yaml:\d+:\d+: backends\.app\.app: there is no module 'no_such_module'", problems[0])
    assert re.match(r".*\.yaml:\d+:\d+: backends\.other\.app: .* has no attribute 'no_such_attribute'", problems[1])


def test_an_unreadable_certificate_is_a_problem_with_its_position(start: Start) -> None:
    tls = {"certificates": [{"cert": "missing.pem", "key": "missing.pem"}]}
    server = start(ready=False, config={"listeners": [listener(tls=tls)]})
    assert server.wait() == 2
    assert re.search(r"\.yaml:\d+:\d+: listeners\[0\]\.tls\.certificates\[0\]\.cert: ", server.log())


def test_a_port_in_use_starts_nothing(start: Start, switches: Path) -> None:
    (switches / "crash").touch()  # a front would say so
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = start(ready=False, config={"listeners": [listener(address=f"127.0.0.1:{port}")]})
        assert server.wait() == 3
    assert re.search(rf"\.yaml:\d+:\d+: listeners\S*: cannot listen on 127\.0\.0\.1:{port}: .* in use", server.log())
    assert "exit_9" not in server.log()


def test_a_port_that_is_taken_while_the_applications_start(start: Start, switches: Path) -> None:
    (switches / "hang").touch()
    server = start(ready=False)
    wait_until(lambda: server.fronts, "a front that imports")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", server.port()))
        other.listen()
        (switches / "hang").unlink()
        assert server.wait() == 3
    assert "the address is in use" in server.log()


def test_an_access_log_that_cannot_be_opened_ends_the_start(start: Start) -> None:
    logging = {"accessLog": "json", "accessLogFile": "/no/such/folder/access.log"}
    server = start(ready=False, config={"logging": logging})
    assert server.wait() == 3
    assert "/no/such/folder/access.log" in server.log()


# ---- injected faults --------------------------------------------------------------------------------------

# ``sidegate`` with another way to spawn fronts. argv: -c EXECUTABLE -m proxy serve FILE
INJECT = """\
import os, sys
from proxy.supervisor import front
real = front._spawn
def spawn(control, inherited):
{body}
front._spawn = spawn
from proxy.cli import main
sys.exit(main(sys.argv[4:]))
"""


def injected(body: str) -> list[str]:
    return [sys.executable, "-c", INJECT.format(body=textwrap.indent(textwrap.dedent(body), "    "))]


NO_ROOM = """
    if os.path.exists(os.environ["LIFECYCLE_FOLDER"] + "/full"):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return real(control, inherited)
"""


def test_a_system_without_room_for_a_first_process(start: Start, switches: Path) -> None:
    (switches / "full").touch()
    server = start(ready=False, prefix=injected(NO_ROOM))
    assert server.wait() == 3
    assert server.log() == "cannot start a front process: Resource temporarily unavailable\n"


def test_a_system_without_room_for_a_replacement(start: Start, switches: Path) -> None:
    server = start(prefix=injected(NO_ROOM))
    (switches / "full").touch()
    os.kill(serving(server)[0], signal.SIGKILL)
    server.wait_log("cannot start a front process: Resource temporarily unavailable", PATIENCE)
    (switches / "full").unlink()
    server.wait_ready()


LIAR = """
    command = [sys.executable, "-m", "tests.support.liar", str(control)]
    actions = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in inherited]
    return os.posix_spawn(sys.executable, command, os.environ, file_actions=actions)
"""


def test_a_child_that_breaks_the_protocol_is_killed(start: Start) -> None:
    server = start(ready=False, prefix=injected(LIAR), config={"processes": 2})
    assert server.wait() == 3
    assert "it breaks the protocol (ready while ready)" in server.log()


def run_front(first: bytes) -> int:
    """The exit code of a front whose supervisor says ``first`` and goes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", "proxy.front", str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        ours.sendall(first)
        ours.shutdown(socket.SHUT_WR)
        return process.wait(PATIENCE)


def test_a_front_whose_supervisor_is_already_gone_ends() -> None:
    assert run_front(b"") == 3
    assert run_front(encode("config", supervisor=1)) == 3


# ---- surroundings -----------------------------------------------------------------------------------------


IN_A_PID_NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def works(prefix: list[str], *command: str) -> bool:
    """Whether ``command`` can be run by ``prefix`` here."""
    if shutil.which(prefix[0]) is None:
        return False
    return subprocess.run([*prefix, *command], capture_output=True, check=False).returncode == 0


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
    server.wait_log("ended (SIGKILL)")
    server.wait_ready()
    supervisor.send_signal(signal.SIGTERM)
    assert server.wait() == 0


# Coverage data would belong to a user who cannot write where it goes. `env` also is a second exec, which ends the
# last of root's rights.
AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "--unset=COVERAGE_PROCESS_CONFIG"]


@pytest.mark.skipif(
    not works(AS_NOBODY, sys.executable, "-c", "import proxy"),
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
    server.wait_log("ended (SIGKILL)", PATIENCE)
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
    assert lines[0]["message"] == "serving"
    assert lines[0]["listeners"] == {"http": [server.url("")]}
    assert lines[-1]["message"] == "SIGTERM: stopping"


def test_the_working_directory_may_hold_a_package_called_like_ours(tmp_path: Path) -> None:
    other = tmp_path / "proxy"
    other.mkdir()
    (other / "__init__.py").write_text("raise RuntimeError('the wrong proxy')\n")
    result = subprocess.run(
        [sys.executable, "-P", "-m", "proxy", "run", "nothing_here:app", "--port", "0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
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
    command = [sys.executable, "-m", "proxy", "run", "hello:app", "--app-dir", str(tmp_path)]
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
