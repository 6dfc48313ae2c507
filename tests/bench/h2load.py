"""One run of h2load, and what its report and its log say.

h2load 1.52 prints no percentiles; its log has a line for every request. Writing it costs the client, which has a core
of its own and is not what is measured, about a tenth of its time.
"""

from __future__ import annotations

import contextlib
import math
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.bench.case import Load
from tests.bench.usage import cpu_seconds

WARM_UP_SECONDS = 0.3
HANDSHAKE_SECONDS = 0.003
CONNECT_SECONDS = 0.0002
GRACE = 10.0
END_GRACE = 3.0


class NoAnswer(Exception):  # the message is what the row says
    """h2load did not get a single answer."""


@dataclass
class Run:
    """What was asked for and what came back; latencies in microseconds, ascending, of answers with 2xx only.

    ``shed`` counts answers with 5xx, ``failed`` requests that ended without an answer, ``unanswered`` those still open
    when the time was over.
    """

    started: int = 0
    seconds: float = 0.0
    latencies: list[int] = field(default_factory=list)
    shed: int = 0
    failed: int = 0
    client_seconds: float = 0.0

    @property
    def answered(self) -> int:
        return len(self.latencies)

    @property
    def unanswered(self) -> int:
        return max(0, self.started - self.answered - self.shed - self.failed)

    def milliseconds(self, share: float) -> float:
        """The latency that ``share`` of the answers did not exceed."""
        return self.latencies[math.ceil(share * len(self.latencies)) - 1] / 1000


class Meter(Protocol):
    """Is told when the measured time begins and ends."""

    def begin(self) -> None: ...

    def end(self) -> None: ...


@dataclass
class H2load:
    """The program, the start of its command line that pins it, and a folder for its log and the bodies it posts."""

    program: str
    pin: Sequence[str]
    folder: Path

    def run(self, url: str, load: Load, seconds: float, meter: Meter) -> Run:
        """Load ``url`` for ``seconds``, after the time it takes to connect and warm up.

        Raises ``NoAnswer``.
        """
        log = self.folder / "h2load.log"
        log.unlink(missing_ok=True)
        command = [*self.pin, self.program, *self.arguments(load, seconds), f"{url}{load.path}"]
        run, output = Run(seconds=seconds), []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            with _killed_after(process, warm_up(load) + seconds + GRACE):
                for line in process.stdout or ():
                    output.append(line)
                    if line.startswith("Main benchmark duration is started"):
                        meter.begin()
                        run.client_seconds -= cpu_seconds([process.pid])
                    elif line.startswith("Main benchmark duration is over"):
                        meter.end()
                        run.client_seconds += cpu_seconds([process.pid])
                        break
            with _killed_after(process, END_GRACE):
                output += process.stdout or ()
        read_report("".join(output), run)
        read_log(log.read_bytes() if log.exists() else b"", run)
        if not run.latencies:
            raise NoAnswer(_reason(output) or f"no answer within {seconds:g} s")
        return run

    def arguments(self, load: Load, seconds: float) -> list[str]:
        """h2load's options, but for the URL."""
        options = ["-t", "1", "-c", str(load.connections), "-m", str(load.streams), "-D", f"{seconds * 1000:.0f}ms"]
        options += ["--warm-up-time", f"{warm_up(load) * 1000:.0f}ms", "--log-file", str(self.folder / "h2load.log")]
        if load.protocol == "h1":
            options.append("--h1")
        if load.upload:
            options += ["-d", str(self.folder / load.upload), "-H", "content-type: application/json"]
        for field_line in load.fields:
            options += ["-H", field_line]
        if load.rate is not None:
            options += ["--rps", f"{load.rate / load.connections:.3f}"]
        return options


def warm_up(load: Load) -> float:
    """Seconds before the measured time: connections are made, and what was slow the first time is over.

    A TLS handshake takes client and server a millisecond each, and more where a machine is busy. (h2load 1.52 does not
    end when its time is over before all connections stand.)
    """
    if not load.warm_up:
        return 0.0
    return WARM_UP_SECONDS + load.connections * (HANDSHAKE_SECONDS if load.tls else CONNECT_SECONDS)


@contextlib.contextmanager
def _killed_after(process: subprocess.Popen[str], seconds: float) -> Iterator[None]:
    """The block ends by then at the latest, because the program's output does."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def read_report(report: str, run: Run) -> None:
    """Of h2load's report these lines (numbers shortened)::

    finished in 3.00s, 87243.33 req/s, 3.08MB/s
    requests: 261730 total, 261986 started, 261730 done, 261730 succeeded, 0 failed, 0 errored, 0 timeout
    """
    started = re.search(r"(\d+) started", report)
    if started is not None:
        run.started = int(started[1])


def read_log(log: bytes, run: Run) -> None:
    """A line for each request: start in microseconds, status or -1, microseconds until the end of the response.

    Status 0 is an answer, too: hypercorn ends its HTTP/1.1 status line without a reason phrase, as RFC 9112 4 allows,
    and then h2load 1.52 does not learn the status.
    """
    for line in log.splitlines():
        _, status, spent = line.split(b"\t")[:3]
        if status.startswith(b"2") or status == b"0":
            run.latencies.append(int(spent))
        elif status.startswith(b"5"):
            run.shed += 1
        else:
            run.failed += 1
    run.latencies.sort()


def _reason(output: Sequence[str]) -> str:
    """What h2load has to complain of, if anything."""
    told = [line.strip() for line in output if "error:" in line.lower() or "could not" in line.lower()]
    return told[-1][:100] if told else ""
