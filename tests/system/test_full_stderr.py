"""Standard error that nobody reads: a full pipe stops no process, and lost lines are counted and reported."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clients import Http2Client, request
from tests.support.lifecycle import PATIENCE, wait_until
from tests.support.pools import answered_by, serving_workers, wait_workers, worker_command
from tests.support.server import Sidegate, app_config

NOTICE = re.compile(rb"\[(\d+)\] warning sidegate\.log: (\d+) lines of this log were dropped")


class FullPipe:
    """A pipe that was filled and that nobody reads until ``read`` is called. ``redirected``: runs a command on it."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.fill()

    @property
    def redirected(self) -> list[str]:
        return ["sh", "-c", f'exec "$@" 2>/proc/self/fd/{self.writer}', "sh"]

    def fill(self) -> None:
        # Another open file: O_NONBLOCK would hold for the processes under test, too.
        own = os.open(f"/proc/self/fd/{self.writer}", os.O_WRONLY | os.O_NONBLOCK)
        for size in (4096, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(own, b"\n" * size)
        os.close(own)

    def read(self, patterns: int) -> dict[int, int]:
        """Read until so many processes have told how many lines they dropped; the numbers by pid."""
        text = b""

        def found() -> dict[int, int]:
            nonlocal text
            while select.select([self.reader], [], [], 0)[0]:
                text += os.read(self.reader, 65536)
            return {int(pid): int(count) for pid, count in NOTICE.findall(text)}

        wait_until(lambda: len(found()) >= patterns, f"{patterns} lines about dropped lines")
        return found()

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def stderr() -> Iterator[FullPipe]:
    with contextlib.closing(FullPipe()) as pipe:
        yield pipe


def dropped(server: Sidegate, kind: str) -> int:
    found = re.search(
        rf'^sidegate_process_log_dropped_total{{kind="{kind}"}} (\S+)$', server.admin("/metrics")[1], re.MULTILINE
    )
    return int(float(found[1])) if found else 0


def test_a_service(tmp_path: Path, stderr: FullPipe) -> None:
    config = app_config("talkative:app", processes=1, logging={"accessLog": "off"})
    app = config["backends"]["app"]
    config["backends"]["pooled"] = {**app, "pool": {"workers": 1}}
    config["backends"]["forked"] = {**app, "pool": {"workers": 1, "preload": True}}
    pools = ("pooled", "forked")
    config["routes"] = [*({"name": name, "path": f"/{name}", "backend": name} for name in pools), *config["routes"]]
    with contextlib.closing(Sidegate(tmp_path, config, prefix=stderr.redirected, pass_fds=(stderr.writer,))) as server:
        server.wait_ready()
        talkers = [answered_by(server, path) for path in ("/log", "/pooled/log", "/forked/log")]
        assert dropped(server, "front") > 0
        assert dropped(server, "worker") > dropped(server, "front")
        for pool in pools:  # the supervisor and the preloader log it
            (pid,) = serving_workers(server, pool)
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid, pool=pool: wait_workers(server, 1, pool) != [pid], "a successor")  # type: ignore[misc]
            assert answered_by(server, f"/{pool}/") != pid
        assert [answered_by(server, "/")] == talkers[:1]
        assert set(stderr.read(1)) == {talkers[0]}  # the killed workers cannot tell any more
        stderr.fill()
        answered_by(server, "/log")
        assert server.stop() == 0


def test_a_worker_command(tmp_path: Path, stderr: FullPipe) -> None:
    path = tmp_path / "worker.sock"
    command = worker_command(f"unix:{path}", app="talkative:app")
    with subprocess.Popen([*stderr.redirected, *command], pass_fds=(stderr.writer,)) as process:
        try:
            sock = wait_until(lambda: connected(path), "a worker")
            with contextlib.closing(Http2Client(sock)) as client:
                assert request(client, "GET", "/log").body == b"%d" % process.pid
                assert set(stderr.read(1)) == {process.pid}
                stderr.fill()
                assert request(client, "GET", "/log").status == 200
            process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def connected(path: Path) -> socket.socket | None:
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(str(path))
    except OSError:
        sock.close()
        return None
    return sock
