"""Applications whose import and whose factory do what fails within a running event loop.

They answer whether the event loop of the import, or of the factory, is the one that serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import django
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connection

IMPORT_LOOP = asyncio.get_event_loop()


async def pause() -> str:
    await asyncio.sleep(0)
    return "ran"


def query() -> None:
    """Django refuses it where an event loop runs."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()
query()
assert asyncio.run(pause()) == "ran"
assert async_to_sync(pause)() == "ran"


async def respond(receive: Any, send: Any, loop: asyncio.AbstractEventLoop) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(loop is asyncio.get_running_loop()).encode()})


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await respond(receive, send, IMPORT_LOOP)


def make() -> Any:
    """A factory."""
    query()
    loop = asyncio.get_event_loop()  # not closed and not replaced, although the import called `asyncio.run`
    assert asyncio.run(pause()) == "ran"
    assert async_to_sync(pause)() == "ran"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await respond(receive, send, loop)

    return app


def wsgi(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [str(IMPORT_LOOP.is_running()).encode()]
