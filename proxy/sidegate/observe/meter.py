"""Counts for the connections of one listener, added to cells.

The observer makes one meter for each listener; connections call it on the request path. So every method only looks
cells up in small fixed dicts and adds; it does not log or wait.
"""

from __future__ import annotations

from sidegate.observe import metrics, reasons
from sidegate.observe.cells import Cells
from sidegate.observe.metrics import CellLayout


class ListenerMeter:
    """Counts for one listener.

    ``in_flight``: the cell of the gauge of its exchanges in flight. ``routed``: the first cell of the gauge of all
    listeners' exchanges in flight by route, which are in the order of the routes.
    """

    __slots__ = (
        "_cells", "_failed", "_handshakes", "_open", "_opened", "_refused", "_violated", "in_flight",
        "name", "routed",
    )  # fmt: skip

    def __init__(self, name: str, layout: CellLayout, cells: Cells) -> None:
        self.name = name
        self.in_flight = layout.cell(metrics.IN_FLIGHT, name)
        self.routed = layout.start(metrics.ROUTE_IN_FLIGHT)
        self._cells = cells
        self._opened = layout.offsets(metrics.CONNECTIONS, name)
        self._open = layout.offsets(metrics.OPEN_CONNECTIONS, name)
        self._handshakes = layout.offsets(metrics.HANDSHAKES, name)
        self._failed = layout.offsets(metrics.HANDSHAKE_FAILURES, name)
        self._refused = layout.offsets(metrics.REFUSED, name)
        self._violated = layout.offsets(metrics.CONNECTION_ERRORS, name)

    def route_found(self, route: int) -> None:
        """The router has found the route with this index for an exchange."""
        self._cells[self.routed + route] += 1.0

    def connection_opened(self, protocol: str) -> None:
        """A connection's protocol is known: ``1.1`` or ``2``."""
        self._cells[self._opened[protocol]] += 1.0
        self._cells[self._open[protocol]] += 1.0

    def connection_closed(self, protocol: str) -> None:
        """A connection that was counted as opened has ended."""
        self._cells[self._open[protocol]] -= 1.0

    def handshake_done(self, tls_version: str) -> None:
        """A TLS handshake is complete. ``tls_version`` as ``SSLObject.version()`` returns it."""
        self._add(self._handshakes, tls_version)

    def handshake_failed(self, reason: str) -> None:
        """A TLS handshake failed. ``reason``: a key of ``reasons.HANDSHAKE_FAILURES``."""
        self._add(self._failed, reason)

    def refused(self, reason: str) -> None:
        """A request was refused by the header policy or a limit (``Rejected.reason``)."""
        self._add(self._refused, reason)

    def violation(self, reason: str) -> None:
        """A connection was ended because of a violation (``Violation.reason``)."""
        self._add(self._violated, reason)

    def _add(self, offsets: dict[str, int], word: str) -> None:
        cell = offsets.get(word)
        self._cells[offsets[reasons.OTHER] if cell is None else cell] += 1.0
