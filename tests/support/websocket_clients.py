"""Real WebSocket clients that hold the same conversation: Python's websockets, node's ws, a browser's own."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.support.chromium import Chromium
from tests.support.programs import program

SCRIPT = Path(__file__).with_name("websocket_client.js")
PATIENCE = 60.0

Data = str | dict[str, list[int]]
"""A text, or bytes under the key ``bytes``, as JSON has no bytes."""


@dataclass(frozen=True)
class Conversation:
    """Messages that the client sends at once; when as many have come back it closes with ``code`` and "bye".

    Without messages the server has to close.
    """

    url: str
    protocols: Sequence[str] = ()
    messages: Sequence[Data] = ()
    code: int = 4000


@dataclass(frozen=True)
class Told:
    """What the client saw. ``error``: of a handshake that was refused, as far as the client says."""

    opened: bool
    code: int
    reason: str = ""
    received: list[Data] = field(default_factory=list)
    protocol: str = ""
    extensions: str = ""
    error: str = ""


def unverified() -> ssl.SSLContext:
    """For the development certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # no authorities: loading them takes longer than the rest
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def by_websockets(talk: Conversation, headers: dict[str, str] | None = None) -> Told:
    """By Python's websockets, over HTTP/1.1.

    Not by its threads: they read and write one TLS connection at the same time, for which Python's ssl has a lock only
    since 3.13.1. Before, a request is now and then lost in the client.
    """
    return asyncio.run(_by_websockets(talk, headers))


async def _by_websockets(talk: Conversation, headers: dict[str, str] | None) -> Told:
    context = unverified() if talk.url.startswith("wss:") else None
    protocols = [Subprotocol(name) for name in talk.protocols]
    received: list[Data] = []
    try:
        opening = partial(connect, ssl=context, additional_headers=headers, proxy=None, open_timeout=PATIENCE)
        async with opening(talk.url, subprotocols=protocols) as socket:
            extensions = ", ".join(extension.name for extension in socket.protocol.extensions)
            for message in talk.messages:
                await socket.send(message if isinstance(message, str) else bytes(message["bytes"]))
            try:
                while not talk.messages or len(received) < len(talk.messages):
                    data = await asyncio.wait_for(socket.recv(), PATIENCE)
                    received.append(data if isinstance(data, str) else {"bytes": list(data)})
                await socket.close(talk.code, "bye")
            except ConnectionClosed:
                pass
            code, reason = socket.close_code, socket.close_reason
            assert code is not None
            return Told(True, code, reason or "", received, socket.subprotocol or "", extensions)
    except InvalidStatus as refused:
        return Told(False, 1006, error=str(refused))


def by_node(talks: Sequence[Conversation]) -> list[Told]:
    """By node's ws, over HTTP/1.1, all at once; skips the test if there is no node or no ws."""
    place = Path(sys.prefix) / "node" / "node_modules" / "ws"
    if not place.exists():
        pytest.skip("node's package ws could not be installed")
    result = subprocess.run(
        [program("node"), str(SCRIPT), str(place)],
        input=json.dumps([asdict(talk) for talk in talks]),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [Told(**told) for told in json.loads(result.stdout)]


async def by_chromium(browser: Chromium, talks: Sequence[Conversation]) -> list[Told]:
    """By the page that the browser shows, all at once."""
    await browser.evaluate(f"{SCRIPT.read_text()}; window.converse = converse; true")
    conversations = json.dumps([asdict(talk) for talk in talks])
    told = await browser.evaluate(f"Promise.all({conversations}.map((one) => converse(WebSocket, one)))")
    return [Told(**one) for one in told]
