"""A WSGI application without a framework: behaviours that a server has to get right, one path each.

A path's parameters come from the query (``/pieces?size=10``). ``/state`` tells what other requests met, because an
application that lost its client cannot tell it. Nothing here waits for longer than ``PATIENCE``.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl

from common import CHUNK, ApplicationFailed, pattern

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
Headers = list[tuple[str, str]]

PATIENCE = 60.0

met = Counter(stuck=0, produced=0, closed=0, most=0)
"""Requests that are ``stuck``, ``produced`` pieces, ``closed`` iterables, the ``most`` requests of /crowd at once."""

_lock = threading.Lock()
_released = threading.Event()
_barriers: dict[str, threading.Barrier] = {}
_crowd: list[int] = []


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    options = dict(parse_qsl(environ["QUERY_STRING"]))
    return PATHS.get(environ["PATH_INFO"], echo)(environ, start_response, options)


def answer(start_response: StartResponse, body: bytes, status: str = "200 OK") -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


# --- Plain answers --------------------------------------------------------------------------------------------------


def echo(environ: Environ, start_response: StartResponse, options: dict[str, str]) -> Iterable[bytes]:
    """What of the environ is text or truth, as JSON, with the body."""
    shown = {key: value for key, value in environ.items() if isinstance(value, str | bool)}
    body = environ["wsgi.input"].read()
    return answer(start_response, json.dumps({**shown, "body": body.decode("latin-1")}).encode())


def pid(environ: Environ, start_response: StartResponse, options: dict[str, str]) -> Iterable[bytes]:
    return answer(start_response, b"%d" % os.getpid())


def state(environ: Environ, start_response: StartResponse, options: dict[str, str]) -> Iterable[bytes]:
    return answer(start_response, json.dumps({**met, "pid": os.getpid()}).encode())


def unchanged(environ: Environ, start_response: StartResponse, options: dict[str, str]) -> Iterable[bytes]:
    """A 304, which has nothing to iterate over."""
    start_response("304 Not Modified", [("ETag", '"one"')])
    return Watched(iter(()))


# --- Bodies in pieces -----------------------------------------------------------------------------------------------


class Watched:
    """An iterable that counts its pieces, and its ``close``."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            met["produced"] += 1
            yield piece

    def close(self) -> None:
        met["closed"] += 1


def pieces(environ: Environ, start_response: StartResponse, options: dict[str, str]) -> Iterable[bytes]:
    """``size`` bytes in pieces of 64 KiB."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return Watched(pattern(int(options["size"])))


def half(environ: Environ, start_response: StartResponse, options: dict[str, str]) -> Iterable[bytes]:
    """Raises behind the first of two pieces; with ``length=1`` it has announced both."""
    headers = [("Content-Type", "application/octet-stream")]
    if "length" in options:
        headers.append(("Content-Length", str(2 * CHUNK)))
    start_response("200 OK", headers)
    return Watched(_half())


def _half() -> Iterator[bytes]:
    yield from pattern(CHUNK)
    raise ApplicationFailed("half-way")


# --- Threads --------------------------------------------------------------------------------------------------------


def crowd(environ: Environ, start_response: StartResponse, options: dict[str, str]) -> Iterable[bytes]:
    """Counts how many requests of this path there are at once; the most are ``most`` in /state."""
    with _lock:
        _crowd.append(1)
        met["most"] = max(met["most"], len(_crowd))
    time.sleep(0.1)
    with _lock:
        _crowd.pop()
    return answer(start_response, b"%d" % os.getpid())


def meet(environ: Environ, start_response: StartResponse, options: dict[str, str]) -> Iterable[bytes]:
    """Waits until ``parties`` requests of one ``key`` are here, each on a thread of its own."""
    with _lock:
        barrier = _barriers.setdefault(options["key"], threading.Barrier(int(options["parties"])))
    try:
        barrier.wait(PATIENCE)
    except threading.BrokenBarrierError:
        return answer(start_response, b"alone", "503 Service Unavailable")
    return answer(start_response, b"met")


def stuck(environ: Environ, start_response: StartResponse, options: dict[str, str]) -> Iterable[bytes]:
    """Waits for /release."""
    with _lock:
        met["stuck"] += 1
    _released.wait(PATIENCE)
    with _lock:
        met["stuck"] -= 1
    return answer(start_response, b"released")


def release(environ: Environ, start_response: StartResponse, options: dict[str, str]) -> Iterable[bytes]:
    """Lets those go on that are stuck now and will be."""
    _released.set()
    return answer(start_response, b"released")


PATHS = {
    f"/{function.__name__}": function for function in (pid, state, unchanged, pieces, half, crowd, meet, stuck, release)
}
