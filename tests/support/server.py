"""A real ``sidegate serve`` in processes of its own, for system tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.support import processes
from tests.support.ports import reserve_port

APPS = Path(__file__).parent.parent / "system" / "apps"
READY_PATIENCE = 90.0
STOP_PATIENCE = 60.0


def listener(**fields: Any) -> dict[str, Any]:
    """A listener's YAML on a reserved port of 127.0.0.1; ``fields`` add to it or replace what is in it."""
    return {"name": "http", "address": f"127.0.0.1:{reserve_port()}", **fields}


def app_config(app: str, *, tls: Mapping[str, Any] | None = None, **top_level: Any) -> dict[str, Any]:
    """YAML for one application of ``tests/system/apps`` (``"plain:app"``) behind a cleartext listener.

    With ``tls`` (the YAML of ``listeners[].tls``) there is a second listener named ``https``. ``top_level``
    keys are added.
    """
    listeners = [listener()]
    if tls is not None:
        listeners.append(listener(name="https", tls=dict(tls)))
    return {
        "listeners": listeners,
        "backends": {"app": {"app": app, "directory": str(APPS)}},
        "routes": [{"name": "all", "path": "/", "backend": "app"}],
        **top_level,
    }


class Sidegate:
    """One server with its supervisor, fronts, YAML file and log, started as an operator would.

    An ``admin`` listener on a free port is added when the config says nothing about it (``wait_ready`` needs one),
    and a short ``gracePeriod``, so that a test which leaves requests open ends soon.
    ``prefix`` is a command that runs the rest of its arguments (``setpriv``).
    The access log and everything else on standard output and error goes to the file ``log_path``.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        *,
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
        prefix: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = {"admin": {"address": f"127.0.0.1:{reserve_port()}"}, "gracePeriod": "5s", **config}
        self.config_path = folder / "sidegate.yaml"
        self.config_path.write_text(yaml.safe_dump(self.config, sort_keys=False))
        self.log_path = folder / "log"
        # Its own cache folder: two clones tested at once must not share a development certificate.
        environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONUNBUFFERED": "1", **(env or {})}
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "sidegate", "serve", str(self.config_path), *args],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=pass_fds,
                # A group of its own: ^C on the test run reaches it through close(), not twice.
                start_new_session=True,
            )
        self._seen: dict[int, psutil.Process] = {}

    @property
    def pid(self) -> int:
        """The supervisor's."""
        return self.process.pid

    @property
    def fronts(self) -> list[psutil.Process]:
        """The supervisor's front processes that live now; other children of its own help it to start."""
        living = []
        for child in processes.tree(self.pid)[1:]:
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
                if child.status() != psutil.STATUS_ZOMBIE and "sidegate.process.front" in child.cmdline():
                    living.append(child)
        return living

    def log(self) -> str:
        """Everything that its processes have printed so far."""
        return self.log_path.read_text(errors="replace")

    def port(self, name: str = "http") -> int:
        """The port of the listener called ``name``."""
        for entry in self.config["listeners"]:
            if entry["name"] == name:
                return int(entry["address"].rpartition(":")[2])
        raise KeyError(name)

    def url(self, path: str = "/", name: str = "http") -> str:
        """A URL at the listener called ``name``, by 127.0.0.1."""
        tls = any(entry["name"] == name and entry.get("tls") for entry in self.config["listeners"])
        return f"{'https' if tls else 'http'}://127.0.0.1:{self.port(name)}{path}"

    def admin_url(self, path: str) -> str:
        """A URL at the admin server."""
        return f"http://{self.config['admin']['address']}{path}"

    def admin(self, path: str) -> tuple[int, str]:
        """GET from the admin server: status and body."""
        return http_get(self.admin_url(path))

    def wait_ready(self) -> None:
        """Return once ``/readyz`` says 200; fail with the log when the server ends or takes too long."""
        self._wait(lambda: self.admin("/readyz")[0] == 200)

    def wait_serving(self) -> None:
        """Return once a front serves, whatever the backends do; fail as ``wait_ready``."""
        self._wait(lambda: any(one["state"] == "serving" for one in json.loads(self.admin("/status")[1])["processes"]))

    def _wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_PATIENCE
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"sidegate ended with exit code {self.process.returncode}:\n{self.log()}")
            with contextlib.suppress(OSError):
                if condition():
                    self._remember()
                    return
            time.sleep(0.05)
        raise AssertionError(f"sidegate was not ready in {READY_PATIENCE:.0f} s:\n{self.log()}")

    def wait_log(self, text: str, patience: float = 10.0) -> str:
        """Return the log once ``text`` is in it."""
        deadline = time.monotonic() + patience
        while text not in (log := self.log()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{text!r} did not come into the log:\n{log}")
            time.sleep(0.02)
        return log

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor alone."""
        self._remember()
        self.process.send_signal(number)

    def wait(self, patience: float = STOP_PATIENCE) -> int:
        """The supervisor's exit code; fails with the log when it does not end."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"sidegate did not stop in {patience:.0f} s:\n{self.log()}") from None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; its exit code once it and all of its children are gone."""
        self.send_signal(number)
        code = self.wait()
        left = self.survivors()
        assert not left, f"children outlived the supervisor: {left}\n{self.log()}"
        return code

    def survivors(self, patience: float = 5.0) -> list[psutil.Process]:
        """Processes of this server that still live ``patience`` seconds after now."""
        _, alive = psutil.wait_procs(list(self._seen.values()), timeout=patience)
        return [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]

    def close(self) -> None:
        """Stop it if it still runs. What does not stop is killed, and the test fails."""
        self._remember()
        try:
            if self.process.poll() is None:
                self.process.terminate()
                self.wait()
        finally:
            left = self.survivors()
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.wait(STOP_PATIENCE)
        assert not left, f"had to be killed: {left}\n{self.log()}"

    def _remember(self) -> None:
        self._seen.update((process.pid, process) for process in processes.tree(self.pid))


def http_get(url: str, headers: Mapping[str, str] | None = None, patience: float = 10.0) -> tuple[int, str]:
    """GET by HTTP/1.1 without TLS: status and body, whatever the status."""
    request = urllib.request.Request(url, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=patience) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def run_cli(
    *args: str, env: Mapping[str, str] | None = None, patience: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run ``sidegate`` with arguments until it ends by itself; nothing is raised for its exit code."""
    return subprocess.run(
        [sys.executable, "-m", "sidegate", *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
        env={**os.environ, **(env or {})},
    )
