"""What the harness knows of a server before it runs: its name, what it can do, how it is started."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.case import Interface
from tests.bench.programs import Peers
from tests.support.certificates import Pair

if TYPE_CHECKING:
    from tests.bench.installation import Installation

APPLICATIONS = Path(__file__).parents[1] / "applications"
HOST = "127.0.0.1"
# More than any case opens at once. A shorter backlog, or granian's limit that follows from it, would refuse some.
BACKLOG = 16384
# Idle connections have to stay while they are counted; some servers close theirs after 5 s.
KEEP_ALIVE_SECONDS = 600
# Of every server that runs a WSGI application.
THREADS = 4


@dataclass(frozen=True)
class Site:
    """One instance: the module with the application, the port with or without TLS, a folder for its files."""

    app: str
    tls: bool
    port: int
    folder: Path
    pair: Pair
    peers: Peers


@dataclass(frozen=True)
class Command:
    """One process to start, with what its environment needs beside ours."""

    arguments: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """A server as ``--servers`` and the table name it.

    ``launch`` gives the processes of one instance, in the order in which they are started: one application process,
    no access log, the same certificate. ``absent`` says why it cannot run here, or nothing.
    """

    name: str
    title: str
    h2: bool
    launch: Callable[[Site], Sequence[Command]]
    absent: Callable[[Peers], str | None]
    ours: bool = False
    notes: str = ""
    wsgi: Kind | None = None
    """What takes its place where the application is a WSGI one: the same server in another way, ``THREADS`` threads."""

    websocket: Sequence[Kind] = ()
    """What takes its place where the application has WebSockets; it does itself if there is none."""

    at: Callable[[Installation], Kind] | None = None
    """The same server of another installation; only Sidegate's own have it."""

    def with_interface(self, interface: Interface) -> Sequence[Kind]:
        """What is measured for it in cases of ``interface``."""
        if interface == "wsgi":
            return [self.wsgi] if self.wsgi is not None else []
        return self.websocket if interface == "websocket" and self.websocket else [self]

    def unable(self, protocol: str) -> str | None:
        """Why it cannot do a case of ``protocol``, in the words of the table."""
        return "no HTTP/2" if protocol == "h2" and not self.h2 else None
