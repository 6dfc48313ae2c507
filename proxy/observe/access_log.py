"""The access log: one line for each ended exchange, written outside every request.

Where it stands: called by the observer, calls a ``LineWriter`` that does not wait. ``append`` only keeps a tuple;
lines are formatted later, a batch for each turn of the event loop, so that a burst of requests never makes one
long pause. It knows no event loop: ``schedule`` is ``loop.call_later`` or anything of that shape.

What cannot be kept or written is dropped and counted. Nothing leaves ``append`` and ``flush`` as an error: a
full disk must not stop requests.
"""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable, Collection
from typing import Protocol
from urllib.parse import quote

from proxy.config.schema import Config
from proxy.observe.cells import Cells
from proxy.observe.log_lines import Entry, LineFormat
from proxy.observe.log_writer import LogWriter
from proxy.observe.record import Record

FLUSH_DELAY = 0.05
"""Seconds from the first entry to its flush: nobody who reads along notices, and a batch is worth a write."""

BATCH = 100
"""Lines formatted in one turn: well under a millisecond."""

MAX_PENDING = 10_000
"""Entries that wait to be formatted; more means that the loop has no time, and more memory would not help."""

Schedule = Callable[[float, Callable[[], None]], object]


class LineWriter(Protocol):
    """Where lines go (``LogWriter``)."""

    def write(self, lines: bytes) -> None:
        """Take whole lines without waiting. Raises ``BlockingIOError`` when full, another ``OSError`` when broken."""

    def reopen(self) -> None:
        """Open the destination again by its name."""

    def close(self) -> None:
        """Write what was taken and let go."""


class AccessLog:
    """Lines of one front. Made by ``open_access_log``."""

    def __init__(
        self,
        line_format: LineFormat,
        writer: LineWriter,
        schedule: Schedule,
        skip_paths: Collection[str] = (),
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._format = line_format
        self._writer = writer
        self._schedule = schedule
        # As clients write it: a record's target is kept as sent.
        self._skip = frozenset(quote(path, safe="/!$&'()*+,;=:@-._~").encode() for path in skip_paths)
        self._wall_clock = wall_clock
        self._pending: deque[Entry] = deque()
        self._cells: Cells = memoryview(array("d", [0.0, 0.0]))
        self._drops = {"buffer_full": 0, "write_error": 1}

    def count_drops_in(self, cells: Cells, offsets: dict[str, int]) -> None:
        """From now on count lost lines in these cells, by reason."""
        self._cells, self._drops = cells, offsets

    def append(self, record: Record, duration: float) -> None:
        """Keep an ended exchange for the log."""
        if self._skip and record.target.partition(b"?")[0] in self._skip:
            return
        pending = self._pending
        if len(pending) >= MAX_PENDING:
            self.lost("buffer_full", 1)
            return
        if not pending:
            self._schedule(FLUSH_DELAY, self._turn)
        pending.append(Entry(record, duration, self._wall_clock()))

    def flush(self) -> None:
        """Format all there is and hand it to the writer, at once."""
        while self._pending:
            self._write_batch()

    def reopen(self) -> None:
        """The file was renamed by a log rotation: open it again by its name."""
        self.flush()
        self._writer.reopen()

    def close(self) -> None:
        """Write what there is (the end of the process). Waits at most ``log_writer.CLOSE_TIMEOUT``."""
        self.flush()
        self._writer.close()

    def lost(self, reason: str, lines: int) -> None:
        """Count lines that were dropped. Each reason is counted from one thread only."""
        self._cells[self._drops[reason]] += lines

    def _turn(self) -> None:
        if self._pending:
            self._write_batch()
        if self._pending:
            self._schedule(0.0, self._turn)

    def _write_batch(self) -> None:
        pending, line = self._pending, self._format.line
        size = min(BATCH, len(pending))
        lines = b"".join([line(pending.popleft()) for _ in range(size)])
        try:
            self._writer.write(lines)
        except BlockingIOError:
            self.lost("buffer_full", size)
        except OSError:
            self.lost("write_error", size)


def open_access_log(config: Config, schedule: Schedule) -> AccessLog | None:
    """The access log that the config asks for, or None. ``schedule``: ``loop.call_later``. Raises ``StartError``."""
    settings = config.logging
    if settings.access_log == "off":
        return None
    routes = tuple(route.name for route in config.routes)
    line_format = LineFormat(settings.access_log, routes, settings.access_log_query)
    writer = LogWriter(settings.access_log_file, lambda lines: log.lost("write_error", lines))
    log = AccessLog(line_format, writer, schedule, settings.skip_paths)
    return log
