"""From exec to the first answer, by starts of every server in turn."""

from __future__ import annotations

from functools import partial

from tests.bench import usage
from tests.bench.case import Case, Sample
from tests.bench.servers.kind import Kind
from tests.bench.session import Session

STARTS = 2  # for each round


def startup(case: Case, session: Session) -> None:
    session.stop_fleet()
    takers = {kind.title: partial(_start, case, session, kind) for kind in session.able(case)}
    rounds = session.settings.rounds
    session.turns(case, takers, rounds if rounds == 1 else rounds * STARTS)


def _start(case: Case, session: Session, kind: Kind) -> Sample:
    server = session.starter.start(kind, case.app, tls=case.load.tls)
    try:
        seconds = server.wait_answering()
        return {
            "start_ms": seconds * 1000,
            "start_cpu_ms": server.cpu_seconds() * 1000,
            "rss_mib": usage.resident_bytes(server.pids) / 2**20,
        }
    finally:
        server.stop()
