"""WSGI applications between real processes: clients that leave, generators that raise, threads that are stuck."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Serve
from tests.support.clients import Http1Client, Http2Client, request
from tests.support.lifecycle import wait_until
from tests.support.pools import Peak, pool_config, remote_config, serving_workers, wait_workers
from tests.support.programs import environment
from tests.support.server import APPS, Sidegate, http_get
from tests.support.streaming import GROWTH, MIB, processes_of

APP = "wsgi_plain:app"
THREADS = 4
GIGABYTE = 1024 * MIB
PIECE = 64 * 1024
WINDOWS = (16 + 1 + 64) * MIB
"""More than what is under way between an application and a client that does not read, over both hops, and buffered."""


@pytest.fixture(scope="module")
def server(serve_module: Serve) -> Sidegate:
    """The application in a pool and in the front, and an ASGI one beside it."""
    config = pool_config({"threads": THREADS}, app=APP, processes=1)
    config["backends"]["inside"]["threads"] = THREADS
    other = {"app": "plain:app", "directory": str(APPS)}
    config["backends"] |= {"asgi-inside": other, "asgi-pooled": {**other, "pool": {}}}
    config["routes"] += [{"path": f"/{name}", "backend": name} for name in ("asgi-inside", "asgi-pooled")]
    server = serve_module(config)
    wait_workers(server, 1)
    return server


@pytest.fixture(scope="module")
def narrow(serve_module: Serve) -> Sidegate:
    """One thread in the front and one in the worker, one request that may wait for each; /stuck is to hurry."""
    config = pool_config({"threads": 1}, app=APP, processes=1)
    config["backends"]["inside"]["threads"] = 1
    for backend in config["backends"].values():
        backend["queue"] = {"size": 1, "timeout": "60s"}
    config["routes"].append({"path": "/stuck", "backend": "pooled", "timeouts": {"request": "500ms"}})
    server = serve_module(config)
    wait_workers(server, 1)
    return server


@pytest.fixture(scope="module")
def hurried(serve_module: Serve) -> Sidegate:
    """Half a second for each request; two threads in the front and in each of two workers."""
    config = pool_config({"workers": 2, "threads": 2}, app=APP, processes=1)
    config["backends"]["inside"]["threads"] = 2
    for route in config["routes"]:
        route["timeouts"] = {"request": "500ms"}
    server = serve_module(config)
    wait_workers(server, 2)
    return server


@pytest.fixture(params=["front", "pool"])
def place(request: pytest.FixtureRequest) -> dict[str, str]:
    """The header field by which requests go to the application in the front, or in the pool."""
    return {"x-to": request.param}


@pytest.fixture(params=["h1", "h2"])
def client(request: pytest.FixtureRequest, server: Sidegate, place: dict[str, str]) -> Iterator[httpx.Client]:
    """HTTP/1.1 in clear text, or HTTP/2 over TLS."""
    http2 = request.param == "h2"
    with browser(server.url("", "https" if http2 else "http"), place) as client:
        yield client


def browser(base_url: str, headers: dict[str, str] | None = None) -> httpx.Client:
    http2 = base_url.startswith("https:")
    return httpx.Client(
        http2=http2, http1=not http2, verify=False, base_url=base_url, headers=headers, timeout=60, trust_env=False
    )


def get_alone(client: httpx.Client, path: str, **more: Any) -> httpx.Response:
    """A request like ``client``'s on a connection of its own.

    Threads cannot share one over HTTP/2: httpcore has no lock between the choice of a stream's number and its head.
    """
    with browser(str(client.base_url), {"x-to": client.headers["x-to"]}) as own:
        return own.get(path, **more)


@pytest.fixture
def together() -> Iterator[ThreadPoolExecutor]:
    """Threads for clients that wait at the same time."""
    with ThreadPoolExecutor(20) as executor:
        yield executor


def state(client: httpx.Client) -> dict[str, int]:
    return dict(client.get("/state").json())


# ---- responses --------------------------------------------------------------------------------------------


def test_a_304_has_nothing_to_iterate_over(client: httpx.Client) -> None:
    before = state(client)["closed"]
    for _ in range(3):  # on one connection, whose next response would show a body too many
        response = client.get("/unchanged")
        assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", '"one"')
    wait_until(lambda: state(client)["closed"] == before + 3, "each is closed")


@pytest.mark.parametrize("path", ["/half", "/half?length=1"])
def test_a_generator_that_raises_half_way_breaks_the_response_off(
    client: httpx.Client, server: Sidegate, path: str
) -> None:
    before, got = state(client)["closed"], list[bytes]()
    with client.stream("GET", path) as response:
        assert response.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            got.extend(response.iter_raw())
    assert sum(map(len, got)) <= PIECE
    assert state(client)["closed"] == before + 1
    assert "ApplicationFailed: half-way" in server.wait_log("ApplicationFailed: half-way")


# ---- clients that leave -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [Http1Client, Http2Client])
def test_a_client_that_leaves_ends_a_large_response(
    server: Sidegate, place: dict[str, str], version: type[Http1Client | Http2Client]
) -> None:
    """It reads for a while. Nobody holds what it did not read, and the iterable is closed soon."""
    fields = [(b"x-to", place["x-to"].encode())]
    leaving = version(socket.create_connection(("127.0.0.1", server.port())))
    with browser(server.url(""), place) as client, contextlib.closing(leaving), Peak(*processes_of(server)) as peak:
        before = state(client)
        stream = leaving.begin("GET", f"/pieces?size={GIGABYTE}", fields, end=True)
        read = len(leaving.until(stream, lambda response: len(response.body) > 32 * MIB).body)
        if isinstance(leaving, Http2Client):
            leaving.reset(stream)  # and the connection goes on
            assert request(leaving, "GET", "/pid", headers=fields).status == 200
        else:
            leaving.close()
        wait_until(lambda: state(client)["closed"] == before["closed"] + 1, "the iterable is closed")
        produced = (state(client)["produced"] - before["produced"]) * PIECE
    assert read <= produced < read + WINDOWS
    assert max(peak.growth().values()) < GROWTH, peak.growth()


def test_a_client_that_does_not_read_is_waited_for_until_it_leaves(server: Sidegate, place: dict[str, str]) -> None:
    with browser(server.url(""), place) as client, contextlib.ExitStack() as stack:
        before, slow = state(client), THREADS - 1
        with Peak(*processes_of(server)) as peak:
            for _ in range(slow):
                stack.enter_context(held(server, place))
            wait_settled(client)
            assert state(client)["closed"] == before["closed"]
            stack.close()
            wait_until(lambda: state(client)["closed"] == before["closed"] + slow, "the iterables are closed")
        assert (state(client)["produced"] - before["produced"]) * PIECE < slow * WINDOWS
        assert max(peak.growth().values()) < GROWTH, peak.growth()


def wait_settled(client: httpx.Client) -> None:
    """Until nothing is produced any more."""
    most, now = -1, 0
    while now > most:
        most = now
        time.sleep(0.3)
        now = state(client)["produced"]


# ---- threads ----------------------------------------------------------------------------------------------


def test_as_many_run_at_once_as_there_are_threads(
    client: httpx.Client, place: dict[str, str], together: ThreadPoolExecutor
) -> None:
    key = f"{place['x-to']}-{client.base_url.scheme}"

    def meet(_: int) -> tuple[int, str]:
        response = get_alone(client, "/meet", params={"parties": THREADS, "key": key})
        return response.status_code, response.text

    assert list(together.map(meet, range(THREADS))) == [(200, "met")] * THREADS


def test_no_more_run_at_once_than_there_are_threads(client: httpx.Client, together: ThreadPoolExecutor) -> None:
    codes = together.map(lambda _: get_alone(client, "/crowd").status_code, range(3 * THREADS))
    assert set(codes) == {200}
    assert 1 <= state(client)["most"] <= THREADS


def test_what_finds_no_thread_waits_in_a_queue_with_an_end(
    narrow: Sidegate, place: dict[str, str], together: ThreadPoolExecutor
) -> None:
    other = {"x-to": "pool" if place["x-to"] == "front" else "front"}
    with browser(narrow.url(""), place) as client:
        with held(narrow, place):
            answers = [together.submit(client.get, "/pid") for _ in range(5)]
            wait_until(lambda: sum(answer.done() for answer in answers) == 4, "all but one are answered")
            assert client.get("/pid", headers=other).status_code == 200, "who waits keeps only their own kind waiting"
        codes = [answer.result().status_code for answer in answers]
        assert sorted(codes) == [200, 503, 503, 503, 503]
        refused = next(answer.result() for answer in answers if answer.result().status_code == 503)
        assert refused.headers["retry-after"]


@contextlib.contextmanager
def held(server: Sidegate, place: dict[str, str]) -> Iterator[None]:
    """A thread of the application is busy with a response that its client does not read, until it leaves."""
    with socket.create_connection(("127.0.0.1", server.port())) as sock:
        sock.sendall(f"GET /pieces?size={GIGABYTE} HTTP/1.1\r\nHost: x\r\nX-To: {place['x-to']}\r\n\r\n".encode())
        assert sock.recv(1) == b"H"
        yield


def test_a_request_that_takes_too_long_leaves_its_thread_stuck(hurried: Sidegate, together: ThreadPoolExecutor) -> None:
    """In the front: its client has an answer, and the other thread goes on."""
    with browser(hurried.url("", "https"), {"x-to": "front"}) as client:
        assert client.get("/stuck").status_code == 504
        assert state(client)["stuck"] == 1
        assert [client.get("/pid").status_code for _ in range(5)] == [200] * 5
        client.get("/release")
        wait_until(lambda: state(client)["stuck"] == 0, "the thread is free")
        meet: dict[str, str | int] = {"parties": 2, "key": "both"}
        assert list(together.map(lambda _: client.get("/meet", params=meet).text, range(2))) == ["met", "met"]


def test_a_worker_whose_threads_are_all_stuck_is_replaced(hurried: Sidegate, together: ThreadPoolExecutor) -> None:
    """While the other worker, one of whose two threads is stuck as well, goes on."""
    before = set(wait_workers(hurried, 2))
    with browser(hurried.url("")) as client:
        late = together.map(lambda _: client.get("/stuck").status_code, range(3))
        assert list(late) == [504] * 3
        seen = []
        while not stuck_restarts(hurried) or not set(serving_workers(hurried)) - before:
            answer = client.get("/pid")
            assert answer.status_code == 200, answer.text
            seen.append(int(answer.text))
        after = set(wait_workers(hurried, 2))
        assert stuck_restarts(hurried) == 1
        assert len(before & after) == 1
        assert before & set(seen) <= after, "the one that was stuck answered nobody any more"
        assert [client.get("/pid").status_code for _ in range(5)] == [200] * 5


def test_what_waits_for_a_stuck_worker_is_for_its_successor(narrow: Sidegate) -> None:
    (old,) = wait_workers(narrow, 1)
    with browser(narrow.url("")) as client:
        assert client.get("/stuck").status_code == 504
        answer = client.post("/pid")  # which would not be sent again if the old one had taken it
        assert answer.status_code == 200
        assert int(answer.text) != old
    wait_until(lambda: stuck_restarts(narrow) == 1, "the cause")


def stuck_restarts(server: Sidegate) -> int:
    """What the metric of replaced workers says about stuck threads."""
    text = server.admin("/metrics")[1]
    lines = re.findall(r"^sidegate_pool_worker_restarts_total\{(.*)\} (.*)$", text, re.MULTILINE)
    return sum(int(float(number)) for labels, number in lines if 'cause="stuck_threads"' in labels)


# ---- which interface, which process -----------------------------------------------------------------------


def test_the_log_says_what_was_found(server: Sidegate) -> None:
    """``interface: auto``, in the front and in a pool."""
    for backend, words in (
        ("inside", "wsgi_plain:app is a WSGI application, 4 threads"),
        ("pooled", "wsgi_plain:app is a WSGI application, 4 threads"),
        ("asgi-inside", "plain:app is an ASGI 3 application"),
        ("asgi-pooled", "plain:app is an ASGI 3 application"),
    ):
        server.wait_log(f"backend {backend}: {words}")


def test_a_worker_of_someone_else_behind_h2c(serve: Serve, tmp_path: Path, together: ThreadPoolExecutor) -> None:
    """``sidegate worker`` with two threads: what finds none waits in the front."""
    path = f"unix:{tmp_path}/app.sock"
    command = [sys.executable, "-m", "sidegate", "worker", APP, "--interface", "wsgi", "--threads", "2"]
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(
            [*command, "--directory", str(APPS), "--bind", path], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        server = serve({**remote_config(path), "processes": 1})
        with browser(server.url("", "https"), {"x-mine": "1"}) as client:
            wait_until(lambda: client.get("/pid").status_code == 200, "an answer")
            assert client.get("/pid").text == str(worker.pid)
            told = client.post("/a%20b?c=d", content=b"some body").json()
            wanted = {
                "PATH_INFO": "/a b",
                "QUERY_STRING": "c=d",
                "REMOTE_ADDR": "127.0.0.1",
                "SERVER_PORT": str(server.port("https")),
                "HTTP_X_MINE": "1",
                "wsgi.url_scheme": "https",
                "wsgi.multithread": True,
                "wsgi.multiprocess": False,
                "body": "some body",
            }
            assert {key: told.get(key) for key in wanted} == wanted
            meet: dict[str, str | int] = {"parties": 2, "key": "both"}
            assert list(together.map(lambda _: client.get("/meet", params=meet).text, range(2))) == ["met", "met"]
            codes = together.map(lambda _: client.get("/crowd").status_code, range(8))
            assert set(codes) == {200}
            assert 1 <= state(client)["most"] <= 2
    finally:
        worker.terminate()
        assert worker.wait(20) == 0, (tmp_path / "log").read_text()


def test_two_versions_of_django_as_wsgi_applications(serve: Serve) -> None:
    """In virtual environments that have nothing of ours."""
    places = {"old": environment("django-4.2"), "new": environment("django-5.2")}
    config = remote_config([])
    config["backends"] = {
        name: {
            "app": "django_version:wsgi_app",
            "directory": str(APPS),
            "pool": {"python": str(place / "bin" / "python"), "threads": 2},
        }
        for name, place in places.items()
    }
    config["routes"] = [{"name": name, "path": f"/{name}", "backend": name} for name in places]
    server = serve(config)
    for name, version in (("old", "4.2."), ("new", "5.2.")):
        wait_workers(server, 1, name)
        told = json.loads(http_get(server.url(f"/{name}/page"))[1])
        assert told["django"].startswith(version)
        assert (told["prefix"], told["path"], told["ours"]) == (str(places[name]), f"/{name}/page", [])
