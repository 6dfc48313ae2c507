"""Requests that wait at the same time, as many as there are threads: how long it takes until all are answered."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.bench.case import Case, Sample
from tests.bench.running import Failed, Server
from tests.bench.session import Session


def sleep(case: Case, session: Session) -> None:
    """A request on each of the load's connections, all at once."""
    servers = session.fleet(case, session.able(case))
    session.turns(case, {title: partial(_all_at_once, case, server) for title, server in servers.items()})


def _all_at_once(case: Case, server: Server) -> Sample:
    requests = case.load.connections
    cpu = server.cpu_seconds()
    with ThreadPoolExecutor(requests) as clients:
        begun = time.monotonic()
        answers = list(clients.map(server.answers, [case.load.path] * requests))
        seconds = time.monotonic() - begun
    if not all(answers):
        raise Failed(f"{answers.count(False)} of {requests} not answered with 200")
    return {"wall_s": seconds, "server_ms": (server.cpu_seconds() - cpu) * 1000}
