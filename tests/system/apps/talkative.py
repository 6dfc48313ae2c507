"""An application that lets Sidegate log as much as a request asks for (``/log``); it answers with its pid."""

from __future__ import annotations

import logging
import os
from typing import Any

logger = logging.getLogger("sidegate.talkative")  # a logger of Sidegate: the application's own may wait for the reader


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return
    if scope["path"].endswith("/log"):
        for _ in range(1000):
            logger.error("x" * 1000)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % os.getpid()})
