"""A WSGI application (PEP 3333) without any framework: a page, and an upload that is read as it arrives."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """``PUT`` and ``POST`` answer the SHA-256 of what was sent, anything else a few lines."""
    start_response("200 OK", [("content-type", "text/plain; charset=utf-8")])
    if environ["REQUEST_METHOD"] in ("PUT", "POST"):
        digest = hashlib.sha256()
        while piece := environ["wsgi.input"].read(65536):
            digest.update(piece)
        return [f"{digest.hexdigest()}\n".encode()]
    return lines(environ["PATH_INFO"])


def lines(path: str) -> Iterator[bytes]:
    """Each piece is sent when it is there."""
    for number in range(1, 4):
        yield f"{number}: {path}\n".encode("latin-1")
