"""Counts for the WebSockets of one route, added to cells.

The observer makes one meter for each route. Its methods are called for each read and each message, so they only add;
call them in the event loop's thread only. For a WebSocket that a front relays, the front counts bytes and whether it is
open; the worker, which parses the frames, counts the rest.
"""

from __future__ import annotations

from bisect import bisect_left

from sidegate.observe import metrics
from sidegate.observe.cells import Cells
from sidegate.observe.metrics import BUCKETS, CLIENT, CLOSE_CODES, FIRST_CLOSE, RECEIVED, SENT, SERVER, SUM, CellLayout

_OTHER = len(CLOSE_CODES) - 1


class WebSocketMeter:
    """Counts for one route; the empty name means that no route matched."""

    __slots__ = (
        "_by_client", "_by_server", "_bytes_in", "_bytes_out", "_cells", "_messages_in", "_messages_out", "_open",
        "_ping", "_ping_sum",
    )  # fmt: skip

    def __init__(self, route: str, layout: CellLayout, cells: Cells) -> None:
        self._cells = cells
        self._open = layout.cell(metrics.WEBSOCKETS_OPEN, route)
        self._messages_in = layout.cell(metrics.WEBSOCKET_MESSAGES, route, RECEIVED)
        self._messages_out = layout.cell(metrics.WEBSOCKET_MESSAGES, route, SENT)
        self._bytes_in = layout.cell(metrics.WEBSOCKET_BYTES, route, RECEIVED)
        self._bytes_out = layout.cell(metrics.WEBSOCKET_BYTES, route, SENT)
        self._by_client = layout.start(metrics.WEBSOCKET_CLOSES, route, CLIENT)
        self._by_server = layout.start(metrics.WEBSOCKET_CLOSES, route, SERVER)
        pings = layout.offsets(metrics.WEBSOCKET_PING, route)
        self._ping = pings[str(BUCKETS[0])]
        self._ping_sum = pings[SUM]

    def opened(self) -> None:
        """A WebSocket was accepted."""
        self._cells[self._open] += 1.0

    def received(self, messages: int, size: int) -> None:
        """Count complete messages, and bytes of frames, from clients; either number may be 0."""
        cells = self._cells
        cells[self._messages_in] += messages
        cells[self._bytes_in] += size

    def sent(self, messages: int, size: int) -> None:
        """Count messages, and bytes of frames, to clients."""
        cells = self._cells
        cells[self._messages_out] += messages
        cells[self._bytes_out] += size

    def ended(self) -> None:
        """A relayed WebSocket has ended."""
        self._cells[self._open] -= 1.0

    def closed(self, code: int, by_client: bool) -> None:
        """Any other WebSocket has ended. ``code``: close code of the side that closed first, client or this process."""
        self.ended()
        offset = code - FIRST_CLOSE
        if not 0 <= offset < _OTHER:
            offset = _OTHER
        self._cells[(self._by_client if by_client else self._by_server) + offset] += 1.0

    def ponged(self, seconds: float) -> None:
        """A pong was received ``seconds`` after its ping."""
        self._cells[self._ping + bisect_left(BUCKETS, seconds)] += 1.0
        self._cells[self._ping_sum] += seconds
