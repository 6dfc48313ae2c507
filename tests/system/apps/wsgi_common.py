"""What the WSGI applications of all frameworks answer, so that one test can ask each of them.

=====================  =================================================================================
GET /hello?name=x      JSON: framework, method, mounted at, path, query, scheme
POST /form             JSON: the fields of a form (``application/x-www-form-urlencoded``), lists of text
POST /file             JSON: the field ``note`` of a form (``multipart/form-data``), and of the file
                       ``file`` name, size and SHA-256
POST /json             JSON: what was sent, under ``got``
GET /cookies           JSON: the cookies that were sent; sets ``first`` and ``second``
GET /redirect          302 to /hello?name=redirected, by the framework's own way to make a URL
POST /upload           JSON: size and SHA-256 of the body, read as a stream
GET /download?size=n   n bytes of ``pattern``, sent as a stream
GET /gate?key=k        ``first``, and ``last`` only after /open?key=k was asked for
GET /events?key=k      server-sent events ``0``, ``1`` after /open?key=k1, ``2`` after /open?key=k2 (Flask only)
GET /error             raises
=====================  =================================================================================
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterator, Mapping
from typing import IO, Any, Protocol

from common import CHUNK, Digest

GATE_PATIENCE = 30.0


class Readable(Protocol):
    """What PEP 3333 says of ``wsgi.input``, as far as it is used."""

    def read(self, size: int, /) -> bytes: ...


_gates: collections.defaultdict[str, threading.Event] = collections.defaultdict(threading.Event)


def about(framework: str, environ: Mapping[str, Any], query: str) -> dict[str, str]:
    """The answer of /hello."""
    return {
        "framework": framework,
        "method": environ["REQUEST_METHOD"],
        "mounted": environ["SCRIPT_NAME"],
        "path": environ["PATH_INFO"],
        "query": query,
        "scheme": environ["wsgi.url_scheme"],
    }


def about_file(note: str, name: str, file: IO[bytes]) -> dict[str, Any]:
    """The answer of /file."""
    return {"note": note, "name": name, **digest(file)}


def digest(stream: Readable) -> dict[str, int | str]:
    """The answer of /upload: ``stream`` is read to its end."""
    known = Digest()
    while piece := stream.read(CHUNK):
        known.feed(piece)
    return known.as_json()


def gated(key: str) -> Iterator[bytes]:
    """The body of /gate."""
    yield b"first\n"
    yield b"last\n" if _gates[key].wait(GATE_PATIENCE) else b"never opened\n"


def gated_events(key: str) -> Iterator[bytes]:
    """Three server-sent events; each but the first only after /open?key=``key`` and its number."""
    for number in range(3):
        if number and not _gates[f"{key}{number}"].wait(GATE_PATIENCE):
            return
        yield b"data: %d\n\n" % number


def open_gate(key: str) -> None:
    """What /open does."""
    _gates[key].set()
