"""An application whose logging configuration disables every logger that it does not name, as Alembic's does."""

import logging
import logging.config
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    """``/fail`` fails; the lifespan and ``/silence`` configure logging."""
    if scope["type"] == "lifespan":
        await receive()
        logging.config.dictConfig({"version": 1})
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"].startswith("/fail"):
        raise ValueError(f"failed at {scope['path']}")
    logging.config.dictConfig({"version": 1})
    logging.disable(logging.CRITICAL)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"silenced"})
