"""Echoes on WebSockets, as fast as the server sends them back."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

from tests.bench import usage
from tests.bench.case import Case, Sample
from tests.bench.experiments.echo_client import BEGIN, END
from tests.bench.h2load import WARM_UP_SECONDS, NoAnswer, Run
from tests.bench.running import ROOT, Server, line, pinned
from tests.bench.session import Session, Spent, costs


def echo(case: Case, session: Session) -> None:
    """A message under way on each of the load's connections."""
    servers = session.fleet(case, session.able(case))
    session.turns(case, {title: partial(_echo, case, session, server) for title, server in servers.items()})


def _echo(case: Case, session: Session, server: Server) -> Sample:
    spent = Spent(server)
    run = Run(seconds=session.settings.seconds)
    timing = [str(case.load.connections), str(WARM_UP_SECONDS), str(run.seconds)]
    command = [*pinned(session.cores.client), sys.executable, "-m", "tests.bench.experiments.echo_client"]
    command += [str(server.site.port), *timing, *case.load.words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as client:
        _expect(BEGIN, client)
        spent.begin()
        run.client_seconds -= usage.cpu_seconds([client.pid])
        _expect(END, client)
        spent.end()
        run.client_seconds += usage.cpu_seconds([client.pid])
        run.latencies = sorted(json.loads(line(client)))
    if not run.latencies:
        raise NoAnswer("no echo")
    return costs(run, spent)


def _expect(word: str, client: subprocess.Popen[str]) -> None:
    said = line(client).strip()
    if said != word:
        raise NoAnswer(said)
