"""Applications whose import sets context variables.

``/PLACE/NAME/ANY`` answers with the precision of decimals and the variable, and sets both the variable and another one.
``ANY`` is ``wait`` for a response after a pause.
"""

from __future__ import annotations

import asyncio
import contextvars
import decimal
from collections.abc import Iterable
from typing import Any

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
other: contextvars.ContextVar[str] = contextvars.ContextVar("other")

decimal.getcontext().prec = 50
variable.set("import")


def found(path: str) -> bytes:
    """What the request sees; then it sets the variables."""
    digits = len(str(decimal.Decimal(1) / 3)) - 2
    text = f"{digits} {variable.get('unset')} {other.get('unset')}"
    variable.set(path)
    other.set(path)
    return text.encode()


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        variable.set("lifespan")
        other.set("lifespan")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"].endswith("/wait"):
        await asyncio.sleep(0)
    body = found(scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def wsgi(environ: Any, start_response: Any) -> Iterable[bytes]:
    body = found(environ["PATH_INFO"])
    start_response("200 OK", [])
    return [body]
