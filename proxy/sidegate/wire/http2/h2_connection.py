"""h2's connection, adapted to the engine.

``h2.py`` and ``h2_sending.py`` use it. It raises nothing.

The undocumented attributes of h2 that the engine uses have no underscore, and ``tests/unit/test_http2_h2.py`` checks
them: ``streams``, a dict by stream identifier, from which a stream can be removed; ``outbound_flow_control_window``, a
number of the connection and of each stream, from which ``local_flow_control_window`` is computed; and a stream's
``state_machine.headers_received``, by which h2 distinguishes a response from its trailers. If h2 renamed one, an
AttributeError or a test would show it, because all but the last are read before they are written.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from sidegate.wire.http2 import engine as wire
from sidegate.wire.http2.engine import EngineSettings
from sidegate.wire.http2.h2_fields import BlockDecoder, FieldEncoder
from sidegate.wire.http2.h2_library import H2Configuration, H2Connection, H2Stream, SettingCodes, Settings


class EngineConnection(H2Connection):
    """h2's connection, without a loop over all streams for each new one.

    h2 counts open streams at each HEADERS, and removes closed ones meanwhile. Here the count would only be compared
    with a maximum that is never reached, and the engine itself reports when a stream has ended.
    """

    MAX_CLOSED_STREAMS = wire.RESETS_REMEMBERED
    """Number of closed streams for which h2 remembers how they were closed, for frames that come late."""

    encoder: FieldEncoder
    decoder: BlockDecoder

    @property
    def open_inbound_streams(self) -> int:
        """Number of streams that are open, or were reset and not removed yet."""
        return len(self.streams)

    @property
    def open_outbound_streams(self) -> int:
        """Zero, because the codec respects the peer's maximum."""
        return 0

    def open_stream(self, stream_id: int) -> H2Stream:
        """Open a stream of ours. h2 never sees the request, nor when it ends."""
        self.send_headers(stream_id, [])
        self.clear_outbound_data_buffer()  # the engine writes HEADERS
        return self.streams[stream_id]

    def forget(self, stream_id: int) -> None:
        """Remove a stream that was reset, except for the note how it ended.

        h2 does so for all streams, whenever it counts them; so it gets a dict in which there is no other stream.
        """
        streams = self.streams
        self.streams = {stream_id: streams.pop(stream_id)}
        _ = super().open_inbound_streams
        self.streams = streams


def connect(settings: EngineSettings, client: bool = False) -> EngineConnection:
    """Create a connection in the server's role or the client's; its SETTINGS count as sent."""
    configuration = H2Configuration(
        client_side=client,
        header_encoding=None,
        validate_inbound_headers=False,
        normalize_inbound_headers=False,
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
    )
    connection = EngineConnection(configuration)
    _refer_weakly(connection)
    connection.encoder = FieldEncoder(settings.header_table)
    connection.decoder = BlockDecoder(settings)
    # The codec enforces the limit of streams; h2 would answer one too many with a connection error.
    connection.local_settings = Settings(
        client=client, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: wire.WINDOW_MAX}
    )
    connection.initiate_connection()
    connection.update_settings(
        {
            SettingCodes.INITIAL_WINDOW_SIZE: settings.stream_window,
            SettingCodes.HEADER_TABLE_SIZE: settings.header_table,
        }
    )
    connection.clear_outbound_data_buffer()  # the engine's announcement replaces h2's own SETTINGS
    increment = settings.connection_window - wire.FIRST_WINDOW
    if increment > 0:
        connection.increment_flow_control_window(increment)
    return connection


def _refer_weakly(connection: EngineConnection) -> None:
    """Let h2's table of its own methods refer to the connection weakly: only the collector frees a cycle."""
    for table in vars(connection).values():
        if isinstance(table, dict):
            own = {key: method for key, method in table.items() if getattr(method, "__self__", None) is connection}
            table.update({key: _weak(weakref.ref(connection), method.__func__) for key, method in own.items()})


def _weak(reference: weakref.ref[EngineConnection], function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: function(reference(), *arguments)
