"""One row of the table: a fresh server, an honest client beside it, and the attacker, who comes and leaves."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.attacks import servers
from tests.attacks.attack import Attack
from tests.attacks.counted import Counts
from tests.attacks.row import Honest, Round, Row
from tests.bench import usage
from tests.bench.running import ROOT, Failed, Server, Starter, line, pinned
from tests.bench.servers.kind import Kind

WARM_UP_SECONDS = 0.5
SETTLE_SECONDS = 1.0
"""After the last connection is open: the server has accepted it by then."""


@dataclass(frozen=True)
class Times:
    """Seconds of the attack in each round, and from its end to the last look at the memory."""

    attack: float
    after: float

    @property
    def quiet(self) -> float:
        """The honest client alone."""
        return self.attack / 2


@dataclass
class Helper:
    """A process of the harness that obeys lines and answers in lines."""

    process: subprocess.Popen[str]

    def tell(self, words: str) -> None:
        if self.process.stdin is not None:
            self.process.stdin.write(f"{words}\n")
            self.process.stdin.flush()

    def answer(self) -> Any:
        """Raises ``Failed`` if it has ended."""
        return json.loads(line(self.process))


def measure(attack: Attack, known: Kind, starter: Starter, times: Times) -> Row:
    """All of one row. A server that cannot do it, does not start or ends has a row that says so."""
    row = Row(attack.name, known.name)
    kind = servers.for_attack(known, attack)
    note = kind.absent(starter.peers) or kind.unable(attack.protocol)
    if note:
        return row.noted(note)
    tls = servers.with_tls(known, attack)
    try:
        with starter.one(kind, servers.APP, tls=tls) as server:
            _Attacked(attack, server, starter, times).measure(row)
    except (Failed, BrokenPipeError) as error:
        return row.noted(str(error))
    return row


@dataclass(frozen=True)
class _Attacked:
    """A server that runs, and what it is to go through."""

    attack: Attack
    server: Server
    starter: Starter
    times: Times

    def measure(self, row: Row) -> None:
        server = self.server
        with self._process("honest", str(server.site.port), self.attack.protocol) as honest:
            counts = Counts.of(server)
            _ask(honest, WARM_UP_SECONDS)
            row.quiet = _ask(honest, self.times.quiet)
            row.before = usage.resident_bytes(server.pids)
            for _ in range(self.attack.rounds):
                row.rounds.append(self._round(honest))
            row.reasons = counts.risen()
        if any(process.poll() is not None for process in server.running):
            row.noted(f"the server ended: {server.last_words()}")
        elif not server.answers():
            row.noted("no answer after the attack")

    def _round(self, honest: Helper) -> Round:
        server = self.server
        before = usage.resident_bytes(server.pids)
        with self._process("attacker", self.attack.name, str(server.site.port)) as attacker:
            ready = attacker.answer()
            time.sleep(SETTLE_SECONDS)
            opened = usage.resident_bytes(server.pids)
            usage.reset_peaks(server.pids)
            spent, begun = server.cpu_seconds(), time.monotonic()
            attacker.tell("go")
            under_attack = _ask(honest, self.times.attack)
            took, spent = time.monotonic() - begun, server.cpu_seconds() - spent
            peak = usage.peak_bytes(server.pids)
            attacker.tell("stop")
            report = attacker.answer()
        time.sleep(self.times.after)
        after = usage.resident_bytes(server.pids)
        return Round(before, opened, peak, after, ready, spent / took, took, under_attack, report)

    @contextlib.contextmanager
    def _process(self, module: str, *words: str) -> Iterator[Helper]:
        """A program of the harness beside the server's core."""
        command = [*pinned(self.starter.cores.client), sys.executable, "-m", f"tests.attacks.{module}", *words]
        process = subprocess.Popen(
            [*command, *(["tls"] if self.server.site.tls else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        try:
            yield Helper(process)
        finally:
            process.kill()
            process.communicate()


def _ask(honest: Helper, seconds: float) -> Honest:
    honest.tell(str(seconds))
    return Honest(**honest.answer())
