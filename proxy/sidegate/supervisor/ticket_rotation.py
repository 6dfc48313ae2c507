"""The keys of TLS session tickets, which all fronts share: made here, replaced in time, and never written anywhere.

A front that starts later gets the same keys, so a client resumes its session with any front, and after the restart of
one. A new key replaces the oldest, so a recorded ticket can be decrypted with a key for two periods at most.
"""

from __future__ import annotations

import os
from typing import Final

KEY_SIZE: Final = 16 + 32 + 32
"""Bytes of a key: its name, AES-256, HMAC-SHA256 (``server.tls.engine``)."""

PERIOD: Final = 6 * 3600.0
"""Seconds after which new tickets get a new key. A ticket is valid for less, so the key before is kept once."""


class TicketRotation:
    """``keys``: the first encrypts new tickets, all decrypt."""

    period = PERIOD

    def __init__(self) -> None:
        self.keys: tuple[bytes, ...] = (os.urandom(KEY_SIZE),)

    def rotate(self) -> None:
        """Make a new key and forget all but the last one."""
        self.keys = (os.urandom(KEY_SIZE), self.keys[0])
