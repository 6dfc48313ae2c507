"""An HTTP/2 server in cleartext that does at random what servers do wrong, or rightly but seldom.

``python -m tests.soak.misbehaving_server SOCKET CONTROL``: it serves at one unix socket, and obeys at the other. A line
with the name of a theme sets what it does from then on, and is answered by a line of JSON with what it has counted.
Under ``calm`` it behaves: every window is open again, on connections that are there already, too.

A POST has an id in its path. It is executed when its head is read, unless the server says that it was not
(REFUSED_STREAM, a GOAWAY below its stream). After a violation it goes on to execute what it reads, because a real
server might have executed it before.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import struct
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hpack import Decoder, Encoder

from tests.support import http2

PREFACE = http2.PREFACE
INITIAL_WINDOW, MAX_STREAMS = 0x4, 0x3
WINDOW = 65535
PLACES = 64
"""Streams at once, when it behaves."""

REFUSED_STREAM = 7
CODES = [code for code in range(14) if code != REFUSED_STREAM]
EVERY_STREAM = (1 << 31) - 1

Weights = dict[str, int]

STREAMS: Weights = {
    "answer": 40,
    "answer_late": 5,
    "answer_early": 20,
    "reset": 10,
    "refuse": 10,
    "hang": 1,
    "read_slowly": 3,
}
"""What it does with one request, and how often."""

WINDOWS: Weights = {**STREAMS, "set_window": 10, "set_places": 10}
ENDS: Weights = {
    **WINDOWS,
    "goaway": 12,
    "violate": 6,
    "break_off": 1,
    "close": 1,
}
SILENT: Weights = {"answer": 60, "fall_silent": 1}

THEMES: dict[str, tuple[Weights, Weights]] = {
    "calm": ({"answer": 1}, {"serve": 1}),
    "streams": (STREAMS, {"serve": 1}),
    "windows": (WINDOWS, {"serve": 1}),
    "ends": (ENDS, {"serve": 24, "goaway_at_once": 1, "goaway_when_ready": 1, "close_at_once": 1, "close_mute": 1}),
    "violations": ({"answer": 20, "refuse": 1}, {"goaway_later": 2, "violate_later": 1}),
    "storm": (ENDS, {"goaway_at_once": 1, "goaway_when_ready": 9}),
    "silent": (SILENT, {"serve": 1}),
}
"""By name: what it does with requests, and with new connections."""

LATER = {"goaway_later": "goaway", "violate_later": "violate"}
"""What connections do after a number of requests."""

VIOLATIONS: list[Callable[[int], bytes]] = [
    lambda stream: http2.data(0, b"no stream"),
    lambda stream: http2.window_update(0, 0),
    lambda stream: http2.frame(http2.PING, 0, 0, b"short"),
    lambda stream: http2.frame(http2.SETTINGS, 0, stream, b""),
    lambda stream: http2.frame(http2.CONTINUATION, http2.END_HEADERS, stream, b""),
    lambda stream: http2.frame(http2.HEADERS, http2.END_HEADERS, stream, b"\xff\xff\xff\xff"),
    lambda stream: http2.frame(http2.DATA, 0, stream, bytes(20_000)),
    lambda stream: http2.settings((INITIAL_WINDOW, 1 << 31)),
    lambda stream: http2.frame(http2.PUSH_PROMISE, http2.END_HEADERS, stream, struct.pack(">L", 2)),
    lambda stream: b"HTTP/1.1 400 Bad Request\r\n\r\n",
]


class World:
    """What all connections share. ``theme``: the current one."""

    def __init__(self) -> None:
        self.theme = "calm"
        self.connections: set[Connection] = set()
        self.executed: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.holding: list[tuple[Connection, int]] = []

    def choose(self, kind: int) -> str:
        """``kind``: 0 for a request, 1 for a connection."""
        weights = THEMES[self.theme][kind]
        (chosen,) = random.choices(list(weights), list(weights.values()))
        self.counts[chosen] += 1
        return chosen

    def obey(self, line: str) -> dict[str, Any]:
        """Set a theme; return the counts."""
        if line in THEMES:
            self.theme = line
        if line == "calm":
            for connection in list(self.connections):
                connection.calm()
        elif line == "violations":
            for connection in self.connections:
                connection.does = "goaway_later"
        twice = [number for number, times in self.executed.items() if times > 1]
        open_now = sum(len(connection.streams) for connection in self.connections if not connection.silent)
        counts = {**self.counts, "executed": len(self.executed), "connected": len(self.connections), "open": open_now}
        return {"counts": counts, "twice": twice}

    def hold(self, connection: Connection, stream: int, count: int) -> None:
        """Answer ``count`` requests when all of them are here."""
        self.holding.append((connection, stream))
        if len(self.holding) == count:
            for other, number in self.holding:
                other.answer(number)
            self.holding.clear()


@dataclass
class Stream:
    """A request that is under way on the wire. ``ours``: our side has ended; ``theirs``: the client's has."""

    does: str
    theirs: bool
    ours: bool = False


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.streams: dict[int, Stream] = {}
        self.silent = False
        self._transport: Any = None
        self._data = b""
        self.does = ""
        self._left = random.randint(20, 200)
        self._violated = False
        self._began = False
        self._decoder, self._encoder = Decoder(), Encoder()
        self._last = 0
        self._goaway: int | None = None
        self._credit = WINDOW
        self._places: list[int] = []  # those that were announced and not acknowledged, in order
        self._most = EVERY_STREAM

    # For the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.does = does = self.world.choose(1)
        self.world.counts["connections"] += 1
        if does == "close_mute":
            self._transport.close()
            return
        self.world.connections.add(self)
        if self.world.theme == "windows":
            self.settings(random.choice([0, 1, 100, 1000, WINDOW]), random.choice([0, 1, 4, 100]))
            self._later(0.3, self.settings, WINDOW, PLACES)
        else:
            self.settings(WINDOW, PLACES)
        if does == "goaway_at_once":
            self.goaway(0)
        elif does == "close_at_once":
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.world.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        if self.silent:
            return
        self._data += data
        if not self._began and len(self._data) >= len(PREFACE):
            self._data = self._data.removeprefix(PREFACE)
            self._began = True
        while self._began and len(self._data) >= 9 and not self.silent:
            size = int.from_bytes(self._data[:3], "big")
            if len(self._data) < 9 + size:
                break
            kind, flags, stream = struct.unpack(">BBL", self._data[3:9])
            payload, self._data = self._data[9 : 9 + size], self._data[9 + size :]
            self._on_frame(kind, flags, stream, payload)

    def _on_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == http2.SETTINGS:
            if flags & http2.ACK:
                self._on_acknowledged()
            else:
                self.send(http2.frame(http2.SETTINGS, http2.ACK, 0))
        elif kind == http2.PING and not flags & http2.ACK:
            self.send(http2.frame(http2.PING, http2.ACK, 0, payload))
        elif kind == http2.HEADERS:
            self._on_head(stream, payload, bool(flags & http2.END_STREAM))
        elif kind == http2.DATA:
            self._on_data(stream, payload, bool(flags & http2.END_STREAM))
        elif kind == http2.RST_STREAM:
            self.streams.pop(stream, None)

    def _on_acknowledged(self) -> None:
        if self._places:
            self._most = self._places.pop(0)
        if self.does == "goaway_when_ready" and self._goaway is None:
            self.goaway(0)

    # Requests.

    def _on_head(self, number: int, block: bytes, end: bool) -> None:
        fields = {bytes(name): bytes(value) for name, value in self._decoder.decode(block, raw=True)}
        if number <= self._last:  # trailers
            self._on_data(number, b"", True)
            return
        if self._goaway is not None and number > self._goaway:
            return
        self._last = number
        self.world.counts["after_violation"] += self._violated
        path = fields[b":path"].decode()
        self.streams[number] = stream = Stream("", end)
        if len(self.streams) > self._most:
            self.world.counts["too_many_streams"] += 1
        if path.startswith("/hold/"):
            stream.does = "hold"
            self.world.hold(self, number, int(path.rpartition("/")[2]))
            return
        stream.does = self.world.choose(0)
        if stream.does == "hang" and not path.startswith("/timed/"):
            stream.does = "answer"
        self._left -= 1
        if not self._left and self.does in LATER:
            getattr(self, LATER[self.does])(number)
        if stream.does == "refuse":
            self.reset(number, REFUSED_STREAM)
            return
        if fields[b":method"] == b"POST":
            self.world.executed[path] += 1
        getattr(self, stream.does)(number)

    def _on_data(self, number: int, payload: bytes, end: bool) -> None:
        self._credit -= len(payload)
        if self._credit < 0:
            self.world.counts["window_exceeded"] += 1
        stream = self.streams.get(number)
        if random.random() < 0.7:
            self._give_credit()
        else:
            self._later(0.5, self._give_credit)
        if stream is None:
            return
        if payload and not end and stream.does not in ("answer_early", "hang"):
            self.send(http2.window_update(number, len(payload)))
        stream.theirs = stream.theirs or end
        if end and stream.does == "answer":
            self.answer(number)
        self._close_if_ended(number)

    def _give_credit(self) -> None:
        size = WINDOW - self._credit
        if size > 0:
            self._credit += size
            self.send(http2.window_update(0, size))

    def _close_if_ended(self, number: int) -> None:
        stream = self.streams.get(number)
        if stream is not None and stream.ours and stream.theirs:
            del self.streams[number]

    # What it does with a request; by name.

    def answer(self, number: int) -> None:
        """Answer when the body is complete; also called then."""
        stream = self.streams.get(number)
        if stream is not None and not stream.ours and (stream.theirs or stream.does == "hold"):
            self._answer(number)

    def answer_late(self, number: int) -> None:
        self._later(0.1, self.answer_early, number)

    def answer_early(self, number: int) -> None:
        """Answer without reading the body, without a reset."""
        if number in self.streams:
            self._answer(number)

    def _answer(self, number: int) -> None:
        self.streams[number].ours = True
        block = self._encoder.encode([(b":status", b"200"), (b"x-stream", b"%d" % number)])
        body = bytes(random.choice([0, 2, 1000, 8000]))
        self.send(http2.frame(http2.HEADERS, http2.END_HEADERS, number, block), http2.data(number, body, end=True))
        self._close_if_ended(number)

    def reset(self, number: int, code: int | None = None) -> None:
        self.streams.pop(number, None)
        self.send(http2.rst_stream(number, random.choice(CODES) if code is None else code))

    def hang(self, number: int) -> None:
        """Never answer."""

    def read_slowly(self, number: int) -> None:
        self._transport.pause_reading()
        self._later(0.3, self._transport.resume_reading)
        self.answer_early(number)

    def set_window(self, number: int) -> None:
        self.settings(random.choice([0, 1, 100, 1000, WINDOW]), None)
        self._later(0.2, self.settings, WINDOW, None)
        self.answer_early(number)

    def set_places(self, number: int) -> None:
        self.settings(None, random.choice([0, 1, 4, 100]))
        self._later(0.2, self.settings, None, PLACES)
        self.answer_early(number)

    def goaway(self, number: int) -> None:
        """End the connection in order: sometimes in two steps, sometimes without the newest streams."""
        if random.random() < 0.5:
            self.send(http2.goaway(last=EVERY_STREAM))
        if self._goaway is None:
            self._goaway = self._last
        self.send(http2.goaway(last=self._goaway, code=random.choice([0, 0, 0, 11])))
        for stream in list(self.streams):
            self.answer_early(stream)

    def fall_silent(self, number: int) -> None:
        """Announce the end, then do nothing any more with the streams that are open."""
        self.send(http2.goaway(last=self._last))
        self.silent = True
        if random.random() < 0.5:
            self._transport.pause_reading()

    def violate(self, number: int) -> None:
        """A moment later, so that other requests are on their way."""
        self._later(0.05, self._violate, number)

    def _violate(self, number: int) -> None:
        self._violated = True
        self.send(random.choice(VIOLATIONS)(number))

    def break_off(self, number: int) -> None:
        self._transport.abort()

    def close(self, number: int) -> None:
        self._transport.close()

    # The rest.

    def calm(self) -> None:
        """Open every window, and answer what waits for one."""
        if self.silent or self._goaway is not None:
            return
        self._transport.resume_reading()
        self.settings(WINDOW, PLACES)
        self._give_credit()

    def settings(self, window: int | None, places: int | None) -> None:
        pairs = [] if window is None else [(INITIAL_WINDOW, window)]
        pairs += [] if places is None else [(MAX_STREAMS, places)]
        self._places.append((self._places[-1] if self._places else self._most) if places is None else places)
        self.send(http2.settings(*pairs))

    def send(self, *frames: bytes) -> None:
        if not self._transport.is_closing() and not self.silent:
            self._transport.write(b"".join(frames))

    def _later(self, most: float, call: Callable[..., object], *arguments: Any) -> None:
        asyncio.get_running_loop().call_later(random.random() * most, call, *arguments)


async def main(path: str, control: str) -> None:
    world = World()

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(json.dumps(world.obey(line.decode().strip())).encode() + b"\n")
                await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()
    await asyncio.start_unix_server(obey, control)
    server = await loop.create_unix_server(lambda: Connection(world), path)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
