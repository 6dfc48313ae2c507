"""Starting, replacing and stopping real workers."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.support import processes
from tests.support.lifecycle import PATIENCE, Start, get_in_background, held_open, serving, status, wait_until
from tests.support.pools import serving_workers, wait_workers, workers
from tests.support.server import APPS, Sidegate, http_get, run_cli


def pooled(**pool: Any) -> dict[str, Any]:
    """The application ``lifecycle`` in a pool named ``app``."""
    pool = {"workers": 1, **pool}
    return {"backends": {"app": {"app": "lifecycle:app", "directory": str(APPS), "pool": pool}}}


def restarts(server: Sidegate, cause: str) -> int:
    return int(status(server)["pools"]["app"]["restarts"].get(cause, 0))


def wait_answer(server: Sidegate) -> int:
    """The pid of the worker that answers, once one does."""
    return int(wait_until(lambda: (got := http_get(server.url("/pid")))[0] == 200 and got[1], "an answer"))


# ---- starts that fail -------------------------------------------------------------------------------------


def test_a_startup_that_fails_is_shown_once_and_tried_again(start: Start, switches: Path) -> None:
    (switches / "raise").touch()
    server = start(ready=False, config=pooled(workers=2))
    server.wait_serving()
    log = server.wait_log("the database is down")
    wait_until(lambda: restarts(server, "failed_start") >= 4, "two more failed attempts")
    assert 'raise RuntimeError("the database is down")' in log
    assert server.log().count("RuntimeError: the database is down") == 1
    (switches / "raise").unlink()
    assert wait_answer(server) in wait_workers(server, 2, "app")


def test_a_worker_that_is_never_ready_is_killed_and_the_rest_serves(start: Start, switches: Path) -> None:
    (switches / "hang").touch()
    server = start(ready=False, config=pooled(startTimeout="1s"))
    server.wait_serving()
    assert "is killed: not ready within 1 s" in server.log()
    wait_until(lambda: restarts(server, "start_timeout") >= 1, "the cause")
    assert serving(server)


def test_an_environment_file_is_read_at_each_start(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "pool.env"
    file.write_text("")
    server = start(config=pooled(envFile=str(file)))
    (pid,) = wait_workers(server, 1, "app")
    file.write_text("no assignment\n")
    os.kill(pid, signal.SIGKILL)
    server.wait_log(f"cannot start a worker process: {file}:1: ")
    file.write_text("KEY=value\n")
    assert "KEY=value" in Path(f"/proc/{wait_answer(server)}/environ").read_text().split("\0")


def test_an_interpreter_that_goes_away_is_waited_for(start: Start, tmp_path: Path) -> None:
    python, away = tmp_path / "python", tmp_path / "away"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    server = start(config=pooled(python=str(python)))
    (pid,) = wait_workers(server, 1, "app")
    python.rename(away)
    os.kill(pid, signal.SIGKILL)
    server.wait_log("cannot start a worker process: [Errno 2]")
    away.rename(python)
    wait_answer(server)


def test_an_application_that_cannot_be_preloaded_leaves_the_rest_serving(start: Start, switches: Path) -> None:
    (switches / "crash").touch()
    server = start(ready=False, config=pooled(preload=True))
    server.wait_serving()
    assert re.search(r"backend app: preloader \d+ exited \(exit_9\)", server.log())
    metrics = server.admin("/metrics")[1]
    assert 'sidegate_pool_workers{backend="app",state="serving"} 0.0' in metrics
    assert re.search(r'sidegate_process_restarts_total\{cause="exit_9",kind="preloader"\} \d', metrics)
    (switches / "crash").unlink()
    wait_answer(server)


# ---- replacing --------------------------------------------------------------------------------------------


def test_sigterm_to_a_worker_drains_it_beside_its_successor(start: Start, switches: Path) -> None:
    server = start(config=pooled())
    (old,) = wait_workers(server, 1, "app")
    thread, answers = get_in_background(server.url("/hold"))
    wait_until((switches / "holding").exists, "a request in flight")
    os.kill(old, signal.SIGTERM)
    (new,) = wait_until(lambda: [pid for pid in serving_workers(server, "app") if pid != old], "a successor")
    states = {old: "draining", new: "serving"}
    wait_until(lambda: {worker["pid"]: worker["state"] for worker in workers(server, "app")} == states, "the drain")
    assert wait_answer(server) == new
    (switches / "release").touch()
    thread.join(PATIENCE)
    assert answers == [(200, str(old))]
    wait_until(lambda: restarts(server, "drained") == 1, "the cause")
    assert (switches / f"shutdown-{old}").exists()


@pytest.mark.parametrize("preload", [False, True])
def test_a_worker_that_got_sigterm_serves_until_its_successor_does(start: Start, switches: Path, preload: bool) -> None:
    server = start(config=pooled(preload=preload))
    (old,) = wait_workers(server, 1, "app")
    (switches / "wait").touch()
    os.kill(old, signal.SIGTERM)
    wait_until((switches / "waiting").exists, "a successor that starts")
    assert {worker["pid"]: worker["state"] for worker in workers(server, "app")}[old] == "serving"
    assert wait_answer(server) == old
    (switches / "wait").unlink()
    wait_until(lambda: restarts(server, "drained") == 1, "the cause")
    (new,) = serving_workers(server, "app")
    assert new != old
    assert wait_answer(server) == new


def test_an_exit_of_the_application_is_a_cause(start: Start) -> None:
    server = start(config=pooled())
    wait_workers(server, 1, "app")
    http_get(server.url("/pid"))
    with contextlib.suppress(OSError, ValueError):
        http_get(server.url("/exit"))
    wait_until(lambda: restarts(server, "exit_7") >= 1, "the cause")
    wait_answer(server)

    def counted() -> int:
        return sum(map(int, re.findall(r"worker_requests_total\{.*\} (\d+)", server.admin("/metrics")[1])))

    # A worker counts a request after its last byte has left, so the client may have the answer earlier.
    wait_until(lambda: counted() >= 2, "the requests of both workers")


def test_what_an_old_worker_does_not_finish_is_cut(start: Start, switches: Path) -> None:
    server = start(config=pooled(stopTimeout="1s", maxAge="1s"))
    with held_open(server, "/hold"):
        wait_until((switches / "holding").exists, "a request in flight")
        wait_until(lambda: restarts(server, "max_age") >= 1, "its end")
    assert wait_answer(server) > 0


def test_a_limit_below_what_the_start_needs_replaces_nobody(start: Start) -> None:
    server = start(config=pooled(maxMemory="1Mi"))
    log = server.wait_log("more than maxMemory: it is not replaced because of its memory")
    (pid,) = wait_workers(server, 1, "app")
    assert re.search(rf"backend app: worker {pid} uses \d+ MiB", log)


def test_a_preloader_that_dies_is_replaced_and_its_workers_go_on(start: Start) -> None:
    server = start(config=pooled(preload=True))
    (worker,) = wait_workers(server, 1, "app")
    (old,) = status(server)["pools"]["app"]["preloaders"]
    os.kill(old["pid"], signal.SIGKILL)

    def another() -> bool:
        found = status(server)["pools"]["app"]["preloaders"]
        return bool(found) and found[0]["pid"] != old["pid"] and found[0]["state"] == "serving"

    wait_until(another, "another preloader")
    assert wait_answer(server) == worker
    os.kill(worker, signal.SIGKILL)  # an orphan: the supervisor has to learn of its end by itself
    assert wait_until(lambda: [pid for pid in serving_workers(server, "app") if pid != worker], "a successor")


def test_a_preloader_that_is_stopped_hides_no_dead_worker(start: Start) -> None:
    server = start(config=pooled(preload=True))
    (worker,) = wait_workers(server, 1, "app")
    (old,) = status(server)["pools"]["app"]["preloaders"]
    os.kill(old["pid"], signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: serving_workers(server, "app") == [], "the fronts know")
    os.kill(old["pid"], signal.SIGKILL)
    assert wait_until(lambda: serving_workers(server, "app"), "a successor") != [worker]
    assert server.stop() == 0


def test_a_stop_with_a_preloader_that_is_stopped(start: Start) -> None:
    server = start(config={**pooled(preload=True), "gracePeriod": "1s"})
    (worker,) = wait_workers(server, 1, "app")
    (old,) = status(server)["pools"]["app"]["preloaders"]
    os.kill(old["pid"], signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: serving_workers(server, "app") == [], "the fronts know")
    assert server.stop() == 0


LAZY_PRELOADER = """#!{python}
import os, pathlib, socket, sys
if pathlib.Path({switch!r}).exists() and sys.argv[-1] == "preload":
    control = socket.socket(fileno=int(sys.argv[2]))
    control.sendall(b'{{"type": "ready"}}\\n')
    while b'"fork"' not in control.recv(1 << 20):
        pass
    sys.exit(5)
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


def test_a_worker_that_its_preloader_did_not_fork_is_forgotten(start: Start, switches: Path, tmp_path: Path) -> None:
    python, switch = tmp_path / "python", switches / "lazy"
    python.write_text(LAZY_PRELOADER.format(python=sys.executable, switch=str(switch)))
    python.chmod(0o755)
    switch.touch()
    server = start(ready=False, config=pooled(python=str(python), preload=True))
    server.wait_serving()
    wait_until(lambda: restarts(server, "not_forked") >= 1, "the cause")
    switch.unlink()
    wait_answer(server)


# ---- stopping ---------------------------------------------------------------------------------------------


def test_a_stop_lets_workers_finish_and_end_in_good_order(start: Start, switches: Path) -> None:
    server = start(config={**pooled(workers=2, preload=True), "gracePeriod": "20s"})
    pids = wait_workers(server, 2, "app")
    thread, answers = get_in_background(server.url("/hold"))
    wait_until((switches / "holding").exists, "a request in flight")
    server.send_signal(signal.SIGTERM)
    wait_until(lambda: server.admin("/readyz")[0] == 503, "not ready any more")
    (switches / "release").touch()
    assert server.wait() == 0
    thread.join(PATIENCE)
    assert answers[0][0] == 200
    assert all((switches / f"shutdown-{pid}").exists() for pid in pids)
    assert not server.survivors()


@pytest.mark.parametrize("switch", ["hang", "wait"])
def test_a_stop_while_workers_start(start: Start, switches: Path, switch: str) -> None:
    (switches / switch).touch()
    server = start(ready=False, config=pooled())
    wait_until(lambda: workers_of(server), "a worker that starts")
    assert server.stop() == 0


def workers_of(server: Sidegate) -> list[psutil.Process]:
    found = []
    for child in processes.tree(server.pid)[1:]:
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(word.endswith("process/boot.py") for word in child.cmdline()):
                found.append(child)
    return found


def test_a_worker_that_is_blocked_is_killed_at_the_end(start: Start, switches: Path) -> None:
    server = start(config={**pooled(), "gracePeriod": "1s"})
    wait_workers(server, 1, "app")
    with held_open(server, "/block"):
        wait_until((switches / "blocking").exists, "a blocked event loop")
        assert server.stop() == 0
    assert re.search(r"backend app: worker \d+ is killed", server.log())


def test_a_second_signal_ends_at_once(start: Start, switches: Path) -> None:
    server = start(config={**pooled(), "gracePeriod": "1h"})
    wait_workers(server, 1, "app")
    with held_open(server, "/hold"):
        wait_until((switches / "holding").exists, "a request in flight")
        server.send_signal(signal.SIGTERM)
        server.wait_log("SIGTERM: stopping")
        assert server.stop(signal.SIGTERM) == 128 + signal.SIGTERM


@pytest.mark.parametrize("preload", [False, True])
def test_no_worker_survives_the_supervisor(start: Start, preload: bool) -> None:
    with tempfile.TemporaryDirectory() as runtime:  # which nobody is left to clear
        server = start(config=pooled(workers=2, preload=preload), env={"XDG_RUNTIME_DIR": runtime})
        wait_workers(server, 2, "app")
        children = processes.tree(server.pid)[1:]
        os.kill(server.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(children, timeout=PATIENCE)
    assert not [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


# ---- check ------------------------------------------------------------------------------------------------


def test_check_imports_each_application_where_its_workers_would(tmp_path: Path) -> None:
    for name in ("shop", "admin"):  # one module name, two folders, and an environment that the import needs
        (tmp_path / name).mkdir()
        text = f"import os\nassert os.environ['WHO'] == {name!r}\nasync def app(scope, receive, send): ...\n"
        (tmp_path / name / "project.py").write_text(text)
    pools = {
        name: {"workers": 1, "directory": str(tmp_path / name), "env": {"WHO": name}} for name in ("shop", "admin")
    }
    assert checked(tmp_path, "project:app", pools) == (0, [])


def test_check_tells_what_would_keep_workers_from_starting(tmp_path: Path) -> None:
    (tmp_path / "dies.py").write_text("import os\nos._exit(9)\n")
    here = {"workers": 1, "directory": str(tmp_path)}
    code, problems = checked(
        tmp_path,
        "dies:app",
        {
            "dead": here,
            "slow": {**here, "startTimeout": "1ms"},
            "bare": {**here, "envFile": str(tmp_path / "missing.env")},
        },
    )
    assert code == 2
    assert [re.sub(r".*: backends\.", "", problem) for problem in problems] == [
        "dead.app: its process ended while it imported the application",
        "slow.app: is not imported within startTimeout, 0.001 s",
        f"bare.pool.envFile: {tmp_path}/missing.env: cannot be read: No such file or directory",
    ]


def checked(folder: Path, app: str, pools: dict[str, dict[str, Any]]) -> tuple[int, list[str]]:
    """Exit code and complaints of ``sidegate check`` about one application in several pools."""
    config = {
        "listeners": [{"name": "http", "address": "127.0.0.1:0"}],
        "backends": {name: {"app": app, "pool": pool} for name, pool in pools.items()},
        "routes": [{"path": f"/{name}", "backend": name} for name in pools],
    }
    file = folder / "sidegate.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    done = run_cli("check", str(file))
    return done.returncode, done.stderr.splitlines()


# ---- surroundings -----------------------------------------------------------------------------------------


def test_sockets_stand_in_a_private_folder_that_goes_with_the_service(start: Start) -> None:
    with tempfile.TemporaryDirectory() as runtime:  # tmp_path may be too long for a socket
        server = start(config=pooled(workers=2), env={"XDG_RUNTIME_DIR": runtime})
        old = wait_workers(server, 2, "app")
        (folder,) = Path(runtime).iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        sockets = list(folder.glob("*/*"))
        assert [stat.S_IMODE(path.stat().st_mode) for path in sockets] == [0o600] * 2
        os.kill(old[0], signal.SIGKILL)
        wait_until(lambda: len(set(serving_workers(server, "app")) - {old[0]}) == 2, "a successor")
        assert len(set(folder.glob("*/*")) & set(sockets)) == 1
        assert server.stop() == 0
        assert not list(Path(runtime).iterdir())


def test_the_summary_and_the_fronts_know_the_pool(start: Start) -> None:
    server = start(config={**pooled(workers={"min": 1, "max": 3}), "processes": 2})
    wait_until(lambda: len(serving(server)) == 2, "two fronts")
    assert "lifecycle:app, 1 to 3 workers" in server.log()
    assert 'sidegate_processes{kind="worker",state="serving"} 1.0' in server.admin("/metrics")[1]
    assert {int(http_get(server.url("/pid"))[1]) for _ in range(10)} == set(wait_workers(server, 1, "app"))
