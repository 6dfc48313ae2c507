"""HTTP/2 frames from the bytes of an input. All of them are framed, so that no input is lost in a length."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hpack import Encoder, NeverIndexedHeaderTuple

from sidegate.wire import events as e
from tests.fuzz.inputs import Choices
from tests.support import http2 as c

NUMBERS = (0, 1, 2, 3, 100, 16384, 65535, 70000, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1)
PAYLOADS = (b"", b"a", b"abc", b"x" * 300, b"x" * 5000, b"x" * 16385)


@dataclass(frozen=True)
class Words:
    """What frames of one role are made of. ``open_blocks``: a header block may end without END_HEADERS."""

    good: Sequence[c.Pairs]
    names: Sequence[bytes]
    values: Sequence[bytes]
    streams: Sequence[int]
    settings: Sequence[int]
    open_blocks: bool


def before_reset(events: Iterable[object]) -> list[object]:
    """The events before a stream is reset: whether frames behind it meet an open stream depends on the reads."""
    ends = (e.Reset, e.Rejected, e.BodyRefused)
    return list(itertools.takewhile(lambda event: not isinstance(event, ends) and event is not e.Violation, events))


class FrameMaker:
    """Makes the frames of one connection."""

    def __init__(self, choices: Choices, words: Words) -> None:
        self._choices = choices
        self._words = words
        self._encoder = Encoder()
        # Those that come more than once are made more often.
        self._kinds: Sequence[Callable[[], bytes]] = (
            self._headers, self._headers, self._headers, self._data, self._data, self._window_update, self._reset,
            self._ping, self._settings, self._goaway, self._priority, self._any, self._raw_block,
        )  # fmt: skip

    def all(self, most: int) -> list[bytes]:
        """The frames until the input or ``most`` are used up."""
        made: list[bytes] = []
        while self._choices.more and len(made) < most:
            made.append(self._choices.of(self._kinds)())
        return made

    def _stream(self) -> int:
        return self._choices.of(self._words.streams)

    def _fields(self) -> c.Pairs:
        choices, words = self._choices, self._words
        fields = list(choices.of((*words.good, [])))
        for _ in range(choices.number() % 4):
            name = choices.of((*words.names, None))
            value = choices.of((*words.values, None))
            pair = (
                choices.take(choices.number() % 16) if name is None else name,
                choices.take(choices.number() % 32) if value is None else value,
            )
            fields.insert(len(fields) - choices.number() % (len(fields) + 1) // 2, pair)
        return fields

    def _headers(self) -> bytes:
        choices = self._choices
        form = choices.number()
        fields = self._fields()
        if not form & 8:
            fields = [NeverIndexedHeaderTuple(*pair) for pair in fields]
        short = all(len(value) < 100 for _, value in fields)  # hpack's Huffman coding takes quadratic time
        return self._block(form, self._encoder.encode(fields, huffman=short and bool(form & 4)))

    def _raw_block(self) -> bytes:
        return self._block(self._choices.number(), self._choices.take(self._choices.number() % 48))

    def _block(self, form: int, block: bytes) -> bytes:
        """HEADERS, with CONTINUATION frames behind it or without."""
        end = c.END_STREAM if form & 1 else 0
        stream = self._stream()
        pieces = 1 + (form >> 4) % 3
        if pieces == 1:
            if form & 2:
                return c.frame(c.HEADERS, end | c.PADDED | c.END_HEADERS, stream, b"\3%b\0\0\0" % block)
            return c.frame(c.HEADERS, end | c.END_HEADERS, stream, block)
        size = -(-len(block) // pieces)
        made = [c.frame(c.HEADERS, end, stream, block[:size])]
        for number in range(1, pieces):
            flags = c.END_HEADERS if number == pieces - 1 else 0
            made.append(c.frame(c.CONTINUATION, flags, stream, block[number * size : (number + 1) * size]))
        return b"".join(made)

    def _data(self) -> bytes:
        form = self._choices.number()
        payload = self._choices.of(PAYLOADS)
        flags = c.END_STREAM if form & 1 else 0
        if form & 2:
            return c.frame(c.DATA, flags | c.PADDED, self._stream(), b"\5%b\0\0\0\0\0" % payload)
        return c.frame(c.DATA, flags, self._stream(), payload)

    def _window_update(self) -> bytes:
        return c.frame(c.WINDOW_UPDATE, 0, self._stream(), struct.pack(">L", self._choices.of(NUMBERS)))

    def _reset(self) -> bytes:
        return c.rst_stream(self._stream(), self._choices.number())

    def _ping(self) -> bytes:
        return c.frame(c.PING, self._choices.number() & c.ACK, 0, b"sidegate")

    def _settings(self) -> bytes:
        choices = self._choices
        return c.settings(
            *[(choices.of(self._words.settings), choices.of(NUMBERS)) for _ in range(choices.number() % 3)]
        )

    def _goaway(self) -> bytes:
        return c.goaway(self._stream(), self._choices.number() % 4)

    def _priority(self) -> bytes:
        return c.frame(c.PRIORITY, 0, self._stream(), struct.pack(">LB", self._stream(), self._choices.number()))

    def _any(self) -> bytes:
        choices = self._choices
        kind, flags, stream = choices.number() % 13, choices.number(), self._stream()
        if kind == c.HEADERS and not self._words.open_blocks:
            flags |= c.END_HEADERS
        return c.frame(kind, flags, stream, choices.take(choices.number() % 32))
