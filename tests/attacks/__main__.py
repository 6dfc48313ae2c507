"""``make attacks``: what one client can do to all others, and to the server's memory.

Each attack runs against a fresh server while an honest client from another address is measured. The server has one
core; attacker and honest client share the other. It ends with 1 if Sidegate exceeded a budget in any row: of the honest
client's p99, of memory under attack, of memory after it.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.attacks.measure import Times, measure
from tests.attacks.report import Report
from tests.attacks.servers import KINDS, USUAL
from tests.attacks.table import ATTACKS, BY_NAME
from tests.bench.experiments.idle import raise_file_limit
from tests.bench.facts import facts
from tests.bench.programs import Peers
from tests.bench.running import Cores, Starter

SECONDS = AFTER_SECONDS = 10.0


def main() -> None:
    # Both end by way of the blocks that stop the servers.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))
    options = parse()
    peers, cores, times = Peers(options.peers), Cores.usable(), Times(options.seconds, options.after)
    raise_file_limit()
    words = f"{times.attack:g} s quiet and attacked, {times.after:g} s after"
    report = Report(facts(peers, words, cores))
    try:
        with tempfile.TemporaryDirectory(prefix="attacks-") as folder:
            run(report, options, Starter.create(Path(folder), peers, cores), times)
    finally:  # what was measured until someone lost patience is not thrown away
        publish(report, options)
    sys.exit(1 if report.exceeding else 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make attacks", description=__doc__)
    names = ", ".join(BY_NAME)
    parser.add_argument("--attacks", nargs="+", default=["*"], metavar="ATTACK", help=f"{names}; or patterns")
    servers = [*KINDS, "all"]
    parser.add_argument(
        "--servers", nargs="+", default=USUAL, choices=servers, metavar="SERVER", help=", ".join(servers)
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each attack (default %(default)g)")
    parser.add_argument("--after", type=float, default=AFTER_SECONDS, help="until the last look (default %(default)g)")
    parser.add_argument("--json", type=absolute, metavar="FILE", help="write everything")
    parser.add_argument("--markdown", type=absolute, metavar="FILE", help="write the tables")
    parser.add_argument("--peers", type=absolute, default=Path(f"{sys.prefix}-peers"), help="what .ci/peers made")
    options = parser.parse_args()
    if "all" in options.servers:
        options.servers = list(KINDS)
    try:
        options.attacks = selected(options.attacks)
    except ValueError as error:
        parser.error(f"argument --attacks: {error}")
    return options


def absolute(path: str) -> Path:
    """Servers run in folders of their own."""
    return Path(path).absolute()


def selected(words: Sequence[str]) -> list[str]:
    """The attacks that names and patterns stand for, in the order of the table. Raises ``ValueError``."""
    for word in words:
        if not fnmatch.filter(BY_NAME, word):
            raise ValueError(f"no attack is called {word!r}")
    return [name for name in BY_NAME if any(fnmatch.fnmatchcase(name, word) for word in words)]


def run(report: Report, options: argparse.Namespace, starter: Starter, times: Times) -> None:
    chosen = [attack for attack in ATTACKS if attack.name in options.attacks]
    begun = time.monotonic()
    for number, attack in enumerate(chosen):
        for server in options.servers:
            minutes, seconds = divmod(int(time.monotonic() - begun), 60)
            print(f"{minutes:3}:{seconds:02}  {number + 1} of {len(chosen)}  {attack.name}, {server}", flush=True)
            report.rows.append(measure(attack, KINDS[server], starter, times))
            publish_files(report, options)


def publish(report: Report, options: argparse.Namespace) -> None:
    print(f"\n{report.text()}", flush=True)
    for row, excesses in report.exceeding:
        print(f"exceeded: {row.attack}, {row.server}: {'; '.join(excesses)}")
    publish_files(report, options)


def publish_files(report: Report, options: argparse.Namespace) -> None:
    """After each row: a run takes hours."""
    if options.json:
        options.json.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    if options.markdown:
        options.markdown.write_text(report.markdown())


if __name__ == "__main__":
    main()
