"""How the Python servers are started: one worker, uvloop and the fastest parser where there is a choice, no log.

With a WSGI application they have the same number of threads where that is an option.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.bench.programs import Peers
from tests.bench.servers.kind import APPLICATIONS, BACKLOG, HOST, KEEP_ALIVE_SECONDS, THREADS, Command, Kind, Site


def uvicorn(site: Site) -> Sequence[Command]:
    tls = _files(site, "--ssl-certfile", "--ssl-keyfile")
    return [uvicorn_on(site, "--host", HOST, "--port", str(site.port), *tls)]


def uvicorn_wrapping(site: Site) -> Sequence[Command]:
    """Its own way with WSGI is deprecated; what it points to wraps the application."""
    return uvicorn(replace(site, app="wrapped_wsgi"))


def uvicorn_websocket(implementation: str) -> Kind:
    """It has several; pings while idle connections are counted would find no answer."""

    def launch(site: Site) -> Sequence[Command]:
        (command,) = uvicorn(site)
        options = ["--ws", implementation, "--ws-ping-interval", str(KEEP_ALIVE_SECONDS)]
        return [Command([*command.arguments, *options], command.environment)]

    return _kind(f"uvicorn-{implementation}", launch, h2=False, title=f"uvicorn (ws: {implementation})")


def uvicorn_on(site: Site, *where: str) -> Command:
    """Uvicorn on a socket of the caller's choice; nginx, caddy and haproxy stand in front of such a one."""
    options = [f"{site.app}:app", *where, "--app-dir", str(APPLICATIONS), "--no-access-log", "--log-level", "warning"]
    options += ["--loop", "uvloop", "--http", "httptools", "--lifespan", "off"]
    options += ["--backlog", str(BACKLOG), "--timeout-keep-alive", str(KEEP_ALIVE_SECONDS)]
    return module(site, "uvicorn", options)


def gunicorn(site: Site) -> Sequence[Command]:
    return [_gunicorn(site, "--bind", f"{HOST}:{site.port}", "--worker-class", "uvicorn_worker.UvicornWorker")]


def gunicorn_threads(site: Site) -> Sequence[Command]:
    return [gunicorn_threads_on(site, f"{HOST}:{site.port}")]


def gunicorn_threads_on(site: Site, address: str) -> Command:
    """Gunicorn's threaded worker, with a WSGI application; nginx, caddy and haproxy stand in front of such a one."""
    return _gunicorn(site, "--bind", address, "--worker-class", "gthread", "--threads", str(THREADS))


def _gunicorn(site: Site, *how: str) -> Command:
    options = [f"{site.app}:app", "--chdir", str(APPLICATIONS), *how, "--workers", "1", "--log-level", "warning"]
    options += ["--backlog", str(BACKLOG), "--keep-alive", str(KEEP_ALIVE_SECONDS)]
    return module(site, "gunicorn", [*options, *_files(site, "--certfile", "--keyfile")])


def hypercorn(site: Site) -> Sequence[Command]:
    return [_hypercorn(site, f"{site.app}:app")]


def hypercorn_wrapping(site: Site) -> Sequence[Command]:
    """By its own wrapper, on the threads of its loop's executor."""
    return [_hypercorn(site, f"wsgi:{site.app}:app")]


def _hypercorn(site: Site, application: str) -> Command:
    # The limit of requests of one connection has no option: it closes the load generator's after 1000.
    config = site.folder / "hypercorn.toml"
    config.write_text(f"keep_alive_max_requests = 1000000000\nkeep_alive_timeout = {KEEP_ALIVE_SECONDS}\n")
    options = [application, "--config", str(config), "--bind", f"{HOST}:{site.port}", "--workers", "1"]
    options += ["--worker-class", "uvloop", "--log-level", "warning", "--backlog", str(BACKLOG)]
    return module(site, "hypercorn", [*options, *_files(site, "--certfile", "--keyfile")])


def daphne(site: Site) -> Sequence[Command]:
    files = f":privateKey={site.pair.key}:certKey={site.pair.cert}" if site.tls else ""
    endpoint = f"{'ssl' if site.tls else 'tcp'}:{site.port}:interface={HOST}:backlog={BACKLOG}{files}"
    options = ["-e", endpoint, "-v", "0", "--ping-interval", str(KEEP_ALIVE_SECONDS), f"{site.app}:app"]
    return [module(site, "daphne", options)]


def granian(site: Site) -> Sequence[Command]:
    return [_granian(site, "--interface", "asginl", "--loop", "uvloop", "--no-ws")]


def granian_websocket(site: Site) -> Sequence[Command]:
    return [_granian(site, "--interface", "asginl", "--loop", "uvloop", "--ws")]


def granian_wsgi(site: Site) -> Sequence[Command]:
    return [_granian(site, "--interface", "wsgi", "--blocking-threads", str(THREADS), "--no-ws")]


def _granian(site: Site, *how: str) -> Command:
    options = [f"{site.app}:app", "--working-dir", str(APPLICATIONS), "--host", HOST, "--port", str(site.port)]
    options += [*how, "--workers", "1", "--log-level", "warning"]
    options += ["--backlog", str(BACKLOG), "--backpressure", str(BACKLOG)]
    return module(site, "granian", [*options, *_files(site, "--ssl-certificate", "--ssl-keyfile")])


def module(site: Site, name: str, options: Sequence[str]) -> Command:
    """A module of the peers' environment as a program, with the folder of the applications on its path."""
    python = site.peers.python()
    if python is None:
        raise FileNotFoundError(f"no Python in {site.peers.folder}")
    return Command([python.path, "-m", name, *options], {"PYTHONPATH": str(APPLICATIONS)})


def absent(peers: Peers) -> str | None:
    return None if peers.python() else "not installed"


def _files(site: Site, cert: str, key: str) -> list[str]:
    return [cert, str(site.pair.cert), key, str(site.pair.key)] if site.tls else []


def _kind(name: str, launch: Callable[[Site], Sequence[Command]], *, h2: bool, title: str = "") -> Kind:
    return Kind(name, title or name, h2, launch, absent)


UVICORN_WSGI = _kind("uvicorn", uvicorn_wrapping, h2=False, title="uvicorn + asgiref")
GUNICORN_WSGI = _kind("gunicorn", gunicorn_threads, h2=False, title="gunicorn (gthread)")
HYPERCORN_WSGI = _kind("hypercorn", hypercorn_wrapping, h2=True)
GRANIAN_WSGI = _kind("granian", granian_wsgi, h2=True)
GRANIAN_WEBSOCKET = _kind("granian", granian_websocket, h2=True)
UVICORN_WEBSOCKET = [uvicorn_websocket(name) for name in ("websockets-sansio", "websockets", "wsproto")]

KINDS = (
    replace(_kind("uvicorn", uvicorn, h2=False), wsgi=UVICORN_WSGI, websocket=UVICORN_WEBSOCKET),
    replace(_kind("gunicorn", gunicorn, h2=False), wsgi=GUNICORN_WSGI),
    replace(_kind("hypercorn", hypercorn, h2=True), wsgi=HYPERCORN_WSGI),
    _kind("daphne", daphne, h2=True),
    replace(_kind("granian", granian, h2=True), wsgi=GRANIAN_WSGI, websocket=[GRANIAN_WEBSOCKET]),
)
