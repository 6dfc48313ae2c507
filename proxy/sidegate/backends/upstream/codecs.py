"""The client codecs of upstream connections, with the limits of a response.

Each upstream backend makes its codecs by one function. It raises no error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sidegate.config.schema import Config
from sidegate.wire.fields import RESPONSE_BLOCK, RESPONSE_FIELDS
from sidegate.wire.hop import HEADER_TABLE
from sidegate.wire.http2 import EngineSettings, Http2ClientCodec, load_engine

MOST_FIELDS = RESPONSE_FIELDS + 8
LARGEST_BLOCK = RESPONSE_BLOCK + (32 + 8) * MOST_FIELDS
"""What a connection accepts of a head: with ``date`` and ``content-length``, and with 32 bytes for each field, as
HTTP/2 counts (RFC 9113 6.5.2)."""

FRAME = 16 * 1024
"""Bytes that a CONTINUATION frame holds if the peers have not agreed on more (RFC 9113 4.2)."""


def codec_maker(config: Config, streams: int) -> Callable[[], Http2ClientCodec]:
    """A function that makes a codec. ``streams``: how many requests one connection may have in flight at the peer."""
    settings = EngineSettings(
        concurrent_streams=streams,
        stream_window=config.limits.stream_window,
        header_fields=MOST_FIELDS,
        header_block=LARGEST_BLOCK,
        continuation_frames=LARGEST_BLOCK // FRAME + 1,
        header_table=HEADER_TABLE,
        hop=True,
    )
    return partial(Http2ClientCodec, load_engine(config.http2_engine), settings)
