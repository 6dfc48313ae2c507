"""Every limit and timeout with its default, its allowed range, and the values of other servers.

The range rejects a wrong unit (``requestLine: 8`` for 8 KiB) rather than unusual values. The ``Limit`` of each field
declares the value in a worker, and whether a listener may set it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from sidegate.config.limit import Limit, always, for_listener, kept
from sidegate.config.model import Integer, Model, Number, model, setting
from sidegate.config.quantities import Duration, Size
from sidegate.config.rules import After
from sidegate.config.values import header_name, header_pattern

DAY = 86400.0

FACTS_SIZE = 16 * 1024
"""Largest size in bytes of the fields that a front adds: the client's addresses, its certificate, the request id."""
FACTS_FIELDS = 8
"""Largest number of header fields that a front adds."""

PROXY_FIELDS = (
    "cf-connecting-ip", "client-ip", "fastly-client-ip", "front-end-https", "remote-user", "true-client-ip",
    "x-client-cert*", "x-client-ip", "x-client-verify", "x-cluster-client-ip", "x-original-host", "x-original-url",
    "x-remote-user", "x-rewrite-url", "x-ssl-*", "x-url-scheme",
)  # fmt: skip
"""Fields in which proxies tell an application who the client is, or which URL it requested."""

NO_LIMIT = Limit(always(0))
"""The value in a worker for limits of which 0 means no limit."""
ANY_NUMBER = Limit(always(10**9))
"""The value in a worker for limits of frames."""
NO_TIMEOUT = Limit(always(1e9))
"""The value in a worker for timeouts: some 30 years."""

_FRAME = 16 * 1024  # the size of one HEADERS or CONTINUATION frame (RFC 9113 4.2)
_WIDEST_ESCAPE = 3  # a byte of a normalised path may arrive as %XX


def _longest_line(_: Any, listeners: Sequence[ConnectionLimits]) -> int:
    """Long enough for any path that a listener accepts, escaped again."""
    return _WIDEST_ESCAPE * max(limits.request_line for limits in listeners)


def _largest_block(value: Any, listeners: Sequence[ConnectionLimits]) -> int:
    """Large enough for the fields of any accepted request, its path as a field, and the fields that a front adds."""
    return max(limits.header_block for limits in listeners) + _longest_line(value, listeners) + FACTS_SIZE


def _most_fields(_: Any, listeners: Sequence[ConnectionLimits]) -> int:
    """Enough for the fields of any request that a listener accepts, and for those that a front adds."""
    return max(limits.header_fields for limits in listeners) + FACTS_FIELDS


def _most_cookies(_: Any, listeners: Sequence[ConnectionLimits]) -> int:
    """As many as any listener accepts."""
    return max(limits.cookies for limits in listeners)


def _most_continuations(value: int, listeners: Sequence[ConnectionLimits]) -> int:
    """Enough for the largest header block."""
    return max(value, _largest_block(value, listeners) // _FRAME + 1)


def _all_names(_: Any, listeners: Sequence[ConnectionLimits]) -> tuple[str, ...]:
    """Every field name that a listener forwards."""
    return tuple(dict.fromkeys(name for limits in listeners for name in limits.keep_underscores))


@model
class ProcessLimits(Model):
    """What all clients together, or one of them, may make one process hold."""

    concurrent_requests: Annotated[Integer, Limit(always(0), top_level_only=True)] = setting(
        default=1000,
        ge=0,
        le=1_000_000,
        description="Requests in flight in one front process, over all its connections, 0 for no limit; further ones "
        "get 503 with `Retry-After` at once, so that under overload the accepted ones are answered in time. Above 80 % "
        "of it the clients share what is left: the one that has most gets 429 first (README: Operate it). Set it "
        "higher for many long polls or event streams: each counts as long as it lasts. Envoy: 1024 for each cluster.",
    )
    requests_per_client: Annotated[Integer, Limit(always(0), top_level_only=True)] = setting(
        default=0,
        ge=0,
        le=1_000_000,
        description="Requests in flight of one client in one front process, 0 for no limit; further ones get 429 with "
        "`Retry-After`. A client is an IPv4 address or an IPv6 network of 64 bits, behind `trustedProxies` the one "
        "that they name; a trusted proxy itself and a unix socket are no client. Traefik's `inFlightReq` and nginx's "
        "`limit_conn`: off unless set.",
    )
    connections: Annotated[Integer, Limit(always(0), top_level_only=True)] = setting(
        default=0,
        ge=0,
        le=1_000_000,
        description="Connections of one front process, over all its listeners, 0 for as many as its file descriptors "
        "allow. Above 80 % of it the client that has most loses idle connections first, and its new ones are closed. "
        "nginx: 512 for each worker process; haproxy: from the descriptors; Kestrel: no limit.",
    )
    connections_per_client: Annotated[Integer, Limit(always(0), top_level_only=True)] = setting(
        default=0,
        ge=0,
        le=1_000_000,
        description="Connections of one client to one front process, 0 for no limit; further ones are closed at once. "
        "A client is that of `requestsPerClient`, but the address is that of the connection, or of its PROXY header. "
        "haproxy (`conn_cur`) and Traefik's `inFlightConn`: off unless set.",
    )
    websockets: Annotated[Integer, Limit(always(0), top_level_only=True)] = setting(
        default=0,
        ge=0,
        le=1_000_000,
        description="Open WebSockets of one front process, 0 for no limit; further handshakes get 503 with "
        "`Retry-After`. Above 80 % of it the client that has most gets 429 first. Over HTTP/1.1 each WebSocket is a "
        "connection of its own. Kestrel: no limit.",
    )
    websockets_per_client: Annotated[Integer, Limit(always(0), top_level_only=True)] = setting(
        default=0,
        ge=0,
        le=1_000_000,
        description="Open WebSockets of one client in one front process, 0 for no limit; further handshakes get 429 "
        "with `Retry-After`. A client is that of `requestsPerClient`. nginx's `limit_conn`: off unless set.",
    )
    min_rate: Annotated[Size, NO_LIMIT] = setting(
        default=240,
        ge=0,
        le=1024**3,
        description="Bytes per second that a client must send of a body that the application waits for, or take of a "
        "response, 0 for no limit; after 5 seconds below it the request ends (408, or a reset). It counts only while "
        "more than 80 % of `concurrentRequests` are in use, and only for clients that have at least as many of them as "
        "others; never for WebSockets and gRPC, nor while the application is the one to act. Kestrel: 240, always; "
        "Apache httpd: 500 for bodies, always.",
    )
    queue_delay: Annotated[Duration, Limit(kept, top_level_only=True)] = setting(
        default=4.0,
        ge=0,
        le=3600,
        description="Longest time a request may wait for a blocked event loop before it is answered 503 with "
        "`Retry-After`, 0s for no limit. An application blocks the loop while it computes without awaiting. Requests "
        "that are read together may use half of it (the slowest is not counted), because further requests arrive "
        "meanwhile: with 4s, twenty clients may call an application that blocks for 100 ms at once. Set it to the "
        "latency you promise. haproxy: `timeout queue`, usually 5s or more; folly: from 5ms on; under-pressure for "
        "Node: off, 1s in its example.",
    )


@model
class Limits(ProcessLimits):
    """Sizes, counts and rates: what one client may make a process hold or do."""

    request_line: Annotated[Size, Limit(_longest_line)] = setting(
        default=8 * 1024, ge=64, le=64 * 1024, description="Longest HTTP/1.1 request line. nginx and Apache httpd: 8Ki."
    )
    header_block: Annotated[Size, Limit(_largest_block)] = setting(
        default=32 * 1024,
        ge=256,
        le=1024**2,
        description="All header fields of one request, decoded; HTTP/2 adds 32 bytes per field (RFC 9113 6.5.2). "
        "nginx: 32Ki; Envoy: 60Ki. A response may have 1000 fields and 256Ki of them; this cannot be set.",
    )
    header_fields: Annotated[Integer, Limit(_most_fields)] = setting(
        default=100,
        ge=1,
        le=10_000,
        description="Header fields of one request, without those of `cookies`; the count is checked while decoding "
        "(HTTP/2 bomb). Apache httpd and Envoy: 100; haproxy: 101.",
    )
    cookies: Annotated[Integer, Limit(_most_cookies)] = setting(
        default=300,
        ge=1,
        le=10_000,
        description="Cookies of one request, in one field or, as HTTP/2 clients send them, each in a field of its own; "
        "above it 431. Their bytes count as `headerBlock`, those of all HTTP/2 fields as one field. Chrome keeps 180 "
        "cookies of a site.",
    )
    keep_underscores: Annotated[tuple[Annotated[str, After(header_name)], ...], Limit(_all_names)] = setting(
        default=(),
        description="Header names with `_` that are passed on. Others are dropped, because CGI and WSGI map `-` and "
        "`_` to one name. nginx: drops all.",
    )
    proxy_fields: Annotated[tuple[Annotated[str, After(header_pattern)], ...], Limit(kept)] = setting(
        default=PROXY_FIELDS,
        description="Header names that only `trustedProxies` may send, beside `Forwarded`, `X-Real-IP` and "
        "`X-Forwarded-*`: applications believe that a proxy has set them. `*` at the end stands for any rest. From "
        "other peers they are dropped. The list replaces the default; nginx and Envoy: set by hand.",
    )
    proxy_header_size: Annotated[Size, Limit(kept)] = setting(
        default=4096,
        ge=232,
        le=64 * 1024,
        description="Largest PROXY header of version 2 (`proxyProtocol` of a listener); it may contain the client's "
        "certificate. nginx: 4Ki.",
    )
    request_body: Annotated[Size, NO_LIMIT] = setting(
        default=16 * 1024 * 1024,
        ge=0,
        le=1024**4,
        description="Largest request body, 0 for no limit; above it 413. nginx: 1Mi; Apache httpd: 1Gi.",
    )
    connection_requests: Annotated[Integer, NO_LIMIT] = setting(
        default=10_000,
        ge=0,
        le=1_000_000_000,
        description="Requests after which a connection is closed gracefully, 0 for no limit. nginx: 1000.",
    )
    concurrent_streams: Annotated[Integer, Limit(kept)] = setting(
        default=100,
        ge=1,
        le=100_000,
        description="Concurrent HTTP/2 streams of one connection (SETTINGS_MAX_CONCURRENT_STREAMS). "
        "haproxy and Envoy at the edge: 100; nginx: 128.",
    )
    stream_window: Annotated[Size, Limit(kept)] = setting(
        default=256 * 1024,
        ge=1024,
        le=64 * 1024**2,
        description="Body bytes that one HTTP/2 stream may have in transit, not yet read by the application "
        "(SETTINGS_INITIAL_WINDOW_SIZE); HTTP/1.1 stops reading at the same number. Towards `pool`, `h2c` and `h2` the "
        "value of the top level counts. nginx: 64Ki; Envoy at the edge: 64Ki; Go: 1Mi.",
    )
    stream_reset_burst: Annotated[Integer, ANY_NUMBER] = setting(
        default=200,
        ge=1,
        le=1_000_000,
        description="Stream resets that one client may cause at once (rapid reset, MadeYouReset): its own and those "
        "that it provokes. nghttp2: 1000; Envoy: 500.",
    )
    stream_reset_rate: Annotated[Number, Limit(kept)] = setting(
        default=20.0,
        ge=0,
        le=100_000,
        description="Stream resets per second that are allowed again after the burst. nghttp2: 33.",
    )
    continuation_frames: Annotated[Integer, Limit(_most_continuations)] = setting(
        default=8,
        ge=0,
        le=1000,
        description="CONTINUATION frames of one header block (CONTINUATION flood). nghttp2: 8.",
    )
    control_frames: Annotated[Integer, ANY_NUMBER] = setting(
        default=1000,
        ge=1,
        le=1_000_000,
        description="PING, SETTINGS, PRIORITY and WINDOW_UPDATE frames in one `controlFramePeriod`; above it "
        "ENHANCE_YOUR_CALM. nghttp2: 1000 unanswered SETTINGS and PING.",
    )
    empty_data_frames: Annotated[Integer, ANY_NUMBER] = setting(
        default=100, ge=1, le=1_000_000, description="Empty DATA frames in one `controlFramePeriod` (CVE-2019-9518)."
    )
    control_frame_period: Annotated[Duration, Limit(kept)] = setting(
        default=10.0, ge=0.001, le=3600, description="The period over which control frames are counted."
    )


@model
class ConnectionTimeouts(Model):
    """How long one client may take, and how long its connection may last."""

    proxy_header: Annotated[Duration, Limit(kept)] = setting(
        default=5.0,
        ge=0.001,
        le=600,
        description="From accept to the end of the PROXY header (`proxyProtocol` of a listener). Caddy: 5s; Traefik: "
        "10s.",
    )
    tls_handshake: Annotated[Duration, Limit(kept)] = setting(
        default=10.0,
        ge=0.001,
        le=600,
        description="From accept to the end of the TLS handshake. nginx: 60s.",
    )
    http2_preface: Annotated[Duration, NO_TIMEOUT] = setting(
        default=10.0, ge=0.001, le=600, description="From the start of an HTTP/2 connection to its preface. Go: 10s."
    )
    continuation: Annotated[Duration, NO_TIMEOUT] = setting(
        default=10.0, ge=0.001, le=600, description="From HEADERS to its last CONTINUATION; no frame extends it."
    )
    request_head: Annotated[Duration, NO_TIMEOUT] = setting(
        default=30.0,
        ge=0.001,
        le=3600,
        description="From the first byte of a request to the end of its head, absolute: no byte extends it "
        "(slowloris). nginx: 60s; Apache httpd: 20s to 40s.",
    )
    body_idle: Annotated[Duration, NO_TIMEOUT] = setting(
        default=30.0,
        ge=0.001,
        le=DAY,
        description="Longest time without a byte of a request body that is being read. nginx: 60s.",
    )
    write: Annotated[Duration, NO_TIMEOUT] = setting(
        default=60.0,
        ge=0.001,
        le=DAY,
        description="Longest time in which a client accepts no byte of a response. nginx: 60s.",
    )
    keep_alive: Annotated[Duration, NO_TIMEOUT] = setting(
        default=75.0,
        ge=0.001,
        le=DAY,
        description="Idle time after which a connection is closed. Set it above the idle timeout of the load balancer "
        "in front (AWS: 60s), which otherwise answers 502 now and then. nginx: 75s.",
    )
    connection_life: Annotated[Duration, NO_TIMEOUT] = setting(
        default=3600.0,
        ge=0.001,
        le=30 * DAY,
        description="Age at which a connection is closed gracefully (two-phase GOAWAY, `Connection: close`), so that "
        "clients distribute themselves anew. nginx: 1h.",
    )


@for_listener(Limits)
class ListenerLimits(Model):
    """Limits of one listener. A key replaces that of the top level; without it the top level's value applies."""


@for_listener(ConnectionTimeouts)
class ListenerTimeouts(Model):
    """Timeouts of one listener. A key replaces that of the top level; without it the top level's value applies."""


@model
class ConnectionLimits(Limits, ConnectionTimeouts):
    """All limits and timeouts of the connections of one listener; its own keys replace those of the top level."""
