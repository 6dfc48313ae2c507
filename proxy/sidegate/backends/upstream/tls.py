"""The TLS context of the connections to a third-party server.

It is made once for each backend with ``h2``. The server's certificate is always verified.
"""

from __future__ import annotations

import ssl

from sidegate.config.schema import UpstreamTls


def client_context(tls: UpstreamTls | None) -> ssl.SSLContext:
    """Make a context for TLS 1.2 or newer with ALPN h2.

    :raises OSError: a file cannot be used (``ssl.SSLError`` is an OSError).
    """
    context = ssl.create_default_context(cafile=None if tls is None else tls.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    if tls is not None and tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    return context
