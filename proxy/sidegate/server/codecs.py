"""The codec for a connection whose protocol is known.

Each connection calls it once; only this module knows which class implements which protocol.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from sidegate.server.service import ListenerService
from sidegate.wire.events import Codec
from sidegate.wire.http2.server import Http2Codec

LABELS = {"h2": "2", "http/1.1": "1.1"}  # the names of the protocols in metrics

HTTP1 = "sidegate.wire.http1.server"
"""Imported only if a listener speaks HTTP/1.1: a worker does not, and its Python may lack httptools."""


def import_codecs(protocols: Iterable[str]) -> None:
    """Import what these protocols need, so that the first connection does not wait for it."""
    if "http/1.1" in protocols:
        importlib.import_module(HTTP1)


def make_codec(service: ListenerService, protocol: str, trusted: bool, scheme: str, opened: float) -> Codec:
    """``protocol``: ``h2`` or ``http/1.1``; ``trusted``: the peer is a trusted proxy; ``opened``: the loop's time.

    ``scheme``: that of the connection, empty if it is unknown.
    """
    policies = service.policies
    policy = policies.proxies if trusted else policies.clients
    codec: Codec
    if protocol == "h2":
        of_fronts = policies.fronts if trusted else None
        codec = Http2Codec(service.engine, policy, service.limits, opened, of_fronts, threads=service.threads)
    else:
        codec = importlib.import_module(HTTP1).Http1Codec(policy, service.limits, opened)
    if scheme:
        codec.expect_scheme(scheme.encode("ascii"))
    return codec
