"""The harness's own TLS client: it measures servers on this host and verifies nobody."""

from __future__ import annotations

import ssl


def client_context(*protocols: str) -> ssl.SSLContext:
    """Offers ``protocols`` by ALPN, if any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context
