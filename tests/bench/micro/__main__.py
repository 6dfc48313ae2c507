"""``make bench-micro``: where the time of one small request goes, layer by layer, without sockets and TLS.

It drives the real codec, exchange, router and record with the bytes that h2load sends, over HTTP/1.1 and over HTTP/2
with each engine. It prints microseconds of CPU for a request: the least of some rounds, because whatever disturbs a
round makes it longer. Beside them it prints instructions, counted by valgrind's callgrind: those repeat within a
fraction of a percent on a machine, whatever else it does. It judges nothing and fails nothing; read proportions, and
compare runs on one machine. Each layer is called from Python here, which costs instructions that the whole does not
have, so the rest may be less than nothing.

To compare two revisions, write the result of one with ``--json FILE`` and run the other with ``--compare FILE``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.bench.facts import modules
from tests.bench.installation import this_commit
from tests.bench.micro.instructions import NotCounted, counted
from tests.bench.micro.measuring import SETUPS, Effort, least
from tests.bench.micro.results import Result, Results, comparison, read, table, write
from tests.bench.servers.sidegate import nghttp2_built

TIMINGS = 8  # of every function in a round


def main() -> None:
    options = parse()
    results = measured(options) if options.read is None else read(options.read)
    print("\n".join(f"{name}: {fact}" for name, fact in results.facts.items()), end="\n\n")
    print(table(results))
    if options.json:
        write(results, options.json)
    if options.compare:
        print(f"\n{comparison(read(options.compare), results)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-micro", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--setups", nargs="+", choices=SETUPS, default=list(SETUPS), metavar="SETUP", help=", ".join(SETUPS)
    )
    parser.add_argument("--rounds", type=int, default=3, help="of which the least counts (default 3)")
    parser.add_argument(
        "--requests", type=int, default=1024, help="of each of 16 connections in a round (default 1024)"
    )
    parser.add_argument("--no-instructions", action="store_true", help="measure the time only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="print the ratio to a result written before")
    parser.add_argument("--read", type=Path, metavar="FILE", help="show a result written before; measure nothing")
    return parser.parse_args()


def measured(options: argparse.Namespace) -> Results:
    names = [name for name in options.setups if SETUPS[name].engine != "nghttp2" or nghttp2_built()]
    facts = {"commit": this_commit(), "Python": sys.version.split()[0], "request path": modules()}
    missing = [SETUPS[name].title for name in options.setups if name not in names]
    if missing:
        facts["not built"] = ", ".join(missing)
    effort = Effort(options.requests, options.rounds, TIMINGS)
    setups = {name: Result(SETUPS[name].title, least(SETUPS[name], effort)) for name in names}
    for name, result in setups.items():
        if options.no_instructions:
            result.note = "not counted"
        else:
            count(name, result)
    return Results(facts, setups)


def count(name: str, result: Result) -> None:
    """Fill in the instructions, or why there are none."""
    try:
        result.instructions = counted(name)
    except NotCounted as error:
        result.note = str(error)


if __name__ == "__main__":
    main()
