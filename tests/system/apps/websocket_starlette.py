from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websocket_common import ABOUT_CODE, ABOUT_REASON, PAGE, choose, last
from websocket_common import about as about_json


async def echo(socket: WebSocket) -> None:
    await socket.accept(choose(socket.scope["subprotocols"]))
    while (message := await socket.receive())["type"] == "websocket.receive":
        if message.get("text") is not None:
            await socket.send_text(message["text"])
        else:
            await socket.send_bytes(message["bytes"])
    last["code"] = message["code"]


async def about(socket: WebSocket) -> None:
    await socket.accept(choose(socket.scope["subprotocols"]))
    await socket.send_text(about_json("starlette", socket.scope))
    await socket.close(ABOUT_CODE, ABOUT_REASON)


async def denied(socket: WebSocket) -> None:
    await socket.close()


async def show_last(request: Request) -> Response:
    return JSONResponse(last)


async def page(request: Request) -> Response:
    return HTMLResponse(PAGE)


app = Starlette(
    routes=[
        WebSocketRoute("/{where}/echo", echo),
        WebSocketRoute("/{where}/about", about),
        WebSocketRoute("/{where}/denied", denied),
        Route("/{where}/last", show_last),
        Route("/{where}/page", page),
    ]
)
