"""What a front buffers for ASGI applications, and for servers that run elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidegate.wire.hop import THREADS_SETTING
from tests.contract.test_relay import REFUSED, either, front_and_peer, front_and_two, post, retries
from tests.support import http2
from tests.support.apps import Receive, Scope, Send, respond
from tests.support.clients import request
from tests.support.running import Run, only_record, wait_for

FILE = 300_000
"""More than is buffered in memory."""

ON = {"bodyBuffering": "on"}


@pytest.mark.parametrize("size", [0, 3, FILE])
def test_an_asgi_application_gets_a_complete_body(codec: str, running: Run, size: int) -> None:
    after: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        lengths = [int(value) for name, value in scope["headers"] if name == b"content-length"]
        body, more = bytearray(), True
        while more:
            message = await receive()
            assert message["type"] == "http.request"
            body += message["body"]
            more = message["more_body"]
        assert lengths == [len(body)]
        await respond(send, body=bytes(body))
        after.append((await receive())["type"])

    with running(app, codec, backend=ON) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/", [], end=False)
        client.body(stream, b"x" * size, end=True)
        response = client.finish(stream)
        assert (response.status, response.body) == (200, b"x" * size)
        wait_for(lambda: after == ["http.disconnect"])


def test_an_asgi_application_is_not_called_before_the_end(codec: str, running: Run) -> None:
    called: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        called.append(scope["path"])
        await respond(send)

    with running(app, codec, backend=ON) as server:
        slow = server.client(codec)
        stream = slow.begin("POST", "/slow", [], end=False)
        slow.body(stream, b"x", end=False)
        wait_for(lambda: any(record.bytes_in for record in server.observer.open))
        other = server.client(codec)
        assert request(other, "GET", "/fast").status == 200
        leaving = server.client(codec)
        leaving.begin("POST", "/leaves", [], end=False)
        wait_for(lambda: len(server.observer.open) >= 2)
        leaving.close()
        only_record(server)
        slow.body(stream, b"y", end=True)
        assert slow.finish(stream).status == 200
    assert called == ["/fast", "/slow"]


def test_a_worker_says_that_its_application_runs_on_threads(codec: str, tmp_path: Path) -> None:
    """So ``auto`` buffers also for ``sidegate worker`` behind ``h2c``."""
    with front_and_peer(tmp_path, codec, (THREADS_SETTING, 1)) as (front, _, peer):
        wait_for(lambda: front.upstream_connections()[0]["ready"])
        client, stream = post(front, codec)
        client.body(stream, b"one", end=False)
        wait_for(lambda: any(record.bytes_in for record in front.observer.open))
        assert front.upstream_connections()[0]["requests"] == 0
        client.body(stream, b"two", end=True)
        number, head = peer.request()
        assert head[b"content-length"] == b"6"
        assert peer.body(6) == b"onetwo"
        peer.answer(number)
        assert client.finish(stream).status == 200


def test_a_buffered_body_is_sent_again_from_its_file(codec: str, tmp_path: Path) -> None:
    body = b"".join(b"%9d\n" % number for number in range(FILE // 10))
    with front_and_two(tmp_path, codec, backend=ON) as (front, peers):
        client, stream = post(front, codec)
        client.body(stream, body, end=True)
        first, number = either(peers)
        first.body(60_000)
        first.send(http2.rst_stream(number, REFUSED))
        second = peers[1 - peers.index(first)]
        again, head = second.request()
        assert head[b"content-length"] == b"%d" % len(body)
        second.send(http2.window_update(0, 1 << 20), http2.window_update(again, 1 << 20))
        assert second.body(len(body)) == body
        second.answer(again)
        assert client.finish(stream).status == 200
        assert retries(front, "refused") == 1
