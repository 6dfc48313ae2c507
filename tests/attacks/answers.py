"""What the server says to an attacking connection, counted: statuses, resets, GOAWAY, close codes, and its end."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from tests.attacks import h2
from tests.attacks.attack import Attack
from tests.bench.http2_frames import (
    DATA,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Frames,
    settings_of,
)

GOAWAY = 7
SMALL_WINDOW = 65_535
"""Of every stream and connection, until the server says otherwise (RFC 9113 6.9.2)."""

CLOSE = 0x88
NO_CODE = 1005
SHORT, MEDIUM = 126, 127

INDEXED_STATUSES = dict(zip(range(0x88, 0x8F), ("200", "204", "206", "304", "400", "404", "500"), strict=True))
STATUS_NAMES = (0x08, 0x18, 0x48)
"""A literal with the name of entry 8 of HPACK's static table."""

STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d) ")
TLS_ERROR = re.compile(rb":SSL routines:[^:]*:([^:\n]+)")


class Answers:
    """Of one connection; ``counts`` are of all connections of the attacker. HTTP/1.1, or what a program prints."""

    def __init__(self, counts: Counter[str], *, websocket: bool) -> None:
        self._counts = counts
        self._websocket = WebSocketFrames(counts) if websocket else None
        self._upgraded = False
        self.farewell = ""  # what the server has said of the connection's end

    def feed(self, data: bytes) -> None:
        """Count what has arrived. A status that two reads divide is not seen: there are thousands."""
        if self._upgraded and self._websocket is not None:
            self.farewell = self._websocket.feed(data) or self.farewell
            return
        for status in STATUS_LINE.findall(data):
            self._counts[status.decode()] += 1
            self._upgraded = status == b"101"
        for words in TLS_ERROR.findall(data):
            self.farewell = words.decode()

    def take(self, _stream: int, _count: int) -> bool:
        """Whether so many bytes of a body may be sent now; they then are on their way."""
        return True


class Http2Answers(Answers):
    """The same over HTTP/2, with the credit that the server gives."""

    def __init__(self, counts: Counter[str], *, websocket: bool) -> None:
        super().__init__(counts, websocket=websocket)
        self._frames = Frames()
        self._initial = SMALL_WINDOW
        self._credit = {0: SMALL_WINDOW}
        self._sockets: dict[int, WebSocketFrames] = {}

    def feed(self, data: bytes) -> None:
        for kind, flags, stream, payload in self._frames.read(data):
            if kind == HEADERS:
                self._counts[status_of(payload)] += 1
            elif kind == RST_STREAM:
                self._counts[f"RST_STREAM {name_of(payload[:4])}"] += 1
            elif kind == GOAWAY:
                self.farewell = f"GOAWAY {name_of(payload[4:8])}"
            elif kind == SETTINGS and not flags:
                self._initial = settings_of(payload).get(INITIAL_WINDOW_SIZE, self._initial)
            elif kind == WINDOW_UPDATE:
                self._credit[stream] = self._credit.get(stream, self._initial) + int.from_bytes(payload)
            elif kind == DATA and self._websocket is not None:
                frames = self._sockets.setdefault(stream, WebSocketFrames(self._counts))
                if words := frames.feed(payload):
                    self._counts[words] += 1

    def take(self, stream: int, count: int) -> bool:
        own = self._credit.get(stream, self._initial)
        if min(own, self._credit[0]) < count:
            return False
        self._credit[stream] = own - count
        self._credit[0] -= count
        return True


class WebSocketFrames:
    """Frames of a server, however they are cut; only those that close are looked at."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._held = b""

    def feed(self, data: bytes) -> str:
        """``close`` with the code, if a close frame has come."""
        words = ""
        data = self._held + data
        begin = 0
        while (end := _end_of_frame(data, begin)) is not None:
            if data[begin] == CLOSE:
                code = int.from_bytes(data[begin + 2 : begin + 4]) if data[begin + 1] else NO_CODE
                words = f"close {code}"
            begin = end
        self._held = data[begin:]
        return words


def _end_of_frame(data: bytes, begin: int) -> int | None:
    """Where the frame at ``begin`` ends; None if it is not whole."""
    if len(data) < begin + 2:
        return None
    length, body = data[begin + 1], begin + 2
    if length in (SHORT, MEDIUM):
        size = 2 if length == SHORT else 8
        length, body = int.from_bytes(data[body : body + size]), body + size
    return body + length if len(data) >= body + length else None


def status_of(block: bytes) -> str:
    """The status of a header block without a dynamic table, of which it is the first field."""
    block = block.lstrip(b"\x20")  # the new size of the table: 0
    if block and block[0] in INDEXED_STATUSES:
        return INDEXED_STATUSES[block[0]]
    if block and block[0] in STATUS_NAMES:
        return _digits(block[1], block[2:])
    return "trailers"


def _digits(length: int, text: bytes) -> str:
    """Three digits as they stand, or by Huffman's code, in which a digit has 5 or 6 bits (RFC 7541 Appendix B)."""
    if not length & 0x80:
        return text[:length].decode("latin-1")
    bits = "".join(f"{byte:08b}" for byte in text[: length & 0x7F])
    digits = ""
    while len(digits) < 3 and bits:
        size = 5 if bits[:5] in ("00000", "00001", "00010") else 6
        digits += str(int(bits[:5], 2) if size == 5 else int(bits[:6], 2) - 0b011001 + 3)
        bits = bits[size:]
    return digits


def name_of(code: bytes) -> str:
    """An error code's name, or its number."""
    number = int.from_bytes(code)
    return h2.ERRORS[number] if number < len(h2.ERRORS) else str(number)


def answers_to(attack: Attack, counts: Counter[str]) -> Answers:
    """For one connection of the attack."""
    kind = Http2Answers if attack.protocol == "h2" else Answers
    return kind(counts, websocket=attack.websocket)


def most(counts: Counter[str], number: int = 3) -> Iterator[str]:
    """The most frequent in words, such as ``429 x1000``."""
    return (f"{words} x{count}" for words, count in counts.most_common(number))
