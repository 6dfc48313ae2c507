"""Which HTTP version does a cleartext connection speak? Told from its first bytes.

Where it stands: the connection asks before it picks a codec (with TLS, ALPN answers instead). Nothing is consumed:
the same bytes then go to the codec. No error leaves it; what is not HTTP at all is left to HTTP/1.1 to refuse.
"""

from __future__ import annotations

from typing import Literal

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""RFC 9113 3.4: what every HTTP/2 client sends first; no HTTP/1.1 request can start with it."""


def sniff(data: bytes) -> Literal["1.1", "2"] | None:
    """Judge all bytes read so far: ``"2"`` (prior knowledge, RFC 9113 3.3), ``"1.1"``, or None: wait for more."""
    if data.startswith(PREFACE):
        return "2"
    return None if PREFACE.startswith(data) else "1.1"
