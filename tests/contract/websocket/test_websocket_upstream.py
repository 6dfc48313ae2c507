"""A front and a server of WebSockets that answers as it likes (RFC 8441): what clients see of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidegate.errors import Fault
from tests.support import http2
from tests.support.raw_server import OK, RawPeer, RawServer
from tests.support.relaying import RunningFront, running_front
from tests.support.running import only_record
from tests.support.websocket import WebSocket, answer, begin, required
from tests.support.websocket_frames import TEXT, frame

pytestmark = pytest.mark.front_only("no application runs: the server behind the front is a scripted peer")

CONNECT_PROTOCOL = (8, 1)
"""SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 3)."""

HELLO = b"\x81\x05hello"


@contextlib.contextmanager
def before_a_server(
    codec: str, folder: Path, *settings: tuple[int, int]
) -> Iterator[tuple[RunningFront, RawPeer, RawServer]]:
    with RawServer(folder) as server, running_front(codec) as front:
        front.set_workers((1, server.path))
        yield front, server.accept(*settings), server


class Asked:
    """A handshake that has reached the server."""

    def __init__(self, front: RunningFront, codec: str, peer: RawPeer) -> None:
        self._client = front.client(codec)
        self._stream = begin(self._client, "/path?q", required(self._client))
        self.stream, self.head = peer.request()

    def answer(self) -> WebSocket:
        """What the client is told."""
        return answer(self._client, self._stream)


def test_what_the_server_is_asked(codec: str, tmp_path: Path) -> None:
    with before_a_server(codec, tmp_path, CONNECT_PROTOCOL) as (front, peer, _):
        asked = Asked(front, codec, peer)
        peer.send(peer.head(asked.stream, [*OK, (b"sec-websocket-protocol", b"chat")]), http2.data(asked.stream, HELLO))
        ws = asked.answer()
        assert ws.status == (101 if codec == "http1" else 200)
        assert ws.get(b"sec-websocket-protocol") == b"chat"
        assert ws.receive() == "hello"
        ws.write(frame(TEXT, b"?"))
        assert peer.body(7) == frame(TEXT, b"?")
        peer.send(http2.data(asked.stream, b"\x88\x02\x03\xe8", end=True))
        assert ws.closed() == (1000, "", False)
        assert only_record(front).fault is None
    head = asked.head
    assert (head[b":method"], head[b":protocol"], head[b":path"]) == (b"CONNECT", b"websocket", b"/path?q")
    assert (head[b":scheme"], head[b":authority"]) == (b"http", b"localhost")
    assert head[b"sec-websocket-version"] == b"13"
    assert not {b"sec-websocket-key", b"connection", b"upgrade"} & set(head)


def test_fields_of_the_answer_pass_once(codec: str, tmp_path: Path) -> None:
    """All but the accept key, which the front makes for HTTP/1.1 only (RFC 8441 5)."""
    own = [(b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"), (b"sec-websocket-protocol", b"chat"), (b"x-own", b"1")]
    with before_a_server(codec, tmp_path, CONNECT_PROTOCOL) as (front, peer, _):
        asked = Asked(front, codec, peer)
        peer.send(peer.head(asked.stream, [*OK, *own, (b"sec-websocket-accept", b"wrong")]))
        ws = asked.answer()
        made = (b"connection", b"upgrade", b"sec-websocket-accept", b":status")
        assert [pair for pair in ws.response.headers if pair[0] not in made] == own
        accepted = [value for name, value in ws.response.headers if name == b"sec-websocket-accept"]
        assert len(accepted) == (1 if codec == "http1" else 0)
        assert b"wrong" not in accepted
        peer.send(http2.data(asked.stream, b"", end=True))
        only_record(front)


def test_a_server_without_extended_connect(codec: str, tmp_path: Path) -> None:
    with before_a_server(codec, tmp_path) as (front, _, _):
        client = front.client(codec)
        assert answer(client, begin(client, "/", required(client))).status == 502
        record = only_record(front)
        assert (record.fault, record.reason) == (Fault.UPSTREAM, "upstream_no_websocket")


def test_a_server_that_denies(codec: str, tmp_path: Path) -> None:
    with before_a_server(codec, tmp_path, CONNECT_PROTOCOL) as (front, peer, _):
        asked = Asked(front, codec, peer)
        peer.send(peer.head(asked.stream, [(b":status", b"103"), (b"link", b"<x>")]))
        peer.send(peer.head(asked.stream, [(b":status", b"401"), (b"x-own", b"1")]))
        peer.send(http2.data(asked.stream, b"who are you?", end=True))
        denied = asked.answer()
        assert (denied.status, denied.get(b"x-own"), denied.response.body) == (401, b"1", b"who are you?")


def test_a_server_that_accepts_and_ends_at_once(codec: str, tmp_path: Path) -> None:
    with before_a_server(codec, tmp_path, CONNECT_PROTOCOL) as (front, peer, _):
        asked = Asked(front, codec, peer)
        peer.send(peer.head(asked.stream, OK, end=True))
        ws = asked.answer()
        assert ws.status == (101 if codec == "http1" else 200)
        assert ws.closed().code == 1006


def test_a_server_that_refuses_the_stream(codec: str, tmp_path: Path) -> None:
    """Not processed, so another one is asked."""
    with before_a_server(codec, tmp_path, CONNECT_PROTOCOL) as (front, peer, _), RawServer(tmp_path, "2") as other:
        asked = Asked(front, codec, peer)
        front.set_workers((1, peer.sock.getsockname()), (2, other.path))
        second = other.accept(CONNECT_PROTOCOL)
        peer.send(http2.rst_stream(asked.stream, 7))
        stream, _ = second.request()
        second.send(second.head(stream, OK), http2.data(stream, HELLO))
        assert asked.answer().receive() == "hello"


def greeted(front: RunningFront, codec: str, peer: RawPeer) -> tuple[int, WebSocket]:
    """A WebSocket that has had its first message; its stream at the server."""
    asked = Asked(front, codec, peer)
    peer.send(peer.head(asked.stream, OK), http2.data(asked.stream, HELLO))
    ws = asked.answer()
    assert ws.receive() == "hello"
    return asked.stream, ws


def test_a_server_that_breaks_off(codec: str, tmp_path: Path) -> None:
    with before_a_server(codec, tmp_path, CONNECT_PROTOCOL) as (front, peer, _):
        stream, ws = greeted(front, codec, peer)
        peer.send(http2.rst_stream(stream, 2))
        closed = ws.closed()
        assert closed.code == 1006
        assert closed.reset is (codec != "http1")
        record = only_record(front)
        assert (record.fault, record.reason) == (Fault.UPSTREAM, "upstream_reset")


def test_a_server_that_is_lost(codec: str, tmp_path: Path) -> None:
    with before_a_server(codec, tmp_path, CONNECT_PROTOCOL) as (front, peer, _):
        _, ws = greeted(front, codec, peer)
        peer.close()
        assert ws.closed().code == 1006
        record = only_record(front)
        assert (record.fault, record.reason) == (Fault.UPSTREAM, "upstream_lost")


def test_a_client_that_leaves_resets_the_stream(codec: str, tmp_path: Path) -> None:
    with before_a_server(codec, tmp_path, CONNECT_PROTOCOL) as (front, peer, _):
        asked = Asked(front, codec, peer)
        peer.send(peer.head(asked.stream, OK))
        ws = asked.answer()
        ws.leave()
        assert peer.read_until(http2.RST_STREAM).error_code == 8
        assert not any(one.type == http2.DATA for one in peer.frames)  # an end would say that the front leaves
