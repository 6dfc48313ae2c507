"""What the targets make of an input: places to cut it at, and decisions."""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def cut(data: bytes, most: int) -> list[bytes]:
    """``data`` in pieces, cut at up to ``most`` places, which depend on ``data`` only."""
    chance = random.Random(zlib.crc32(data))
    places = sorted(chance.choices(range(len(data) + 1), k=chance.randint(1, most)))
    return [data[start:end] for start, end in itertools.pairwise([0, *places, len(data)])]


def cuttings(data: bytes) -> Iterator[list[bytes]]:
    """``data`` in pieces, in some ways; a short one also byte by byte."""
    yield cut(data, 2)
    yield cut(data, 12)
    if len(data) <= 256:
        yield [data[at : at + 1] for at in range(len(data))]


class Choices:
    """Takes decisions from the bytes of an input, from its beginning to its end; after the end all are zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def more(self) -> bool:
        """Whether there are bytes left."""
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer at the end."""
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int = 1) -> int:
        """A number of ``size`` bytes."""
        return int.from_bytes(self.take(size), "big")

    def of(self, values: Sequence[T]) -> T:
        """One of at most 256 ``values``."""
        return values[self.number() % len(values)]
