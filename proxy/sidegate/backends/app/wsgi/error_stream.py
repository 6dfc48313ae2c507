"""``wsgi.errors``: the text that an application writes to it becomes lines of the process log.

It is made in a request's thread. It owns the line that is not finished yet. It raises no error.
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
        """Log the lines that ``text`` finishes. Return the number of characters."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._log(line)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Call ``write`` for each."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Log the unfinished line: the application may write nothing more."""
        line, self._line = self._line, ""
        self._log(line)

    def _log(self, line: str) -> None:
        if line:
            logger.error("%s (request id %s)", line, self._record.request_id)
