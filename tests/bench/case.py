"""The nouns of the comparison: a load, a case, a column of its table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tests.bench.session import Session

Interface = Literal["asgi", "wsgi", "websocket"]
# One measurement: numbers by the keys of the case's columns; further keys go into the JSON only.
Sample = dict[str, float]


@dataclass(frozen=True)
class Load:
    """What h2load does: ``connections`` with ``streams`` requests at once on each, by h1 or h2, over TLS or not.

    ``upload`` names a body of ``session.write_bodies`` that each request posts. Without ``rate`` (requests per second
    over all connections) a request follows as soon as one is answered. Without ``warm_up`` all counts from the first
    connection on. ``deflate``: its WebSockets ask for permessage-deflate. ``fields``: more fields of each request, as
    ``name: value``; ``:authority`` is its host.
    """

    protocol: Literal["h1", "h2"]
    tls: bool
    connections: int
    streams: int = 1
    path: str = "/"
    upload: str = ""
    rate: float | None = None
    deflate: bool = False
    fields: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """How connections are made, as the command lines of the harness's own clients have it."""
        return [self.protocol, *(["tls"] if self.tls else []), *(["deflate"] if self.deflate else [])]

    warm_up: bool = True


@dataclass(frozen=True)
class Column:
    """A number of every sample, as the table shows it."""

    key: str
    heading: str
    form: str = "{:.1f}"


@dataclass(frozen=True)
class Comparison:
    """The last column: a row's median of ``key`` beside that of another row.

    ``ours``: ours divided by the row's. ``times``: the row's divided by the first row's. ``more``: the row's less the
    first row's.
    """

    key: str
    heading: str
    how: Literal["ours", "times", "more"] = "ours"


@dataclass(frozen=True)
class Case:
    """A table of the report. ``run`` takes the samples and gives them to the session's report."""

    name: str
    title: str
    run: Callable[[Case, Session], None]
    load: Load
    columns: tuple[Column, ...]
    comparison: Comparison
    app: str = "plain"

    @property
    def interface(self) -> Interface:
        """Of the application, whose name tells."""
        by_end: dict[str, Interface] = {"wsgi": "wsgi", "websocket": "websocket"}
        return by_end.get(self.app.rpartition("_")[2], "asgi")


CPU = Column("cpu_us", "CPU µs/request")
RATE = Column("rps", "req/s", "{:.0f}")
P50 = Column("p50_ms", "p50 ms", "{:.2f}")
P99 = Column("p99_ms", "p99 ms", "{:.2f}")
PEAK = Column("peak_mib", "peak RSS MiB", "{:.0f}")
FAILED = Column("failed", "failed", "{:.0f}")
