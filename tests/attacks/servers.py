"""The servers that are attacked: those of the benchmark, Sidegate with the limits that it has when none are set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.attacks.attack import Attack
from tests.bench.servers import table
from tests.bench.servers.kind import Command, Kind, Site
from tests.bench.servers.sidegate import Sidegate, kind

APP = "attacked"

DEFAULTS = {"connectionRequests": 10_000, "keepAlive": "75s"}
"""What the benchmark sets otherwise."""

OURS = (
    kind("sidegate", "sidegate", Sidegate("nghttp2", limits=DEFAULTS)),
    kind("sidegate-h2", "sidegate (engine h2)", Sidegate("h2", limits=DEFAULTS)),
    kind("sidegate-pool", "sidegate (front, worker)", Sidegate("nghttp2", pool=True, limits=DEFAULTS)),
)
PEERS = tuple(one for one in table.KINDS if one.name in ("hypercorn", "granian", "uvicorn", "nginx"))
KINDS = {one.name: one for one in (*OURS, *PEERS)}
USUAL = ("sidegate", "sidegate-h2")

TLS_FOR_H2 = "nginx"
"""It takes HTTP/2 over TLS alone, as the benchmark configures it."""


def for_attack(known: Kind, attack: Attack) -> Kind:
    """The same server as the attack needs it."""
    (first, *_) = known.with_interface("websocket" if attack.websocket else "asgi")
    return first if attack.files is None else replace(first, launch=_Limited(first, attack.files))


def with_tls(known: Kind, attack: Attack) -> bool:
    return attack.tls or (attack.protocol == "h2" and known.name == TLS_FOR_H2)


class _Limited:
    """Starts a server with fewer files."""

    def __init__(self, known: Kind, files: int) -> None:
        self._known, self._files = known, files

    def __call__(self, site: Site) -> Sequence[Command]:
        limit = ["prlimit", f"--nofile={self._files}:{self._files}"]
        return [Command([*limit, *command.arguments], command.environment) for command in self._known.launch(site)]
