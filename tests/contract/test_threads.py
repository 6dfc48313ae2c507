"""``send`` and ``receive`` in another thread than the event loop's: ASGI gives no guarantee, and nothing may hang."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support import websocket
from tests.support.apps import Receive, Scope, Send, read_body, respond
from tests.support.clients import contains, request
from tests.support.running import Run, RunningServer

START: Any = {"type": "http.response.start", "status": 200, "headers": []}
BODY: Any = {"type": "http.response.body", "body": b"hello"}
REFUSAL = "{}() was awaited in the thread 'another', which does not run the event loop of this application."


async def elsewhere(call: Callable[[], Awaitable[Any]]) -> Any:
    """Await ``call()`` on a loop of its own in another thread; what it returned or raised."""
    found: list[Any] = []

    async def caught() -> None:
        try:
            found.append(await call())
        except Exception as error:  # noqa: BLE001 - the test looks at it
            found.append(error)

    thread = threading.Thread(target=lambda: asyncio.run(caught()), name="another")
    thread.start()
    await asyncio.get_running_loop().run_in_executor(None, thread.join)
    return found[0]


def debug(server: RunningServer) -> None:
    """asyncio's debug mode checks the thread, too, but only when it is too late."""
    front: Any = getattr(server, "front", server)
    for one in (front, getattr(server, "worker", front)):
        one._loop.set_debug(True)


@pytest.mark.parametrize("in_debug_mode", [False, True])
def test_send_and_receive_are_refused_in_another_thread(codec: str, running: Run, in_debug_mode: bool) -> None:
    found: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.extend([await elsewhere(receive), await elsewhere(lambda: send(START))])
        assert await read_body(receive) == b"sent"
        await send(START)
        found.append(await elsewhere(lambda: send(BODY)))
        await send(BODY)

    with running(app, codec) as server:
        if in_debug_mode:
            debug(server)
        client = server.client(codec)
        for _ in range(2):
            response = request(client, "POST", "/", b"sent")
            assert (response.status, response.body, response.reset) == (200, b"hello", False)
            assert [type(error) for error in found] == [RuntimeError] * 3
            assert str(found[0]).startswith(REFUSAL.format("receive"))
            assert str(found[1]).startswith(REFUSAL.format("send"))
            assert "asyncio.run_coroutine_threadsafe(send(…), loop)" in str(found[2])
            found.clear()


def test_a_refusal_that_is_not_caught_is_the_applications_error(codec: str, running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        error = await elsewhere(lambda: send(START))
        raise error

    with running(app, codec) as server:
        assert request(server.client(codec), "GET", "/").status == 500


def test_a_thread_may_send_by_the_loop(codec: str, running: Run) -> None:
    """The usual way: only what ``send`` and ``receive`` return is awaited on the loop."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()

        def work() -> None:
            received: Any = asyncio.run_coroutine_threadsafe(receive(), loop).result(60)  # type: ignore[arg-type]
            assert received["body"] == b"sent"
            for message in (START, {**BODY, "more_body": True}, BODY):
                asyncio.run_coroutine_threadsafe(send(message), loop).result(60)  # type: ignore[arg-type]

        await loop.run_in_executor(None, work)

    with running(app, codec) as server:
        response = request(server.client(codec), "POST", "/", b"sent")
        assert (response.status, response.body) == (200, b"hellohello")


def test_a_websocket_in_another_thread(codec: str, running: Run) -> None:
    found: list[Any] = []
    text: Any = {"type": "websocket.send", "text": "from the loop"}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        found.extend([await elsewhere(receive), await elsewhere(lambda: send({"type": "websocket.accept"}))])
        await websocket.accept(receive, send)
        found.append(await elsewhere(lambda: send(text)))

        def work() -> None:
            asyncio.run_coroutine_threadsafe(send(text), loop).result(60)  # type: ignore[arg-type]

        await loop.run_in_executor(None, work)
        assert (await receive())["text"] == "done"

    with running(app, codec) as server:
        debug(server)
        ws = websocket.connect(server, codec)
        assert ws.receive() == "from the loop"
        ws.send("done")
        assert ws.closed().code == 1000
        assert [type(error) for error in found] == [RuntimeError] * 3
        assert [str(error).partition("(")[0] for error in found] == ["receive", "send", "send"]


def test_a_request_of_a_stream_goes_on_beside_one_in_a_thread(codec: str, running: Run) -> None:
    """What the other thread may not do changes nothing for the response that is under way."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/other":
            await respond(send, b"other")
            return
        await send(START)
        await send({**BODY, "more_body": True})
        assert type(await elsewhere(lambda: send({**BODY, "body": b"lost"}))) is RuntimeError
        await send({**BODY, "body": b" again"})

    with running(app, codec) as server:
        client = server.client(codec)
        stream = client.begin("GET", "/", [], end=True)
        client.until(stream, contains(b"hello"))
        assert client.finish(stream).body == b"hello again"
        assert request(client, "GET", "/other").body == b"other"
