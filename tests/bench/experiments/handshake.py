"""What a TLS handshake costs a server: connections that carry no request, one after the other."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from tests.bench.case import Case, Sample
from tests.bench.h2load import NoAnswer
from tests.bench.running import ROOT, Failed, Server, line, pinned
from tests.bench.session import Session, Spent


def handshake(case: Case, session: Session) -> None:
    """Full handshakes of TLS 1.3 with the certificate of the harness (ECDSA P-256). Connect and close are included."""
    servers = session.fleet(case, session.able(case))
    session.turns(case, {title: partial(_shake, session, server) for title, server in servers.items()})


def _shake(session: Session, server: Server) -> Sample:
    spent = Spent(server)
    seconds = session.settings.seconds
    command = [*pinned(session.cores.client), sys.executable, "-m", "tests.bench.experiments.handshake_client"]
    command += [str(server.site.port), str(seconds)]
    spent.begin()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as client:
        try:
            count = int(line(client))
        except Failed as error:
            raise NoAnswer("a handshake failed") from error
    spent.end()
    return {"cpu_us": spent.cpu_seconds / count * 1e6, "rps": count / seconds, "peak_mib": spent.peak_bytes / 2**20}
