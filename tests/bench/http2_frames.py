"""Frames of HTTP/2 as a client writes and reads them (RFC 9113 4.1), for the harness's own clients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

DATA, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE = 0, 1, 3, 4, 8
END_STREAM, END_HEADERS = 1, 4
INITIAL_WINDOW_SIZE, ENABLE_CONNECT_PROTOCOL = 4, 8
HEAD_SIZE = 9
WINDOW = 2**30

# Type, flags and payload.
Frame = tuple[int, int, bytes]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def preface(settings: Mapping[int, int] | None = None) -> bytes:
    """What a connection begins with (RFC 9113 3.4), and room for all the answers that will ever come."""
    wanted = b"".join(key.to_bytes(2) + value.to_bytes(4) for key, value in (settings or {}).items())
    update = frame(WINDOW_UPDATE, 0, 0, WINDOW.to_bytes(4))
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, wanted) + update


def get(stream: int, fields: bytes) -> bytes:
    """A request without a body; ``fields`` in HPACK."""
    return frame(HEADERS, END_STREAM | END_HEADERS, stream, fields)


def settings_of(payload: bytes) -> dict[int, int]:
    """The values of a SETTINGS frame by their numbers."""
    pairs = (payload[at : at + 6] for at in range(0, len(payload), 6))
    return {int.from_bytes(pair[:2]): int.from_bytes(pair[2:]) for pair in pairs}


class Frames:
    """Reads them from a connection's bytes, however those are cut."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Those that are whole now."""
        return ((kind, flags, payload) for kind, flags, _, payload in self.read(data))

    def read(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """The same, each with the number of its stream before its payload."""
        data = self._held + data
        begin = 0
        while len(data) - begin >= HEAD_SIZE:
            end = begin + HEAD_SIZE + int.from_bytes(data[begin : begin + 3])
            if end > len(data):
                break
            stream = int.from_bytes(data[begin + 5 : begin + HEAD_SIZE])
            yield data[begin + 3], data[begin + 4], stream, data[begin + HEAD_SIZE : end]
            begin = end
        self._held = data[begin:]
