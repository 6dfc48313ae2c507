"""Reads that hold more than one turn of the event loop may handle."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from tests.support.apps import Receive, Scope, Send, respond
from tests.support.running import Running


@contextlib.contextmanager
def held(server: Running) -> Iterator[None]:
    """The server's event loop stands still meanwhile, so that it then finds all that clients have sent."""
    begun, release = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        release.wait()

    server.runtime._listeners[0].service.loop.call_soon_threadsafe(hold)
    begun.wait()
    try:
        yield
    finally:
        release.set()


def chunks(count: int) -> bytes:
    """A chunked body of ``count`` chunks of one byte (RFC 9112 7.1)."""
    return b"1\r\nx\r\n" * count + b"0\r\n\r\n"


class Parts:
    """An application that counts the parts in which it gets a body. ``end``: ``whole``, or ``lost``."""

    def __init__(self) -> None:
        self.count = 0
        self.end = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while not self.end:
            message = await receive()
            self.count += 1
            if message["type"] == "http.disconnect":
                self.end = "lost"
            elif not message["more_body"]:
                self.end = "whole"
                await respond(send)
