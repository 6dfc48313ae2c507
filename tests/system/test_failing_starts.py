"""Starts that fail: what the operator reads, the exit code, and that nothing stays behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

from sidegate.ipc.control import encode, receive_first
from tests.support.lifecycle import PATIENCE, Start, serving, status, wait_until
from tests.support.server import app_config, http_get, listener


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
    assert re.search(r"front \d+ exited before it was ready \(exit_9\)", server.log())


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
    assert server.wait() == 2
    assert re.search(r"sidegate.yaml:\d+:\d+: logging.accessLogFile: cannot open /no/such/folder/", server.log())


# ---- injected faults --------------------------------------------------------------------------------------

# ``sidegate`` with another way to spawn fronts. argv: -c EXECUTABLE -m sidegate serve FILE
INJECT = """\
import os, sys
from sidegate.supervisor import front_process as front
real = front.spawn
def spawn(command, environment, inherited):
{body}
front.spawn = spawn
from sidegate.cli import main
sys.exit(main(sys.argv[4:]))
"""


def injected(body: str) -> list[str]:
    return [sys.executable, "-c", INJECT.format(body=textwrap.indent(textwrap.dedent(body), "    "))]


NO_ROOM = """
    if os.path.exists(os.environ["LIFECYCLE_FOLDER"] + "/full"):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return real(command, environment, inherited)
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
    command = [sys.executable, "-m", "tests.support.liar", command[-1]]
    actions = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in inherited]
    return os.posix_spawn(sys.executable, command, environment, file_actions=actions)
"""


def test_a_child_that_breaks_the_protocol_is_killed(start: Start) -> None:
    server = start(ready=False, prefix=injected(LIAR), config={"processes": 2})
    assert server.wait() == 3
    assert "it violated the control protocol (ready while ready)" in server.log()


def run_front(first: bytes) -> int:
    """The exit code of a front whose supervisor says ``first`` and goes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", "sidegate.process.front", str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        ours.sendall(first)
        ours.shutdown(socket.SHUT_WR)
        return process.wait(PATIENCE)


def test_a_front_whose_supervisor_is_already_gone_ends() -> None:
    assert run_front(b"") == 3
    assert run_front(encode("config", supervisor=1)) == 3


def test_an_upgrade_under_a_running_service_is_called_by_its_name() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", "sidegate.process.front", str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        ours.sendall(encode("config", supervisor=os.getpid(), version="0.0.1"))
        answer = receive_first(ours)
        assert process.wait(PATIENCE) == 3
    assert answer is not None
    assert answer["type"] == "failed"
    assert "upgraded from 0.0.1" in answer["message"]


def test_without_uvloop_fronts_run_on_asyncio(start: Start, tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text("raise ImportError('not installed')\n")
    known = os.environ.get("PYTHONPATH", "")
    server = start(env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{known}"})
    assert status(server)["engines"]["loop"].startswith("asyncio 3.")
    assert http_get(server.url("/pid"))[0] == 200
    assert server.stop() == 0


def test_a_defect_of_a_front_is_reported_with_its_traceback(start: Start, switches: Path) -> None:
    (switches / "sabotage").touch()
    server = start(ready=False)
    assert server.wait() == 3
    assert "a front failed: Traceback" in server.log()
    assert "'NoneType' object is not callable" in server.log()
