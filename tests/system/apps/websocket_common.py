"""What the WebSocket applications of all frameworks answer; the first element of a path says where they run.

================  ==============================================================================================
/where/echo       accepts with the subprotocol ``SECOND``, else the first offered; sends every message back
/where/about      accepts so, too; sends ``about`` as one text, then closes with ``ABOUT_CODE`` and ``ABOUT_REASON``
/where/denied     closed before it is accepted
GET /where/last   JSON: the code with which the client of the last /echo closed (not Quart, which does not tell)
GET /where/page   an HTML page, for a browser to stand on
================  ==============================================================================================
"""

import json
import os
from collections.abc import Mapping
from typing import Any

FIRST, SECOND = "chat.first", "chat.second"
ABOUT_CODE, ABOUT_REASON = 4001, "told"
PAGE = "<!doctype html><title>page</title>"

last: dict[str, int] = {}


def choose(offered: list[str]) -> str | None:
    """The subprotocol to accept with: some clients fail when they offer one and get none."""
    return SECOND if SECOND in offered else next(iter(offered), None)


def about(framework: str, scope: Mapping[str, Any]) -> str:
    """JSON: who was asked, and what the scope says of the request."""
    headers = dict(scope["headers"])
    return json.dumps(
        {
            "framework": framework,
            "pid": os.getpid(),
            "type": scope["type"],
            "scheme": scope["scheme"],
            "http_version": scope["http_version"],
            "path": scope["path"],
            "query": scope["query_string"].decode(),
            "client": scope["client"][0],
            "subprotocols": list(scope["subprotocols"]),
            "header": headers.get(b"x-about", b"").decode(),
        }
    )
