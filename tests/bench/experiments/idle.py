"""What an idle connection or WebSocket holds: thousands are opened, each has one answer, and then nothing happens."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

from tests.bench import usage
from tests.bench.case import Case, Sample
from tests.bench.running import ROOT, Failed, Server, line, pinned
from tests.bench.servers.kind import Kind
from tests.bench.session import Session

CLIENTS = 4  # processes: while the server works on one's handshake, another prepares the next
FEW = 50  # opened before counting, so that what the first connections load is not put down to the others
SETTLE_SECONDS = 1.0
SPARE_FILES = 1000


def idle(case: Case, session: Session) -> None:
    """RSS afterwards less RSS before, by connection. One round: memory hardly varies, and it takes its time."""
    session.stop_fleet()
    count = min(session.settings.idle, raise_file_limit() - SPARE_FILES)
    session.report.remark(case, f"{count} connections")
    takers = {kind.title: partial(_measure, case, session, kind, count) for kind in session.able(case)}
    session.turns(case, takers, rounds=1)


def raise_file_limit() -> int:
    """Let this process and what it starts have as many files as the system allows; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft if hard == resource.RLIM_INFINITY else hard


def _measure(case: Case, session: Session, kind: Kind, count: int) -> Sample:
    with session.starter.one(kind, case.app, tls=case.load.tls) as server:
        with _held(case, session, server, FEW):
            time.sleep(SETTLE_SECONDS)
        before, spent = usage.resident_bytes(server.pids), server.cpu_seconds()
        with _held(case, session, server, count) as clients:
            spent = server.cpu_seconds() - spent
            time.sleep(SETTLE_SECONDS)
            after = usage.resident_bytes(server.pids)
            held = _still_open(clients)
        if held < count:
            session.report.row(case, kind.title, f"held {held} of {count}")
        if held == 0:
            raise Failed("held none")
        return {
            "rss_kib": (after - before) / held / 1024,
            "rss_mib": after / 2**20,
            "open_cpu_us": spent / held * 1e6,
            "held": held,
        }


@contextlib.contextmanager
def _held(case: Case, session: Session, server: Server, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Client processes that hold ``count`` connections, all of them open; they are closed at the end."""
    share = [count // CLIENTS + (number < count % CLIENTS) for number in range(CLIENTS)]
    base = [*pinned(session.cores.client), sys.executable, "-m", "tests.bench.experiments.idle_client"]
    what = [*case.load.words, *(["websocket"] if case.interface == "websocket" else [])]
    clients = [
        subprocess.Popen(
            [*base, str(server.site.port), str(part), *what],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for part in share
    ]
    try:
        for client in clients:
            line(client)  # says how many it opened
        yield clients
    finally:
        for client in clients:
            client.kill()
            client.communicate()


def _still_open(clients: list[subprocess.Popen[str]]) -> int:
    """How many connections are open now, when their clients look."""
    for client in clients:
        if client.stdin is not None:
            client.stdin.write("count\n")
            client.stdin.flush()
    return sum(int(line(client)) for client in clients)
