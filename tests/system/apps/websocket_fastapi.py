from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse
from websocket_common import ABOUT_CODE, ABOUT_REASON, PAGE, choose, last
from websocket_common import about as about_json

app = FastAPI()


@app.websocket("/{where}/echo")
async def echo(socket: WebSocket, where: str) -> None:
    await socket.accept(choose(socket.scope["subprotocols"]))
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message["code"], message.get("reason"))
            if message.get("text") is not None:
                await socket.send_text(message["text"])
            else:
                await socket.send_bytes(message["bytes"])
    except WebSocketDisconnect as left:
        last["code"] = left.code


@app.websocket("/{where}/about")
async def about(socket: WebSocket, where: str) -> None:
    await socket.accept(choose(socket.scope["subprotocols"]))
    await socket.send_text(about_json("fastapi", socket.scope))
    await socket.close(ABOUT_CODE, ABOUT_REASON)


@app.websocket("/{where}/denied")
async def denied(socket: WebSocket, where: str) -> None:
    await socket.close()


@app.get("/{where}/last")
async def show_last(where: str) -> dict[str, int]:
    return last


@app.get("/{where}/page")
async def page(where: str) -> HTMLResponse:
    return HTMLResponse(PAGE)
