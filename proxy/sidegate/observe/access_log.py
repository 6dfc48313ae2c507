"""The access log: one line for each ended exchange, written outside every request.

The observer calls it when an exchange has ended, and it calls a ``LineWriter``, which does not wait. It does not use
the event loop itself: ``schedule`` is ``loop.call_later`` or a function with the same parameters.

A line is made in two stages. ``append`` keeps the records of ended exchanges until there is a *burst* of them. Then it
makes all their lines together, because code that has just run takes half the time of code that the processor has to
load again. It does not keep more records, because the garbage collector visits every object that exists, and old
records are no longer in the processor's caches. The lines then wait for a *batch* that is large enough for a write. No
record or line waits longer than ``FLUSH_DELAY``.

Lines that cannot be written are dropped and counted. ``append`` and ``flush`` raise no errors: a full disk must not
stop requests.
"""

from __future__ import annotations

import logging
import time
from array import array
from collections.abc import Callable, Collection
from urllib.parse import quote

from sidegate.config.schema import Config
from sidegate.observe.cells import Cells
from sidegate.observe.log_lines import LineFormat, make_format
from sidegate.observe.log_writer import LineWriter, LogWriter
from sidegate.observe.record import Record

logger = logging.getLogger("sidegate.access")

FLUSH_DELAY = 0.05
"""Seconds from the first ended exchange to the flush: a person who watches the log does not notice it."""

BURST = 32
"""Number of exchanges whose lines are made together, in some 30 µs. With eight, three quarters of the gain remain."""

BATCH = 64 * 1024
"""Bytes of lines that are written without waiting for the flush: some 250 lines. Larger writes are not cheaper."""

Schedule = Callable[[float, Callable[[], None]], object]


class AccessLog:
    """The access log of one front. ``open_access_log`` makes it."""

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
        # Percent-encoded as clients send paths: a record contains the target as it was sent.
        self._skip = frozenset(quote(path, safe="/!$&'()*+,;=:@-._~").encode() for path in skip_paths)
        self._wall_clock = wall_clock
        self._ended: list[tuple[Record, float, float]] = []
        self._lines: list[str] = []
        self._size = 0  # of the lines, in bytes
        self._scheduled = False
        self._cells: Cells = memoryview(array("d", [0.0, 0.0]))
        self._drops = {"buffer_full": 0, "write_error": 1}

    def count_drops_in(self, cells: Cells, offsets: dict[str, int]) -> None:
        """Count lost lines in these cells from now on; ``offsets`` has the cell of each reason."""
        self._cells, self._drops = cells, offsets

    def append(self, record: Record, duration: float) -> None:
        """Take an exchange that has just ended and lasted ``duration`` seconds."""
        if self._skip and record.target.partition(b"?")[0] in self._skip:
            return
        self._ended.append((record, duration, self._wall_clock()))
        if not self._scheduled:
            self._scheduled = True
            self._schedule(FLUSH_DELAY, self._turn)
        if len(self._ended) >= BURST:
            self._make_lines()
            if self._size >= BATCH:
                self._hand_over()

    def flush(self) -> None:
        """Make the lines of all records and pass all lines to the writer."""
        self._make_lines()
        if self._lines:
            self._hand_over()

    def _make_lines(self) -> None:
        burst, self._ended = self._ended, []
        for record, duration, ended in burst:
            try:
                line = self._format.line(record, duration, ended)
            except Exception:
                logger.exception("no line of the access log could be made for request id %s", record.request_id)
                self.lost("write_error", 1)
                continue
            self._lines.append(line)
            self._size += len(line)

    def _hand_over(self) -> None:
        lines, self._lines, self._size = self._lines, [], 0
        try:
            self._writer.write("".join(lines).encode("ascii"))
        except BlockingIOError:
            self.lost("buffer_full", len(lines))
        except (OSError, ValueError):  # ValueError: a character outside ASCII
            self.lost("write_error", len(lines))

    def reopen(self) -> None:
        """The file was renamed by a log rotation: open it again by its name."""
        self.flush()
        self._writer.reopen()

    def close(self) -> None:
        """Write all lines, at the end of the process. Waits at most ``log_writer.CLOSE_TIMEOUT`` seconds."""
        self.flush()
        self._writer.close()

    def lost(self, reason: str, lines: int) -> None:
        """Count lines that were dropped. Each reason is counted from one thread only."""
        self._cells[self._drops[reason]] += lines

    def _turn(self) -> None:
        self._scheduled = False
        self.flush()


def open_access_log(config: Config, schedule: Schedule) -> AccessLog | None:
    """Open the access log of the config; None if it is off. ``schedule``: ``loop.call_later``.

    :raises AccessLogError: its file cannot be opened.
    """
    settings = config.logging
    if settings.access_log == "off":
        return None
    routes = tuple(route.name for route in config.routes)
    line_format = make_format(settings.access_log, routes, settings.access_log_query)
    writer = LogWriter(settings.access_log_file, lambda count: log.lost("write_error", count))
    log = AccessLog(line_format, writer, schedule, settings.skip_paths)
    return log
