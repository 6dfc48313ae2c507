"""``limits.exchanges``: what is too much is answered at once, what was taken goes on, and every connection is kept."""

from __future__ import annotations

import pytest

from proxy.errors import Fault
from proxy.observe import metrics
from proxy.wire.http1 import DRAIN
from tests.support.apps import Gate
from tests.support.clients import Client, Fields, Http2Client, Response, request
from tests.support.running import Running, running, wait_for


def shed(server: Running) -> float:
    """How many requests were refused for want of room."""
    return server.count(metrics.EXCHANGE_ERRORS, "", Fault.PROXY, "overload")


def hold(server: Running, codec: str, gate: Gate, number: int) -> list[tuple[Client, int]]:
    """So many requests, each on a connection of its own, that the application has and does not answer yet."""
    held = []
    for _ in range(number):
        client = server.client(codec)
        held.append((client, client.begin("GET", "/wait", [], end=True)))
    wait_for(lambda: gate.waiting == number)
    return held


def assert_shed(response: Response) -> None:
    assert (response.status, response.reset) == (503, False)
    assert response.get(b"retry-after") == b"1"
    assert response.body.startswith(b"503 Service Unavailable: ")
    assert response.informational == []


def test_one_more_than_the_limit_is_answered_at_once(codec: str) -> None:
    gate = Gate()
    with running(gate, codec, limits={"exchanges": 2}) as server:
        held = hold(server, codec, gate, 2)
        client = server.client(codec)
        for _ in range(2):  # on the one connection, which is none the worse for it
            assert_shed(request(client, "GET", "/wait"))
        wait_for(lambda: shed(server) == 2)
        assert (gate.waiting, server.observer.in_flight) == (2, 2)
        for record in server.observer.records:
            assert (record.status, record.fault, record.reason) == (503, Fault.PROXY, "overload")
        gate.open()
        assert [other.finish(stream).status for other, stream in held] == [200, 200]
        wait_for(lambda: not server.observer.open)
        assert request(client, "GET", "/x").body == b"/x"
        assert shed(server) == 2


def test_connections_do_not_count(codec: str) -> None:
    with running(Gate(), codec, limits={"exchanges": 1}) as server:
        for client in [server.client(codec) for _ in range(4)]:
            assert request(client, "GET", "/x").status == 200
            wait_for(lambda: not server.observer.open)
        assert len(server.connections) == 4


def test_streams_of_one_connection_count(engine: str) -> None:
    """They come in one read, so that all of them are known before the first one's task could run."""
    gate = Gate()
    with running(gate, engine, limits={"exchanges": 2}) as server:
        client = server.client(engine)
        assert isinstance(client, Http2Client)
        head: Fields = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/wait")]
        streams = range(1, 11, 2)
        for stream in streams:
            client.responses[stream] = Response()
            client.state.send_headers(stream, head, end_stream=True)
        client.flush()
        for stream in streams[2:]:
            assert_shed(client.finish(stream))
        assert gate.waiting == 2
        gate.open()
        assert [client.finish(stream).status for stream in streams[:2]] == [200, 200]


@pytest.mark.parametrize("limit", [0, 9])
def test_below_the_limit_or_without_one_all_are_taken(codec: str, limit: int) -> None:
    gate = Gate()
    with running(gate, codec, limits={"exchanges": limit}) as server:
        held = hold(server, codec, gate, 9)
        gate.open()
        assert {client.finish(stream).status for client, stream in held} == {200}
        wait_for(lambda: not server.observer.open)
        assert (server.observer.in_flight, shed(server)) == (0, 0)


@pytest.mark.parametrize("size", [100, 70_000, 20 * 1024**2])
@pytest.mark.parametrize("declared", [True, False])
def test_a_client_that_uploads_can_read_its_503(codec: str, size: int, declared: bool) -> None:
    gate = Gate()
    with running(gate, codec, limits={"exchanges": 1, "requestBody": 0}) as server:
        hold(server, codec, gate, 1)
        client = server.client(codec)
        fields = [(b"content-length", b"%d" % size)] if declared else []
        stream = client.begin("POST", "/wait", fields, end=False)
        client.body(stream, bytes(size), end=True)  # all of it, without a look at the answer
        assert_shed(client.finish(stream))
        gate.open()
        wait_for(lambda: not server.observer.open)
        if codec == "http1" and size > DRAIN:  # to read on would cost more than a new connection
            client = server.client(codec)
        assert request(client, "GET", "/x").status == 200


def test_a_client_that_asks_before_it_uploads_keeps_its_body(codec: str) -> None:
    gate = Gate()
    with running(gate, codec, limits={"exchanges": 1}) as server:
        hold(server, codec, gate, 1)
        expect = [(b"expect", b"100-continue"), (b"content-length", b"4")]
        client = server.client(codec)
        assert_shed(client.finish(client.begin("POST", "/wait", expect, end=False)))
        gate.open()
