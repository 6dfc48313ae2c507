"""What is true of a WebSocket whose application is in a pool only, or in another way than in the front itself."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.support.apps import Receive, Scope, Send
from tests.support.relaying import RunPool
from tests.support.running import only_record, wait_for
from tests.support.websocket import Keeping, accept, connect, echo

pytestmark = pytest.mark.pool_only("a front and a worker have a record each, and each drains and ends by itself")


def test_what_is_recorded(codec: str, running: RunPool) -> None:
    """In the front: what the client saw. The worker has its own record."""
    with running(echo, codec) as server:
        ws = connect(server, codec, "/path")
        assert ws.echoed(b"12345") == b"12345"
        ws.close(1000)
        record = only_record(server.front)
        inner = only_record(server)
    assert record.status == (101 if codec == "http1" else 200)
    assert (record.fault, record.reason, record.target) == (None, "", b"/path")
    assert (record.bytes_in, record.bytes_out) == (6 + 5 + 6 + 2, 2 + 5 + 2 + 2)
    assert (inner.bytes_in, inner.bytes_out, inner.request_id) == (record.bytes_in, record.bytes_out, record.request_id)


def test_an_end_without_a_close_frame_is_1006(codec: str, running: RunPool) -> None:
    """To a worker the end of the stream is the end of the front, so it says 1001 to whoever may still listen."""
    app = Keeping()
    with running(app, codec) as server:
        ws = connect(server, codec)
        ws.send("x")
        ws.line.end()
        assert ws.closed().code == (1006 if codec == "http1" else 1001)
        wait_for(lambda: app.ends)
        only_record(server)
    assert app.ends == [(1006, "")]


def test_a_drain_closes_with_1001(codec: str, running: RunPool) -> None:
    """The front's end does not wait for the clients' answers, so applications are told 1006."""
    app = Keeping()
    with running(app, codec) as server:
        opened = [connect(server, codec) for _ in range(3)]
        drain = threading.Thread(target=server.drain)
        drain.start()
        assert [ws.closed() for ws in opened] == [(1001, "", False)] * 3
        drain.join()
        wait_for(lambda: len(app.ends) == 3)
    assert app.ends == [(1006, "")] * 3


def test_what_is_left_at_the_end_of_the_grace_period_is_cut(codec: str, running: RunPool) -> None:
    """The front does not wait for an application elsewhere; its worker has a grace period of its own."""
    told: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        told.append(await receive())
        await asyncio.sleep(60)

    with running(app, codec, websocketDrain="0s") as server:
        ws = connect(server, codec)
        drain = threading.Thread(target=server.drain)
        drain.start()
        assert ws.closed().code == 1001
        drain.join()
        assert only_record(server.front).fault is None
        wait_for(lambda: told)
    assert told == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


def test_a_worker_that_drains_says_1001_itself(codec: str, running: RunPool) -> None:
    app = Keeping()
    with running(app, codec) as server:
        ws = connect(server, codec)
        drain = threading.Thread(target=server.worker.drain)
        drain.start()
        assert ws.closed() == (1001, "", False)
        drain.join()
    assert app.ends == [(1001, "")]


def test_a_worker_that_is_lost_breaks_its_websockets_off(codec: str, running: RunPool) -> None:
    app = Keeping()
    with running(app, codec) as server:
        ws = connect(server, codec)
        server.worker.run(abort(server.worker))
        assert ws.closed().code in (1001, 1006)
        record = only_record(server.front)
    assert record.status == (101 if codec == "http1" else 200)


async def abort(worker: Any) -> None:
    """Cut its connections."""
    for connection in worker.connections:
        connection.transport.abort()
