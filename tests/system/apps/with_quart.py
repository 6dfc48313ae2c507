from common import ApplicationFailed, Digest, Listeners, apattern
from quart import Quart, Response, request

app = Quart(__name__)
app.config["MAX_CONTENT_LENGTH"] = None  # Quart's own limit is 16 MiB
app.config["RESPONSE_TIMEOUT"] = None  # /events has no end
listeners = Listeners()


@app.get("/hello")
async def hello() -> dict[str, str]:
    return {"framework": "quart", "method": request.method, "path": request.path, "query": request.args["name"]}


@app.post("/upload")
async def upload() -> dict[str, int | str]:
    digest = Digest()
    async for chunk in request.body:
        digest.feed(chunk)
    return digest.as_json()


@app.get("/download")
async def download() -> Response:
    return Response(apattern(int(request.args["size"])), content_type="application/octet-stream")


@app.get("/events")
async def events() -> Response:
    return Response(listeners.stream(), content_type="text/event-stream")


@app.get("/listeners")
async def show_listeners() -> dict[str, int]:
    return listeners.as_json()


@app.get("/error")
async def error() -> Response:
    raise ApplicationFailed
