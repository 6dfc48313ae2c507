"""What an attacking connection does, as a script: an iterator of actions, made anew for each connection.

Bytes are sent whole before the next action is asked for. What stands before ``READY`` opens the connection; the rest
is the attack and begins when all connections are ready. A connection whose script has ended stays open.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Pause:
    """Do nothing for so many seconds; what arrives is read."""

    seconds: float


@dataclass(frozen=True)
class Read:
    """Read at most so many bytes, if they are there; for a connection that reads nothing otherwise."""

    count: int


@dataclass(frozen=True)
class Credit:
    """Wait until the server lets ``stream`` send so many bytes more; over HTTP/2 alone."""

    stream: int
    count: int


class Signal(enum.Enum):
    """Actions without a value."""

    READY = enum.auto()
    """The connection is open; the attack begins here."""

    ANSWER = enum.auto()
    """Wait until bytes have arrived that may answer the last ones sent."""

    REOPEN = enum.auto()
    """Close the connection and open the next one at once."""


READY, ANSWER, REOPEN = Signal.READY, Signal.ANSWER, Signal.REOPEN

Action = bytes | Pause | Read | Credit | Signal
Script = Iterator[Action]

MakeScript = Callable[[bool], Script]
"""Makes the script of one connection; the argument says whether the connection has TLS."""

PIECE = 256 * 1024
"""Bytes of a flood that are sent in one piece: as many as uvloop reads at once."""


def repeated(unit: bytes) -> Script:
    """The same bytes for ever, in pieces."""
    piece = unit * max(1, PIECE // len(unit))
    while True:
        yield piece
