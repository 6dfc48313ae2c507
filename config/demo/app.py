"""A small Starlette application that shows what the server in front of it does.

Nothing in it knows Sidegate: it is what an application developer would write, and any ASGI server runs it.
"""

import asyncio
import hashlib
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

PAGE = (Path(__file__).parent / "index.html").read_text(encoding="utf-8")
MAX_EVENTS = 100
MAX_SLEEP = 10.0


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, float]]:
    """What is yielded is in ``request.state`` of every request (the ASGI lifespan's ``state``)."""
    yield {"started": time.time()}


def protocol(request: Request) -> str:
    """As a person would say it: ``HTTP/2 over TLS``."""
    version = request.scope["http_version"]
    return f"HTTP/{version} {'over TLS' if request.url.scheme == 'https' else 'in clear text'}"


async def index(request: Request) -> Response:
    """The page that tries everything below."""
    return HTMLResponse(PAGE.replace("{{protocol}}", protocol(request)))


async def describe(request: Request) -> Response:
    """What the application was told about the request."""
    return JSONResponse(
        {
            "protocol": protocol(request),
            "httpVersion": request.scope["http_version"],
            "scheme": request.url.scheme,
            "method": request.method,
            "path": request.url.path,
            "query": dict(request.query_params),
            "client": request.client.host if request.client else None,
            "uptime": round(time.time() - request.state.started, 3),
            "extensions": sorted(request.scope.get("extensions", {})),
        }
    )


async def events(request: Request) -> Response:
    """Server-sent events: ``?count=5&interval=0.2`` (seconds)."""
    count = int(number(request, "count", 5, MAX_EVENTS))
    interval = number(request, "interval", 0.2, MAX_SLEEP)

    async def stream() -> AsyncIterator[str]:
        for sequence in range(1, count + 1):
            yield f"id: {sequence}\nevent: tick\ndata: {sequence} of {count}\n\n"
            await asyncio.sleep(interval)
        yield "event: end\ndata: done\n\n"

    headers = {"cache-control": "no-store"}
    return StreamingResponse(stream(), media_type="text/event-stream", headers=headers)


async def upload(request: Request) -> Response:
    """Size and SHA-256 of the request body, which is never held as a whole."""
    digest = hashlib.sha256()
    size = 0
    async for chunk in request.stream():
        digest.update(chunk)
        size += len(chunk)
    return JSONResponse({"size": size, "sha256": digest.hexdigest()})


async def slow(request: Request) -> Response:
    """Answers after ``?seconds=1``; other requests of the connection do not wait for it."""
    seconds = number(request, "seconds", 1.0, MAX_SLEEP)
    await asyncio.sleep(seconds)
    return JSONResponse({"slept": seconds})


def number(request: Request, name: str, default: float, most: float) -> float:
    """A query parameter between 0 and ``most``; ``default`` when it is not given or no number."""
    try:
        value = float(request.query_params.get(name, default))
    except ValueError:
        return default
    return default if math.isnan(value) else min(max(value, 0.0), most)


app = Starlette(
    routes=[
        Route("/", index),
        Route("/api/request", describe),
        Route("/events", events),
        Route("/upload", upload, methods=["POST", "PUT"]),
        Route("/slow", slow),
    ],
    lifespan=lifespan,
)
