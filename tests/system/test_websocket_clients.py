"""Real clients hold a conversation with the applications of real frameworks: in the front, in a pool, behind h2c."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any

import pytest
from websocket_common import ABOUT_CODE, ABOUT_REASON, FIRST, SECOND

from tests.conftest import Serve
from tests.support.chromium import Chromium
from tests.support.lifecycle import wait_until
from tests.support.pools import worker_command
from tests.support.programs import output_of, program
from tests.support.server import APPS, Sidegate, http_get, listener
from tests.support.websocket_clients import (
    PATIENCE,
    Conversation,
    Told,
    by_chromium,
    by_node,
    by_websockets,
    unverified,
)

FRAMEWORKS = ("plain", "starlette", "fastapi", "quart", "channels")
BEHIND_H2C = ("plain", "channels")
WAYS = [
    *((framework, where) for framework in FRAMEWORKS for where in ("front", "pool")),
    *((framework, "h2c") for framework in BEHIND_H2C),
]
# The empty one first: over HTTP/2 Chromium forgets an empty message behind one that it is still sending.
MESSAGES = ("", "hällo ☃", {"bytes": list(range(256))}, "a longer text, again. " * 10_000)
LISTENERS = ("http", "https")


def app_of(framework: str) -> str:
    return f"websocket_{framework}:app"


@pytest.fixture(scope="module")
def server(serve_module: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidegate]:
    """Every framework everywhere. A path like ``/quart-pool/echo`` says who answers."""
    folder = tmp_path_factory.mktemp("websocket")
    backends: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        for framework in FRAMEWORKS:
            app = {"app": app_of(framework), "directory": str(APPS), "interface": "asgi"}
            backends[f"{framework}-front"] = app
            backends[f"{framework}-pool"] = {**app, "pool": {}}
        for framework in BEHIND_H2C:
            address = f"unix:{folder}/{framework}.sock"
            command = worker_command(address, app=app_of(framework))
            log = stack.enter_context((folder / f"{framework}.log").open("wb"))
            worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            stack.callback(worker.wait)
            stack.callback(worker.terminate)
            backends[f"{framework}-h2c"] = {"h2c": address}
        yield serve_module(
            {
                "listeners": [listener(), listener(name="https", tls={"selfSigned": True})],
                "backends": backends,
                "routes": [{"name": name, "path": f"/{name}", "backend": name} for name in backends],
                "logging": {"accessLog": "json"},
            }
        )


def url(server: Sidegate, framework: str, where: str, rest: str, name: str = "http") -> str:
    """A WebSocket's."""
    return re.sub("^http", "ws", server.url(f"/{framework}-{where}/{rest}", name))


def talks(server: Sidegate, name: str = "http") -> list[Conversation]:
    """One of each kind with every application: an echo, a server that closes, a denial."""
    return [
        conversation
        for way in WAYS
        for conversation in (
            Conversation(url(server, *way, "echo", name), [FIRST, SECOND], MESSAGES),
            Conversation(url(server, *way, "about?a=%20b", name), [FIRST]),
            Conversation(url(server, *way, "denied", name)),
        )
    ]


def judge(told: Sequence[Told], name: str, http_version: str) -> None:
    """Assert that ``talks`` went as they should."""
    for number, (framework, where) in enumerate(WAYS):
        echo, about, denied = told[3 * number : 3 * number + 3]
        label = f"{framework}-{where}"
        assert echo.received == list(MESSAGES), label
        assert (echo.opened, echo.protocol, echo.code, echo.reason) == (True, SECOND, 4000, "bye"), label
        assert echo.extensions.startswith("permessage-deflate"), label
        assert (about.opened, about.code, about.reason) == (True, ABOUT_CODE, ABOUT_REASON), label
        (text,) = about.received
        assert isinstance(text, str)
        seen = json.loads(text)
        assert (seen["framework"], seen["type"], seen["http_version"]) == (framework, "websocket", http_version), label
        assert seen["scheme"] == ("wss" if name == "https" else "ws"), label
        assert (seen["path"], seen["query"]) == (f"/{label}/about", "a=%20b")
        assert (seen["client"], seen["subprotocols"]) == ("127.0.0.1", [FIRST]), label
        assert not denied.opened, label
        assert denied.error, label


@pytest.mark.parametrize("name", LISTENERS)
def test_python_websockets(server: Sidegate, name: str) -> None:
    told = [by_websockets(talk) for talk in talks(server, name)]
    judge(told, name, "1.1")
    assert all("403" in denied.error for denied in told[2::3])


@pytest.mark.parametrize("name", LISTENERS)
def test_node_ws(server: Sidegate, name: str) -> None:
    told = by_node(talks(server, name))
    judge(told, name, "1.1")
    assert all("403" in denied.error for denied in told[2::3])


@pytest.mark.parametrize(("name", "http_version"), [("https", "2"), ("http", "1.1")])
def test_chromium(server: Sidegate, tmp_path: Path, name: str, http_version: str) -> None:
    """Over HTTP/2 a browser needs a connection that it already has: the page's."""
    told = asyncio.run(_by_chromium(server, tmp_path, name))
    judge(told, name, http_version)
    if http_version == "2":
        assert '/channels-h2c/echo","protocol":"2","status":200' in server.wait_log("/channels-h2c/echo")


async def _by_chromium(server: Sidegate, folder: Path, name: str) -> list[Told]:
    async with Chromium(folder) as browser:
        await browser.open(server.url("/plain-front/page", name))
        return await by_chromium(browser, talks(server, name))


HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
}


def curl(server: Sidegate, path: str, headers: dict[str, str]) -> list[str]:
    """The command. curl itself knows nothing of WebSockets here, and shows what follows a 101 as it comes."""
    fields = [argument for name, value in headers.items() for argument in ("-H", f"{name}: {value}")]
    return [program("curl"), "--silent", "--include", "--no-buffer", "--http1.1", *fields, server.url(path)]


@pytest.mark.parametrize("where", ["front", "pool", "h2c"])
def test_curl_upgrades(server: Sidegate, where: str) -> None:
    with subprocess.Popen(curl(server, f"/plain-{where}/about", HANDSHAKE), stdout=subprocess.PIPE) as process:
        assert isinstance(process.stdout, BufferedReader)
        seen = b""
        while ABOUT_REASON.encode() not in seen:
            piece = process.stdout.read1()
            assert piece, seen
            seen += piece
        process.kill()
    head, _, frames = seen.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"ICX+Yqv66kxgM0FcWaLWlFLwTAI=" in head, "RFC 6455 4.2.2: SHA-1 of the key and the GUID"
    assert frames[:1] == b"\x81"
    assert b'"framework": "plain"' in frames


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"Sec-WebSocket-Version": "12"}, 426, "sec-websocket-version: 13"),
        ({"Sec-WebSocket-Key": "c2hvcnQ="}, 400, ""),
    ],
)
def test_curl_is_told_what_is_wrong(server: Sidegate, change: dict[str, str], status: int, field: str) -> None:
    """And the connection lives: the second URL is fetched over the same."""
    command = curl(server, "/plain-front/echo", {**HANDSHAKE, **change})
    output = output_of(*command, server.url("/plain-front/last"), "--write-out", "%{http_code} %{num_connects};")
    assert output.lower().startswith(f"http/1.1 {status} ")
    assert field in output.lower()
    assert re.findall(r"(\d+) (\d);", output) == [(str(status), "1"), (str(status), "0")], output


CLOSE = b"\x88\x82" + bytes(4) + (1000).to_bytes(2, "big")
NOT_MASKED = b"\x81\x01x"


@pytest.mark.parametrize("where", ["front", "pool"])
@pytest.mark.parametrize(
    ("path", "frame", "last"),
    [
        ("echo", CLOSE, b"\x88\x02\x03\xe8"),
        ("echo", NOT_MASKED, b"\x88"),
        ("denied", b"", b"403 Forbidden"),
    ],
)
def test_over_tls_the_server_announces_the_end(
    server: Sidegate, where: str, path: str, frame: bytes, last: bytes
) -> None:
    """A client of a WebSocket waits for it (RFC 6455 7.1.1); a connection that is only cut raises an error here."""
    fields = {**HANDSHAKE, "Host": "localhost", "Connection": "Upgrade, close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    with (
        socket.create_connection(("127.0.0.1", server.port("https")), timeout=PATIENCE) as plain,
        unverified().wrap_socket(plain, suppress_ragged_eofs=False) as sock,
    ):
        sock.sendall(f"GET /plain-{where}/{path} HTTP/1.1\r\n{head}\r\n".encode() + frame)
        seen = b""
        while piece := sock.recv(65536):
            seen += piece
    assert last in seen


def closed_with(url: str, code: int) -> bool:
    """Whether the application at ``url`` was told this code."""
    return bool(json.loads(http_get(url)[1]) == {"code": code})


def test_the_application_is_told_how_its_client_closed(server: Sidegate) -> None:
    for number, (framework, where) in enumerate(WAYS):
        if framework != "quart":  # it keeps the code to itself
            code = 4100 + number
            by_websockets(Conversation(url(server, framework, where, "echo"), (), ["x"], code))
            seen = server.url(f"/{framework}-{where}/last")
            wait_until(partial(closed_with, seen, code), f"{code} in {seen}")
