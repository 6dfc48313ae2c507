"""Sidegate beside itself: what the access log costs, and what a second process gains."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from functools import partial

from tests.bench.case import Case, Sample
from tests.bench.running import Failed, Server
from tests.bench.servers.sidegate import Sidegate, best_engine, kind, with_revision
from tests.bench.session import Session


def access_log(case: Case, session: Session) -> None:
    """Off, and as JSON into a file."""
    variants = {
        "access log off": Sidegate(best_engine()),
        "access log: JSON to a file": Sidegate(best_engine(), access_log="json"),
    }
    _compare(case, session, variants, session.cores.server)


def processes(case: Case, session: Session) -> None:
    """One front and two, on the same two cores.

    With four cores the client has two of its own. With fewer it shares the servers' two, in both rows alike; in the
    case whose application works for a millisecond it takes too little of them to matter.
    """
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    servers, clients = usable[:2], (usable[2:4] if len(usable) >= 4 else usable[:2])
    if len(usable) < 2:
        session.report.row(case, "processes: 2", "needs two cores that can be chosen")
        return
    variants = {f"processes: {number}": Sidegate(best_engine(), processes=number) for number in (1, 2)}
    pin = session.h2load.pin
    try:
        session.h2load.pin = ["taskset", "--cpu-list", ",".join(map(str, clients))]
        _compare(case, session, variants, servers)
    finally:
        session.h2load.pin = pin


def _compare(case: Case, session: Session, variants: Mapping[str, Sidegate], cores: Sequence[int] | None) -> None:
    session.stop_fleet()
    with contextlib.ExitStack() as stack:
        takers = {}
        ours = [kind("sidegate", title, variant) for title, variant in variants.items()]
        for chosen in with_revision(ours, session.against):
            title = chosen.title
            session.report.row(case, title)
            try:
                server = stack.enter_context(session.starter.one(chosen, case.app, tls=case.load.tls, cores=cores))
                session.check(server, case.load)
            except Failed as error:
                session.report.row(case, title, str(error))
                continue
            takers[title] = partial(_sample, case, session, server)
        session.turns(case, takers)


def _sample(case: Case, session: Session, server: Server) -> Sample:
    sample = session.measure(server, case.load, session.settings.seconds)[1]
    return {**sample, "per_cpu_second": 1e6 / sample["cpu_us"]}
