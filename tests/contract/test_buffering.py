"""What a front buffers for ASGI applications, and for servers that run elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidegate.wire.hop import THREADS_SETTING
from tests.contract.test_relay import (
    MAX_CONCURRENT_STREAMS,
    REFUSED,
    either,
    front_and_peer,
    front_and_two,
    post,
    retries,
)
from tests.support import http2
from tests.support.apps import Receive, Scope, Send, respond
from tests.support.clients import request
from tests.support.raw_server import OK
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


LARGE = 16 << 20
"""More than the kernel's socket buffers and the memory of a buffer hold."""

BLOCK = 1 << 16


async def send_large(send: Send, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
    for number in range(LARGE // BLOCK):
        await send({"type": "http.response.body", "body": bytes([number]) * BLOCK, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


EXPECTED = b"".join(bytes([number]) * BLOCK for number in range(LARGE // BLOCK))


@pytest.mark.parametrize("fails", [False, True])
def test_an_asgi_application_need_not_wait_for_a_slow_client(
    codec: str, running: Run, fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_large(send)
        sent.append(scope["path"])
        if fails:
            raise LookupError("after the response")

    with running(app, codec, backend={"responseBuffering": "on"}) as server:
        client = server.client(codec)
        stream = client.begin("GET", "/", [], end=True)
        wait_for(lambda: sent)
        response = client.finish(stream)
        assert (response.status, response.reset) == (200, False)
        assert response.body == EXPECTED
        only_record(server)
    assert ("after the response" in caplog.text) is fails


def test_an_asgi_application_waits_if_it_refuses_buffering(codec: str, running: Run) -> None:
    sent: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/large":
            await send_large(send, (b"x-accel-buffering", b"no"))
        else:
            await respond(send)
        sent.append(scope["path"])

    with running(app, codec, backend={"responseBuffering": "on"}) as server:
        client = server.client(codec)
        stream = client.begin("GET", "/large", [], end=True)
        client.until(stream, lambda response: response.status)
        assert request(server.client(codec), "GET", "/").status == 200
        assert sent == ["/"]
        assert client.finish(stream).body == EXPECTED


def test_a_server_of_a_foreign_kind_is_waited_for_unless_told(engine: str, tmp_path: Path) -> None:
    """``auto`` does not buffer what no threads make; the slow client's window stops the server."""
    for mode, buffered in (("auto", False), ("on", True)):
        folder = tmp_path / mode
        folder.mkdir()
        backend = {"responseBuffering": mode, "queue": {"size": 0}}
        with front_and_peer(folder, engine, (MAX_CONCURRENT_STREAMS, 1), backend=backend) as (front, _, peer):
            client = front.client(engine, credit=False)
            stream = client.begin("GET", "/", [], end=True)
            number, _ = peer.request()
            peer.send(peer.head(number, OK), *(http2.data(number, bytes(1 << 14)) for _ in range(12)))
            peer.send(http2.data(number, b"", end=True))
            if buffered:
                wait_for(lambda: front.upstream_connections()[0]["requests"] == 0)
            else:
                client.until(stream, lambda response: len(response.received) > 60_000)
                assert request(front.client(engine), "GET", "/").status == 503  # the queue has no room
                assert front.upstream_connections()[0]["requests"] == 1
            client.close()
