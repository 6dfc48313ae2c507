from common import ApplicationFailed, Digest, Listeners, apattern
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

app = FastAPI()
listeners = Listeners()


@app.get("/hello")
async def hello(request: Request, name: str) -> dict[str, str]:
    return {"framework": "fastapi", "method": request.method, "path": request.url.path, "query": name}


@app.post("/upload")
async def upload(request: Request) -> dict[str, int | str]:
    digest = Digest()
    async for chunk in request.stream():
        digest.feed(chunk)
    return digest.as_json()


@app.get("/download")
async def download(size: int) -> StreamingResponse:
    return StreamingResponse(apattern(size), media_type="application/octet-stream")


@app.get("/events")
async def events() -> StreamingResponse:
    return StreamingResponse(listeners.stream(), media_type="text/event-stream")


@app.get("/listeners")
async def show_listeners() -> dict[str, int]:
    return listeners.as_json()


@app.get("/error")
async def error() -> None:
    raise ApplicationFailed
