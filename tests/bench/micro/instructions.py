"""Instructions of a request by layer, counted by valgrind's callgrind: the same code with another clock.

Callgrind writes what it has counted to a file and starts again from zero whenever the process calls the C function
``MARK``, which nothing else calls. ``Counter`` reads those files. Start-up is neither counted nor instrumented. The
garbage collector is off: when it runs depends on everything that was allocated before, not on the layer it falls into.
With a fixed hash seed the figures of one environment repeat within about 0.3 %. Another environment has other
addresses, which moves a layer by up to 0.5 %, and "flush, settle", a small difference of large numbers, by a few
hundred.

As a program, under valgrind: ``python -m tests.bench.micro.instructions PREFIX SETUP`` prints JSON.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.micro.layers import Times
from tests.bench.micro.measuring import SETUPS, Effort, least
from tests.bench.micro.stage import CONNECTIONS, STREAMS, Clocks
from tests.bench.running import ROOT

MARK = "getsid"  # os.getsid calls it
CALIBRATIONS = 50
# Few, because callgrind is slow, and over HTTP/1.1 each request is a batch of its own. The first of the two timings
# warms up the interpreter.
EFFORTS = {"http/1.1": Effort(2 * CONNECTIONS, 1, 2), "h2": Effort(CONNECTIONS * STREAMS, 1, 2)}


class NotCounted(Exception):
    """There are no instructions; the message says why."""


class Counter:
    """A clock that shows instructions; what it takes to read it does not count. ``prefix`` is that of the dumps."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._dumps = 0
        self._total = 0
        self._own = 0
        # What two readings with nothing in between count; the first ones warm up the interpreter.
        self._own = min(-self() + self() for _ in range(CALIBRATIONS))

    def __call__(self) -> int:
        os.getsid(0)
        total = self._read()
        os.getsid(0)
        return total

    def _read(self) -> int:
        """Add what the last dump counts. The one before counts what it took to read the one before that."""
        self._dumps += 2
        Path(f"{self._prefix}.{self._dumps - 2}").unlink(missing_ok=True)
        dump = Path(f"{self._prefix}.{self._dumps - 1}")
        self._total += total_of(dump.read_text()) - self._own
        dump.unlink()
        return self._total


def total_of(dump: str) -> int:
    """The instructions that a file of callgrind's counts in all."""
    for line in reversed(dump.splitlines()):
        if line.startswith("totals:"):
            return int(line.split()[1])
    raise ValueError("a dump of callgrind without totals")


def counted(name: str) -> Times:
    """Of one setup, in a process of its own: what ran before would change the figures. Raises ``NotCounted``."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise NotCounted("valgrind is not installed")
    with tempfile.TemporaryDirectory(prefix="bench-micro-") as folder:
        prefix = f"{folder}/callgrind"
        options = ["--quiet", "--tool=callgrind", "--instr-atstart=no"]
        options += [f"--dump-before={MARK}*", f"--callgrind-out-file={prefix}"]
        program = [sys.executable, "-m", __spec__.name, prefix, name]
        environment = os.environ | {"PYTHONHASHSEED": "0"}
        result = subprocess.run(
            [valgrind, *options, *program], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
    if result.returncode:
        words = (line.strip() for line in reversed(result.stderr.splitlines()))
        raise NotCounted(f"valgrind failed: {next(filter(None, words), f'status {result.returncode}')}")
    found: Times = json.loads(result.stdout)
    return found


def instrument() -> None:
    """From now on callgrind counts in this process.

    Valgrind takes commands while the process runs, so it must not sleep until vgdb ends.
    """
    command = ["vgdb", f"--pid={os.getpid()}", "instrumentation", "on"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            pass


def main() -> None:
    """Under callgrind."""
    prefix, name = sys.argv[1:]
    setup = SETUPS[name]
    instrument()
    counter = Counter(prefix)
    # Always 0.0: how slow callgrind makes a request must not decide which code counts it.
    clocks = Clocks(counter, counter, float)
    gc.disable()
    print(json.dumps(least(setup, EFFORTS[setup.protocol], clocks)))


if __name__ == "__main__":
    main()
