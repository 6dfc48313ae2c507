"""``timeouts.request`` of a route: how long it may be from a request's head to the end of its response.

The clock ticks twice a second, so nothing here is exact; the tests wait for what has to happen.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from sidegate.errors import Fault
from sidegate.observe import metrics
from tests.support.apps import Gate, Receive, Scope, Send, echo, hello, respond, wait_for_disconnect
from tests.support.clients import Client, Http2Client, Response, request
from tests.support.raw_server import OK, RawServer
from tests.support.relaying import pooled, running_front
from tests.support.running import Running, running, wait_for

REASON = "request_timeout"
ROUTES: dict[str, Any] = {
    "routes": [
        {"name": "patient", "path": "/patient", "backend": "app"},
        {"name": "all", "path": "/", "backend": "app", "timeouts": {"request": "200ms"}},
    ]
}


class Told:
    """An application that waits for the end of its client; what it did before is up to its path.

    ``/head``: the response has begun; ``/stubborn``: it goes on until ``release``, whatever it is told; ``/patient``
    does not wait.
    """

    def __init__(self) -> None:
        self.told = 0
        self.ended = 0
        self._released = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/patient":
            await respond(send, b"patient")
            return
        if scope["path"] == "/head":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await wait_for_disconnect(receive)
        self.told += 1
        while scope["path"] == "/stubborn" and not self._released:
            await asyncio.sleep(0.005)
        self.ended += 1

    def release(self) -> None:
        """Let the stubborn ones end."""
        self._released = True


def get(client: Client, path: str = "/") -> Response:
    return request(client, "GET", path)


def outcome(server: Running) -> tuple[int, Fault | None, str]:
    """Of the last exchange: its status, whose fault it was, and why."""
    wait_for(lambda: server.observer.records)
    record = server.observer.records[-1]
    return record.status, record.fault, record.reason


def errors(server: Running, fault: Fault) -> float:
    return server.count(metrics.EXCHANGE_ERRORS, "all", fault, REASON)


# In the same process.


def test_no_response_in_time_is_a_504(codec: str) -> None:
    app = Told()
    with running(app, codec, **ROUTES) as server:
        client = server.client(codec)
        response = get(client)
        assert (response.status, response.reset) == (504, False)
        assert response.body.startswith(b"504 Gateway Timeout: The response took longer than this server waits for it.")
        wait_for(lambda: app.told == 1)
        assert outcome(server) == (504, Fault.APPLICATION, REASON)
        assert errors(server, Fault.APPLICATION) == 1
        assert get(client, "/patient").body == b"patient"


def test_a_response_that_does_not_end_in_time_breaks_off(codec: str) -> None:
    app = Told()
    with running(app, codec, **ROUTES) as server:
        client = server.client(codec)
        response = get(client, "/head")
        assert (response.status, bytes(response.body), response.reset) == (200, b"begun", True)
        wait_for(lambda: app.told == 1)
        assert outcome(server) == (200, Fault.APPLICATION, REASON)
        if codec == "http1":
            wait_for(lambda: not server.connections)
        else:
            assert get(client, "/patient").body == b"patient"


def test_who_sends_after_the_end_is_told(codec: str) -> None:
    """By the error that ASGI has for it, as for a client that left."""
    failures: list[Exception] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await wait_for_disconnect(receive)
        try:
            await respond(send, b"late")
        except OSError as error:
            failures.append(error)
            raise

    with running(app, codec, **ROUTES) as server:
        assert get(server.client(codec)).status == 504
        wait_for(lambda: failures)
        assert outcome(server) == (504, Fault.APPLICATION, REASON)


def test_an_application_that_goes_on_holds_up_neither_its_record_nor_its_connection(codec: str) -> None:
    app = Told()
    with running(app, codec, **ROUTES) as server:
        client = server.client(codec)
        for count in (1, 2):
            assert get(client, "/stubborn").status == 504
            assert errors(server, Fault.APPLICATION) == count
            assert get(client, "/patient").body == b"patient"
        assert app.ended == 0
        assert server.count(metrics.IN_FLIGHT, "test") == 2, "they still take the place of a request"
        app.release()
        wait_for(lambda: len(server.observer.records) == 4)
        assert errors(server, Fault.APPLICATION) == 2
        assert get(client, "/patient").body == b"patient"


def test_a_pipelined_request_is_answered_after_the_504() -> None:
    app = Told()
    with running(app, **ROUTES) as server:
        sock = server.connect()
        sock.sendall(b"GET /stubborn HTTP/1.1\r\nhost: a\r\n\r\n")
        sock.sendall(b"GET /patient HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        received = until_closed(sock)
        assert received.startswith(b"HTTP/1.1 504 ")
        assert received.endswith(b"\r\n\r\npatient")
        app.release()


def until_closed(sock: socket.socket) -> bytes:
    received = b""
    while data := sock.recv(65536):
        received += data
    return received


def test_an_idle_client_behind_a_504_is_let_go_when_its_connection_is_old() -> None:
    """The application that goes on does not keep the connection open."""
    app = Told()
    with running(app, timeouts={"connectionLife": "1s"}, **ROUTES) as server:
        client = server.client("http1")
        assert get(client, "/stubborn").status == 504
        assert until_closed(client.sock) == b""
        assert app.ended == 0
        app.release()


def test_a_slow_upload_counts(codec: str) -> None:
    """Bytes that come all the time, each of them within ``bodyIdle``."""
    with running(echo, codec, **ROUTES) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/", [], end=False)
        while not server.observer.records:
            client.body(stream, b"x", end=False)
            threading.Event().wait(0.02)
        response = client.finish(stream)
        assert (response.status, response.reset) == (504, False)
        assert outcome(server) == (504, Fault.CLIENT, REASON)
        assert errors(server, Fault.CLIENT) == 1


def test_an_upload_that_goes_on_after_the_504_leaves_http1_usable() -> None:
    with running(echo, **ROUTES) as server:
        client = server.client("http1")
        stream = client.begin("POST", "/", [], end=False)
        assert client.finish(stream).status == 504
        client.body(stream, b"the rest", end=True)
        assert request(client, "POST", "/patient", b"again").body == b"again"


def test_a_download_that_is_taken_too_slowly_counts(codec: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})

    with running(app, codec, **ROUTES) as server:
        client = server.client(codec, credit=False)
        stream = client.begin("GET", "/", [], end=True)
        wait_for(lambda: errors(server, Fault.CLIENT))
        assert client.finish(stream).reset
        assert outcome(server) == (200, Fault.CLIENT, REASON)


def test_a_file_that_is_taken_too_slowly_counts(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(64 * 1024**2)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": str(path)})

    with running(app, **ROUTES) as server:
        client = server.client("http1")
        stream = client.begin("GET", "/", [], end=True)
        assert outcome(server)[2] == REASON
        assert client.finish(stream).reset
        wait_for(lambda: not server.connections)


def test_the_rest_of_a_complete_response_may_take_longer(engine: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, bytes(100_000))

    with running(app, engine, **ROUTES) as server:
        client = server.client(engine, credit=False)
        assert isinstance(client, Http2Client)
        stream = client.begin("GET", "/", [], end=True)
        threading.Event().wait(1.2)  # a few ticks
        client.state.increment_flow_control_window(100_000)
        client.state.increment_flow_control_window(100_000, stream)
        client.flush()
        response = client.finish(stream)
        assert (len(response.body), response.reset) == (100_000, False)
        assert outcome(server) == (200, None, "")


def test_a_route_without_a_timeout_waits(codec: str) -> None:
    gate = Gate()
    routes = [{**ROUTES["routes"][1], "path": "/wait/not"}, {"name": "patient", "path": "/", "backend": "app"}]
    with running(gate, codec, routes=routes) as server:
        client = server.client(codec)
        stream = client.begin("GET", "/wait", [], end=True)
        impatient = server.client(codec)
        assert get(impatient, "/wait/not").status == 504
        gate.open()
        assert client.finish(stream).status == 200


def test_no_route_has_no_timeout(codec: str) -> None:
    with running(hello, codec, routes=[{**ROUTES["routes"][1], "path": "/here"}]) as server:
        client = server.client(codec)
        assert get(client, "/elsewhere").status == 404
        assert get(client, "/here").status == 200


def test_an_application_that_a_client_left_is_not_timed_out(codec: str) -> None:
    app = Told()
    with running(app, codec, **ROUTES) as server:
        client = server.client(codec)
        stream = client.begin("GET", "/stubborn", [], end=True)
        wait_for(lambda: server.observer.open)
        if isinstance(client, Http2Client):
            client.reset(stream, 0)
        else:
            client.close()
        wait_for(lambda: app.told)
        threading.Event().wait(1.2)  # a few ticks
        app.release()
        assert outcome(server) == (0, Fault.CLIENT, "client_disconnected")


# Elsewhere.


def test_a_worker_that_takes_too_long_is_told(codec: str, tmp_path: Path) -> None:
    app = Told()
    with pooled(app, tmp_path, codec, **ROUTES) as (front, worker):
        client = front.client(codec)
        response = get(client)
        assert (response.status, response.reset) == (504, False)
        wait_for(lambda: app.ended == 1)
        assert outcome(front) == (504, Fault.UPSTREAM, REASON)
        assert errors(front, Fault.UPSTREAM) == 1
        wait_for(lambda: worker.observer.records)
        assert worker.observer.records[0].reason == "client_disconnected"
        assert front.count(metrics.BACKEND_IN_FLIGHT, "app") == 0
        assert get(client, "/patient").body == b"patient"


def test_a_response_that_a_worker_does_not_end_in_time_breaks_off(codec: str, tmp_path: Path) -> None:
    app = Told()
    with pooled(app, tmp_path, codec, **ROUTES) as (front, _):
        response = get(front.client(codec), "/head")
        assert (response.status, bytes(response.body), response.reset) == (200, b"begun", True)
        wait_for(lambda: app.ended == 1)
        assert outcome(front) == (200, Fault.UPSTREAM, REASON)


def test_a_worker_does_not_judge_again(tmp_path: Path) -> None:
    """Its config has the time, for its threads; what a front waits for, it waits for, too."""
    with pooled(hello, tmp_path, **ROUTES) as (front, worker):
        assert get(front.client("http1"), "/patient").status == 200
        assert front.runtime._listeners[0].service.enforces_request_timeouts
        assert not worker.runtime._listeners[0].service.enforces_request_timeouts


def test_the_time_in_the_queue_counts(codec: str) -> None:
    with running_front(codec, backend={"queue": {"timeout": "5m"}}, **ROUTES) as front:
        client = front.client(codec)
        assert get(client).status == 504
        assert outcome(front) == (504, Fault.UPSTREAM, REASON)
        assert front.count(metrics.BACKEND_QUEUE, "app") == 0


def test_a_late_answer_of_a_worker_goes_nowhere(codec: str, tmp_path: Path) -> None:
    with RawServer(tmp_path) as server, running_front(codec, **ROUTES) as front:
        front.set_workers((1, server.path))
        peer = server.accept()
        client = front.client(codec)
        stream = client.begin("GET", "/", [], end=True)
        number, _ = peer.request()
        assert client.finish(stream).status == 504
        reset = peer.read_until(0x3)
        assert (reset.stream_id, reset.error_code) == (number, 0x8), "RST_STREAM(CANCEL)"
        peer.send(peer.head(number, OK, end=True))
        stream = client.begin("GET", "/patient", [], end=True)
        number, _ = peer.request()
        peer.answer(number, b"in time")
        assert client.finish(stream).body == b"in time"


def test_an_upload_to_a_worker_that_takes_too_long_is_ended(codec: str, tmp_path: Path) -> None:
    with pooled(echo, tmp_path, codec, **ROUTES) as (front, worker):
        client = front.client(codec)
        stream = client.begin("POST", "/", [], end=False)
        client.body(stream, b"begin", end=False)
        assert client.finish(stream).status == 504
        assert outcome(front) == (504, Fault.CLIENT, REASON)
        wait_for(lambda: worker.observer.records)
        assert not worker.observer.open
        client.close()


@pytest.mark.parametrize("length", [5, 100_000], ids=["gathered", "passed on"])
def test_an_announced_upload_that_stops(codec: str, length: int, tmp_path: Path) -> None:
    """A small body is waited for before a worker is asked."""
    with pooled(echo, tmp_path, codec, **ROUTES) as (front, _):
        client = front.client(codec)
        stream = client.begin("POST", "/", [(b"content-length", b"%d" % length)], end=False)
        client.body(stream, b"x", end=False)
        assert client.finish(stream).status == 504
        assert outcome(front) == (504, Fault.CLIENT, REASON)
        client.close()
