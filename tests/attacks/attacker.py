"""The attacker, a process of its own: ``python -m tests.attacks.attacker ATTACK PORT [tls]``.

It opens the connections of the attack and prints how many are ready. Then it obeys its standard input: ``go`` begins
the attack, ``stop`` ends it and prints what came of it as JSON: the bytes sent, how connections ended, the answers, the
connections that were still open, its own CPU time.

It takes the core only when the honest client beside it does not need it, so that what is measured is the server.
"""

from __future__ import annotations

import heapq
import itertools
import json
import os
import selectors
import sys
import time
from collections import Counter
from typing import Any

from tests.attacks.connection import Connection, Ended, State
from tests.attacks.table import BY_NAME
from tests.bench.experiments.idle import raise_file_limit

NICENESS = 10
REOPEN_SECONDS = 0.1
"""Between the end of a connection and the next one in its place, except where the attack is to connect."""

LONGEST_TURN = 0.5
PATIENCE = 60.0
"""For the connections to become ready; those that are not by then are not counted."""


class Attacker:
    """Follows all scripts in one thread."""

    def __init__(self, name: str, port: int, secure: bool) -> None:
        self.attack = BY_NAME[name]
        self._port, self._secure = port, secure
        self._selector = selectors.DefaultSelector()
        self._open: set[Connection] = set()
        self._waiting: list[tuple[float, int, Connection | None]] = []  # None: a connection is to be opened
        self._order = itertools.count()
        self._attacking = False
        self._ends: Counter[str] = Counter()
        self._answers: Counter[str] = Counter()
        self._sent = 0
        self._commands = ""

    def prepare(self) -> int:
        """Open all; how many are ready."""
        for _ in range(self.attack.connections):
            self._begin()
        deadline = time.monotonic() + PATIENCE
        while self._ready < self.attack.connections and time.monotonic() < deadline:
            self._turn()
        return self._ready

    @property
    def _ready(self) -> int:
        return sum(connection.state is State.READY for connection in self._open)

    def wait(self, command: str) -> None:
        """Turn until the driver says so, or is gone."""
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        while command not in self._commands and not self._commands.endswith("\0"):
            self._turn()
        self._selector.unregister(sys.stdin)

    def go(self) -> None:
        self._attacking = True
        for connection in [one for one in self._open if one.state is State.READY]:
            connection.state = State.ACTING
            self._watch(connection)

    def report(self) -> dict[str, Any]:
        for connection in list(self._open):
            try:
                connection.drain()
            except Ended as end:
                self._end(connection, str(end), reopen=False)
        left = len(self._open)
        for connection in self._open:
            self._sent += connection.sent
            connection.close()
        times = os.times()
        return {
            "sent": self._sent,
            "ends": dict(self._ends),
            "open": left,
            "answers": dict(self._answers),
            "cpu_seconds": times.user + times.system,
        }

    def _turn(self) -> None:
        """One turn: what is ready, and what is due."""
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            connection = heapq.heappop(self._waiting)[2]
            if connection is None:
                self._begin()
            elif connection in self._open:
                connection.state = State.ACTING
                self._watch(connection)
        timeout = max(0.0, self._waiting[0][0] - now) if self._waiting else LONGEST_TURN
        for key, events in self._selector.select(min(timeout, LONGEST_TURN)):
            if key.data is None:
                # A closed pipe ends it all: the driver is gone.
                self._commands += os.read(sys.stdin.fileno(), 100).decode() or "\0"
            else:
                self._serve(key.data, events)

    def _serve(self, connection: Connection, events: int) -> None:
        try:
            if events & selectors.EVENT_READ:
                connection.read(attacking=self._attacking)
            if events & selectors.EVENT_WRITE and connection.interest & selectors.EVENT_WRITE:
                connection.act(attacking=self._attacking)
        except Ended as end:
            self._end(connection, str(end), reopen=True)
            return
        if connection.state is State.PAUSE and connection.pause:
            self._later(connection.pause, connection)
            connection.pause = 0.0
        self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        """Tell the selector of what the connection waits for now."""
        known = self._selector.get_map().get(connection.sock)
        interest = connection.interest
        if known is None and interest:
            self._selector.register(connection.sock, interest, connection)
        elif known is not None and not interest:
            self._selector.unregister(connection.sock)
        elif known is not None and known.events != interest:
            self._selector.modify(connection.sock, interest, connection)

    def _begin(self) -> None:
        try:
            connection = Connection(self.attack, self._port, self._secure, self._answers)
        except OSError as error:
            self._ends[f"not connected: {error.strerror}"] += 1
            self._later(REOPEN_SECONDS, None)
            return
        self._open.add(connection)
        self._watch(connection)

    def _end(self, connection: Connection, how: str, *, reopen: bool) -> None:
        if self._selector.get_map().get(connection.sock) is not None:
            self._selector.unregister(connection.sock)
        self._open.discard(connection)
        self._sent += connection.sent
        self._ends[how] += 1
        connection.close()
        if reopen:
            self._later(0.0 if how == "left" else REOPEN_SECONDS, None)

    def _later(self, seconds: float, connection: Connection | None) -> None:
        heapq.heappush(self._waiting, (time.monotonic() + seconds, next(self._order), connection))


def main() -> None:
    name, port, *words = sys.argv[1:]
    os.nice(NICENESS)
    raise_file_limit()
    attacker = Attacker(name, int(port), "tls" in words)
    print(attacker.prepare(), flush=True)
    attacker.wait("go")
    attacker.go()
    attacker.wait("stop")
    print(json.dumps(attacker.report()), flush=True)


if __name__ == "__main__":
    main()
