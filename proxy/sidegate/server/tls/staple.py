"""Stapled OCSP responses (RFC 6066 8): a file in DER, which another program renews.

The file is read again when it has changed, so that a renewal needs no restart. Its content is not checked: a client
refuses a response that is not signed for the certificate.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

logger = logging.getLogger("sidegate.listener")

CHECK_PERIOD = 60.0
"""Seconds between two looks at the file."""


class Staple:
    """The response in a file. Calling it returns its content."""

    def __init__(self, path: str) -> None:
        """Raises OSError if the file cannot be read."""
        self._path = Path(path)
        self._changed = self._path.stat().st_mtime_ns
        self._content = self._path.read_bytes()
        self._next_look = time.monotonic() + CHECK_PERIOD

    def __call__(self) -> bytes:
        if (now := time.monotonic()) >= self._next_look:
            self._next_look = now + CHECK_PERIOD
            self._look()
        return self._content

    def _look(self) -> None:
        """Read the file again if it has changed; what was read before stays if that fails."""
        try:
            changed = self._path.stat().st_mtime_ns
            if changed != self._changed:
                self._content, self._changed = self._path.read_bytes(), changed
        except OSError as error:
            logger.warning("cannot read the OCSP response %s: %s; the last one is used", self._path, error.strerror)
