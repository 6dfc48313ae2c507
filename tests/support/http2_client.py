"""The client's codec in tests: against raw frames, and against the server's codec without a socket between."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sidegate.config.schema import ConnectionLimits
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http2 import EngineSettings, Http2ClientCodec, Http2Codec, load_engine
from tests.support import http2 as c
from tests.support.client_pair import WINDOW, Pair

SETTINGS = EngineSettings(
    concurrent_streams=10, stream_window=WINDOW, header_fields=8, header_block=4_096, continuation_frames=4
)
START = c.settings() + c.frame(c.SETTINGS, c.ACK, 0)
"""What a server says first, our SETTINGS acknowledged."""

OK: c.Pairs = [(b":status", b"200")]


def client(engine: c.EngineName, settings: EngineSettings = SETTINGS) -> Http2ClientCodec:
    return Http2ClientCodec(load_engine(engine), settings)


def started(engine: c.EngineName, settings: EngineSettings = SETTINGS) -> Http2ClientCodec:
    """A client whose server has spoken first."""
    made = client(engine, settings)
    assert made.receive(START) == []
    made.take_output()
    return made


def heads(stream_id: int, fields: Iterable[tuple[bytes, bytes]] = OK, end: bool = False) -> bytes:
    return c.Speaker().headers(stream_id, fields, end)


def pair(
    client_engine: c.EngineName,
    server_engine: c.EngineName,
    hop: bool = False,
    front: bool = False,
    *,
    threads: bool = False,
    **limits: Any,
) -> Pair:
    """Both ends of a connection, greetings exchanged.

    ``hop``, ``threads``, ``limits``: the server's; ``front``: the client's.
    """
    chosen = ConnectionLimits(**limits)
    policy = FieldPolicy(chosen.header_fields, chosen.header_block)
    hop_policy = FieldPolicy(chosen.header_fields, chosen.header_block, keep_own=True) if hop else None
    server = Http2Codec(load_engine(server_engine), policy, chosen, 0.0, hop_policy, threads=threads)
    made = Pair(client(client_engine, replace(SETTINGS, hop=front)), server)
    assert made.heard() == made.asked() == []
    assert made.client.ready
    return made
