"""The access log: one line for each ended exchange, written outside every request.

Where it stands: called by the observer when a response has left, calls a ``LineWriter`` that does not wait. It knows no
event loop: ``schedule`` is ``loop.call_later`` or anything of that shape.

An exchange goes through two stages. ``append`` keeps its record until a *burst* of them has ended; then their lines are
made in one go, because code that has just run takes half the time of code that the processor has to load anew. More
records are not kept: what stays alive is walked by the garbage collector and falls out of the caches. Lines wait for a
*batch* that is worth a write. Nothing waits longer than ``FLUSH_DELAY``.

What cannot be written is dropped and counted. Nothing leaves ``append`` and ``flush`` as an error: a full disk must
not stop requests.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Collection
from urllib.parse import quote

from sidegate.config.schema import Config
from sidegate.observe.cells import Cells
from sidegate.observe.log_lines import LineFormat, make_format
from sidegate.observe.log_writer import LineWriter, LogWriter
from sidegate.observe.record import Record

FLUSH_DELAY = 0.05
"""Seconds from the first ended exchange to the flush: nobody who reads along notices."""

BURST = 32
"""Exchanges whose lines are made together, in some 30 µs. Eight already gain three quarters of it."""

BATCH = 64 * 1024
"""Bytes of lines that are handed over without waiting for the flush: some 250 lines. More would not write cheaper."""

Schedule = Callable[[float, Callable[[], None]], object]


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
        self._ended: list[tuple[Record, float, float]] = []
        self._lines: list[str] = []
        self._size = 0  # of the lines, in bytes
        self._scheduled = False
        self._cells: Cells = memoryview(array("d", [0.0, 0.0]))
        self._drops = {"buffer_full": 0, "write_error": 1}

    def count_drops_in(self, cells: Cells, offsets: dict[str, int]) -> None:
        """From now on count lost lines in these cells, by reason."""
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
        """Hand the lines of all there is to the writer."""
        self._make_lines()
        if self._lines:
            self._hand_over()

    def _make_lines(self) -> None:
        burst, self._ended = self._ended, []
        for record, duration, ended in burst:
            line = self._format.line(record, duration, ended)
            self._lines.append(line)
            self._size += len(line)

    def _hand_over(self) -> None:
        lines, self._lines, self._size = self._lines, [], 0
        try:
            self._writer.write("".join(lines).encode("ascii"))
        except BlockingIOError:
            self.lost("buffer_full", len(lines))
        except OSError:
            self.lost("write_error", len(lines))

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
        self._scheduled = False
        self.flush()


def open_access_log(config: Config, schedule: Schedule) -> AccessLog | None:
    """The access log that the config asks for, or None. ``schedule``: ``loop.call_later``. Raises ``StartError``."""
    settings = config.logging
    if settings.access_log == "off":
        return None
    routes = tuple(route.name for route in config.routes)
    line_format = make_format(settings.access_log, routes, settings.access_log_query)
    writer = LogWriter(settings.access_log_file, lambda count: log.lost("write_error", count))
    log = AccessLog(line_format, writer, schedule, settings.skip_paths)
    return log
