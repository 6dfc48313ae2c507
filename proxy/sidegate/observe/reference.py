"""Writes the metric reference from the table of metrics: ``python -m sidegate.observe.reference``.

It is a tool of the repository; no process of the service imports it. A test checks that the committed
``dashboards/METRICS.md`` equals the output of this module.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from sidegate.observe import reasons
from sidegate.observe.metrics import BUCKETS, FRONT_METRICS, SUPERVISOR_METRICS, Metric

_HEAD = """# Metrics

`GET /metrics` on the admin server, in the Prometheus text format or in OpenMetrics. This page is made from the table
in `proxy/sidegate/observe/metrics.py` (`python -m sidegate.observe.reference > dashboards/METRICS.md`); do not edit it.

Label values come from the configuration or from the fixed sets below, never from a client. Counters continue when a
front process is replaced; they start at 0 with the supervisor. The supervisor's own `process_*` metrics (CPU
time, memory, open descriptors) are there as well.
"""

_REASONS = (
    ("Rejected requests", "`reason` of `sidegate_requests_refused_total`", reasons.REFUSALS),
    (
        "Connection errors",
        "`reason` of `sidegate_connection_errors_total`, besides those of rejected requests",
        reasons.VIOLATIONS,
    ),
    (
        "TLS handshake failures",
        "`reason` of `sidegate_tls_handshake_failures_total`",
        reasons.HANDSHAKE_FAILURES,
    ),
    (
        "Exchange errors",
        "`reason` of `sidegate_exchange_errors_total`, besides those of rejected requests",
        reasons.EXCHANGE_ERRORS,
    ),
    ("Retries", "`reason` of `sidegate_backend_retries_total`", reasons.RETRIES),
    ("Dropped access-log lines", "`reason` of `sidegate_access_log_dropped_total`", reasons.DROPS),
)


def reference() -> str:
    """The page, in Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _HEAD
    yield from _table("Requests and connections", FRONT_METRICS)
    yield "Buckets of the histogram, in seconds: " + ", ".join(f"{bound:g}" for bound in BUCKETS) + ".\n"
    sparse = ", ".join(f"`{metric.name}`" for metric in FRONT_METRICS if not metric.zeros)
    yield f"Samples of these metrics appear with the first event: {sparse}. All others exist from the start, at 0;"
    yield "those of WSGI threads and their queue from the first request, or from the start with `interface: wsgi`.\n"
    yield from _table("The service", SUPERVISOR_METRICS)
    yield "## Labels\n"
    yield "| label | values |"
    yield "|---|---|"
    axes = [axis for metric in (*FRONT_METRICS, *SUPERVISOR_METRICS) for axis in metric.axes]
    for labels, source in dict.fromkeys((axis.labels, axis.source) for axis in axes):
        yield f"| {', '.join(f'`{label}`' for label in labels)} | {source} |"
    for title, where, known in _REASONS:
        yield f"\n## {title}\n\n{where}\n\n| reason | means |\n|---|---|"
        for reason, meaning in known.items():
            yield f"| `{reason}` | {meaning} |"


def _table(title: str, metrics: tuple[Metric, ...]) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| metric | type | labels | |"
    yield "|---|---|---|---|"
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        yield f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |"
    yield ""


if __name__ == "__main__":
    sys.stdout.write(reference())
