"""A long read is handled in several turns of the event loop, on every codec and in every role.

What one turn may handle (``FRAMES_A_TURN``) says the seam; here is what follows: all events come, in order; reading is
paused meanwhile; other connections have their turn between two parts; an end drops what is left.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from sidegate.observe import metrics
from sidegate.wire import codes
from sidegate.wire.client_codec import CONNECTION_LOST
from sidegate.wire.events import FRAMES_A_TURN, Body, End, Event, Reset, ResponseHead
from tests.contract.peers import MakePeer, Peer
from tests.contract.test_client_codecs import ALL
from tests.contract.test_codecs import make_peer  # noqa: F401 - a fixture
from tests.contract.test_connections import reset
from tests.support import http2 as c
from tests.support.apps import Gate, Receive, Scope, Send, respond
from tests.support.client_pair import Pair
from tests.support.long_reads import Parts, chunks, held
from tests.support.running import running, wait_for

TURNS = 4
PIECES = FRAMES_A_TURN * (TURNS - 1) + 1
"""Pieces of a body of one byte each; for the last one, and the end of the body, there is another turn."""


def in_one_read(peer: Peer, send: Callable[[], object]) -> bytes:
    """The bytes of everything that the peer sends meanwhile."""
    sent: list[bytes] = []
    peer.send = sent.append  # type: ignore[assignment]
    send()
    del peer.send  # the class has the method again
    return b"".join(sent)


def upload(peer: Peer) -> bytes:
    """A body in many small pieces, in one read. Its head has been sent."""
    (stream,) = peer.responses

    def send() -> None:
        for _ in range(PIECES - 1):
            peer.body(stream, b"x")
        peer.body(stream, b"x", end=True)

    return in_one_read(peer, send)


def test_every_part_of_a_long_read_has_its_turn(make_peer: MakePeer) -> None:  # noqa: F811
    peer = make_peer()
    codec = peer.codec
    stream = peer.open("POST", end=False).stream_id
    turns = [codec.receive(upload(peer), 1.0)]
    while codec.more:
        assert codec.read_paused()
        assert not codec.idle
        turns.append(codec.receive(b"", 1.0))
    assert not codec.read_paused()
    assert [sum(len(event.data) for event in turn if isinstance(event, Body)) for turn in turns] == [
        *[FRAMES_A_TURN] * (TURNS - 1),
        1,
    ]
    assert turns[-1] == [Body(stream, b"x"), End(stream, [])]


def test_bytes_that_come_meanwhile_come_behind_those_that_are_left(make_peer: MakePeer) -> None:  # noqa: F811
    peer = make_peer()
    codec = peer.codec
    stream = peer.open("POST", end=False).stream_id
    data = upload(peer)
    for end in range(1, 30):  # a read may end anywhere in a frame
        peer = make_peer()
        codec = peer.codec
        peer.open("POST", end=False)
        found = [*codec.receive(data[:-end], 1.0), *codec.receive(data[-end:], 1.0)]
        while codec.more:
            found += codec.receive(b"", 1.0)
        assert c.merged(found) == [Body(stream, b"x" * PIECES), End(stream, [])]


def test_the_end_of_the_connection_drops_what_is_left(make_peer: MakePeer) -> None:  # noqa: F811
    peer = make_peer()
    codec = peer.codec
    stream = peer.open("POST", end=False).stream_id
    codec.receive(upload(peer), 1.0)
    assert codec.more
    assert codec.receive_eof() == [Reset(stream, codes.CANCEL)]
    assert (codec.more, codec.closed, codec.read_paused()) == (False, True, False)
    assert codec.receive(b"", 1.0) == []


def test_a_response_that_ends_the_request_skips_what_is_left(make_peer: MakePeer) -> None:  # noqa: F811
    peer = make_peer()
    codec = peer.codec
    stream = peer.open("POST", end=False).stream_id
    codec.receive(upload(peer), 1.0)
    codec.send_head(stream, 200, [(b"content-length", b"0")], True)
    codec.take_output()
    codec.release(stream)
    found: list[Event] = []
    while codec.more:
        found += codec.receive(b"", 1.0)
    assert found == []
    assert not codec.closed
    codec.take_output()
    assert codec.idle


# The client's role.


def asked(make: Callable[..., Pair]) -> tuple[Pair, int, bytes]:
    """A pair, the stream of a request, and a response with a body in many small pieces."""
    pair = make()
    stream = pair.open()
    pair.server.send_head(stream, 200, [], False)
    sent = [pair.server.take_output()]
    for _ in range(PIECES):
        pair.server.send_data(stream, b"x", False)
        sent.append(pair.server.take_output())
    pair.server.send_data(stream, b"", True)
    return pair, stream, b"".join([*sent, pair.server.take_output()])


@pytest.mark.parametrize("name", ALL)
def test_every_part_of_a_long_response_has_its_turn(name: str) -> None:
    pair, stream, data = asked(ALL[name])
    client = pair.client
    turns = [client.receive(data)]
    while client.more:
        assert client.read_paused()
        turns.append(client.receive(b""))
    assert not client.read_paused()
    assert len(turns) == TURNS
    for turn in turns:
        assert sum(len(event.data) for event in turn if isinstance(event, Body)) <= FRAMES_A_TURN
    found = c.merged(event for turn in turns for event in turn)
    assert isinstance(found[0], ResponseHead)
    assert found[1:] == [Body(stream, b"x" * PIECES), End(stream, [])]


@pytest.mark.parametrize("name", ALL)
def test_a_lost_connection_drops_what_is_left_of_a_response(name: str) -> None:
    pair, stream, data = asked(ALL[name])
    pair.client.receive(data)
    assert pair.client.more
    assert pair.client.connection_lost() == [Reset(stream, CONNECTION_LOST)]
    assert (pair.client.more, pair.client.closed) == (False, True)
    assert pair.client.receive(b"") == []


# Connections.


def requests(count: int) -> bytes:
    speaker = c.Speaker()
    return b"".join(speaker.headers(2 * number + 1) for number in range(count))


class Begun:
    """An application that notes the paths of requests in the order in which they begin."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"])
        await respond(send, b"")


def position_of_another(codec: str, opening: bytes, flood: bytes, count: int) -> int:
    """How many of ``count`` requests in one read begin before the request of another connection that came after it.

    A request begins at once when it is read, so the order is that of the turns.
    """
    begun = Begun()
    with running(begun, codec, limits={"concurrentStreams": max(count, 1000)}) as server:
        first, second = server.connect(), server.connect()
        first.sendall(opening)
        wait_for(lambda: len(server.connections) == 2 and any(one.protocol for one in server.connections))
        with held(server):
            first.sendall(flood)
            second.sendall(b"GET /other HTTP/1.1\r\nhost: a\r\n\r\n")
        wait_for(lambda: len(begun.paths) >= count + 1)
    return begun.paths.index("/other")


def test_another_connection_has_its_turn_between_the_requests_of_a_long_read(engine: str) -> None:
    count = 5 * FRAMES_A_TURN
    assert position_of_another(engine, c.START, requests(count), count) <= 2 * FRAMES_A_TURN


def test_another_connection_has_its_turn_between_pipelined_requests() -> None:
    get = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
    assert position_of_another("http1", get, get * 500, 501) <= 3


def test_an_end_of_input_comes_behind_what_is_left() -> None:
    """The application gets the whole body, in parts, although its client has ended the connection at once."""
    parts = Parts()
    with running(parts) as server:
        sock = server.connect()
        sock.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        wait_for(lambda: server.connections)
        with held(server):
            sock.sendall(chunks(PIECES))
            sock.close()
        wait_for(lambda: parts.end)
    assert (parts.end, parts.count) == ("whole", TURNS)


@pytest.mark.parametrize("leave", [socket.socket.close, reset], ids=["end", "reset"])
def test_a_client_that_leaves_has_no_turn_for_what_is_left(engine: str, leave: Callable[[socket.socket], None]) -> None:
    """``running`` finds what would be left behind."""
    gate = Gate()
    with running(gate, engine, limits={"concurrentStreams": 10}) as server:
        sock = server.connect()
        with held(server):
            sock.sendall(c.START + requests(5 * FRAMES_A_TURN))
            leave(sock)
        wait_for(lambda: server.count(metrics.CONNECTIONS, "test", "2"))
        wait_for(lambda: not server.connections)
