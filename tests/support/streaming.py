"""Bodies too large to be held by anybody: sent and read by curl, which keeps neither."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.pools import serving_workers
from tests.support.programs import program
from tests.support.server import Sidegate

MIB = 1 << 20
PATIENCE = 120.0
GROWTH = 30 * MIB
"""What a process may need more for a body of any size."""

VERSIONS = {"http": ("--http1.1", "1.1"), "https": ("--http2", "2")}
"""By listener: how curl is told, and what it says."""


def processes_of(server: Sidegate) -> list[int]:
    """Pids of the fronts and workers."""
    return [process.pid for process in server.fronts] + serving_workers(server)


def download(server: Sidegate, listener: str, size: int) -> None:
    """Read a response of ``size`` bytes."""
    told = _curl(server, listener, f"/body?size={size}", "%{size_download}", "--output", "/dev/null")
    assert told == f"200 {VERSIONS[listener][1]} {size}", told


def upload(server: Sidegate, listener: str, size: int, folder: Path) -> None:
    """Send a request of ``size`` bytes."""
    file = folder / "zeros"
    with file.open("wb") as empty:
        empty.truncate(size)  # takes no space
    answer = str(folder / "answer")
    told = _curl(server, listener, "/upload", "%{size_upload}", "--upload-file", str(file), "--output", answer)
    assert told == f"200 {VERSIONS[listener][1]} {size}", told
    assert f'"size": {size},' in Path(answer).read_text()


def _curl(server: Sidegate, listener: str, path: str, told: str, *options: str) -> str:
    """The status, HTTP version and what the variable ``told`` says."""
    command = [program("curl"), "--silent", "--show-error", "--insecure", "--noproxy", "*", VERSIONS[listener][0]]
    command += ["--write-out", f"%{{http_code}} %{{http_version}} {told}", *options, server.url(path, listener)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    return result.stdout
