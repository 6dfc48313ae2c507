"""The honest client, a process of its own: ``python -m tests.attacks.honest PORT h1|h2 [tls]``.

For each line on its standard input, a number of seconds, it sends requests for so long and prints as JSON what became
of them: ``latencies`` in seconds, and ``failed`` by the reason. A request falls due at a fixed rate whether or not the
earlier ones are answered, and its latency counts from then: a server that stands still for a second delays all that
were due in it. Now and then a connection is replaced by a new one, as clients do that come and go; the request after it
then takes as long as the connection takes.
"""

from __future__ import annotations

import contextlib
import gc
import json
import queue
import re
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.attacks import h2
from tests.attacks.answers import GOAWAY, name_of, status_of
from tests.bench.http2_frames import DATA, END_STREAM, HEADERS, RST_STREAM, SETTINGS, Frames, frame, preface
from tests.bench.websocket_client import Way, connect, read

RATE = 200.0
"""Requests a second: few enough for every server and engine, and a thousand in 5 s."""

CONNECTIONS = 8
REQUESTS = 20
"""On one connection, before the next one takes its place."""

PATIENCE = 10.0
"""A request that has no answer by then has failed."""

H1_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Failed(Exception):  # the message is the reason
    """A request has no answer of 200."""


class Http1:
    """A connection over HTTP/1.1."""

    def __init__(self, port: int, way: Way) -> None:
        self.sock = connect(port, way)
        self.sock.settimeout(PATIENCE)

    def request(self) -> None:
        """Raises ``Failed`` and ``OSError``."""
        self.sock.sendall(H1_REQUEST)
        data = b""
        while b"\r\n\r\n" not in data:
            data += read(self.sock)
        head, _, body = data.partition(b"\r\n\r\n")
        found = LENGTH.search(head)
        while found and len(body) < int(found[1]):
            body += read(self.sock)
        if (status := head.split(b" ")[1].decode()) != "200":
            raise Failed(status)


class Http2:
    """A connection over HTTP/2, with one request at a time."""

    def __init__(self, port: int, way: Way) -> None:
        self.sock = connect(port, way)
        self.sock.settimeout(PATIENCE)
        self.sock.sendall(preface(h2.NO_TABLE) + frame(SETTINGS, h2.ACK, 0))
        self._fields = h2.fields(way.tls)
        self._frames = Frames()
        self._stream = -1

    def request(self) -> None:
        """Raises ``Failed`` and ``OSError``."""
        self._stream += 2
        self.sock.sendall(h2.request(self._stream, self._fields))
        status = ""
        while True:
            for kind, flags, stream, payload in self._frames.read(read(self.sock)):
                if kind == GOAWAY:
                    raise Failed(f"GOAWAY {name_of(payload[4:8])}")
                if kind == RST_STREAM:
                    raise Failed(f"RST_STREAM {name_of(payload)}")
                if kind == HEADERS:
                    status = status or status_of(payload)
                if kind in (HEADERS, DATA) and flags & END_STREAM and stream == self._stream:
                    if status != "200":
                        raise Failed(status)
                    return


@dataclass
class Client:
    """Requests that fall due are shared by threads, of which each has a connection."""

    port: int
    way: Way
    latencies: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    _due: queue.SimpleQueue[float] = field(default_factory=queue.SimpleQueue)
    _done: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def start(self) -> None:
        for number in range(CONNECTIONS):
            threading.Thread(target=self._serve, args=(number,), daemon=True).start()

    def measure(self, seconds: float) -> dict[str, object]:
        self.latencies, self.failed = [], Counter()
        count = max(1, round(seconds * RATE))
        begun = time.monotonic()
        for number in range(count):
            due = begun + number / RATE
            time.sleep(max(0.0, due - time.monotonic()))
            self._due.put(due)
        for _ in range(count):
            self._done.acquire()
        return {"latencies": self.latencies, "failed": dict(self.failed)}

    def _serve(self, number: int) -> None:
        connection: Http1 | Http2 | None = None
        left = 0
        kind = Http2 if self.way.protocol == "h2" else Http1
        while True:
            due = self._due.get()
            try:
                if time.monotonic() - due > PATIENCE:
                    raise Failed("never sent")
                if connection is None:
                    # Not all at once: each connection's first replacement comes at another time.
                    connection, left = kind(self.port, self.way), REQUESTS - number
                elif not left:
                    connection.sock.close()
                    connection, left = kind(self.port, self.way), REQUESTS
                connection.request()
                left -= 1
                self.latencies.append(time.monotonic() - due)
            except (Failed, OSError) as error:
                self.failed[str(error) if isinstance(error, Failed) else type(error).__name__] += 1
                if connection is not None:
                    with contextlib.suppress(OSError):
                        connection.sock.close()
                connection = None
            self._done.release()


def main() -> None:
    port, *words = sys.argv[1:]
    client = Client(int(port), Way.of(words))
    client.start()
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(client.measure(float(line))), flush=True)


if __name__ == "__main__":
    main()
