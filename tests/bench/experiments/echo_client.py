"""Echoes on many WebSockets at once: ``python -m … PORT COUNT WARM_UP SECONDS [h2] [tls] [deflate]``.

Each sends its message again as soon as the last one is back. It prints a line when the measured time begins, one when
it ends, and then, as JSON, how many microseconds every echo in between took. One line of words instead: why there is
no WebSocket.
"""

from __future__ import annotations

import json
import selectors
import sys
import time

from tests.bench.websocket_client import PATIENCE, NoWebSocket, Way, WebSocket

BEGIN, END = "begin", "end"


def main() -> None:
    port, count = int(sys.argv[1]), int(sys.argv[2])
    warm_up, seconds = float(sys.argv[3]), float(sys.argv[4])
    try:
        loop = Loop([WebSocket(port, Way.of(sys.argv[5:])) for _ in range(count)])
        loop.run(warm_up)
        loop.latencies.clear()
        print(BEGIN, flush=True)
        loop.run(seconds)
        print(END, flush=True)
        print(json.dumps(loop.latencies), flush=True)
    except (NoWebSocket, OSError) as error:
        print(error, flush=True)


class Loop:
    """Drives the WebSockets; ``latencies`` are microseconds, in the order in which the echoes came."""

    def __init__(self, sockets: list[WebSocket]) -> None:
        self.latencies: list[int] = []
        self._selector = selectors.DefaultSelector()
        self._sent: dict[WebSocket, float] = {}
        for one in sockets:
            self._selector.register(one.sock, selectors.EVENT_READ, one)
            self._send(one)

    def run(self, seconds: float) -> None:
        """Raises ``OSError`` if one of them is closed, or nothing comes back any more."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            ready = self._selector.select(PATIENCE)
            if not ready:
                raise TimeoutError("no echo")
            for key, _ in ready:
                self._on_readable(key.data)

    def _on_readable(self, one: WebSocket) -> None:
        if one.receive():
            self.latencies.append(round((time.perf_counter() - self._sent[one]) * 1e6))
            self._send(one)

    def _send(self, one: WebSocket) -> None:
        self._sent[one] = time.perf_counter()
        one.send()


if __name__ == "__main__":
    main()
