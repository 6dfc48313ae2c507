"""h2's connection as the engine wants it.

Where it stands: below ``h2.py`` and ``h2_sending.py``, which call what it makes. Nothing leaves it.

What the engine uses of h2 beyond its documentation has no underscore, and is pinned by tests
(``tests/unit/test_http2_h2.py``): ``streams``, a dict by stream identifier, from which a stream can be removed;
``outbound_flow_control_window``, the number that connection and stream each keep and ``local_flow_control_window``
answers from; and a stream's ``state_machine.headers_received``, by which h2 tells a response from its trailers. A new
name would end in an AttributeError or in a test, for all but the last are read before they are written.
"""

from __future__ import annotations

from sidegate.wire.http2 import engine as wire
from sidegate.wire.http2.engine import EngineSettings
from sidegate.wire.http2.h2_fields import BlockDecoder, FieldEncoder
from sidegate.wire.http2.h2_library import H2Configuration, H2Connection, H2Stream, SettingCodes, Settings


class EngineConnection(H2Connection):
    """h2's connection, without a walk over all streams for each new one.

    h2 counts open streams at each HEADERS, and forgets closed ones by the way. Here the count would only be held
    against a maximum that nothing reaches, and the engine says itself when a stream is over.
    """

    MAX_CLOSED_STREAMS = wire.RESETS_REMEMBERED
    """Streams of which h2 knows how they were closed, for frames that come late."""

    encoder: FieldEncoder
    decoder: BlockDecoder

    @property
    def open_inbound_streams(self) -> int:
        """Streams that are open, or were reset and not swept out yet."""
        return len(self.streams)

    @property
    def open_outbound_streams(self) -> int:
        """None, for the codec keeps to the peer's maximum."""
        return 0

    def open_stream(self, stream_id: int) -> H2Stream:
        """Open a stream of ours. h2 never learns the request, nor when it ends."""
        self.send_headers(stream_id, [])
        self.clear_outbound_data_buffer()  # HEADERS are the engine's to write
        return self.streams[stream_id]

    def sweep(self) -> None:
        """Keep of streams that were reset no more than how they ended."""
        _ = super().open_inbound_streams


def connect(settings: EngineSettings, client: bool = False) -> EngineConnection:
    """A connection in the server's role or the client's, its SETTINGS taken as sent."""
    configuration = H2Configuration(
        client_side=client,
        header_encoding=None,
        validate_inbound_headers=False,
        normalize_inbound_headers=False,
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
    )
    connection = EngineConnection(configuration)
    connection.encoder = FieldEncoder(settings.header_table)
    connection.decoder = BlockDecoder(settings)
    # The limit of streams is the codec's to hold; h2 would answer one too many with a connection error.
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
    connection.clear_outbound_data_buffer()  # the announcement stands for h2's own SETTINGS
    increment = settings.connection_window - wire.FIRST_WINDOW
    if increment > 0:
        connection.increment_flow_control_window(increment)
    return connection
