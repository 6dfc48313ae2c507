from quart import Quart, websocket
from websocket_common import ABOUT_CODE, ABOUT_REASON, PAGE, choose
from websocket_common import about as about_json

app = Quart(__name__)


@app.websocket("/<where>/echo")
async def echo(where: str) -> None:
    await websocket.accept(subprotocol=choose(websocket.requested_subprotocols))
    while True:
        await websocket.send(await websocket.receive())


@app.websocket("/<where>/about")
async def about(where: str) -> None:
    await websocket.accept(subprotocol=choose(websocket.requested_subprotocols))
    await websocket.send(about_json("quart", websocket.scope))
    await websocket.close(ABOUT_CODE, ABOUT_REASON)


@app.websocket("/<where>/denied")
async def denied(where: str) -> tuple[str, int]:
    return "denied", 403


@app.get("/<where>/page")
async def page(where: str) -> str:
    return PAGE
