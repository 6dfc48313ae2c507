"""h2's connection as the engine wants it.

Where it stands: below ``h2.py`` and ``h2_sending.py``, which call what it makes. Nothing leaves it.

What the engine uses of h2 beyond its documentation has no underscore, and is pinned by tests
(``tests/unit/test_http2_h2.py``): ``streams``, a dict by stream identifier, from which a stream can be removed; and
``outbound_flow_control_window``, the number that connection and stream each keep and ``local_flow_control_window``
answers from. A new name would end in an AttributeError, for both are read before they are written.
"""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings

from proxy.wire.http2 import engine as wire
from proxy.wire.http2.engine import EngineSettings
from proxy.wire.http2.h2_fields import BlockDecoder, FieldEncoder


class Connection(H2Connection):
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

    def sweep(self) -> None:
        """Keep of streams that were reset no more than how they ended."""
        _ = super().open_inbound_streams


def connect(settings: EngineSettings) -> Connection:
    """A connection in the server's role, its SETTINGS taken as sent."""
    configuration = H2Configuration(
        client_side=False,
        header_encoding=None,
        validate_inbound_headers=False,
        normalize_inbound_headers=False,
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
    )
    connection = Connection(configuration)
    connection.encoder = FieldEncoder()
    connection.decoder = BlockDecoder(settings)
    # The limit of streams is the codec's to hold; h2 would answer one too many with a connection error.
    connection.local_settings = Settings(
        client=False, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: wire.WINDOW_MAX}
    )
    connection.initiate_connection()
    connection.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: settings.stream_window})
    connection.clear_outbound_data_buffer()  # the announcement stands for h2's own SETTINGS
    increment = settings.connection_window - wire.FIRST_WINDOW
    if increment > 0:
        connection.increment_flow_control_window(increment)
    return connection
