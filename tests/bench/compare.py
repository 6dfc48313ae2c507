"""``make bench``: what a request costs in Sidegate and in its peers, measured in one run on one core.

The unit is CPU time (user and system, all processes of the server) per request: unlike requests per second it
does not change with what the load generator or another program takes from the machine. The servers take turns,
run by run, so that a slower minute of the machine hits all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
from pathlib import Path

from tests.bench.load import CASES, Case, Sample, measure
from tests.bench.report import Report, markdown, text
from tests.bench.servers import KINDS, Bench, Kind, Server, make_bench, running, versions

ROOT = Path(__file__).parents[2]
WARM_UP_SECONDS = 0.5


def main() -> None:
    options = parse()
    server_core, client_core = cores()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        bench = make_bench(Path(folder), ROOT / ".venv-peers", server_core)
        kinds = [kind for kind in KINDS if kind.available()]
        for kind in set(KINDS) - set(kinds):
            print(f"{kind.name} is not available here")
        servers = [start(kind, bench, stack) for kind in kinds]
        report = Report(versions(bench.peers), {server.kind.name: server.memory() for server in servers})
        for number in range(options.rounds):
            for case in options.cases:
                for server in servers:
                    if case.protocol in server.kind.protocols:
                        report.add(case, server.kind.name, sample(case, server, options.seconds, client_core))
            print(f"round {number + 1} of {options.rounds} done", flush=True)
    publish(report, options)


def parse() -> argparse.Namespace:
    by_name = {case.name: case for case in CASES}
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=by_name, default=["h2-small", "h1-small"], metavar="CASE")
    parser.add_argument("--rounds", type=int, default=5, help="turns of every server (default 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one run (default 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table")
    options = parser.parse_args()
    options.cases = [by_name[name] for name in options.cases]
    return options


def cores() -> tuple[int | None, int | None]:
    """A core for the server and another for the client, if the system can pin and has two."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(usable) < 2:
        print("servers and client share a core: compare the CPU times only")
        return None, None
    return usable[0], usable[1]


def start(kind: Kind, bench: Bench, stack: contextlib.ExitStack) -> Server:
    print(f"starting {kind.name}", flush=True)
    return stack.enter_context(running(kind, bench))


def sample(case: Case, server: Server, seconds: float, core: int | None) -> Sample:
    measure(case, server, WARM_UP_SECONDS, core)
    return measure(case, server, seconds, core)


def publish(report: Report, options: argparse.Namespace) -> None:
    print()
    print(text(report))
    if options.json:
        options.json.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(report))


if __name__ == "__main__":
    main()
