"""The cases of the comparison, and one measurement of one of them with h2load."""

from __future__ import annotations

import re
import subprocess
from dataclasses import asdict, dataclass

from tests.bench.servers import Server
from tests.support.programs import program


@dataclass(frozen=True)
class Case:
    """A load: ``protocol`` h1 or h2, over TLS or not, by ``connections`` with ``streams`` requests at once on each."""

    name: str
    title: str
    protocol: str
    tls: bool
    connections: int
    streams: int
    path: str = "/"

    def command(self, server: Server, seconds: float) -> list[str]:
        """h2load's command line."""
        scheme, port = ("https", server.tls_port) if self.tls else ("http", server.port)
        url = f"{scheme}://127.0.0.1:{port}{self.path}"
        load = ["-t", "1", "-c", str(self.connections), "-m", str(self.streams), "-D", f"{seconds * 1000:.0f}ms"]
        return [*load, *(["--h1"] if self.protocol == "h1" else []), url]


CASES = (
    Case("h2-small", "h2 + TLS, 13 bytes, 16 connections of 16 streams", "h2", True, 16, 16),
    Case("h1-small", "HTTP/1.1, 13 bytes, 64 keep-alive connections", "h1", False, 64, 1),
    Case("h2-64k", "h2 + TLS, 64 KiB, 16 connections of 16 streams", "h2", True, 16, 16, "/64k"),
)


@dataclass(frozen=True)
class Sample:
    """One run: what was answered, and what it cost the server in all of its processes."""

    requests: int
    failed: int
    requests_per_second: float
    cpu_microseconds: float

    def as_json(self) -> dict[str, float]:
        return asdict(self)


def measure(case: Case, server: Server, seconds: float, core: int | None) -> Sample:
    """Load ``server`` for ``seconds``. The handshakes count too: they are a few of many thousand requests."""
    pin = [] if core is None else ["taskset", "--cpu-list", str(core)]
    before = server.cpu_seconds()
    command = [*pin, program("h2load"), *case.command(server, seconds)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{result.stdout}{result.stderr}")
    spent = server.cpu_seconds() - before
    return _sample(result.stdout, spent)


def _sample(report: str, cpu_seconds: float) -> Sample:
    """Read h2load's report, whose lines of interest are these (numbers shortened)::

    finished in 3.00s, 87243.33 req/s, 3.08MB/s
    requests: 261730 total, 261986 started, 261730 done, 261730 succeeded, 0 failed, 0 errored, 0 timeout
    """
    rate = re.search(r"finished in .*?, ([\d.]+) req/s", report)
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", report)
    if rate is None or counts is None or counts[1] == "0":
        raise SystemExit(f"h2load got no answer:\n{report}")
    succeeded = int(counts[1])
    failed = sum(int(counts[number]) for number in (2, 3, 4))
    return Sample(succeeded, failed, float(rate[1]), cpu_seconds / succeeded * 1e6)
