"""Plain HTTP on the port of a TLS listener: what such a client gets instead of an alert that it cannot read.

The transport calls it with the first bytes of a connection that are no handshake. There is no exchange: the request is
counted as a failed handshake. It answers 400, or with ``httpsRedirect`` a redirect to https (RFC 9110 15.4.9).
"""

from __future__ import annotations

import re

from sidegate.server.https_redirect import https_location
from sidegate.wire.fields import valid_host

LONGEST_HEAD = 16 * 1024
"""Bytes of a request head that are read for a redirect."""

# Method, the authority of a target in absolute-form, path and query: visible ASCII without `#`.
_HEAD = re.compile(rb"""[!#$%&'*+.^_`|~0-9A-Za-z-]+ (?:http://([^/?# ]+)|(?=/))([/?][!-"$-~]*)? HTTP/1\.[0-9]\r?\n""")
_HOST = re.compile(rb"\nhost:[ \t]*([^\s]+)[ \t]*(?=\r?\n)", re.IGNORECASE)

_WORDS = b"This port speaks HTTPS, and the request came without TLS. Use https:// for this address.\n"


def is_cleartext(first: bytes) -> bool:
    """Whether a connection begins with a request line. A TLS record begins with its type, which is no letter."""
    return first[:1].isalpha()


def answer(head: bytes, redirects: bool, date: bytes) -> bytes | None:
    """The response to a request of which ``head`` has arrived; None if more of it has to arrive.

    ``redirects``: whether it shall be a redirect; then the whole head is needed. ``date``: the field's value.
    """
    location = b""
    if redirects:
        end = _end(head)
        if not end and len(head) < LONGEST_HEAD:
            return None
        location = _location(head[:end])
    status = b"308 Permanent Redirect" if location else b"400 Bad Request"
    body = b"" if location else _WORDS
    lines = [b"HTTP/1.1 " + status, b"date: " + date, b"content-length: %d" % len(body), b"connection: close"]
    lines.append(b"location: " + location if location else b"content-type: text/plain; charset=utf-8")
    return b"\r\n".join([*lines, b"", b""]) + (b"" if head.startswith(b"HEAD ") else body)


def _end(head: bytes) -> int:
    """Where the head ends, 0 if it does not. Called for each read; a regular expression takes longer."""
    return min((at + len(end) for end in (b"\n\n", b"\n\r\n") if (at := head.find(end)) >= 0), default=0)


def _location(head: bytes) -> bytes:
    """Where the request should have gone; empty if it cannot be told. The port speaks TLS, so it stays the same."""
    line, hosts = _HEAD.match(head), _HOST.findall(head)
    if line is None or len(hosts) != 1:
        return b""
    host: bytes = line[1] or hosts[0]  # RFC 9112 3.2.2
    target: bytes = line[2] or b"/"
    if not valid_host(host):
        return b""
    return https_location(host, target if target.startswith(b"/") else b"/" + target)
