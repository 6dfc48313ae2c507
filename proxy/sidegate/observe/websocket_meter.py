"""What the WebSockets of one route do, added into cells.

Where it stands: below the observer, which makes one meter for each route; called for each read and each message, in the
event loop's thread only: additions only. A WebSocket that a front only passes on is counted by its front for as long as
it is open, and in bytes; frames are seen, and the rest is counted, by the worker that ends them.
"""

from __future__ import annotations

from bisect import bisect_left

from sidegate.observe import metrics
from sidegate.observe.cells import Cells
from sidegate.observe.metrics import BUCKETS, CLIENT, CLOSE_CODES, FIRST_CLOSE, RECEIVED, SENT, SERVER, SUM, Layout

_OTHER = len(CLOSE_CODES) - 1


class WebSocketMeter:
    """Counts for one route; the empty name is that of no route."""

    __slots__ = (
        "_by_client", "_by_server", "_bytes_in", "_bytes_out", "_cells", "_messages_in", "_messages_out", "_open",
        "_ping", "_ping_sum",
    )  # fmt: skip

    def __init__(self, route: str, layout: Layout, cells: Cells) -> None:
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
        """Whole messages, and bytes of frames, from clients; either may come without the other."""
        cells = self._cells
        cells[self._messages_in] += messages
        cells[self._bytes_in] += size

    def sent(self, messages: int, size: int) -> None:
        """Messages, and bytes of frames, to clients."""
        cells = self._cells
        cells[self._messages_out] += messages
        cells[self._bytes_out] += size

    def ended(self) -> None:
        """A WebSocket that was only passed on is over."""
        self._cells[self._open] -= 1.0

    def closed(self, code: int, by_client: bool) -> None:
        """Any other is over. ``code``: of the side that closed first, which is the client or this process."""
        self.ended()
        place = code - FIRST_CLOSE
        if not 0 <= place < _OTHER:
            place = _OTHER
        self._cells[(self._by_client if by_client else self._by_server) + place] += 1.0

    def ponged(self, seconds: float) -> None:
        """A ping was answered."""
        self._cells[self._ping + bisect_left(BUCKETS, seconds)] += 1.0
        self._cells[self._ping_sum] += seconds
