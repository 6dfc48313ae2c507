"""What a front does with requests whose application runs elsewhere: raw servers in the place of workers.

Each test runs a real front; the test itself is the client and the worker, on real sockets.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidegate.backends.upstream import connection
from sidegate.errors import Fault
from sidegate.observe import metrics
from sidegate.wire.fields import RESPONSE_FIELDS
from tests.support import http2
from tests.support.clients import Client, Fields, Response
from tests.support.raw_server import OK, RawPeer, RawServer
from tests.support.relaying import RunningFront, running_front
from tests.support.running import wait_for

CANCEL, REFUSED = 8, 7
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW = 0x4


@contextlib.contextmanager
def front_and_peer(
    folder: Path, codec: str, *settings: tuple[int, int], **config: Any
) -> Iterator[tuple[RunningFront, RawServer, RawPeer]]:
    """A front with one worker, which is the test itself."""
    with RawServer(folder) as server, running_front(codec, **config) as front:
        front.set_workers((1, server.path))
        yield front, server, server.accept(*settings)


@contextlib.contextmanager
def front_and_two(folder: Path, codec: str, **config: Any) -> Iterator[tuple[RunningFront, list[RawPeer]]]:
    """A front with two workers."""
    with RawServer(folder, "0") as first, RawServer(folder, "1") as second, running_front(codec, **config) as front:
        front.set_workers((1, first.path), (2, second.path))
        peers = [first.accept(), second.accept()]
        wait_ready(front, 2)
        yield front, peers


def wait_ready(front: RunningFront, count: int = 1) -> None:
    wait_for(lambda: sum(connection["ready"] for connection in front.upstream_connections()) == count)


def either(peers: list[RawPeer]) -> tuple[RawPeer, int]:
    """The peer that has something to read beside SETTINGS, the one that was chosen, and its request's stream."""
    for peer in peers:
        peer.sock.settimeout(0.02)
    while True:
        for peer in peers:
            with contextlib.suppress(TimeoutError):
                number, _ = peer.request()
                for each in peers:
                    each.sock.settimeout(10)
                return peer, number


def get(front: RunningFront, codec: str, path: str = "/", method: str = "GET") -> tuple[Client, int]:
    """A client that has sent a request without a body."""
    client = front.client(codec)
    return client, client.begin(method, path, [], end=True)


def post(front: RunningFront, codec: str, headers: Fields | None = None) -> tuple[Client, int]:
    """A client that has sent the head of a request with a body."""
    client = front.client(codec)
    return client, client.begin("POST", "/", headers or [], end=False)


def reason(front: RunningFront, count: int = 1) -> tuple[Fault | None, str]:
    """Whose fault the last of ``count`` exchanges was, and why."""
    wait_for(lambda: len(front.observer.records) >= count)
    record = front.observer.records[-1]
    return record.fault, record.reason


def retries(front: RunningFront, why: str) -> float:
    return front.count(metrics.BACKEND_RETRIES, "app", why)


# The way there and back.


def test_a_request_and_its_response(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec) as (front, _, peer):
        client, stream = get(front, codec, "/a%20b?x=1")
        number, head = peer.request()
        assert head[b":method"] == b"GET"
        assert head[b":path"] == b"/a%20b?x=1"
        assert head[b":scheme"] == b"http"
        assert head[b":authority"] == b"localhost"
        assert b"host" not in head
        peer.answer(number, b"hello")
        assert client.finish(stream).body == b"hello"
        assert front.count(metrics.BACKEND_QUEUE, "app") == 0
    assert front.observer.records[0].backend == "app"


def test_a_server_that_is_no_worker_gets_forwarding_fields(codec: str, tmp_path: Path) -> None:
    trusting: dict[str, Any] = {"trustedProxies": ["127.0.0.0/8"]}
    with front_and_peer(tmp_path, codec, **trusting) as (front, _, peer):
        client = front.client(codec)
        said = [
            (b"x-forwarded-for", b"192.0.2.9, 2001:db8::1"),
            (b"x-forwarded-proto", b"https"),
            (b"forwarded", b"for=1"),
        ]
        stream = client.begin("GET", "/", said, end=True)
        number, head = peer.request()
        assert head[b"x-forwarded-for"] == b"2001:db8::1"
        assert head[b"x-forwarded-proto"] == b"https"
        assert head[b"x-forwarded-host"] == b"localhost"
        assert head[b"forwarded"] == b'for="[2001:db8::1]";proto=https;host="localhost"'
        assert not [name for name in head if name.startswith(b"x-sidegate")]
        peer.answer(number)
        assert client.finish(stream).status == 200


def test_a_small_body_is_read_before_a_worker_is_taken(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec) as (front, _, peer):
        client, stream = post(front, codec, [(b"content-length", b"6")])
        client.body(stream, b"abc", end=False)
        wait_for(lambda: front.observer.open)
        assert front.count(metrics.BACKEND_IN_FLIGHT, "app") == 0
        client.body(stream, b"def", end=True)
        number, _ = peer.request()
        assert peer.body(6) == b"abcdef"
        peer.answer(number)
        assert client.finish(stream).status == 200


def test_a_large_body_streams(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec) as (front, _, peer):
        client, stream = post(front, codec)
        client.body(stream, b"first", end=False)
        number, _ = peer.request()
        assert peer.body(5) == b"first"
        client.body(stream, b"second", end=True)
        assert peer.body(6) == b"second"
        peer.answer(number)
        assert client.finish(stream).status == 200


def test_an_empty_body_without_a_length(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec) as (front, _, peer):
        client, stream = post(front, codec)
        client.body(stream, b"", end=True)
        number, _ = peer.request()
        assert "END_STREAM" in peer.read_until(http2.DATA).flags
        peer.answer(number)
        assert client.finish(stream).status == 200


def test_an_upload_goes_only_as_fast_as_the_worker_takes_it(engine: str, tmp_path: Path) -> None:
    limits = {"streamWindow": "64Ki"}
    with front_and_peer(tmp_path, engine, (INITIAL_WINDOW, 1000), limits=limits) as (front, _, peer):
        client, stream = post(front, engine)
        client.body(stream, bytes(60000), end=False)
        number, _ = peer.request()
        assert len(peer.body(1000)) == 1000
        client.body(stream, bytes(60000), end=False)  # what the front took, it gave credit for: up to its high water
        peer.send(http2.window_update(0, 1 << 20), http2.window_update(number, 1 << 20))
        assert len(peer.body(119000)) == 119000
        client.body(stream, b"", end=True)
        peer.answer(number)
        assert client.finish(stream).status == 200


def test_a_response_may_end_before_the_request(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec) as (front, _, peer):
        client, stream = post(front, codec)
        client.body(stream, b"some", end=False)
        number, _ = peer.request()
        peer.answer(number, b"enough")
        response = client.finish(stream)
        assert (response.status, bytes(response.body)) == (200, b"enough")
        assert peer.read_until(http2.RST_STREAM).error_code == CANCEL


def test_early_answers_do_not_use_up_the_places(engine: str, tmp_path: Path) -> None:
    """A server may answer without reading the body and without a reset (RFC 9113 8.1)."""
    limits = ((MAX_CONCURRENT_STREAMS, 4), (INITIAL_WINDOW, 1000))
    with front_and_peer(tmp_path, engine, *limits) as (front, _, peer):
        for _ in range(2):
            begun = [post(front, engine, [(b"content-length", b"3000")]) for _ in range(4)]
            for client, stream in begun:
                client.body(stream, bytes(3000), end=True)
            for number in [peer.request()[0] for _ in begun]:
                peer.answer(number)
            assert [client.finish(stream).status for client, stream in begun] == [200] * 4
        client, stream = get(front, engine)
        peer.answer(peer.request()[0])
        assert client.finish(stream).status == 200
        assert front.upstream_connections()[0]["requests"] == 0


@pytest.mark.parametrize("status", [b"204", b"304"])
def test_a_response_without_a_body(codec: str, tmp_path: Path, status: bytes) -> None:
    with front_and_peer(tmp_path, codec) as (front, _, peer):
        client, stream = get(front, codec)
        number, _ = peer.request()
        peer.send(peer.head(number, [(b":status", status), (b"etag", b'"x"')], end=True))
        response = client.finish(stream)
        assert (response.status, response.get(b"etag"), bytes(response.body)) == (int(status), b'"x"', b"")


def test_head(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec) as (front, _, peer):
        client, stream = get(front, codec, method="HEAD")
        number, _ = peer.request()
        peer.send(peer.head(number, [*OK, (b"content-length", b"1234")], end=True))
        response = client.finish(stream)
        assert (response.status, response.get(b"content-length"), bytes(response.body)) == (200, b"1234", b"")


def test_trailers_and_early_hints(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec) as (front, _, peer):
        client = front.client(codec)
        stream = client.begin("GET", "/", [(b"te", b"trailers")], end=True)
        number, _ = peer.request()
        peer.send(peer.head(number, [(b":status", b"103"), (b"link", b"</a>"), (b"x-other", b"1")]))
        peer.send(peer.head(number, OK), http2.data(number, b"body"), peer.head(number, [(b"x-sum", b"7")], end=True))
        response = client.finish(stream)
        assert [(status, fields) for status, fields in response.informational] == [(103, [(b"link", b"</a>")])]
        assert bytes(response.body) == b"body"
        assert response.trailers == [(b"x-sum", b"7")]


def test_promised_trailers_may_be_none(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec) as (front, _, peer):
        client, stream = get(front, codec)
        number, _ = peer.request()
        peer.send(peer.head(number, OK), http2.data(number, b"piece"))
        wait_for(lambda: any(record.bytes_out for record in front.observer.open))
        peer.send(http2.data(number, b"", end=True))
        response = client.finish(stream)
        assert (bytes(response.body), response.trailers, response.reset) == (b"piece", [], False)


def test_a_head_does_not_wait_for_a_body_for_ever(engine: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, engine) as (front, _, peer):
        client, stream = get(front, engine)
        number, _ = peer.request()
        peer.send(peer.head(number, OK))
        wait_for(lambda: any(record.status == 200 for record in front.observer.open))
        peer.send(http2.data(number, b"late", end=True))
        assert bytes(client.finish(stream).body) == b"late"


def test_expect_continue_is_the_servers_of_a_foreign_kind_never_asked(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec) as (front, _, peer):
        client, stream = post(front, codec, [(b"expect", b"100-continue"), (b"content-length", b"2")])
        number, head = peer.request()
        assert b"expect" not in head
        # A client that sends before it was asked needs no 100.
        (connection,) = front.connections
        wait_for(lambda: any(exchange.waits_for_body for exchange in list(connection.exchanges.values())))
        client.body(stream, b"ab", end=True)
        assert peer.body(2) == b"ab"
        peer.answer(number)
        response = client.finish(stream)
        assert [status for status, _ in response.informational] == [100]


def test_a_slow_client_costs_the_worker_no_more_than_the_windows(engine: str, tmp_path: Path) -> None:
    limits = {"streamWindow": "64Ki"}
    with front_and_peer(tmp_path, engine, limits=limits) as (front, _, peer):
        client = front.client(engine, credit=False)
        stream = client.begin("GET", "/slow", [], end=True)
        number, _ = peer.request()
        peer.send(peer.head(number, OK), *(http2.data(number, bytes(8192)) for _ in range(8)))
        # The client's own window (64 KiB) takes all; the next 64 KiB are the front's to hold, and no more is credited.
        assert peer.read_until(http2.WINDOW_UPDATE).stream_id in (0, number)
        peer.send(*(http2.data(number, bytes(8192)) for _ in range(4)))
        fast = front.client(engine)
        other = fast.begin("GET", "/fast", [], end=True)
        second, _ = peer.request()
        peer.answer(second, b"past it")
        assert bytes(fast.finish(other).body) == b"past it"
        client.close()
        wait_for(lambda: len(front.observer.records) == 2)
        assert stream


def test_a_client_that_leaves_cancels_the_stream(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec) as (front, _, peer):
        client, _ = get(front, codec)
        number, _ = peer.request()
        client.close()
        reset = peer.read_until(http2.RST_STREAM)
        assert (reset.stream_id, reset.error_code) == (number, CANCEL)
        assert reason(front) == (Fault.CLIENT, "client_disconnected")
        wait_for(lambda: front.upstream_connections()[0]["requests"] == 0)


def test_a_client_that_leaves_while_it_sends(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec) as (front, _, peer):
        client, stream = post(front, codec)
        client.body(stream, b"part", end=False)
        number, _ = peer.request()
        assert peer.body(4) == b"part"
        client.close()
        assert peer.read_until(http2.RST_STREAM).error_code == CANCEL
        assert reason(front) == (Fault.CLIENT, "client_disconnected")
        assert number == 1


# Retries.


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_a_worker_refuses_goes_to_another(codec: str, tmp_path: Path, method: str) -> None:
    with front_and_two(tmp_path, codec) as (front, peers):
        client = front.client(codec)
        stream = client.begin(method, "/", [(b"content-length", b"3")] if method == "POST" else [], end=method == "GET")
        if method == "POST":
            client.body(stream, b"abc", end=True)
        first, number = either(peers)
        first.send(http2.rst_stream(number, REFUSED))
        second = peers[1 - peers.index(first)]
        again, _ = second.request()
        if method == "POST":
            assert second.body(3) == b"abc"
        second.answer(again)
        assert client.finish(stream).status == 200
        assert retries(front, "refused") == 1


def test_a_streamed_body_is_sent_again(codec: str, tmp_path: Path) -> None:
    with front_and_two(tmp_path, codec) as (front, peers):
        client, stream = post(front, codec)
        client.body(stream, b"one", end=False)
        first, number = either(peers)
        assert first.body(3) == b"one"
        first.send(http2.rst_stream(number, REFUSED))
        second = peers[1 - peers.index(first)]
        again, _ = second.request()
        assert second.body(3) == b"one"
        client.body(stream, b"two", end=True)
        assert second.body(3) == b"two"
        second.answer(again)
        assert client.finish(stream).status == 200


def test_a_body_that_is_gone_cannot_be_sent_again(engine: str, tmp_path: Path) -> None:
    with front_and_two(tmp_path, engine) as (front, peers):
        client, stream = post(front, engine)
        client.body(stream, bytes(40_000), end=False)
        first, number = either(peers)
        first.body(40_000)
        first.send(http2.window_update(0, 1 << 20), http2.window_update(number, 1 << 20))
        client.body(stream, bytes(40_000), end=False)
        first.body(40_000)
        first.send(http2.rst_stream(number, REFUSED))
        assert client.finish(stream).status == 502
        assert reason(front) == (Fault.UPSTREAM, "upstream_refused")


def test_a_lone_worker_is_asked_again_after_a_moment(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec) as (front, _, peer):
        client, stream = get(front, codec)
        for _ in range(3):
            number, _ = peer.request()
            peer.send(http2.rst_stream(number, REFUSED))
        number, _ = peer.request()
        peer.answer(number)
        assert client.finish(stream).status == 200
        assert retries(front, "refused") == 3


def test_goaway_sends_later_streams_elsewhere_and_lets_earlier_ones_finish(engine: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, engine) as (front, server, peer):
        client = front.client(engine)
        one = client.begin("GET", "/one", [], end=True)
        first, _ = peer.request()
        two = client.begin("POST", "/two", [(b"content-length", b"1")], end=False)
        client.body(two, b"x", end=True)
        peer.request()
        peer.send(http2.goaway(last=first))
        successor = server.accept()
        again, head = successor.request()
        assert head[b":path"] == b"/two"
        successor.answer(again, b"elsewhere")
        assert bytes(client.finish(two).body) == b"elsewhere"
        peer.answer(first, b"finished")
        assert bytes(client.finish(one).body) == b"finished"
        peer.wait_closed()


def test_an_idempotent_request_is_sent_once_more_after_a_loss(codec: str, tmp_path: Path) -> None:
    with front_and_two(tmp_path, codec) as (front, peers):
        client, stream = get(front, codec)
        first, _ = either(peers)
        first.close()
        second = peers[1 - peers.index(first)]
        number, _ = second.request()
        second.answer(number)
        assert client.finish(stream).status == 200
        assert retries(front, "lost") == 1


def test_a_head_alone_is_no_response_yet(codec: str, tmp_path: Path) -> None:
    with front_and_two(tmp_path, codec) as (front, peers):
        client, stream = get(front, codec)
        first, number = either(peers)
        first.send(first.head(number, [*OK, (b"x-from", b"first")]))
        first.close()
        second = peers[1 - peers.index(first)]
        number, _ = second.request()
        second.answer(number)
        response = client.finish(stream)
        assert (response.status, response.get(b"x-from")) == (200, None)


def test_no_request_is_lost_twice(codec: str, tmp_path: Path) -> None:
    with front_and_two(tmp_path, codec) as (front, peers):
        client, stream = get(front, codec)
        first, _ = either(peers)
        first.close()
        second = peers[1 - peers.index(first)]
        second.request()
        second.close()
        assert client.finish(stream).status == 502
        assert reason(front) == (Fault.UPSTREAM, "upstream_lost")


@pytest.mark.parametrize(("method", "body"), [("POST", b""), ("POST", b"x"), ("PUT", b"x")])
def test_what_may_have_been_done_is_not_done_again(codec: str, tmp_path: Path, method: str, body: bytes) -> None:
    with front_and_two(tmp_path, codec) as (front, peers):
        client = front.client(codec)
        stream = client.begin(method, "/", [(b"content-length", b"%d" % len(body))], end=not body)
        if body:
            client.body(stream, body, end=True)
        chosen, _ = either(peers)
        chosen.close()
        assert client.finish(stream).status == 502
        assert reason(front) == (Fault.UPSTREAM, "upstream_lost")


def test_a_connection_that_ends_in_the_turn_of_a_request_sends_it_nowhere(codec: str, tmp_path: Path) -> None:
    """The peer breaks the protocol when the POST is in the output: it does not get the POST, which goes elsewhere."""
    with front_and_peer(tmp_path, codec) as (front, server, peer):
        wait_ready(front)
        (link,) = front.runtime._backends["app"]._balancer._connections
        turns = 0

        def look() -> None:
            nonlocal turns
            if link.streams and not turns:  # the flush is behind this call in the loop's queue
                link.data_received(http2.data(0, b"no stream"))
                turns += 1
            elif not turns:
                link.loop.call_soon(look)

        link.loop.call_soon_threadsafe(look)
        client = front.client(codec)
        stream = client.begin("POST", "/", [(b"content-length", b"3")], end=False)
        client.body(stream, b"abc", end=True)
        successor = server.accept()
        number, _ = successor.request()
        assert successor.body(3) == b"abc"
        successor.answer(number)
        assert client.finish(stream).status == 200
        assert retries(front, "unsent") == turns == 1
        with contextlib.suppress(AssertionError):  # the end of the connection
            while True:
                peer.read()
        assert http2.HEADERS not in [frame.type for frame in peer.frames]


def test_a_reset_is_not_repeated(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec) as (front, _, peer):
        client, stream = get(front, codec)
        number, _ = peer.request()
        peer.send(http2.rst_stream(number, 2))
        assert client.finish(stream).status == 502
        assert reason(front) == (Fault.UPSTREAM, "upstream_reset")


def test_a_head_that_is_too_large_is_not_passed_on(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec) as (front, _, peer):
        client, stream = get(front, codec)
        number, _ = peer.request()
        peer.send(peer.head(number, [*OK, *[(b"x", b"y")] * (RESPONSE_FIELDS + 1)]))
        assert client.finish(stream).status == 502
        assert reason(front) == (Fault.UPSTREAM, "upstream_head_too_large")


@pytest.mark.parametrize("lost", [True, False])
def test_a_response_that_breaks_off_is_reset(codec: str, tmp_path: Path, lost: bool) -> None:
    with front_and_peer(tmp_path, codec) as (front, _, peer):
        client, stream = get(front, codec)
        number, _ = peer.request()
        peer.send(peer.head(number, OK), http2.data(number, b"half"))
        wait_for(lambda: any(record.bytes_out for record in front.observer.open))
        if lost:
            peer.close()
        else:
            peer.send(http2.rst_stream(number, 2))
        assert client.finish(stream).reset
        assert reason(front) == (Fault.UPSTREAM, "upstream_lost" if lost else "upstream_reset")


def test_a_worker_that_breaks_the_protocol_is_let_go(
    codec: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with front_and_peer(tmp_path, codec) as (front, server, peer):
        client, stream = get(front, codec)
        peer.request()
        peer.send(http2.frame(http2.DATA, 0, 0, b"no stream"))
        successor = server.accept()
        number, _ = successor.request()
        successor.answer(number)
        assert client.finish(stream).status == 200
    assert "HTTP/2 protocol violation" in caplog.text


# The queue.


def finish_all(begun: list[tuple[Client, int]]) -> list[Response]:
    return [client.finish(stream) for client, stream in begun]


def test_requests_queue_in_order_for_a_free_place(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec, (MAX_CONCURRENT_STREAMS, 1)) as (front, _, peer):
        wait_ready(front)
        begun = []
        for index in range(4):
            begun.append(get(front, codec, f"/{index}"))
            wait_for(lambda: len(front.observer.open) == len(begun))
        assert front.count(metrics.BACKEND_QUEUE, "app") == 3
        seen = []
        for _ in begun:
            number, head = peer.request()
            seen.append(head[b":path"])
            peer.answer(number)
        assert seen == [b"/0", b"/1", b"/2", b"/3"]
        assert [response.status for response in finish_all(begun)] == [200] * 4
        assert front.count(metrics.BACKEND_QUEUE, "app") == 0
        wait_for(lambda: front.told("pressure") and front.told("pressure")[-1]["queued"] == 0)
        assert front.told("pressure")[0] == {"type": "pressure", "backend": "app", "queued": 1}


def test_a_full_queue_refuses(codec: str, tmp_path: Path) -> None:
    config = {"backend": {"queue": {"size": 1}}}
    with front_and_peer(tmp_path, codec, (MAX_CONCURRENT_STREAMS, 1), **config) as (front, _, peer):
        first = get(front, codec)
        number, _ = peer.request()
        second = get(front, codec)
        wait_for(lambda: front.count(metrics.BACKEND_QUEUE, "app") == 1)
        client, stream = get(front, codec)
        response = client.finish(stream)
        assert (response.status, response.get(b"retry-after")) == (503, b"1")
        assert reason(front) == (Fault.PROXY, "queue_full")
        peer.answer(number)
        peer.answer(peer.request()[0])
        assert [response.status for response in finish_all([first, second])] == [200, 200]


def test_who_waits_too_long_is_refused(codec: str, tmp_path: Path) -> None:
    config = {"backend": {"queue": {"timeout": "50ms"}}}
    with front_and_peer(tmp_path, codec, (MAX_CONCURRENT_STREAMS, 1), **config) as (front, _, peer):
        first = get(front, codec)
        number, _ = peer.request()
        client, stream = get(front, codec)
        assert client.finish(stream).status == 503
        assert reason(front) == (Fault.PROXY, "queue_timeout")
        peer.answer(number)
        assert [response.status for response in finish_all([first])] == [200]


def test_without_any_worker(codec: str) -> None:
    with running_front(codec, backend={"queue": {"timeout": "50ms"}}) as front:
        client, stream = get(front, codec)
        response = client.finish(stream)
        assert (response.status, response.get(b"retry-after")) == (503, b"1")
        assert reason(front) == (Fault.UPSTREAM, "no_worker")
        assert not front.told("pressure")


def test_a_client_that_leaves_the_queue(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec, (MAX_CONCURRENT_STREAMS, 1)) as (front, _, peer):
        first = get(front, codec)
        number, _ = peer.request()
        client, _ = get(front, codec)
        wait_for(lambda: front.count(metrics.BACKEND_QUEUE, "app") == 1)
        client.close()
        wait_for(lambda: front.count(metrics.BACKEND_QUEUE, "app") == 0)
        peer.answer(number)
        assert [response.status for response in finish_all([first])] == [200]


def test_more_streams_let_more_requests_in(engine: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, engine, (MAX_CONCURRENT_STREAMS, 1)) as (front, _, peer):
        begun = [get(front, engine), get(front, engine)]
        one, _ = peer.request()
        peer.send(http2.settings((MAX_CONCURRENT_STREAMS, 2)))
        two, _ = peer.request()
        peer.answer(one)
        peer.answer(two)
        assert [response.status for response in finish_all(begun)] == [200, 200]


# Workers come and go.


def test_a_worker_that_is_no_longer_listed_finishes(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec) as (front, _, peer):
        begun = [get(front, codec)]
        number, _ = peer.request()
        with RawServer(tmp_path, "other.sock") as other:
            front.set_workers((2, other.path))
            successor = other.accept()
            wait_ready(front)
            begun.append(get(front, codec))
            second, _ = successor.request()
            assert peer.read_until(http2.GOAWAY).error_code == 0
            peer.answer(number)
            successor.answer(second)
            assert [response.status for response in finish_all(begun)] == [200, 200]
            peer.wait_closed()


def test_a_worker_that_reads_nothing_does_not_keep_its_socket(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CLOSE_TIMEOUT", 0.05)
    with front_and_peer(tmp_path, engine, (INITIAL_WINDOW, 1 << 30)) as (front, _, peer):
        peer.send(http2.window_update(0, 1 << 30))
        client, stream = post(front, engine)
        client.body(stream, b"x", end=False)
        peer.request()
        links = front.runtime._backends["app"]._balancer._connections
        (link,) = links
        while not link.transport.get_write_buffer_size():
            client.body(stream, bytes(1 << 15), end=False)
        client.close()
        wait_for(lambda: not link.streams)
        front.set_workers()
        wait_for(lambda: not links)
        peer.wait_closed()


def test_a_worker_that_cannot_be_reached_yet(codec: str, tmp_path: Path) -> None:
    with running_front(codec) as front:
        front.set_workers((1, str(tmp_path / "raw.sock")))
        client, stream = get(front, codec)
        wait_for(lambda: front.count(metrics.BACKEND_QUEUE, "app") == 1)
        with RawServer(tmp_path) as server:
            peer = server.accept()
            number, _ = peer.request()
            peer.answer(number)
            assert client.finish(stream).status == 200


def test_a_worker_that_does_not_answer_pings_is_told_of(engine: str, tmp_path: Path) -> None:
    with front_and_two(tmp_path, engine, pool={"livenessTimeout": "300ms"}) as (front, peers):
        stuck, alive = peers
        alive.read_until(http2.PING)
        alive.send(http2.frame(http2.PING, http2.ACK, 0, b"sidegate"))
        while not front.told("stuck"):
            alive.read_until(http2.PING)
            alive.send(http2.frame(http2.PING, http2.ACK, 0, b"sidegate"))
        assert front.told("stuck") == [{"type": "stuck", "backend": "app", "serial": 1}]
        client, stream = get(front, engine)
        number, _ = alive.request()
        alive.answer(number)
        assert client.finish(stream).status == 200
        assert stuck.sock.fileno() >= 0


def test_the_front_stops_while_a_worker_is_connected(codec: str, tmp_path: Path) -> None:
    with front_and_peer(tmp_path, codec) as (front, _, peer):
        wait_ready(front)
        front.drain()
        peer.wait_closed()
