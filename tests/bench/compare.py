"""``make bench``: what a request costs in Sidegate and in its peers, measured in one run on one core.

The unit is CPU time (user and system, all processes of the server) per request: unlike requests per second it does
not change with what the load generator or another program takes from the machine. The servers take turns, run by
run, so that a slower minute of the machine hits all of them.

With ``--against REV`` another revision of this repository is installed into an environment of its own and takes turns
with this tree in the same way; a table at the end has the ratio of the two, case by case. Without ``--servers`` no peer
is measured then.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.cases import CASES
from tests.bench.facts import facts
from tests.bench.h2load import H2load
from tests.bench.installation import Installation, Unavailable, described, installed
from tests.bench.programs import Peers
from tests.bench.report import Report, markdown, text
from tests.bench.running import Cores, Starter, pinned
from tests.bench.servers.sidegate import with_revision
from tests.bench.servers.table import KINDS
from tests.bench.session import Session, Settings, opened

FULL = Settings(rounds=3, seconds=1.2, idle=10_000)
QUICK = Settings(rounds=1, seconds=0.6, idle=1_000)
QUICK_CASES = (
    *("h2-small", "h1-small", "h1-tls-small", "h2-64k", "h2-stream", "h2-1m", "h1-1m", "h2-upload-1m"),
    *("h2-half", "h2-fastapi", "wsgi-h1-small", "websocket-h1", "websocket-h2", "h2-access-log", "h2-idle", "startup"),
)
# Names for several cases at once, beside patterns such as "h1-*".
SELECTIONS: dict[str, Sequence[str]] = {
    "quick": QUICK_CASES,
    # Small, TLS, 64 KiB, WSGI and WebSocket; the server sidegate-pool runs each of them in a pool.
    "main": (
        *("h2-small", "h1-small", "h1-tls-small", "h2-64k", "h1-64k", "wsgi-h1-small", "wsgi-h2-small"),
        *("websocket-h1", "websocket-h1-deflate", "websocket-h1-tls", "websocket-h2"),
    ),
}
CHART = Path(__file__).with_name("chart.py")


def main() -> None:
    # Both end by way of the blocks that stop the servers.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))
    options = parse()
    program = shutil.which("h2load")
    if program is None:
        sys.exit("h2load is not installed (Debian: apt-get install nghttp2-client)")
    peers = Peers(options.peers)
    against = revision(options.against)
    kinds = with_revision([kind for kind in KINDS if kind.name in options.servers], against)
    settings = settings_of(options)
    cores = Cores.usable()
    measured = f"{settings.rounds} rounds of {settings.seconds:g} s"
    report = Report([kind.title for kind in KINDS if kind.ours], facts(peers, measured, cores))
    if against is not None:
        report.facts["against"] = described(options.against, against)
        report.against = against
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        starter = Starter.create(folder, peers, cores)
        load = H2load(program, pinned(cores.client), folder)
        try:
            with opened(Session(kinds, settings, cores, starter, load, report, against)) as session:
                measure(session, options.cases)
        finally:  # what was measured until someone lost patience is not thrown away
            publish(report, options)


def parse() -> argparse.Namespace:
    names = [case.name for case in CASES]
    servers = [kind.name for kind in KINDS]
    ours = [kind.name for kind in KINDS if kind.ours]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--cases", nargs="+", metavar="CASE", help=help_of_cases(names))
    parser.add_argument("--servers", nargs="+", choices=servers, metavar="SERVER", help=", ".join(servers))
    parser.add_argument(
        "--against",
        metavar="REV",
        help=f"compare this tree with another git revision of it; without --servers only by {', '.join(ours)}",
    )
    parser.add_argument("--quick", action="store_true", help="the main cases, one short round (some 5 minutes)")
    parser.add_argument("--rounds", type=int, help=f"turns of every server (default {FULL.rounds})")
    parser.add_argument("--seconds", type=float, help=f"length of one run (default {FULL.seconds})")
    parser.add_argument("--idle", type=int, help=f"idle connections (default {FULL.idle})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw CPU per request; .svg or .png")
    parser.add_argument("--peers", type=absolute, default=Path(f"{sys.prefix}-peers"), help="what .ci/peers made")
    options = parser.parse_args()
    options.servers = options.servers or (ours if options.against else servers)
    if options.against and not set(ours) & set(options.servers):
        parser.error(f"--against compares {', '.join(ours)}; --servers names none of them")
    try:
        options.cases = selected(options.cases or (["quick"] if options.quick else ["*"]), names)
    except ValueError as error:
        parser.error(f"argument --cases: {error}")
    return options


def absolute(path: str) -> Path:
    """Servers run in folders of their own."""
    return Path(path).absolute()


def help_of_cases(names: Sequence[str]) -> str:
    several = "; ".join(f"{name} for {', '.join(chosen)}" for name, chosen in SELECTIONS.items())
    return f"{', '.join(names)}. Several at once: patterns such as 'h1-*'; {several}"


def selected(words: Sequence[str], names: Sequence[str]) -> list[str]:
    """The cases that names, patterns and names of selections stand for. Raises ``ValueError``."""
    found: list[str] = []
    for word in words:
        matching = SELECTIONS.get(word) or fnmatch.filter(names, word)
        if not matching:
            raise ValueError(f"no case is called {word!r}")
        found += matching
    return found


def revision(name: str | None) -> Installation | None:
    """What ``--against`` names, ready to run."""
    if name is None:
        return None
    try:
        return installed(name)
    except Unavailable as error:
        sys.exit(f"--against: {error}")


def settings_of(options: argparse.Namespace) -> Settings:
    usual = QUICK if options.quick else FULL
    return Settings(options.rounds or usual.rounds, options.seconds or usual.seconds, options.idle or usual.idle)


def measure(session: Session, names: Sequence[str]) -> None:
    chosen = [case for case in CASES if case.name in names]
    begun = time.monotonic()
    for number, case in enumerate(chosen):
        minutes, seconds = divmod(int(time.monotonic() - begun), 60)
        print(f"{minutes:3}:{seconds:02}  {number + 1} of {len(chosen)}  {case.name}: {case.title}", flush=True)
        case.run(case, session)


def publish(report: Report, options: argparse.Namespace) -> None:
    print(f"\n{text(report)}", flush=True)
    data = json.dumps(report.as_json(), indent=2) + "\n"
    if options.json:
        options.json.write_text(data)
    if options.markdown:
        options.markdown.write_text(markdown(report))
    if options.chart:
        draw(data, options.chart, Peers(options.peers))


def draw(data: str, chart: Path, peers: Peers) -> None:
    """By the Python of the peers' environment, because matplotlib is there."""
    python = peers.python()
    if python is None:
        print(f"no chart: matplotlib would be in {peers.folder}, which is not there", file=sys.stderr)
        return
    subprocess.run([python.path, str(CHART), str(chart)], input=data, text=True, check=False)


if __name__ == "__main__":
    main()
