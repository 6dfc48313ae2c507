"""Every limit with its default, the range it may be set to, and what others use.

The range catches slips of the unit (``requestLine: 8`` for 8 KiB) rather than odd taste.
"""

from __future__ import annotations

from typing import Annotated

from sidegate.config.model import Integer, Model, Number, model, setting
from sidegate.config.quantities import Duration, Size
from sidegate.config.rules import After
from sidegate.config.values import header_name

DAY = 86400.0


@model
class Limits(Model):
    """Bounds on what one client may make a process hold or do. Sizes in bytes, times in seconds."""

    request_line: Size = setting(
        default=8 * 1024, ge=64, le=64 * 1024, description="Longest HTTP/1.1 request line. nginx and Apache httpd: 8Ki."
    )
    header_block: Size = setting(
        default=32 * 1024,
        ge=256,
        le=1024**2,
        description="All header fields of one request, decoded; HTTP/2 adds 32 bytes per field (RFC 9113 6.5.2). "
        "nginx: 32Ki; Envoy: 60Ki.",
    )
    header_fields: Integer = setting(
        default=100,
        ge=1,
        le=10_000,
        description="Header fields of one request, each cookie crumb counted singly and checked while decoding "
        "(HTTP/2 bomb). Apache httpd and Envoy: 100; haproxy: 101.",
    )
    concurrent_streams: Integer = setting(
        default=100,
        ge=1,
        le=100_000,
        description="Concurrent HTTP/2 streams of one connection (SETTINGS_MAX_CONCURRENT_STREAMS). "
        "haproxy and Envoy at the edge: 100; nginx: 128.",
    )
    stream_window: Size = setting(
        default=256 * 1024,
        ge=1024,
        le=64 * 1024**2,
        description="Body bytes one HTTP/2 stream may have on the way, unread by the application "
        "(SETTINGS_INITIAL_WINDOW_SIZE). nginx: 64Ki; Envoy at the edge: 64Ki; Go: 1Mi.",
    )
    stream_reset_burst: Integer = setting(
        default=200,
        ge=1,
        le=1_000_000,
        description="Stream resets one client may cause at once (rapid reset, MadeYouReset), its own and those it "
        "provokes from us. nghttp2: 1000; Envoy: 500.",
    )
    stream_reset_rate: Number = setting(
        default=20.0,
        ge=0,
        le=100_000,
        description="Stream resets per second that are earned back after the burst. nghttp2: 33.",
    )
    continuation_frames: Integer = setting(
        default=8,
        ge=0,
        le=1000,
        description="CONTINUATION frames of one header block (CONTINUATION flood). nghttp2: 8.",
    )
    control_frames: Integer = setting(
        default=1000,
        ge=1,
        le=1_000_000,
        description="PING, SETTINGS, PRIORITY and WINDOW_UPDATE frames in one `controlFramePeriod`; above it "
        "ENHANCE_YOUR_CALM. nghttp2: 1000 unanswered SETTINGS and PING.",
    )
    empty_data_frames: Integer = setting(
        default=100, ge=1, le=1_000_000, description="Empty DATA frames in one `controlFramePeriod` (CVE-2019-9518)."
    )
    control_frame_period: Duration = setting(
        default=10.0, ge=0.001, le=3600, description="The period over which control frames are counted."
    )
    tls_handshake: Duration = setting(
        default=10.0,
        ge=0.001,
        le=600,
        description="From accept to the end of the TLS handshake. nginx: 60s.",
    )
    http2_preface: Duration = setting(
        default=10.0, ge=0.001, le=600, description="From the start of an HTTP/2 connection to its preface. Go: 10s."
    )
    continuation: Duration = setting(
        default=10.0, ge=0.001, le=600, description="From HEADERS to its last CONTINUATION; no frame extends it."
    )
    request_head: Duration = setting(
        default=30.0,
        ge=0.001,
        le=3600,
        description="From the first byte of a request to the end of its head, absolute: no byte extends it "
        "(slowloris). nginx: 60s; Apache httpd: 20s to 40s.",
    )
    body_idle: Duration = setting(
        default=30.0,
        ge=0.001,
        le=DAY,
        description="Longest silence inside a request body that is being read. nginx: 60s.",
    )
    write_stall: Duration = setting(
        default=60.0,
        ge=0.001,
        le=DAY,
        description="Longest time a client may accept no byte of a response. nginx: 60s.",
    )
    keep_alive: Duration = setting(
        default=75.0,
        ge=0.001,
        le=DAY,
        description="Idle time of a kept connection. Set it above the idle time of the load balancer in front "
        "(AWS: 60s), or that one will answer 502 now and then. nginx: 75s.",
    )
    connection_life: Duration = setting(
        default=3600.0,
        ge=0.001,
        le=30 * DAY,
        description="Age at which a connection is asked to end (two-phase GOAWAY, `Connection: close`), so that "
        "clients spread anew. nginx: 1h.",
    )
    connection_requests: Integer = setting(
        default=10_000,
        ge=0,
        le=1_000_000_000,
        description="Requests after which a connection is asked to end, 0 for no limit. nginx: 1000.",
    )
    exchanges: Integer = setting(
        default=1000,
        ge=0,
        le=1_000_000,
        description="Requests under way in one front process, over all its connections, 0 for no limit; above it 503 "
        "with `Retry-After` at once, so that under overload those that are taken are answered in time. Set it higher "
        "for many long polls or event streams: each counts as long as it lasts. Envoy: 1024 for each cluster.",
    )
    queue_delay: Duration = setting(
        default=4.0,
        ge=0,
        le=3600,
        description="Longest wait of a request for the event loop, which an application blocks that computes or does "
        "not await, 0 for no limit; above it 503 with `Retry-After`. Requests that are read together may use half of "
        "it (but for the slowest of them), because those behind them wait meanwhile: with 4s, twenty clients may at "
        "once call what blocks for 100 ms. Set it to the latency you promise. haproxy: `timeout queue`, usually 5s or "
        "more; folly: from 5ms on; under-pressure for Node: off, 1s in its example.",
    )
    request_body: Size = setting(
        default=16 * 1024 * 1024,
        ge=0,
        le=1024**4,
        description="Largest request body, 0 for no limit; above it 413. nginx: 1Mi; Apache httpd: 1Gi.",
    )
    keep_underscores: tuple[Annotated[str, After(header_name)], ...] = setting(
        default=(),
        description="Names with `_` that pass. Others are dropped, because CGI and WSGI map `-` and `_` to one name. "
        "nginx: drops all.",
    )
