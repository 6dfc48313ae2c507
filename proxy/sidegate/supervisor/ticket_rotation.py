"""The keys of TLS session tickets, which all fronts share: made here, replaced in time, and never written anywhere.

A front that starts later gets the same keys, so a client resumes its session with any front, and after the restart of
one. A new key replaces the oldest, so a recorded ticket can be decrypted with a key for two periods at most.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Final

from sidegate.ipc.control import encode_keys
from sidegate.supervisor.front_process import FrontProcess

KEY_SIZE: Final = 16 + 32 + 32
"""Bytes of a key: its name, AES-256, HMAC-SHA256 (``server.tls.engine``)."""

PERIOD: Final = 6 * 3600.0
"""Seconds after which new tickets get a new key. A ticket is valid for less, so the key before is kept once."""


class TicketRotation:
    """``keys``: the first encrypts new tickets, all decrypt."""

    def __init__(self, fronts: Callable[[], Iterable[FrontProcess]]) -> None:
        """``fronts``: those that read messages."""
        self.keys: tuple[bytes, ...] = (os.urandom(KEY_SIZE),)
        self._fronts = fronts
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Rotate again and again in the running event loop."""
        self._timer = asyncio.get_running_loop().call_later(PERIOD, self._wake)

    def stop(self) -> None:
        """Rotate no more."""
        if self._timer is not None:
            self._timer.cancel()

    def introduce(self, front: FrontProcess) -> None:
        """A front is ready to read messages: send it the keys."""
        front.send("ticketKeys", keys=encode_keys(self.keys))

    def rotate(self) -> None:
        """Make a new key, forget all but the last one, and send both to every front."""
        self.keys = (os.urandom(KEY_SIZE), self.keys[0])
        for front in self._fronts():
            self.introduce(front)

    def _wake(self) -> None:
        self.start()  # first, so that an error does not end the rotation
        self.rotate()
