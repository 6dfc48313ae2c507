from common import ApplicationFailed, Digest, Listeners, apattern
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

listeners = Listeners()


async def hello(request: Request) -> Response:
    return JSONResponse(
        {
            "framework": "starlette",
            "method": request.method,
            "path": request.url.path,
            "query": request.query_params["name"],
        }
    )


async def upload(request: Request) -> Response:
    digest = Digest()
    async for chunk in request.stream():
        digest.feed(chunk)
    return JSONResponse(digest.as_json())


async def download(request: Request) -> Response:
    return StreamingResponse(apattern(int(request.query_params["size"])), media_type="application/octet-stream")


async def events(request: Request) -> Response:
    return StreamingResponse(listeners.stream(), media_type="text/event-stream")


async def show_listeners(request: Request) -> Response:
    return JSONResponse(listeners.as_json())


async def error(request: Request) -> Response:
    raise ApplicationFailed


app = Starlette(
    routes=[
        Route("/hello", hello),
        Route("/upload", upload, methods=["POST"]),
        Route("/download", download),
        Route("/events", events),
        Route("/listeners", show_listeners),
        Route("/error", error),
    ]
)
