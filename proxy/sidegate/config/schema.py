"""The configuration as frozen models; each limit with its default and its reason.

All other packages may import it. It reads no file and opens no socket: ``load.py`` turns YAML into these models. Keys
are camelCase in YAML and snake_case here; the names of routes are those of the Kubernetes Gateway API's HTTPRoute
rules. Validation normalises short forms, so the rest of the code sees one form only. Its import does not import
pydantic: ``validation.py`` does that. A constructor raises ``ValueError`` if values contradict each other.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from sidegate.config import checks, values
from sidegate.config.backends import BackendConfig, Header, Respond
from sidegate.config.limits import ConnectionLimits, ConnectionTimeouts, Limits, ListenerLimits, ListenerTimeouts
from sidegate.config.listeners import Certificate, ClientCertificates, ListenerConfig, Tls, TlsEngineName
from sidegate.config.model import Boolean, Model, model, setting
from sidegate.config.pool import PoolConfig, Reload, WorkerCount, WorkerLimits
from sidegate.config.quantities import Duration
from sidegate.config.routes import BackendRef, HeaderMatch, Match, PathMatch, QueryMatch, RouteConfig, Timeouts
from sidegate.config.rules import After, Before
from sidegate.config.upstream import Queue, UpstreamTls
from sidegate.config.websocket import Compression, WebSocketConfig

__all__ = [
    "Admin",
    "BackendConfig",
    "BackendRef",
    "Certificate",
    "ClientCertificates",
    "Compression",
    "Config",
    "ConnectionLimits",
    "ConnectionTimeouts",
    "Header",
    "HeaderMatch",
    "Limits",
    "ListenerConfig",
    "ListenerLimits",
    "ListenerTimeouts",
    "Logging",
    "Match",
    "PathConfig",
    "PathMatch",
    "PoolConfig",
    "QueryMatch",
    "Queue",
    "Reload",
    "Respond",
    "RouteConfig",
    "Settings",
    "Timeouts",
    "Tls",
    "TlsEngineName",
    "UpstreamTls",
    "WebSocketConfig",
    "WorkerCount",
    "WorkerLimits",
]


@model
class Admin(Model):
    """The admin server: metrics, probes, status."""

    address: Annotated[str, After(values.address)] = setting(
        default="127.0.0.1:9090", description="Where it listens; do not expose it to the public."
    )
    ready: Literal["serving", "all", "any"] = setting(
        default="serving",
        description="When `/readyz` is 200. `serving`: every front accepts connections, and every `app` backend has "
        "been ready once. `all`: and every `h2c` and `h2` backend was reached in the last 30s. `any`: a front accepts "
        "connections, and at least one backend can answer. A front whose event loop has been blocked for a third of "
        "`livenessTimeout` does not count.",
    )


@model
class Logging(Model):
    """The process log (stderr) and the access log. Lines that a destination does not take are dropped and counted."""

    level: Literal["debug", "info", "warning", "error"] = setting(
        default="info", description="Lowest level that is logged."
    )
    format: Literal["text", "json"] = setting(default="text", description="Format of the process log.")
    access_log: Literal["off", "combined", "json"] = setting(default="off", description="Format of the access log.")
    access_log_file: Annotated[str, After(values.file_path)] | None = setting(
        default=None, description="File to which the access log is appended; by default stdout."
    )
    access_log_query: Boolean = setting(
        default=True,
        description="Whether the query of the request target is logged, as nginx does; `false` if queries contain "
        "secrets.",
    )
    skip_paths: tuple[Annotated[str, After(values.path)], ...] = setting(
        default=(), description="Paths that are not logged, such as those of probes."
    )

    def __post_init__(self) -> None:
        if self.access_log == "off" and (self.access_log_file or self.skip_paths):
            raise ValueError("'accessLogFile' and 'skipPaths' need 'accessLog: combined' or 'accessLog: json'")


@model
class PathConfig(Model):
    """What the path of a request may contain, and what the application gets."""

    slashes: Literal["keep", "merge", "refuse"] = setting(
        default="keep",
        description="Repeated slashes: the application gets them as sent, gets one (nginx: `merge_slashes`), or the "
        "client gets 400. Routes match the merged path in any case, and an application with a `rootPath` gets it.",
    )
    encoded_slash: Literal["decode", "refuse"] = setting(
        default="decode",
        description="An encoded slash (`%2F`): it counts as a slash, or the client gets 400. Apache httpd: refuses.",
    )


def _processes(value: object) -> object:
    if value == "auto":
        return values.usable_cpus()
    if isinstance(value, bool) or not isinstance(value, int):
        written = f", not {value!r}" if isinstance(value, str) else ""
        raise ValueError(f"must be a whole number or auto{written}")
    return value


def _none_or_a_second(seconds: float) -> float:
    if 0 < seconds < 1:
        raise ValueError("must be 0s or at least 1s: an event loop is blocked for shorter times on any busy machine")
    return seconds


MAX_PROCESSES = 1024

Processes = Annotated[
    int,
    Before(
        _processes,
        json_schema={"anyOf": [{"type": "integer", "minimum": 1, "maximum": MAX_PROCESSES}, {"const": "auto"}]},
    ),
]


def _named(routes: tuple[RouteConfig, ...]) -> tuple[RouteConfig, ...]:
    return tuple(
        route if route.name else dataclasses.replace(route, name=checks.route_name(route, place))
        for place, route in enumerate(routes)
    )


@model
class Entries(Model):
    """Listeners, backends and routes."""

    listeners: tuple[ListenerConfig, ...] = setting(min_length=1, description="Where clients connect.")
    backends: dict[Annotated[str, After(values.name)], BackendConfig] = setting(
        default_factory=dict, description="What responds to requests, by name."
    )
    routes: Annotated[tuple[RouteConfig, ...], After(_named)] = setting(
        min_length=1,
        description="Which backend handles a request. The most specific route wins, as in the Gateway API: exact "
        "host, then wildcard, Exact path, longest PathPrefix, method, number of headers, number of query parameters, "
        "then order.",
    )


@model
class Settings(Model):
    """Everything except listeners, backends and routes; a model of its own, so that it can be valid by itself."""

    admin: Annotated[Admin | None, Before(lambda data: None if data is False else data)] = setting(
        default=None, description="The admin server; by default, or with `false`, there is none."
    )
    processes: Processes = setting(
        default=1,
        ge=1,
        le=MAX_PROCESSES,
        description="Front processes; `auto` is one for each CPU this process may use.",
    )
    logging: Logging = setting(default=Logging(), description="What is logged, and how.")
    limits: Limits = setting(default=Limits(), description="What one client may make a process hold or do.")
    timeouts: ConnectionTimeouts = setting(
        default=ConnectionTimeouts(), description="How long one client may take, and how long its connection may last."
    )
    path: PathConfig = setting(default=PathConfig(), description="Slashes in the paths of requests.")
    start_timeout: Duration = setting(
        default=60.0,
        ge=0.001,
        le=86400,
        description="How long a front may take to import applications and run their startup before it is killed.",
    )
    liveness_timeout: Annotated[Duration, After(_none_or_a_second)] = setting(
        default=30.0,
        ge=0,
        le=86400,
        description="How long the event loop of a front may be blocked, at least 1s, 0s for no limit; for workers see "
        "`pool`. After a third of it the stack is logged and `/readyz` does not count the front; after the whole time "
        "a successor starts. When that serves and the front is still blocked, it writes the stacks of its threads to "
        "stderr and is killed. A front that a debugger holds (gdb, strace, pdb) is not. gunicorn: `timeout`, 30s; "
        "uvicorn: `--timeout-worker-healthcheck`, 5s; Envoy: off, its watchdog counts from 200 ms on.",
    )
    shutdown_delay: Duration = setting(
        default=0.0,
        ge=0,
        le=3600,
        description="From SIGTERM (`/readyz` turns 503) to the closing of listeners, so that load balancers can react.",
    )
    grace_period: Duration = setting(
        default=25.0,
        ge=0,
        le=86400,
        description="Longest time from SIGTERM to exit, `shutdownDelay` included; then requests in flight are aborted. "
        "Kubernetes kills after 30s, so stay below that.",
    )
    websocket_drain: Duration | None = setting(
        default=None,
        ge=0,
        le=86400,
        description="Time after the closing of listeners over which open WebSockets are closed with 1001, evenly "
        "distributed, so that their clients do not all reconnect at once. By default most of the rest of "
        "`gracePeriod`.",
    )
    http2_engine: Literal["auto", "nghttp2", "h2"] = setting(
        default="auto", description="HTTP/2 implementation: `auto` uses nghttp2 if it was built, otherwise h2."
    )
    tls_engine: TlsEngineName = setting(
        default="auto",
        description="TLS towards clients: `auto` uses the binding of OpenSSL if it was built, otherwise Python's "
        "`ssl`. Only `openssl` has session tickets that all processes accept, `cipherSuites`, `curves`, `ocspStaple`, "
        "and the alert `no_application_protocol`.",
    )
    event_loop: Literal["auto", "uvloop", "asyncio"] = setting(
        default="auto",
        description="Event loop of fronts and workers: `auto` uses uvloop if it is installed, otherwise asyncio's own. "
        "Some libraries (nest_asyncio) can patch only `asyncio`, which costs about twice as much for each read and "
        "write.",
    )
    temp_directory: Annotated[str, After(values.file_path)] | None = setting(
        default=None,
        description="Folder of the files into which fronts buffer bodies (`bodyBuffering`, `responseBuffering`). "
        "The files have no names. By default the usual temporary folder (`TMPDIR`, `/tmp`). If no file can be written, "
        "bodies that do not fit into memory are not buffered.",
    )
    runtime_directory: Annotated[str, After(values.file_path)] | None = setting(
        default=None,
        description="Folder in which a private folder for the sockets of pools' workers is made. By default "
        "`$XDG_RUNTIME_DIR`, `$RUNTIME_DIRECTORY` (systemd), or the temporary folder, whichever can be written.",
    )
    trusted_proxies: tuple[Annotated[str, After(values.network)], ...] = setting(
        default=(),
        description="Address blocks of peers whose forwarding headers (`X-Forwarded-*`, …) are trusted; "
        "`unix`: every peer on a unix socket. Client and scheme are read from `X-Forwarded-For` and "
        "`X-Forwarded-Proto`, or, if there is neither, from `Forwarded` (RFC 7239). A proxy that sets only `Forwarded` "
        "has to remove the others, which its clients may have sent.",
    )


@model
class Config(Settings, Entries):
    """A whole configuration."""

    def __post_init__(self) -> None:
        parts = checks.Parts(
            listeners=dict(enumerate(self.listeners)),
            routes=dict(enumerate(self.routes)),
            backends=self.backends,
            admin=self.admin.address if self.admin else None,
            trusts=bool(self.trusted_proxies),
            delays=checks.Delays(self.shutdown_delay, self.websocket_drain, self.grace_period),
        )
        found = list(checks.problems(parts))
        if found:
            raise ValueError("; ".join(f"{checks.path_text(path)}: {message}" for path, message in found))


def limits_of(config: Config, listener: ListenerConfig) -> ConnectionLimits:
    """The limits and timeouts of a listener of ``config``: its own keys replace those of the top level."""
    values: dict[str, Any] = {}
    for part in (config.limits, config.timeouts, listener.limits, listener.timeouts):
        values |= {name: value for name, value in vars(part).items() if value is not None}
    return ConnectionLimits(**values)
