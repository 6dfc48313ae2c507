"""Answers ``/large`` with a message of 10 MiB that it makes for each request."""

from __future__ import annotations

from typing import Any

SIZE = 10 * 1024 * 1024


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Every other path is the body of its response."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        body = b"x" * SIZE if scope["path"] == "/large" else scope["path"].encode()
        await send({"type": "http.response.body", "body": body})
