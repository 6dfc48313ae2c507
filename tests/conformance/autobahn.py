"""``make autobahn``: the Autobahn|Testsuite's fuzzing client against an echo application behind Sidegate.

One server, the application once in the front's process and once in a pool, a fuzzing client for each at the same time.
What they found is summed up by family of cases on the screen and in a file, next to the client's own report of every
case. It ends with 1 if a case failed, was not run, or was not implemented.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.pools import wait_workers
from tests.support.server import APPS, Sidegate, listener

FAMILIES = {
    "1": "framing",
    "2": "pings and pongs",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragmentation",
    "6": "UTF-8",
    "7": "close handshake",
    "9": "limits, performance",
    "10": "auto-fragmentation",
    "12": "compression, messages",
    "13": "compression, parameters",
}
"""By the first number of a case (8 does not exist, 11 only in the suite's own notes)."""

WHOLE = tuple(f"{family}.*" for family in FAMILIES)
FAST = tuple(f"{family}.*" for family in FAMILIES if int(family) < 12)
QUICK = (*FAST, "12.*.3", "12.*.5", "13.*.3", "13.*.5")
"""Of compression only messages of 256 and 4096 bytes: its cases send a thousand messages each."""

BEHAVIOURS = ("OK", "NON-STRICT", "INFORMATIONAL")
"""What a case may come to: as the standard says; within what it allows; with no judgement. All else is a failure."""

LARGEST = "16Mi"
"""The largest message of family 9."""

ROUTES = {"in-process": "/", "pool": "/pool"}
CASE_PATIENCE = 300.0


@dataclass(frozen=True)
class Result:
    """How one case ended: the messages, and the end of the connection."""

    case: str
    messages: str
    end: str

    @property
    def behaviour(self) -> str:
        """One of ``BEHAVIOURS``, else what went wrong."""
        if self.messages not in BEHAVIOURS:
            return self.messages
        return self.messages if self.end in BEHAVIOURS else self.end

    @property
    def family(self) -> str:
        return self.case.partition(".")[0]


def config() -> dict[str, Any]:
    """Everything echoes, and messages may be as large as the suite's."""
    app = {"app": "websocket_plain:app", "directory": str(APPS)}
    return {
        "listeners": [listener(websocket={"maxMessage": LARGEST})],
        "backends": {"in-process": app, "pool": {**app, "pool": {}}},
        "routes": [{"name": name, "path": path, "backend": name} for name, path in ROUTES.items()],
    }


class Client:
    """One run of the fuzzing client, in the background. Its report and what it prints are kept in ``folder``."""

    def __init__(self, wstest: Path, url: str, cases: Sequence[str], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._index = folder / "index.json"
        self._index.unlink(missing_ok=True)
        self._log_path = folder / "log"
        spec = {"servers": [{"agent": "sidegate", "url": url}], "outdir": str(folder), "cases": list(cases)}
        (folder / "spec.json").write_text(json.dumps(spec, indent=2))
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [str(wstest.resolve()), "--mode", "fuzzingclient", "--spec", str((folder / "spec.json").resolve())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def results(self) -> tuple[list[Result], int]:
        """What it found, in the order of cases, and how many cases it meant to run."""
        while self._process.poll() is None:
            self._wait_for_a_case()
        log = self._log_path.read_text(errors="replace")
        meant = re.search(r"will run (\d+) test cases", log)
        found: Mapping[str, Any] = json.loads(self._index.read_text())["sidegate"] if self._index.exists() else {}
        results = [Result(case, entry["behavior"], entry["behaviorClose"]) for case, entry in found.items()]
        results.sort(key=lambda result: [int(part) for part in result.case.split(".")])
        return results, int(meant[1]) if meant else 0

    def _wait_for_a_case(self) -> None:
        """Return when it has ended or prints that it goes on; a case that hangs ends the run."""
        printed = self._log_path.stat().st_size
        try:
            self._process.wait(CASE_PATIENCE)
        except subprocess.TimeoutExpired:
            if self._log_path.stat().st_size == printed:
                self.stop()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def table(way: str, results: Sequence[Result], meant: int) -> Iterator[str]:
    """One line for each family: how many cases came to what. No results: the client was ended, or ended itself."""
    columns = [*BEHAVIOURS, *sorted({result.behaviour for result in results} - set(BEHAVIOURS) - {"FAILED"}), "FAILED"]
    yield f"{way}: {len(results)} of {meant} cases"
    yield f"  {'family':<28}" + "".join(f"{column:>15}" for column in columns)
    for family, subject in FAMILIES.items():
        counts = Counter(result.behaviour for result in results if result.family == family)
        if counts:
            yield f"  {family:>2} {subject:<25}" + "".join(f"{counts[column]:>15}" for column in columns)
    counts = Counter(result.behaviour for result in results)
    yield f"  {'all':<28}" + "".join(f"{counts[column]:>15}" for column in columns)
    for result in results:
        if result.behaviour not in BEHAVIOURS:
            yield f"  {result.case}: {result.messages}, at the end {result.end}"


def run(arguments: argparse.Namespace) -> int:
    """Run the clients against a server of their own; the process's exit code."""
    cases = arguments.cases or (QUICK if arguments.quick else WHOLE)
    lines: list[str] = []
    passed = True
    with tempfile.TemporaryDirectory() as folder:
        server = Sidegate(Path(folder), config())
        clients: dict[str, Client] = {}
        try:
            server.wait_ready()
            wait_workers(server, 1, "pool")
            for way in arguments.ways:
                url = f"ws://127.0.0.1:{server.port()}{ROUTES[way]}"
                clients[way] = Client(arguments.wstest, url, cases, arguments.output / way)
            for way, client in clients.items():
                results, meant = client.results()
                lines += table(way, results, meant)
                passed &= len(results) == meant > 0 and all(result.behaviour in BEHAVIOURS for result in results)
        finally:
            for client in clients.values():
                client.stop()
            server.close()
            (arguments.output / "server.log").write_text(server.log())
    lines.append("passed" if passed else "FAILED")
    summary = arguments.output / "summary.txt"
    summary.write_text("\n".join(lines) + "\n")
    print(summary.read_text(), end="")
    print(f"kept in {summary}; every case in {arguments.output}/*/index.html")
    return 0 if passed else 1


def pattern(text: str) -> str:
    """A pattern of cases; the fuzzing client would wait for ever if there were none."""
    if text.partition(".")[0] not in FAMILIES:
        raise argparse.ArgumentTypeError(f"{text!r}: the families are {', '.join(FAMILIES)}")
    return text


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make autobahn", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--wstest", type=Path, required=True, help="the suite's program (make autobahn sets it)")
    parser.add_argument("--output", type=Path, default=Path("build/autobahn"), help="folder for reports (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="leave out most cases of the slow families 12 and 13")
    parser.add_argument(
        "--cases", type=pattern, action="append", metavar="PATTERN", help="only these, such as 6.4.* (repeatable)"
    )
    parser.add_argument(
        "--ways", nargs="+", choices=list(ROUTES), default=list(ROUTES), help="where the application is"
    )
    arguments = parser.parse_args(argv)
    arguments.output.mkdir(parents=True, exist_ok=True)
    return arguments


if __name__ == "__main__":
    # It ends by way of the block that stops the server and the clients.
    signal.signal(signal.SIGTERM, lambda received, _frame: sys.exit(128 + received))
    sys.exit(run(parse(sys.argv[1:])))
