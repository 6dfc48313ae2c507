"""An application that takes all file descriptors of its process and does not give them back."""

from __future__ import annotations

import os
from typing import Any

TAKEN: list[int] = []


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return
    if scope["path"] == "/take":
        try:
            while True:
                TAKEN.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
    elif scope["path"] == "/hold":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    else:
        os.close(os.open(os.devnull, os.O_RDONLY))  # what any application does
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % len(TAKEN)})
