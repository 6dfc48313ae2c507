"""A Socket.IO server: python-socketio checks a handshake's ``connection`` and ``upgrade`` before it accepts one."""

from __future__ import annotations

import socketio

server = socketio.AsyncServer(async_mode="asgi")
app = socketio.ASGIApp(server)


@server.event
async def connect(session: str, environ: dict[str, object]) -> None:
    """Tell the client which transport it connected by."""
    await server.emit("hello", {"transport": server.transport(session)}, to=session)


@server.event
async def shout(session: str, text: str) -> dict[str, str]:
    """Acknowledge with the text in upper case and the transport that carried it."""
    return {"text": text.upper(), "transport": server.transport(session)}
