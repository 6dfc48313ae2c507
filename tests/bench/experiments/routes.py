"""Sidegate beside itself: what it takes to find the route of a request, by the number and the shape of the routes.

The first row has one route. A request that none of the many routes matches is answered by the same route as there, so
the rows differ in the search only. All routes have a fixed answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tests.bench.case import Case, Load, Sample
from tests.bench.running import Failed, Server
from tests.bench.servers.sidegate import Sidegate, best_engine, kind, with_revision
from tests.bench.session import Session

MANY = 10_000
SIDE = 100
"""``SIDE`` hosts with ``SIDE`` paths each, and as many rules that differ in nothing but one condition."""

Routes = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Asked:
    """A request by which one row differs from another: its path and its fields."""

    title: str
    path: str = "/"
    fields: tuple[str, ...] = ()

    def load(self, load: Load) -> Load:
        """As ``load``, with these requests."""
        return replace(load, path=self.path, fields=self.fields)


@dataclass(frozen=True)
class Shape:
    """Routes, and the requests that are made to them."""

    title: str
    routes: Routes
    asked: Sequence[Asked]


def shapes() -> list[Shape]:
    """One route, then ``MANY`` of each shape; each asked for the first, for the last, and for none."""
    last = MANY - 1
    return [
        Shape("1 route", [{"path": "/none"}], [Asked("")]),
        Shape(
            f"{MANY} hosts",
            [{"hostnames": [f"h{n}.example.org"], "path": "/"} for n in range(MANY)],
            _ends(*(Asked("", "/", (f":authority: h{n}.example.org",)) for n in (0, last, MANY))),
        ),
        Shape(
            f"{MANY} first elements",
            [{"path": f"/p{n}"} for n in range(MANY)],
            _ends(*(Asked("", f"/p{n}") for n in (0, last, MANY))),
        ),
        Shape(
            f"{MANY} fourth elements of one prefix",
            [{"path": f"/a/b/c/p{n}"} for n in range(MANY)],
            _ends(*(Asked("", f"/a/b/c/p{n}") for n in (0, last, MANY))),
        ),
        Shape(
            f"{SIDE} hosts of {SIDE} paths",
            [{"hostnames": [f"h{h}.example.org"], "path": f"/p{p}"} for h in range(SIDE) for p in range(SIDE)],
            _ends(
                *(Asked("", f"/p{n}", (f":authority: h{min(n, SIDE - 1)}.example.org",)) for n in (0, SIDE - 1, SIDE))
            ),
        ),
        Shape(
            f"{SIDE} rules that differ in a header",
            [_rule({"headers": [{"name": "x-tenant", "value": f"t{n}"}]}) for n in range(SIDE)],
            _ends(*(Asked("", "/", (f"x-tenant: t{n}",)) for n in (0, SIDE - 1, SIDE))),
        ),
        Shape(
            f"{SIDE} rules that differ in a query parameter",
            [_rule({"queryParams": [{"name": "tenant", "value": f"t{n}"}]}) for n in range(SIDE)],
            _ends(*(Asked("", f"/?tenant=t{n}") for n in (0, SIDE - 1, SIDE))),
        ),
    ]


def routes(case: Case, session: Session) -> None:
    """Every shape has a server; all of them are asked in turn."""
    session.stop_fleet()
    with contextlib.ExitStack() as stack:
        takers = {}
        for shape in shapes():
            ours = kind("sidegate", shape.title, Sidegate(best_engine(), routes=shape.routes))
            for chosen in with_revision([ours], session.against):
                rows = {f"{chosen.title}{asked.title}": asked.load(case.load) for asked in shape.asked}
                for title in rows:
                    session.report.row(case, title)
                try:
                    server = stack.enter_context(session.starter.one(chosen, case.app, tls=case.load.tls))
                except Failed as error:
                    for title in rows:
                        session.report.row(case, title, str(error))
                    continue
                takers.update({title: partial(_sample, session, server, load) for title, load in rows.items()})
        session.turns(case, takers)


def _sample(session: Session, server: Server, load: Load) -> Sample:
    return session.measure(server, load, session.settings.seconds)[1]


def _ends(first: Asked, last: Asked, none: Asked) -> list[Asked]:
    return [replace(first, title=", first"), replace(last, title=", last"), replace(none, title=", none of them")]


def _rule(condition: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"matches": [{"path": "/", **condition}]}
