"""The client codecs of upstream connections, with the limits of a response.

Each upstream backend makes its codecs by one function. It raises no error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sidegate.config.schema import Config
from sidegate.wire.hop import HEADER_TABLE
from sidegate.wire.http2 import EngineSettings, Http2ClientCodec, load_engine

RESPONSE_FIELDS = 1000
RESPONSE_BLOCK = 256 * 1024
"""Limits of a response's head: number of fields and bytes. They are far beyond what clients accept, because an
application in the front itself has no limit."""

FRAME = 16 * 1024
"""Bytes that a CONTINUATION frame holds if the peers have not agreed on more (RFC 9113 4.2)."""


def codec_maker(config: Config, streams: int) -> Callable[[], Http2ClientCodec]:
    """A function that makes a codec. ``streams``: how many requests one connection may have in flight at the peer."""
    settings = EngineSettings(
        concurrent_streams=streams,
        stream_window=config.limits.stream_window,
        header_fields=RESPONSE_FIELDS,
        header_block=RESPONSE_BLOCK,
        continuation_frames=RESPONSE_BLOCK // FRAME + 1,
        header_table=HEADER_TABLE,
        hop=True,
    )
    return partial(Http2ClientCodec, load_engine(config.http2_engine), settings)
