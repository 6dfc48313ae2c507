"""``wsgi.errors``: what an application writes there becomes lines of the process log.

Where it stands: made on a request's thread. It owns the line that is not finished yet. No error leaves it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from sidegate.observe.record import Record

logger = logging.getLogger("sidegate.wsgi")


class ErrorLog:
    """A text stream (PEP 3333, "Input and Error Streams") of one request."""

    __slots__ = ("_line", "_record")

    def __init__(self, record: Record) -> None:
        self._record = record
        self._line = ""

    def write(self, text: str) -> int:
        """Log the lines that this finishes."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._log(line)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """``write`` for each."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Log what has no end yet: it may be all that an application says."""
        line, self._line = self._line, ""
        self._log(line)

    def _log(self, line: str) -> None:
        if line:
            logger.error("%s (request id %s)", line, self._record.request_id)
