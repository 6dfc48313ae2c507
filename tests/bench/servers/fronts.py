"""How nginx, caddy and haproxy are started: one thread of work each, keeping connections to a uvicorn behind
them, or, where the application is a WSGI one, to a gunicorn.

Between the two is a unix socket, the cheapest way there is. Settings that are not about ports, TLS and keep-alive are
the defaults: they are what people run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.bench.programs import Peers, Program
from tests.bench.servers.kind import BACKLOG, HOST, KEEP_ALIVE_SECONDS, Command, Kind, Site
from tests.bench.servers.python import absent as python_absent
from tests.bench.servers.python import gunicorn_threads_on, uvicorn_on

UPSTREAM_CONNECTIONS = 256

NGINX = """
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {folder}/nginx.pid;
error_log stderr warn;
{user}
events {{ worker_connections {files}; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout {keep_alive}s;
    client_max_body_size 16m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $upstream_connection {{
        default upgrade;
        "" "";
    }}
    upstream app {{
        server unix:{socket};
        keepalive {upstream};
        keepalive_requests 1000000000;
    }}
    server {{
        listen {host}:{port} {listen} backlog={backlog};
        {tls}
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $upstream_connection;
            proxy_set_header Host $host;
        }}
    }}
}}
"""

CADDY = """
{{
    admin off
    auto_https off
    default_bind {host}
    log {{
        level ERROR
    }}
}}
{scheme}://{name}:{port} {{
    {tls}
    reverse_proxy unix/{socket}
}}
"""

HAPROXY = """
global
    nbthread 1
    maxconn {files}
    no strict-limits
defaults
    mode http
    timeout connect 10s
    timeout client {keep_alive}s
    timeout server 60s
    http-reuse always
frontend front
    bind {host}:{port} backlog {backlog} {tls}
    default_backend app
backend app
    server app unix@{socket} pool-max-conn {upstream}
"""


def nginx(site: Site, program: Program) -> Command:
    path = site.folder / "nginx.conf"
    tls = f"ssl_certificate {site.pair.cert}; ssl_certificate_key {site.pair.key};" if site.tls else ""
    # A worker of a master that root started would become nobody, who may not open the unix socket.
    user = "user root root;" if os.geteuid() == 0 else ""
    path.write_text(NGINX.format(listen="ssl http2" if site.tls else "", tls=tls, user=user, **_common(site)))
    return Command([program.path, "-e", "stderr", "-c", str(path)], program.environment)


def caddy(site: Site, program: Program) -> Command:
    path = site.folder / "Caddyfile"
    tls = f"tls {site.pair.cert} {site.pair.key}" if site.tls else ""
    # Without a name a certificate from a file is served to clients that send none, as load generators by address do.
    path.write_text(CADDY.format(scheme="https" if site.tls else "http", name="", tls=tls, **_common(site)))
    home = {"HOME": str(site.folder), "XDG_DATA_HOME": str(site.folder), "XDG_CONFIG_HOME": str(site.folder)}
    return Command(
        [program.path, "run", "--config", str(path), "--adapter", "caddyfile"], {**program.environment, **home}
    )


def haproxy(site: Site, program: Program) -> Command:
    path, pem = site.folder / "haproxy.cfg", site.folder / "haproxy.pem"
    pem.write_bytes(site.pair.cert.read_bytes() + site.pair.key.read_bytes())
    tls = f"ssl crt {pem} alpn h2,http/1.1" if site.tls else ""
    path.write_text(HAPROXY.format(tls=tls, **_common(site)))
    return Command([program.path, "-db", "-f", str(path)], program.environment)


def _common(site: Site) -> dict[str, object]:
    return {
        "folder": site.folder,
        "socket": site.folder / "app.sock",
        "host": HOST,
        "port": site.port,
        "backlog": BACKLOG,
        "files": 4 * BACKLOG,  # each connection may have one of its own behind it
        "keep_alive": KEEP_ALIVE_SECONDS,
        "upstream": UPSTREAM_CONNECTIONS,
    }


def _uvicorn(site: Site) -> Command:
    return uvicorn_on(site, "--uds", str(site.folder / "app.sock"))


def _gunicorn(site: Site) -> Command:
    # It would end TLS by itself, if it were told of a certificate.
    return gunicorn_threads_on(replace(site, tls=False), f"unix:{site.folder / 'app.sock'}")


def _kind(name: str, front: Callable[[Site, Program], Command]) -> Kind:
    wsgi = _with(name, front, _gunicorn, f"{name} + gunicorn (gthread)")
    return replace(_with(name, front, _uvicorn, f"{name} + uvicorn"), wsgi=wsgi)


def _with(
    name: str, front: Callable[[Site, Program], Command], application: Callable[[Site], Command], title: str
) -> Kind:
    def launch(site: Site) -> Sequence[Command]:
        program = site.peers.find(name)
        if program is None:
            raise FileNotFoundError(name)
        return [application(site), front(site, program)]

    def absent(peers: Peers) -> str | None:
        return python_absent(peers) if peers.find(name) else "not installed"

    return Kind(name, title, h2=True, launch=launch, absent=absent)


KINDS = (_kind("nginx", nginx), _kind("caddy", caddy), _kind("haproxy", haproxy))
