"""A worker process, with the test in the supervisor's place."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sidegate.config.plain import pack
from sidegate.ipc import borrowed_packages
from sidegate.process.boot import too_old
from tests.support.accounts import needs_readable_clone, needs_root, public_folder
from tests.support.lifecycle import wait_until
from tests.support.programs import bare_environment
from tests.support.workers import WorkerProcess, pool_of_one

APP = """
import asyncio, os, resource, signal, sys, threading, time

started = asyncio.Event

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("shut down", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = str(await WAYS[scope["path"]]()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})

async def about():
    import json
    mask = os.umask(0)
    os.umask(mask)
    modules = [name for name in ("h2", "uvloop", "httptools", "pydantic", "yaml", "aiohttp") if name in sys.modules]
    return json.dumps({
        "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "umask": mask, "nice": os.nice(0),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE), "data": resource.getrlimit(resource.RLIMIT_DATA),
        "folder": os.getcwd(), "path": sys.path, "home": os.environ.get("HOME"), "user": os.environ.get("USER"),
        "modules": modules, "prefix": sys.prefix,
        "h2": getattr(sys.modules.get("_sidegate_borrowed.h2"), "__file__", None),
    })

async def slow():
    await asyncio.sleep(0.5)
    return "slow"

async def stuck():
    time.sleep(3600)

async def quick():
    return "quick"

WAYS = {"/" + way.__name__: way for way in (about, slow, stuck, quick)}
"""

PACKAGE = Path(__file__).parents[2] / "proxy" / "sidegate"

Start = Callable[..., WorkerProcess]


@pytest.fixture
def folder() -> Iterator[Path]:
    """The application's; other users may enter it, which pytest's own temporary folders forbid."""
    with public_folder() as folder:
        (folder / "served.py").write_text(APP)
        yield folder


@pytest.fixture
def worker(folder: Path) -> Iterator[Start]:
    """Start a worker: ``worker(pool)``; ``introduce=False`` leaves its first message to the test."""
    made: list[WorkerProcess] = []

    def start(
        pool: dict[str, Any] | None = None,
        app: str = "served:app",
        python: str = sys.executable,
        introduce: bool = True,
    ) -> WorkerProcess:
        made.append(WorkerProcess(pool_of_one(app, folder, pool), folder, python))
        if introduce:
            made[0].start()
        return made[0]

    yield start
    for process in made:
        process.close()


def about(worker: WorkerProcess) -> Any:
    return json.loads(worker.client().get("/about"))


def failure(worker: WorkerProcess, **changes: Any) -> str:
    """What it says when it cannot start; its exit code tells it too."""
    worker.introduce(**changes)
    return complaint(worker)


def complaint(worker: WorkerProcess) -> str:
    with worker.control.makefile("rb") as lines:
        message = json.loads(lines.readline())
    assert message["type"] == "failed"
    assert worker.wait() == 3
    ((path, reason),) = message.get("problems") or [([], message["message"])]
    return ".".join(path) + f": {reason}"


def test_it_says_what_it_runs_on_and_how_it_is(worker: Start) -> None:
    process = worker(introduce=False)
    ready = process.start()
    assert set(ready["engines"]) == {"loop", "http2"}
    process.client().get("/quick")
    facts = wait_until(lambda: (f := process.facts())["requests"] > 0 and f, "a request counted")
    assert (facts["requests"], facts["in_flight"]) == (1, 0)
    assert facts["rss"] > 1 << 20


def test_it_imports_nothing_that_only_fronts_and_the_supervisor_need(worker: Start) -> None:
    assert not set(about(worker())["modules"]) & {"httptools", "pydantic", "yaml", "aiohttp"}


def test_it_settles_in(worker: Start, folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    limits = {"openFiles": 256, "memory": "512Mi"}
    facts = about(worker({"umask": "0027", "nice": 3, "limits": limits, "directory": str(other)}))
    assert (facts["umask"], facts["nice"]) == (0o027, os.nice(0) + 3)
    assert facts["files"] == [256, 256]
    assert facts["data"] == [512 << 20, 512 << 20]
    assert facts["folder"] == str(other)
    assert facts["path"][:2] == [str(folder), str(other)]
    assert not {str(PACKAGE), str(PACKAGE / "process")} & set(facts["path"])


def test_a_limit_that_cannot_be_set_is_a_failure_in_words(worker: Start) -> None:
    process = worker({"limits": {"openFiles": 2**20}}, introduce=False)
    hard = psutil.Process().rlimit(psutil.RLIMIT_NOFILE)[1]
    if os.getuid() == 0 or hard >= 2**20:
        pytest.skip("this user may open as many files as a pool may ask for")
    assert failure(process).startswith("backends.app.pool.limits.openFiles: ")


@needs_readable_clone
def test_it_becomes_another_user(worker: Start) -> None:
    facts = about(worker({"user": "nobody"}))
    assert facts["uid"] == 65534
    assert facts["uid"] != 0 != facts["gid"]
    assert 0 not in facts["groups"]
    assert facts["home"] != "/root"


@needs_readable_clone
def test_a_user_by_number_needs_a_group(worker: Start) -> None:
    facts = about(worker({"user": "54321", "group": "54322"}))
    assert (facts["uid"], facts["gid"], facts["groups"]) == (54321, 54322, [54322])


@needs_root
@pytest.mark.parametrize(
    ("pool", "words"),
    [
        ({"user": "54321"}, "54321 is not in the system's user database"),
        ({"user": "nosuchuser"}, "there is no user nosuchuser"),
        ({"group": "nosuchgroup"}, "there is no group nosuchgroup"),
    ],
)
def test_users_and_groups_that_there_are_not(worker: Start, pool: dict[str, Any], words: str) -> None:
    assert words in failure(worker(pool, introduce=False))


def test_a_folder_that_is_not_there(worker: Start, folder: Path) -> None:
    gone = folder / "gone"
    gone.mkdir()
    process = worker({"directory": str(gone)}, introduce=False)
    gone.rmdir()
    assert failure(process) == f"backends.app.pool.directory: {gone}: No such file or directory"


@needs_root
def test_an_installation_that_the_user_may_not_read_is_named(
    worker: Start, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a clone in root's home is: its packages seemed not to be installed."""
    hidden = folder / "home"
    shutil.copytree(PACKAGE, hidden / "sidegate", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    hidden.chmod(0o700)
    monkeypatch.setattr(borrowed_packages, "WORKER_BOOT", str(hidden / "sidegate" / "process" / "boot.py"))
    reason = f"the user nobody may not enter the folder {hidden} (drwx------ root:root)"
    words = f"{reason}, but has to read Sidegate's installation in {hidden}/sidegate"
    assert failure(worker({"user": "nobody"}, introduce=False)) == f"backends.app.pool.user: {words}"


@needs_readable_clone
def test_a_folder_that_the_user_may_not_enter_is_named(worker: Start, folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(0o700)
    pool = {"user": "nobody", "directory": str(closed)}
    reason = f"the user nobody may not enter {closed} (drwx------ root:root)"
    assert failure(worker(pool, introduce=False)) == f"backends.app.pool.directory: {reason}"


@needs_readable_clone
def test_an_application_that_the_user_may_not_read_is_named(worker: Start, folder: Path) -> None:
    folder.chmod(0o700)
    reason = f"the user nobody may not read {folder} (drwx------ root:root)"
    words = f"there is no module 'served' in {folder} or in this Python's packages; {reason}"
    assert words in failure(worker({"user": "nobody"}, introduce=False))


def test_another_version_is_told_in_words(worker: Start) -> None:
    assert "restart it" in failure(worker(introduce=False), version="0.0.1")


def test_a_first_message_from_somebody_else_ends_it(worker: Start) -> None:
    process = worker(introduce=False)
    process.introduce(supervisor=1)
    assert process.wait() == 3


@pytest.mark.parametrize(
    ("text", "words"), [("1 / 0\n", "ZeroDivisionError"), ("", "has no attribute 'app'"), (None, "there is no module")]
)
def test_an_application_that_does_not_load(worker: Start, folder: Path, text: str | None, words: str) -> None:
    if text is not None:
        (folder / "broken.py").write_text(text)
    assert words in failure(worker(app="broken:app", introduce=False))


def test_a_startup_that_fails(worker: Start, folder: Path) -> None:
    code = "async def app(scope, receive, send):\n    await receive()\n    raise LookupError('no database')\n"
    (folder / "failing.py").write_text(code)
    assert "LookupError: no database" in failure(worker(app="failing:app", introduce=False))


def test_a_drain_finishes_what_has_begun(worker: Start) -> None:
    process = worker()
    clients = [process.client() for _ in range(3)]
    streams = [(client, client.begin("/slow")) for client in clients for _ in range(3)]
    for client in clients:
        client.get("/quick")  # so the others have arrived
    process.say("drain", grace=10.0)
    for client, stream in streams:
        assert bytes(client.finish(stream).body) == b"slow"
    process.hear("drained")
    assert process.wait() == 0
    assert "shut down" in process.log()
    for client in clients:
        client.read_to_the_end()
        assert client.goaways[0] == 2**31 - 1


def test_a_drain_while_requests_keep_coming_loses_none(worker: Start) -> None:
    """Whatever is not answered was beyond the last GOAWAY or met a closed socket: a front sends it elsewhere."""
    process = worker()
    client = process.client()
    process.say("drain", grace=10.0)
    while not client.goaways:
        assert client.get("/quick") == "quick"
    assert client.begin("/quick") == 0
    client.read_to_the_end()
    assert process.wait() == 0


def test_sigterm_requests_a_successor_and_a_second_one_drains(worker: Start) -> None:
    process = worker()
    client = process.client()
    stream = client.begin("/slow")
    client.get("/quick")
    process.process.terminate()
    assert process.hear("retire") == {"type": "retire", "cause": "drained"}
    assert client.get("/quick") == "quick"
    process.process.terminate()
    process.hear("draining")
    assert bytes(client.finish(stream).body) == b"slow"
    process.hear("drained")
    assert process.wait() == 0


def test_abort_cuts(worker: Start) -> None:
    process = worker()
    client = process.client()
    stream = client.begin("/slow")
    client.get("/quick")
    process.say("abort")
    assert client.finish(stream).reset
    assert process.wait() == 0


def test_it_ends_with_its_supervisor(worker: Start) -> None:
    process = worker()
    process.control.close()
    assert process.wait() == 3


def test_a_stuck_worker_shows_its_stacks(worker: Start) -> None:
    process = worker()
    client = process.client()
    client.begin("/stuck")
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_SLEEPING, "a worker that sleeps")
    threading.Event().wait(0.3)
    process.process.send_signal(signal.SIGABRT)
    assert process.wait() == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in process.log()
    assert "in stuck" in process.log()


def test_it_asks_for_a_successor_once_and_goes_on(worker: Start) -> None:
    process = worker({"maxRequests": 20, "recycleJitter": 50})
    client = process.client()
    for _ in range(20):
        client.get("/quick")
    assert process.hear("retire")["cause"] == "max_requests"
    for _ in range(20):
        client.get("/quick")
    facts = wait_until(lambda: (f := process.facts())["requests"] >= 40 and f, "40 requests")
    assert facts["requests"] == 40
    process.say("drain", grace=5.0)
    assert not any(message["type"] == "retire" for message in process.hear_until("drained"))


# ---- another Python ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of a virtual environment without any package."""
    return str(bare_environment(tmp_path_factory.mktemp("environment") / "bare") / "bin" / "python")


def test_an_environment_without_any_of_our_dependencies(worker: Start, bare: str) -> None:
    process = worker(python=bare)
    facts = about(process)
    assert facts["prefix"] == str(Path(bare).parents[1])
    assert not set(facts["modules"]) & {"uvloop", "httptools"}


def test_there_the_pure_engine_is_ours(worker: Start, bare: str) -> None:
    process = worker(python=bare, introduce=False)
    config = {**pack(process.config), "http2_engine": "h2"}
    assert process.start(config=config)["engines"]["http2"].startswith("h2 ")
    facts = about(process)
    assert "site-packages" in facts["h2"]
    assert not facts["h2"].startswith(facts["prefix"] + os.sep)


def test_without_it_there_is_no_engine(worker: Start, bare: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(borrowed_packages, "BORROWED", ("websockets",))
    process = worker(python=bare, introduce=False)
    config = {**pack(process.config), "http2_engine": "h2"}
    assert "HTTP/2 engine h2 cannot be used" in failure(process, config=config)


def test_a_module_of_ours_does_not_hide_one_of_the_applications(worker: Start, folder: Path) -> None:
    (folder / "control.py").write_text("from served import app\n")
    process = worker(app="control:app")
    assert about(process)["uid"] == os.getuid()


def test_an_old_python_is_told_in_words() -> None:
    assert too_old((3, 11)) == too_old((3, 14)) == ""
    assert "needs Python 3.11 or later" in too_old((3, 10))
    assert "is Python 3.8" in too_old((3, 8))


def test_an_old_python_tells_the_supervisor(worker: Start, tmp_path: Path) -> None:
    process = worker(python=old_python(tmp_path), introduce=False)
    assert "needs Python 3.11 or later" in complaint(process)


def old_python(folder: Path) -> str:
    """A real one if there is one, else one that claims to be old: both read the file."""
    for version in range(10, 6, -1):
        found = shutil.which(f"python3.{version}")
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    pretender = folder / "old-python"
    pretender.write_text(f"#!{sys.executable}\n{PRETENDER}")
    pretender.chmod(0o755)
    return str(pretender)


PRETENDER = """
import runpy, sys
sys.version_info = (3, 9, 2, "final", 0)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
