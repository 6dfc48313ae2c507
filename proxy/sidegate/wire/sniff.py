"""Detection of the HTTP version of a cleartext connection from its first bytes.

The connection calls this before it creates a codec (with TLS, ALPN decides instead). Nothing is consumed: the codec
gets the same bytes. Input that is not HTTP at all counts as HTTP/1.1, whose codec refuses it.
"""

from __future__ import annotations

from typing import Literal

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""RFC 9113 3.4: every HTTP/2 client sends this first; no HTTP/1.1 request can start with it."""


def sniff(data: bytes) -> Literal["1.1", "2"] | None:
    """Classify the bytes read so far: ``"2"`` (prior knowledge, RFC 9113 3.3), ``"1.1"``, or None: read more."""
    if data.startswith(PREFACE):
        return "2"
    return None if PREFACE.startswith(data) else "1.1"
