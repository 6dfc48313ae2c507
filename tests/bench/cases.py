"""The cases, in the order of the report: loads from small to large, then what starts servers of its own.

Memory that a server once held it may keep; so what needs more of it comes later.
"""

from __future__ import annotations

from tests.bench.case import CPU, FAILED, P50, P99, PEAK, RATE, Case, Column, Comparison, Load
from tests.bench.experiments.echo import echo
from tests.bench.experiments.handshake import handshake
from tests.bench.experiments.idle import idle
from tests.bench.experiments.load import closed, half, overload
from tests.bench.experiments.routes import routes
from tests.bench.experiments.settings import access_log, processes
from tests.bench.experiments.sleep import sleep
from tests.bench.experiments.startup import startup
from tests.bench.servers.kind import THREADS

BESIDE = Comparison("cpu_us", "ours / this")
COLUMNS = (CPU, RATE, P50, P99, PEAK, FAILED)
SMALL = "13 bytes"


def _closed(name: str, title: str, load: Load, app: str = "plain") -> Case:
    return Case(name, title, closed, load, COLUMNS, BESIDE, app)


def _both(name: str, title: str, h2: tuple[int, int], h1: int, *, path: str, upload: str = "") -> tuple[Case, Case]:
    """A case over h2 with TLS, by connections and streams, and one over HTTP/1.1 without, by connections."""
    app = "validated" if path == "/orders" else "plain"
    return (
        _closed(f"h2-{name}", f"h2 + TLS, {title}, {_shape(*h2)}", Load("h2", True, *h2, path, upload), app),
        _closed(f"h1-{name}", f"HTTP/1.1, {title}, {_shape(h1, 1)}", Load("h1", False, h1, 1, path, upload), app),
    )


def _shape(connections: int, streams: int) -> str:
    many = f"{connections} connection{'s' if connections > 1 else ''}"
    return many if streams == 1 else f"{many} of {streams} streams"


def _connections(count: int) -> tuple[Case, Case]:
    return _both(f"c{count}", SMALL, (count, 1), count, path="/")


SMALL_H2 = Load("h2", True, 16, 16)
SMALL_H1 = Load("h1", False, 64)
SMALL_H1_TLS = Load("h1", True, 64)

THROUGHPUT = (
    _closed("h2-small", f"h2 + TLS, {SMALL}, {_shape(16, 16)}", SMALL_H2),
    _closed("h1-small", f"HTTP/1.1, {SMALL}, {_shape(64, 1)}", SMALL_H1),
    _closed("h1-tls-small", f"HTTP/1.1 + TLS, {SMALL}, {_shape(64, 1)}", SMALL_H1_TLS),
    *_connections(1),
    *_connections(16),
    *_connections(256),
    *_both("64k", "64 KiB response", (16, 16), 64, path="/64k"),
    *_both("stream", "response of 1000 chunks of 1 KiB", (8, 1), 8, path="/stream"),
    *_both("1m", "1 MiB response", (8, 1), 8, path="/1m"),
    *_both("upload-1m", "1 MiB upload", (8, 1), 8, path="/upload", upload="1m"),
)

HANDSHAKE = Case(
    "handshake",
    "full TLS 1.3 handshakes, ECDSA P-256, without a request, one after the other",
    handshake,
    Load("h1", True, 1),
    (Column("cpu_us", "CPU µs/handshake", "{:.0f}"), Column("rps", "handshakes/s", "{:.0f}"), PEAK),
    BESIDE,
)

HALF_COLUMNS = (P50, P99, RATE, CPU, FAILED)
HALF_LOAD = tuple(
    Case(
        f"{name}-half", f"{title}, at a fixed rate", half, load, HALF_COLUMNS, Comparison("p99_ms", "ours / this (p99)")
    )
    for name, title, load in (
        ("h2", f"latency over h2 + TLS, {SMALL}, {_shape(16, 16)}", SMALL_H2),
        ("h1", f"latency over HTTP/1.1, {SMALL}, {_shape(64, 1)}", SMALL_H1),
    )
)

OVERLOAD_COLUMNS = (
    Column("p99_ms", "p99 ms of what was answered", "{:.0f}"),
    Column("cpu_us", "CPU µs/answered", "{:.0f}"),
    Column("capacity", "calm req/s", "{:.0f}"),
    Column("asked", "sent req/s", "{:.0f}"),
    Column("rps", "answered req/s", "{:.0f}"),
    Column("answered_share", "answered %"),
    Column("shed_share", "shed %"),
    Column("failed_share", "failed %"),
    Column("open_share", "open at the end %"),
)
OVERLOAD = tuple(
    Case(
        f"{name}-overload",
        f"four times what the server can do, {title}, an application that works for 1 ms",
        overload,
        load,
        OVERLOAD_COLUMNS,
        Comparison("p99_ms", "ours / this (p99)"),
    )
    for name, title, load in (
        ("h2", f"h2 + TLS, up to {_shape(32, 64)}", Load("h2", True, 32, 64, "/work")),
        ("h1", f"HTTP/1.1, up to {_shape(1024, 1)}", Load("h1", False, 1024, 1, "/work")),
    )
)

JSON = _both("fastapi", "FastAPI, JSON validated both ways", (16, 4), 64, path="/orders", upload="order.json")

WSGI_APP = "plain_wsgi"
WSGI = (
    _closed("wsgi-h1-small", f"WSGI over HTTP/1.1, {SMALL}, {_shape(64, 1)}", SMALL_H1, WSGI_APP),
    _closed("wsgi-h2-small", f"WSGI over h2 + TLS, {SMALL}, {_shape(16, 16)}", SMALL_H2, WSGI_APP),
    Case(
        "wsgi-sleep",
        f"WSGI over HTTP/1.1, {THREADS} requests at once that each sleep for 0.5 s, {THREADS} threads",
        sleep,
        Load("h1", False, THREADS, path="/sleep"),
        (Column("wall_s", "s until all are answered", "{:.2f}"), Column("server_ms", "CPU ms", "{:.0f}")),
        Comparison("wall_s", "ours / this (s)"),
        WSGI_APP,
    ),
)

WEBSOCKET_APP = "echo_websocket"
ECHO_COLUMNS = (
    Column("cpu_us", "CPU µs/message"),
    Column("rps", "messages/s", "{:.0f}"),
    *(P50, P99, PEAK),
    Column("client_cores", "cores of the client", "{:.2f}"),
)
WEBSOCKET = tuple(
    Case(
        f"websocket-{name}",
        f"WebSocket over {title}, echo of 32 bytes, 16 connections",
        echo,
        load,
        ECHO_COLUMNS,
        BESIDE,
        WEBSOCKET_APP,
    )
    for name, title, load in (
        ("h1", "HTTP/1.1", Load("h1", False, 16)),
        ("h1-deflate", "HTTP/1.1 with permessage-deflate", Load("h1", False, 16, deflate=True)),
        ("h1-tls", "HTTP/1.1 + TLS", Load("h1", True, 16)),
        ("h2", "h2 + TLS", Load("h2", True, 16)),
    )
)

ACCESS_LOG = tuple(
    Case(
        f"{name}-access-log",
        f"access log, {title}",
        access_log,
        load,
        COLUMNS,
        Comparison("cpu_us", "µs on top", "more"),
    )
    for name, title, load in (
        ("h2", f"h2 + TLS, {SMALL}", SMALL_H2),
        ("h1", f"HTTP/1.1, {SMALL}", SMALL_H1),
    )
)

SCALING_COLUMNS = (
    RATE,
    CPU,
    Column("per_cpu_second", "req/CPU second", "{:.0f}"),
    Column("server_cores", "cores of the server", "{:.2f}"),
    Column("client_cores", "cores of the client", "{:.2f}"),
    P99,
)
SCALING = tuple(
    Case(name, title, processes, load, SCALING_COLUMNS, Comparison(key, heading, "times"))
    for name, title, load, key, heading in (
        (
            "scaling-work",
            "one process and two, an application that works for 1 ms, h2 + TLS, 32 connections",
            Load("h2", True, 32, 1, "/work"),
            "rps",
            "times the req/s",
        ),
        (
            "scaling-small",
            f"one process and two, h2 + TLS, {SMALL}, {_shape(16, 16)}",
            SMALL_H2,
            "per_cpu_second",
            "times the req/CPU second",
        ),
    )
)

IDLE_COLUMNS = (
    Column("rss_kib", "RSS KiB/connection"),
    Column("rss_mib", "RSS MiB in all", "{:.0f}"),
    Column("open_cpu_us", "CPU µs to open one", "{:.0f}"),
    Column("held", "held", "{:.0f}"),
)
IDLE = tuple(
    Case(
        f"{load.protocol}-idle",
        f"idle TLS connections, {title}, after one answer each",
        idle,
        load,
        IDLE_COLUMNS,
        Comparison("rss_kib", "ours / this"),
    )
    for title, load in (("h2", Load("h2", True, 1)), ("HTTP/1.1", Load("h1", True, 1)))
)
IDLE_WEBSOCKETS = tuple(
    Case(
        f"websocket-{name}",
        f"idle WebSockets over HTTP/1.1{title}, after one echo each",
        idle,
        Load("h1", False, 1, deflate=deflate),
        IDLE_COLUMNS,
        Comparison("rss_kib", "ours / this"),
        WEBSOCKET_APP,
    )
    for name, title, deflate in (("idle", "", False), ("idle-deflate", " with permessage-deflate", True))
)

START_COLUMNS = (
    Column("start_ms", "ms to the first answer", "{:.0f}"),
    Column("start_cpu_ms", "CPU ms", "{:.0f}"),
    Column("rss_mib", "RSS MiB", "{:.0f}"),
)
STARTUP = (
    Case(
        "startup",
        "from exec to the first answer of 200",
        startup,
        Load("h1", False, 1),
        START_COLUMNS,
        Comparison("start_ms", "ours / this"),
    ),
)

ROUTES = (
    Case(
        "routes",
        "one route and many, HTTP/1.1, 64 connections, a fixed answer",
        routes,
        SMALL_H1,
        (CPU, RATE, P50, FAILED),
        Comparison("cpu_us", "times 1 route", "times"),
    ),
)

CASES = (
    *(*THROUGHPUT, HANDSHAKE, *HALF_LOAD, *OVERLOAD, *JSON, *WSGI, *WEBSOCKET),
    *(*ACCESS_LOG, *ROUTES, *SCALING, *IDLE, *IDLE_WEBSOCKETS, *STARTUP),
)
