"""One run of the harness: what was asked for, the servers that stand ready, the report that fills."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import usage
from tests.bench.case import Case, Load, Sample
from tests.bench.h2load import H2load, NoAnswer, Run
from tests.bench.installation import Installation
from tests.bench.report import Report
from tests.bench.running import Cores, Failed, Server, Starter
from tests.bench.servers.kind import Kind

MOST_FAILURES = 2
ORDER = {
    "number": 7,
    "customer": "a.customer@example.org",
    "items": [{"name": f"thing {n}", "price": 9.5 + n, "quantity": n + 1, "tags": ["red", "new"]} for n in range(5)],
}


@dataclass(frozen=True)
class Settings:
    """How much is measured: turns of every server, seconds of one run, connections of the idle cases."""

    rounds: int
    seconds: float
    idle: int


@dataclass
class Spent:
    """What a server uses between ``begin`` and ``end``."""

    server: Server
    cpu_seconds: float = 0.0
    peak_bytes: int = 0

    def begin(self) -> None:
        usage.reset_peaks(self.server.pids)
        self.cpu_seconds -= self.server.cpu_seconds()

    def end(self) -> None:
        self.cpu_seconds += self.server.cpu_seconds()
        self.peak_bytes = usage.peak_bytes(self.server.pids)


@dataclass
class Session:
    """``kinds`` are the servers that were asked for; the report has a row for each in every case.

    ``against``: the other revision, for experiments that start servers of Sidegate beside ``kinds``.
    """

    kinds: Sequence[Kind]
    settings: Settings
    cores: Cores
    starter: Starter
    h2load: H2load
    report: Report
    against: Installation | None = None
    _fleet: dict[tuple[str, str, bool], Server] = field(default_factory=dict)

    def able(self, case: Case) -> list[Kind]:
        """The servers that can do ``case``; the rest get a row that says why not."""
        able = []
        for asked in self.kinds:
            kinds = asked.with_interface(case.interface)
            if not kinds:
                self.report.row(case, asked.title, "no WSGI")
            for kind in kinds:
                reason = kind.absent(self.starter.peers) or kind.unable(case.load.protocol)
                self.report.row(case, kind.title, reason)
                if reason is None:
                    able.append(kind)
        return able

    def fleet(self, case: Case, kinds: Sequence[Kind]) -> dict[str, Server]:
        """The instances that do ``case`` by the title of their row. They stay for the cases that follow."""
        for key in [key for key in self._fleet if key[1] != case.app]:
            self._fleet.pop(key).stop()
        tls = case.load.tls
        for kind in kinds:
            if (kind.name, case.app, tls) not in self._fleet:
                self._fleet[kind.name, case.app, tls] = self.starter.start(kind, case.app, tls=tls)
        ready = {}
        for kind in kinds:
            server = self._fleet[kind.name, case.app, tls]
            try:
                server.wait_answering()
                self.check(server, case.load)
            except Failed as error:
                self.report.row(case, kind.title, str(error))
                continue
            ready[kind.title] = server
        return ready

    def check(self, server: Server, load: Load) -> None:
        """Raises ``Failed`` unless it answers such a request with 200 (h2load does not always learn the status)."""
        body = (self.h2load.folder / load.upload).read_bytes() if load.upload else None
        if not server.answers(load.path, body):
            raise Failed(f"does not answer {load.path} with 200")

    def stop_fleet(self) -> None:
        """What runs in the background would be in the way of a case that starts servers of its own."""
        while self._fleet:
            self._fleet.popitem()[1].stop()

    def turns(self, case: Case, takers: Mapping[str, Callable[[], Sample]], rounds: int | None = None) -> None:
        """A sample of each row, row by row, round by round: a slow minute of the machine hits all of them.

        A row that fails says so; the second time it takes no further turns. Each sample names its round.
        """
        left, failures = dict(takers), dict.fromkeys(takers, 0)
        rounds = self.settings.rounds if rounds is None else rounds
        for number in range(rounds):
            print(f"    round {number + 1} of {rounds}", flush=True)
            for title, take in list(left.items()):
                try:
                    self.report.add(case, title, {**take(), "round": number})
                except (Failed, NoAnswer) as error:
                    self.report.row(case, title, str(error))
                    failures[title] += 1
                    if failures[title] == MOST_FAILURES:
                        del left[title]

    def measure(self, server: Server, load: Load, seconds: float) -> tuple[Run, Sample]:
        """One run, and what it cost the server in all of its processes. Raises ``NoAnswer``."""
        spent = Spent(server)
        run = self.h2load.run(server.url, load, seconds, spent)
        return run, costs(run, spent)


def costs(run: Run, spent: Spent) -> Sample:
    """What most cases report of a run with answers."""
    return {
        "cpu_us": spent.cpu_seconds / run.answered * 1e6,
        "rps": run.answered / run.seconds,
        "p50_ms": run.milliseconds(0.5),
        "p99_ms": run.milliseconds(0.99),
        "peak_mib": spent.peak_bytes / 2**20,
        "failed": run.failed + run.shed,
        "server_cores": spent.cpu_seconds / run.seconds,
        "client_cores": run.client_seconds / run.seconds,
    }


@contextlib.contextmanager
def opened(session: Session) -> Iterator[Session]:
    """The session with the bodies that its loads post; its servers are gone afterwards."""
    write_bodies(session.h2load.folder)
    try:
        yield session
    finally:
        session.stop_fleet()


def write_bodies(folder: Path) -> None:
    """What ``Load.upload`` names."""
    (folder / "1m").write_bytes(b"x" * 2**20)
    (folder / "order.json").write_text(json.dumps(ORDER))
