"""How Sidegate is started: with its routing, record, metrics and limits on, as they always are.

From this tree or from the revision of ``--against``, and by the ``sidegate`` command of its environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from tests.bench.installation import THIS_TREE, Installation
from tests.bench.programs import Peers
from tests.bench.servers.kind import APPLICATIONS, BACKLOG, HOST, KEEP_ALIVE_SECONDS, THREADS, Command, Kind, Site
from tests.support.ports import reserve_port

ALL = {"name": "all", "path": "/", "backend": "app"}


@dataclass(frozen=True)
class Sidegate:
    """A configuration. ``access_log`` is the format of a log file, or off. ``pool``: the application in a worker.

    ``concurrency``: what that worker may have under way. ``threads``: as many run a WSGI application; 0: an ASGI one.
    ``limits`` are limits and timeouts, set beside those that a load generator needs. ``routes``: more routes, which all
    have a fixed answer, as then the last one, which takes the rest. ``tls_engine``: the one that is not chosen anyway.
    """

    engine: str
    tls_engine: str = ""
    processes: int = 1
    access_log: str = "off"
    pool: bool = False
    concurrency: int = 2048
    threads: int = 0
    limits: Mapping[str, Any] = field(default_factory=dict)
    routes: Sequence[Mapping[str, Any]] = ()
    installation: Installation = THIS_TREE

    def launch(self, site: Site) -> Sequence[Command]:
        path = site.folder / "sidegate.yaml"
        path.write_text(yaml.safe_dump(self._config(site)))
        command = str(self.installation.command)
        tls = ["--tls-engine", self.tls_engine] if self.tls_engine else []
        return [Command([command, "serve", str(path), "--http2-engine", self.engine, *tls])]

    def absent(self, _peers: Peers) -> str | None:
        if self.installation is not THIS_TREE:
            return None  # if its engine is missing, its own command says so
        return None if self.engine != "nghttp2" or nghttp2_built() else "nghttp2 binding not built"

    def _config(self, site: Site) -> dict[str, Any]:
        listener: dict[str, Any] = {"name": "only", "address": f"{HOST}:{site.port}"}
        listener["websocket"] = {"pingInterval": f"{KEEP_ALIVE_SECONDS}s"}  # idle clients do not answer
        if site.tls:
            listener["tls"] = {"certificates": [site.pair.as_yaml()]}
        backend: dict[str, Any] = {"app": f"{site.app}:app", "directory": str(APPLICATIONS)}
        at_once = {"threads": self.threads} if self.threads else {}
        if self.pool:
            backend["pool"] = {"workers": 1, **(at_once or {"concurrency": self.concurrency})}
        else:
            backend.update(at_once)
        if self.routes:
            backend = {"respond": {"body": "Hello, world!"}}
        log = {"accessLog": self.access_log}
        if self.access_log != "off":
            log["accessLogFile"] = str(site.folder / "access.log")
        # A load generator keeps its connections for the whole run; a GOAWAY in the middle would count as a failure.
        bounds = {"connectionRequests": 1_000_000_000, "keepAlive": f"{KEEP_ALIVE_SECONDS}s", **self.limits}
        return {
            "processes": self.processes,
            "listeners": [listener],
            "backends": {"app": backend},
            "routes": [*({**route, "backend": "app"} for route in self.routes), ALL],
            "admin": {"address": f"{HOST}:{reserve_port()}"},
            "logging": log,
            **self.installation.bounds(bounds),
        }


def nghttp2_built() -> bool:
    try:
        from sidegate.wire.http2 import nghttp2  # noqa: F401, PLC0415  # whether it is there is the question
    except ImportError:
        return False
    return True


def best_engine() -> str:
    """What ``sidegate serve`` chooses of its own accord."""
    return "nghttp2" if nghttp2_built() else "h2"


def kind(name: str, title: str, settings: Sidegate) -> Kind:
    return replace(
        _kind(name, title, settings),
        wsgi=_kind(name, title, replace(settings, threads=THREADS)),
        websocket=[_kind(name, title, replace(settings, concurrency=BACKLOG))],
    )


def _kind(name: str, title: str, settings: Sidegate) -> Kind:
    installation = settings.installation
    return Kind(
        f"{name}{installation.suffix}",
        f"{title}{installation.suffix}",
        h2=True,
        launch=settings.launch,
        absent=settings.absent,
        ours=installation is THIS_TREE,
        at=lambda other: kind(name, title, replace(settings, installation=other)),
    )


def with_revision(kinds: Iterable[Kind], against: Installation | None) -> list[Kind]:
    """The servers, each of Sidegate's own followed by the same of the revision of ``--against``, if there is one."""
    both = []
    for known in kinds:
        both.append(known)
        if against is not None and known.at is not None:
            both.append(known.at(against))
    return both


KINDS = (
    kind("sidegate", "sidegate", Sidegate("nghttp2")),
    kind("sidegate-pool", "sidegate (front, worker)", Sidegate("nghttp2", pool=True)),
    kind("sidegate-h2", "sidegate (engine h2)", Sidegate("h2")),
    kind("sidegate-ssl", "sidegate (TLS engine ssl)", Sidegate("nghttp2", tls_engine="ssl")),
)
