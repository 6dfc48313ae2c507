"""What the supervisor's side of pools does before and beside real workers."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidegate.config.schema import Config
from sidegate.config.validation import validate
from sidegate.errors import StartError
from sidegate.observe.cells import Area
from sidegate.supervisor import child_process
from sidegate.supervisor import pools as pools_module
from sidegate.supervisor.child_process import ChildProcess, spawn
from sidegate.supervisor.child_state import ChildStatus
from sidegate.supervisor.plan import PoolsState
from sidegate.supervisor.pools import Pools, SupervisorLoop
from sidegate.supervisor.watch import Watch
from sidegate.supervisor.worker_process import Launch, WorkerProcess


def a_config(**pool: Any) -> Config:
    return validate(
        Config,
        {
            "listeners": [{"name": "http", "address": "127.0.0.1:0"}],
            "backends": {"shop": {"app": "shop:app", "pool": {"workers": 2, **pool}}},
            "routes": [{"path": "/", "backend": "shop"}],
        },
    )


def make(config: Config) -> Pools:
    return Pools(
        config,
        lambda path, message: f"{path}: {message}",
        SupervisorLoop(lambda: 0.0, lambda news: news(), fronts=list, learn=lambda found: None),
    )


# ---- the place of sockets, the user -----------------------------------------------------------------------


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose name is short enough for sockets."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_sockets_stand_in_the_runtime_folder(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    pools = make(a_config())
    assert [path.name.partition("-")[0] for path in short.iterdir()] == ["sidegate"]
    pools.close()
    assert not list(short.iterdir())


@pytest.mark.parametrize("name", ["no/such/folder", "x" * 100])
def test_a_runtime_folder_that_does_not_fit_is_passed_over(
    short: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    unfit, other = short / name, short / "other"
    other.mkdir()
    if "/" not in name:
        unfit.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(unfit))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(other))
    pools = make(a_config())
    assert len(list(other.iterdir())) == 1
    pools.close()


def test_the_folder_of_systemd_is_used(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{short}:/run/another")
    pools = make(a_config())
    assert len(list(short.iterdir())) == 1
    pools.close()


def test_the_configured_folder_is_used_alone(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", tempfile.gettempdir())
    pools = make(replace(a_config(), runtime_directory=str(short)))
    assert len(list(short.iterdir())) == 1
    pools.close()
    with pytest.raises(StartError) as caught:
        make(replace(a_config(), runtime_directory=str(short / "missing")))
    reason = f"runtimeDirectory ({short}/missing): No such file or directory. Mount a writable folder, "
    assert str(caught.value).startswith(f"cannot create the folder for the workers' sockets: {reason}")


def test_without_any_place_for_sockets_the_error_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(prefix: str, dir: str) -> str:  # noqa: A002 - the name of tempfile
        raise OSError(30, "Read-only file system")

    def none_usable() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "mkdtemp", read_only)
    monkeypatch.setattr(tempfile, "gettempdir", none_usable)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/" + "x" * 90)
    monkeypatch.setenv("TMPDIR", "/scratch")
    with pytest.raises(StartError) as caught:
        make(a_config())
    assert str(caught.value) == (
        "cannot create the folder for the workers' sockets: XDG_RUNTIME_DIR: not set; "
        f"RUNTIME_DIRECTORY (/run/{'x' * 90}): the name is too long for a unix socket's; "
        "the temporary folder (/scratch): Read-only file system; the temporary folder (/tmp): Read-only file system. "
        "Mount a writable folder, such as a tmpfs or an emptyDir, and name it in the key 'runtimeDirectory'"
    )


@pytest.mark.parametrize("failing", ["lock_folder", "Launch", "Watch"])
@pytest.mark.parametrize(
    ("error", "raised"), [(OSError(28, "No space left on device"), StartError), (SystemExit(1), SystemExit)]
)
def test_a_start_that_fails_leaves_no_folder(
    short: Path,
    monkeypatch: pytest.MonkeyPatch,
    failing: str,
    error: BaseException,
    raised: type[BaseException],
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(pools_module, failing, fail)
    config = replace(a_config(reload={"watch": [str(short)]}), runtime_directory=str(short))
    before = os.listdir("/dev/fd")
    with pytest.raises(raised) as caught:
        make(config)
    assert os.listdir(short) == []
    assert len(os.listdir("/dev/fd")) == len(before)
    if raised is StartError:
        assert str(caught.value).startswith(f"cannot use the folder {short}/sidegate-")
        assert str(caught.value).endswith(" for the workers' sockets: No space left on device")


@pytest.mark.parametrize("failing", ["create", "listen", "spawn", "Channel"])
def test_a_worker_that_cannot_be_started_leaves_nothing(
    short: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append((pid, number)))
    monkeypatch.setattr(Launch, "spawn", lambda *_: 5_000_000)
    owner = {"create": Area, "listen": socket.socket, "spawn": Launch, "Channel": child_process}[failing]
    monkeypatch.setattr(owner, failing, fail)
    config = a_config()
    pool = config.backends["shop"].pool
    assert pool is not None
    launch = Launch(config, "shop", pool, short)
    gc.collect()
    before = os.listdir("/dev/fd")
    with pytest.raises(OSError, match="Too many open files"):
        start(launch)
    assert os.listdir(short) == []
    assert len(os.listdir("/dev/fd")) == len(before)
    assert signals == ([(5_000_000, signal.SIGKILL)] if failing == "Channel" else [])


def start(launch: Launch) -> None:
    worker = WorkerProcess(ChildStatus(1, 0, 0, 0.0), launch, None)
    worker.open(lambda message: None, lambda: None)


@pytest.mark.parametrize("key", ["user", "group"])
def test_another_user_can_only_be_chosen_by_root(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StartError, match=rf"'backends', 'shop', 'pool', '{key}'.*: only root may set it"):
        make(a_config(**{key: "nobody"}))


def test_without_pools_there_is_nothing() -> None:
    config = a_config()
    backend = {"respond": {"status": 200}}
    plain = validate(
        Config,
        {
            "listeners": [{"name": "http", "address": "127.0.0.1:0"}],
            "backends": {"shop": backend},
            "routes": [{"path": "/", "backend": "shop"}],
        },
    )
    pools = make(plain)
    assert pools.phase is PoolsState.NONE
    assert pools.step() == (False, None)
    pools.close()
    some = make(config)
    assert some.phase is PoolsState.STARTING
    some.close()


# ---- signals to a process whose pid is told later ---------------------------------------------------------


def test_a_signal_waits_for_the_pid() -> None:
    process = ChildProcess(1, 0, lambda theirs: None)
    assert process.resident == 0
    process.signal(signal.SIGKILL)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        process.pid = other.pid
        process.send_pending_signal()
        assert other.wait() == -signal.SIGKILL
    process.signal(signal.SIGTERM)  # reaped: nothing happens

    async def end() -> None:
        process.listen(lambda message: None, lambda: None)
        process.read_remaining_messages()

    asyncio.run(end())


def test_a_program_that_is_gone_leaves_no_socket(tmp_path: Path) -> None:
    def start(theirs: socket.socket) -> int:
        return spawn([str(tmp_path / "python")], os.environ, [theirs.fileno()])

    with pytest.raises(FileNotFoundError):
        ChildProcess(1, 0, start)


# ---- watched files ----------------------------------------------------------------------------------------


def test_python_files_in_a_folder_and_named_files_count(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "app.py").write_text("a = 1")
    settings = tmp_path / "settings.toml"
    watch = Watch([str(package), str(settings)])
    assert watch.changed() == []
    (package / "app.py").write_text("a = 12")
    (package / "new.py").write_text("")
    settings.write_text("debug = true")
    assert watch.changed() == [str(settings), str(package / "app.py"), str(package / "new.py")]
    assert watch.changed() == []
    (package / "app.py").unlink()
    assert watch.changed() == [str(package / "app.py")]


def test_what_a_service_writes_itself_does_not_count(tmp_path: Path) -> None:
    watch = Watch([str(tmp_path)])
    (tmp_path / "db.sqlite3").write_text("x")
    for name in (".git", "__pycache__", "node_modules", "site-packages"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "module.py").write_text("x")
    assert watch.changed() == []


def test_a_change_of_time_alone_counts(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text("a = 1")
    watch = Watch([str(tmp_path)])
    os.utime(file, ns=(1, 1))
    assert watch.changed() == [str(file)]
