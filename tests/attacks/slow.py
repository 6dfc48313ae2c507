"""Slowloris: many connections over HTTP/1.1 of which each does the least that keeps it open."""

from __future__ import annotations

from tests.attacks.attack import Attack
from tests.attacks.h1 import END, head
from tests.attacks.script import READY, MakeScript, Pause, Read, Script

CONNECTIONS = 1100
"""More than Sidegate has requests in flight at most."""

SECONDS = 2.0


def trickled(beginning: bytes, unit: bytes) -> MakeScript:
    """``beginning`` at once, then ``unit`` every two seconds."""

    def script(_secure: bool) -> Script:
        yield READY
        yield beginning
        while True:
            yield Pause(SECONDS)
            yield unit

    return script


def barely_read(_secure: bool) -> Script:
    """A response of 1 MiB, of which a byte is read now and then."""
    yield READY
    yield head("/fresh") + END
    while True:
        yield Pause(SECONDS)
        yield Read(1)


UPLOAD = head("/upload", "Content-Length: 1000000", method="POST") + END

ATTACKS = (
    Attack("slow-head", f"{CONNECTIONS} heads that arrive slowly", "h1", CONNECTIONS,
           trickled(head() + b"\r\n", b"x: y\r\n")),
    Attack("slow-body", f"{CONNECTIONS} bodies that arrive slowly", "h1", CONNECTIONS, trickled(UPLOAD, b"x"),
           none_refused=True),
    Attack("slow-reader", f"{CONNECTIONS} responses that are read slowly", "h1", CONNECTIONS, barely_read, reads=False,
           none_refused=True),
)  # fmt: skip
