from typing import Any

from common import ApplicationFailed, Digest, Listeners, apattern
from litestar import Litestar, Request, get, post
from litestar.response import Stream

listeners = Listeners()


@get("/hello")
async def hello(request: Request[Any, Any, Any], name: str) -> dict[str, str]:
    return {"framework": "litestar", "method": request.method, "path": request.url.path, "query": name}


# Litestar's own limit is 10 MB.
@post("/upload", status_code=200, request_max_body_size=None)
async def upload(request: Request[Any, Any, Any]) -> dict[str, int | str]:
    digest = Digest()
    async for chunk in request.stream():
        digest.feed(chunk)
    return digest.as_json()


@get("/download")
async def download(size: int) -> Stream:
    return Stream(apattern(size), media_type="application/octet-stream")


@get("/events")
async def events() -> Stream:
    return Stream(listeners.stream(), media_type="text/event-stream")


@get("/listeners")
async def show_listeners() -> dict[str, int]:
    return listeners.as_json()


@get("/error")
async def error() -> None:
    raise ApplicationFailed


app = Litestar([hello, upload, download, events, show_listeners, error], openapi_config=None)
