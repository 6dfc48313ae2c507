"""The only place that turns an error into a response.

The exchange calls it for its own failures and for requests that a codec rejected. The page has the status, its phrase
and the request id, so that a user can name the log entry; it never has a traceback or a detail of the application.
"""

from __future__ import annotations

import html

from sidegate.asgi import Headers
from sidegate.wire.phrases import PHRASES

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{status} {phrase}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:12vh auto;padding:0 1em}}
code{{color:#666}}</style></head>
<body><h1>{status} {phrase}</h1><p>{hint}</p><p><code>request id {request_id}</code></p></body></html>
"""

_RETRY_AFTER = (b"retry-after", b"1")
"""Seconds (RFC 9110 10.2.3), with every 503 and 429: an overload, or the end of this process, lasts only a moment."""

_HINTS = {
    404: "No route matches this address.",
    413: "The request body is larger than this server accepts.",
    429: "This client has too many requests in progress. Try again in a moment.",
    431: "The request's header fields are larger than this server accepts.",
    500: "The application failed. The log shows the reason under the request id.",
    503: "The server has no capacity left for this request. Try again in a moment.",
    504: "The response took longer than this server waits for it.",
}


def phrase(status: int) -> str:
    """The reason phrase of RFC 9110 15 for ``status``, or a neutral phrase for a code that is not in the list."""
    return PHRASES.get(status, "Error")


def error_page(status: int, request_id: str, detail: str, accept: bytes) -> tuple[Headers, bytes]:
    """Header fields and body of an error: HTML for clients that accept it, one line of text for others.

    ``detail`` must be safe to show to the client (``ExchangeError.hint``).
    """
    hint = detail or _HINTS.get(status, "The request could not be answered.")
    if b"text/html" in accept:
        page = _PAGE.format(status=status, phrase=phrase(status), hint=html.escape(hint), request_id=request_id)
        content_type = b"text/html; charset=utf-8"
    else:
        page = f"{status} {phrase(status)}: {hint} (request id {request_id})\n"
        content_type = b"text/plain; charset=utf-8"
    body = page.encode()
    headers = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-request-id", request_id.encode("ascii")),
    ]
    if status in (429, 503):
        headers.append(_RETRY_AFTER)
    return headers, body
