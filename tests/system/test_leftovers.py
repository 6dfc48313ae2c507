"""Signals in the first moments of a start, and what a service that was killed leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lifecycle import PATIENCE, Start, wait_until
from tests.support.processes import tree
from tests.support.server import APPS

POOL = {"backends": {"app": {"app": "lifecycle:app", "directory": str(APPS), "pool": {"workers": 1}}}}


@pytest.fixture
def temporary() -> Iterator[dict[str, str]]:
    """Variables of a service whose temporary folder is empty and has a short name, as paths of sockets need."""
    with tempfile.TemporaryDirectory(prefix="sg-") as folder:
        yield {"TMPDIR": folder, "XDG_RUNTIME_DIR": ""}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
@pytest.mark.parametrize("whole_group", [False, True])
def test_a_signal_while_the_configuration_is_read(tmp_path: Path, number: signal.Signals, whole_group: bool) -> None:
    config = tmp_path / "sidegate.yaml"
    os.mkfifo(config)
    command = [sys.executable, "-m", "sidegate", "serve", str(config)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    # The process that reads the configuration has opened the pipe when opening it for writing returns.
    with config.open("w"):
        (reader,) = tree(process.pid)[1:]
        if whole_group:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        code = process.wait(PATIENCE)
        reader.wait(PATIENCE)
    assert process.communicate(timeout=PATIENCE)[1] == ""
    assert code == 128 + number


def test_a_caller_that_is_killed_leaves_no_traceback(tmp_path: Path) -> None:
    code = (
        "import os; from sidegate.supervisor.subprocess_call import SubprocessCall\n"
        "call = SubprocessCall('time:sleep', 0.5)\n"
        "os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
    )
    assert ended.stderr == ""  # read to its end, which is also the end of the other process


def test_a_signal_before_the_supervisor_runs(start: Start, tmp_path: Path, temporary: dict[str, str]) -> None:
    package = tmp_path / "aiohttp"
    package.mkdir()
    (package / "__init__.py").write_text(f"open({str(tmp_path / 'begun')!r}, 'w')\nimport time\ntime.sleep(3600)\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    server = start(ready=False, config=POOL, env={**temporary, "PYTHONPATH": path})
    wait_until((tmp_path / "begun").exists, "the import of the admin server")
    assert server.stop() == 128 + signal.SIGTERM
    assert server.log() == ""
    assert os.listdir(temporary["TMPDIR"]) == []


def test_a_second_signal_leaves_no_folder(start: Start, switches: Path, temporary: dict[str, str]) -> None:
    (switches / "sleep").touch()
    server = start(ready=False, config={"gracePeriod": "1h", **POOL}, env=temporary)
    wait_until((switches / "sleeping").exists, "a startup that blocks")
    assert os.listdir(temporary["TMPDIR"])
    server.send_signal(signal.SIGTERM)
    assert server.stop() in (0, 128 + signal.SIGTERM)
    assert os.listdir(temporary["TMPDIR"]) == []


def test_the_next_start_removes_what_a_killed_service_left(start: Start, temporary: dict[str, str]) -> None:
    folder = Path(temporary["TMPDIR"])
    killed = start(config=POOL, env=temporary)
    (left,) = folder.iterdir()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not killed.survivors(PATIENCE)
    assert left.exists()
    (folder / "sidegate-of-somebody-else").mkdir()
    first = start(config=POOL, env=temporary)
    assert not left.exists()
    (used,) = (found for found in folder.iterdir() if found.name != "sidegate-of-somebody-else")
    second = start(config=POOL | {"listeners": [{"name": "http", "address": "127.0.0.1:0"}]}, env=temporary)
    assert used.exists()
    assert first.stop() == second.stop() == 0
    assert os.listdir(folder) == ["sidegate-of-somebody-else"]
