"""The WSGI application of the comparison: one answer for each path.

As ``plain.py``, it costs next to nothing, so that what is measured is the server.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

BODIES = {"/": b"Hello, world!"}
HEADERS = {path: [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))] for path, body in BODIES.items()}
SLEEP_SECONDS = 0.5
DONE = b"done"


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    path = environ["PATH_INFO"]
    if path in BODIES:
        start_response("200 OK", HEADERS[path][:])  # PEP 3333 lets a server change the list
        return [BODIES[path]]
    if path == "/sleep":  # waits for something, as most applications do most of the time
        time.sleep(SLEEP_SECONDS)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(DONE)))])
        return [DONE]
    raise LookupError(path)
