"""Closed and open loops against servers that stand ready: as fast as they answer, half as fast, four times as fast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from tests.bench.case import Case, Sample
from tests.bench.h2load import NoAnswer
from tests.bench.running import Server
from tests.bench.servers.sidegate import Sidegate, best_engine, kind, with_revision
from tests.bench.session import Session

REFERENCE = "granian"  # half of what it does at most is everybody's rate in the latency cases
HALF = 0.5
OVERLOAD = 4
# Enough in flight to keep one process busy, few enough that none is shed.
CAPACITY_IN_FLIGHT = 32
# Shorter, what is still open when the time is over would weigh too much.
LEAST_OVERLOAD_SECONDS = 4.0
MOST_OVERLOAD_ROUNDS = 2
DELAY = "200ms"  # what a service might promise; the default is far from it
PROMISING = kind(
    "sidegate-delay", f"sidegate (queueDelay: {DELAY})", Sidegate(best_engine(), limits={"queueDelay": DELAY})
)


def closed(case: Case, session: Session) -> None:
    """As fast as the server answers."""
    _turns(case, session, _as_fast_as_it_goes)


def _turns(case: Case, session: Session, take: Callable[[Case, Session, Server], Sample]) -> None:
    servers = session.fleet(case, session.able(case))
    session.turns(case, {title: partial(take, case, session, server) for title, server in servers.items()})


def _as_fast_as_it_goes(case: Case, session: Session, server: Server) -> Sample:
    return session.measure(server, case.load, session.settings.seconds)[1]


def half(case: Case, session: Session) -> None:
    """At half of the reference's highest rate, the same for all: how long an answer takes when nobody is at the limit.

    A server that cannot do as much is at its limit; its row says so.
    """
    servers = session.fleet(case, session.able(case))
    if not servers:
        return
    reference = servers.get(REFERENCE) or next(iter(servers.values()))
    rate = _rate(case, session, reference) * HALF
    session.report.remark(case, f"at {rate:.0f} req/s, half of what {reference.kind.title} did at most just before")
    takers = {title: partial(_at_rate, case, session, server, rate) for title, server in servers.items()}
    session.turns(case, takers)


def _rate(case: Case, session: Session, server: Server) -> float:
    return session.measure(server, case.load, session.settings.seconds)[1]["rps"]


def _at_rate(case: Case, session: Session, server: Server, rate: float) -> Sample:
    sample = session.measure(server, replace(case.load, rate=rate), session.settings.seconds)[1]
    if sample["rps"] < 0.95 * rate:
        session.report.row(case, server.kind.title, "at its limit below that rate")
    return sample


def overload(case: Case, session: Session) -> None:
    """Four times what each server can do: what share is answered, how late, and what becomes of the rest."""
    kinds = session.able(case)
    if any(chosen.ours for chosen in kinds):
        for promising in with_revision([PROMISING], session.against):
            session.report.row(case, promising.title)
            kinds.append(promising)
    servers = session.fleet(case, kinds)
    takers = {}
    for title, server in servers.items():
        streams = max(1, CAPACITY_IN_FLIGHT // case.load.connections)
        calm = replace(case.load, connections=min(case.load.connections, CAPACITY_IN_FLIGHT), streams=streams)
        try:
            capacity = session.measure(server, calm, session.settings.seconds)[1]["rps"]
        except NoAnswer as error:
            session.report.row(case, title, str(error))
            continue
        takers[title] = partial(_overloaded, case, session, server, capacity)
    session.turns(case, takers, rounds=min(session.settings.rounds, MOST_OVERLOAD_ROUNDS))


def _overloaded(case: Case, session: Session, server: Server, capacity: float) -> Sample:
    seconds = max(session.settings.seconds, LEAST_OVERLOAD_SECONDS)
    flood = replace(case.load, rate=capacity * OVERLOAD, warm_up=False)
    run, sample = session.measure(server, flood, seconds)
    asked = run.answered + run.shed + run.failed + run.unanswered
    return {
        **sample,
        "capacity": capacity,
        "asked": asked / seconds,
        "answered_share": run.answered / asked * 100,
        "shed_share": run.shed / asked * 100,
        "failed_share": run.failed / asked * 100,
        "open_share": run.unanswered / asked * 100,
    }
