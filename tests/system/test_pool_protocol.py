"""What a pool needs and HTTP/2 gives, need by need, between real processes.

Elsewhere: backpressure in ``test_pool_memory.py``, drain by signal in ``test_pool_supervision.py``, a worker that is
stuck in ``test_pools.py``, workers and servers of somebody else in ``test_upstreams.py``.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.conftest import Serve
from tests.support import http2
from tests.support.clients import Http2Client, request
from tests.support.lifecycle import Start, get_in_background, status, wait_until
from tests.support.pools import answered_by, pool_config, remote_config, wait_workers
from tests.support.raw_server import RawPeer, RawServer
from tests.support.server import APPS, Sidegate, http_get

REFUSED_STREAM = 0x7


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as executor:
        yield executor


def http2_client(server: Sidegate) -> Http2Client:
    return Http2Client(socket.create_connection(("127.0.0.1", server.port())))


def restarts(server: Sidegate) -> dict[str, int]:
    return dict(status(server)["pools"]["pooled"]["restarts"])


# ---- concurrency: SETTINGS_MAX_CONCURRENT_STREAMS ---------------------------------------------------------


@pytest.mark.parametrize("fronts", [1, 2])
def test_a_worker_has_as_many_requests_as_its_concurrency_and_the_rest_waits(serve: Serve, fronts: int) -> None:
    server = serve(pool_config({"workers": 1, "concurrency": 4}, processes=fronts))
    wait_workers(server, 1)
    clients = [http2_client(server) for _ in range(4)]
    streams = [(client, client.begin("GET", "/crowd", [], end=True)) for client in clients for _ in range(5)]
    answers = [client.finish(stream) for client, stream in streams]
    for client in clients:
        client.close()
    assert {answer.status for answer in answers} == {200}
    most = max(int(answer.body) for answer in answers)
    # The places of a front that no connection came to stay empty.
    assert most in ((4,) if fronts == 1 else (2, 3, 4))


# ---- the client went away: RST_STREAM(CANCEL) -------------------------------------------------------------


def test_each_stream_that_a_client_resets_ends_in_the_worker_and_no_other(serve: Serve) -> None:
    server = serve(pool_config({"workers": 1}, processes=1))
    (pid,) = wait_workers(server, 1)
    client = http2_client(server)
    sending = client.begin("POST", "/abandoned", [], end=False)
    client.body(sending, b"a piece", end=False)
    waiting = client.begin("GET", "/abandoned", [], end=True)
    reading = client.begin("GET", "/disconnect", [], end=True)
    while client.responses[reading].body != b"waiting\n":
        client.pump()
    wait_until(lambda: happened(server, "begun") == 2, "all three are in the worker")
    other = client.begin("GET", "/slow?seconds=1", [], end=True)
    for stream in (sending, waiting, reading):
        client.reset(stream)
    wait_until(lambda: happened(server, "abandoned") == 2, "the application is told")
    wait_until(lambda: happened(server, "disconnected") == 1, "also where the response had begun")
    assert client.finish(other).body == b"slow\n"
    assert request(client, "GET", "/pid").body == str(pid).encode()
    client.close()


def happened(server: Sidegate, what: str) -> int:
    return int(json.loads(http_get(server.url("/state"))[1]).get(what, 0))


# ---- not processed: REFUSED_STREAM, GOAWAY ----------------------------------------------------------------


@pytest.mark.parametrize("way", ["refused", "goaway"])
def test_a_post_that_was_not_processed_is_sent_again(
    serve: Serve, tmp_path: Path, pool: ThreadPoolExecutor, way: str
) -> None:
    with RawServer(tmp_path) as raw:
        server = serve({**remote_config(f"unix:{raw.path}"), "processes": 1})
        peer = raw.accept()
        answer = pool.submit(post, server, b"some body")
        stream = taken(peer, b"some body")
        if way == "refused":
            peer.send(http2.rst_stream(stream, REFUSED_STREAM))
        else:
            peer.send(http2.goaway(last=0))
            peer = raw.accept()
        peer.answer(taken(peer, b"some body"))
        assert answer.result(30) == (200, "ok")


def test_a_goaway_keeps_what_it_does_not_reject(serve: Serve, tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with RawServer(tmp_path) as raw:
        server = serve({**remote_config(f"unix:{raw.path}"), "processes": 1})
        old = raw.accept()
        first = pool.submit(post, server, b"first")
        kept = taken(old, b"first")
        second = pool.submit(post, server, b"second")
        taken(old, b"second")
        old.send(http2.goaway(last=kept))
        new = raw.accept()
        new.answer(taken(new, b"second"), b"from the new one")
        assert second.result(30) == (200, "from the new one")
        old.answer(kept, b"from the old one")
        assert first.result(30) == (200, "from the old one")
        old.wait_closed()


def taken(peer: RawPeer, body: bytes) -> int:
    """The next request's stream, once all of it has come."""
    stream, _ = peer.request()
    assert peer.body(len(body)) == body
    return stream


def post(server: Sidegate, body: bytes) -> tuple[int, str]:
    with httpx.Client(trust_env=False, timeout=30) as client:
        response = client.post(server.url("/"), content=body)
        return response.status_code, response.text


# ---- recycle: GOAWAY --------------------------------------------------------------------------------------


def test_a_recycled_worker_finishes_beside_its_successor(start: Start, switches: Path) -> None:
    pool = {"workers": 1, "maxRequests": 5}
    server = start(config={"backends": {"app": {"app": "lifecycle:app", "directory": str(APPS), "pool": pool}}})
    (old,) = wait_workers(server, 1, "app")
    thread, answers = get_in_background(server.url("/hold"))
    wait_until((switches / "holding").exists, "a request in flight")
    wait_until(lambda: answered_by(server) != old, "the successor answers")
    (switches / "release").touch()
    thread.join(30)
    assert answers == [(200, str(old))]
    wait_until((switches / f"shutdown-{old}").exists, "its end")


# ---- liveness: PING ---------------------------------------------------------------------------------------


def test_a_worker_that_blocks_for_less_than_the_limit_is_left_alone(serve: Serve) -> None:
    server = serve(pool_config({"workers": 1, "livenessTimeout": "3s"}))
    (pid,) = wait_workers(server, 1)
    assert http_get(server.url("/stuck?seconds=1.5")) == (200, "moved on\n")
    assert answered_by(server) == pid
    assert restarts(server) == {}


def test_work_at_the_start_is_no_silence(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(LATE)
    config = pool_config({"workers": 1, "livenessTimeout": "500ms"}, app="late:app")
    config["backends"] = {"pooled": {**config["backends"]["pooled"], "directory": str(tmp_path)}}
    del config["routes"][0]
    server = serve(config)
    wait_workers(server, 1)
    assert http_get(server.url("/")) == (200, "late")
    assert restarts(server) == {}


LATE = """
import time

time.sleep(1)  # an import that computes


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        time.sleep(1)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"late"})
"""
