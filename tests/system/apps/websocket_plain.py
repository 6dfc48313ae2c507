"""A WebSocket application without a framework."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from websocket_common import ABOUT_CODE, ABOUT_REASON, PAGE, about, choose, last

if TYPE_CHECKING:
    from sidegate.asgi import Receive, Scope, Send


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await websocket(scope, receive, send)
    elif scope["type"] == "http":
        await http(scope, send)
    else:
        await lifespan(receive, send)


async def websocket(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    what = scope["path"].rpartition("/")[2]
    if what == "denied":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept", "subprotocol": choose(scope["subprotocols"])})
    if what == "about":
        await send({"type": "websocket.send", "text": about("plain", scope)})
        await send({"type": "websocket.close", "code": ABOUT_CODE, "reason": ABOUT_REASON})
        return
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
    last["code"] = message["code"]


async def http(scope: Scope, send: Send) -> None:
    page = scope["path"].endswith("/page")
    headers = [(b"content-type", b"text/html" if page else b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": (PAGE if page else json.dumps(last)).encode()})


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
