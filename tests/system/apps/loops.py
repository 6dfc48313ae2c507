"""An application that answers with the package of its event loop."""

import asyncio
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    """``uvloop`` or ``asyncio``."""
    if scope["type"] == "lifespan":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    package = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    await send({"type": "http.response.body", "body": package.encode()})
