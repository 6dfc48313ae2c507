"""The key log: what decrypts recorded connections, for Wireshark. ``SSLKEYLOGFILE`` names the file, as in browsers.

The file decrypts all traffic, so it is a setting of the environment only, and its use is logged.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cache

logger = logging.getLogger("sidegate.listener")


def key_log_path() -> str | None:
    """The file, if the environment names one."""
    return os.environ.get("SSLKEYLOGFILE") or None


@cache
def open_key_log(path: str) -> Callable[[bytes], None] | None:
    """Open the file once in a process. Returns a function that adds a line; None if it cannot be written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        logger.error("SSLKEYLOGFILE: cannot write %s: %s", path, error.strerror)
        return None
    logger.warning("SSLKEYLOGFILE: the keys of all TLS connections are written to %s", path)

    def add(line: bytes) -> None:
        os.write(descriptor, line + b"\n")

    return add
