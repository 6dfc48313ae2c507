"""Socket.IO's own client and server, by each transport: in the front and in a pool."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import socketio

from tests.conftest import Serve
from tests.support.server import APPS, listener

PATIENCE = 30.0


@pytest.mark.parametrize("transports", [["websocket"], ["polling", "websocket"]], ids="-".join)
@pytest.mark.parametrize("pool", [None, {}], ids=["front", "pool"])
def test_a_conversation(serve: Serve, pool: dict[str, Any] | None, transports: list[str]) -> None:
    app = {"app": "websocket_socketio:app", "directory": str(APPS), **({} if pool is None else {"pool": pool})}
    server = serve(
        {
            "listeners": [listener()],
            "backends": {"app": app},
            "routes": [{"name": "all", "backend": "app"}],
        }
    )
    assert asyncio.run(converse(server.url(), transports)) == {"text": "LOUDER", "transport": "websocket"}


async def converse(url: str, transports: list[str]) -> Any:
    """What the server acknowledges once the client uses a WebSocket."""
    async with asyncio.timeout(PATIENCE):
        client = socketio.AsyncClient(reconnection=False)
        await client.connect(url, transports=transports, wait_timeout=PATIENCE)
        try:
            while client.transport() != "websocket":  # the upgrade of a polling session goes on beside
                await asyncio.sleep(0.05)
            return await client.call("shout", "louder", timeout=PATIENCE)
        finally:
            await client.disconnect()
