"""The WSGI contract: as many requests at a time as there are threads, and a bounded queue before them."""

from __future__ import annotations

import contextvars
import socket
import threading
from collections.abc import Iterable

import pytest

from sidegate.config.backends import THREADS
from sidegate.errors import Fault
from tests.support.clients import TIMEOUT, Client, Http2Client, Response
from tests.support.running import Run, fetch, wait_for
from tests.support.wsgi import (
    Closing,
    Environ,
    Gate,
    StartResponse,
    begin,
    echo,
    hold,
    line_up,
    queued,
    respond,
    thread_states,
)

SHORT = [{"name": "all", "path": "/", "backend": "app", "timeouts": {"request": "300ms"}}]
"""Routes that give an application little time."""


def assert_refused(response: Response) -> None:
    assert (response.status, response.reset) == (503, False)
    assert response.get(b"retry-after") == b"1"


@pytest.mark.parametrize("threads", [None, 3])
def test_requests_run_side_by_side(codec: str, running: Run, threads: int | None) -> None:
    """Asgiref 347: all requests of a process took turns on one thread."""
    number = threads or THREADS
    barrier = threading.Barrier(number)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        barrier.wait(30)  # none comes through without all the others
        return respond(start_response, b"met")

    with running(app, codec, threads=threads) as server:
        asked = begin(server, codec, *["/"] * number)
        assert [client.finish(stream).body for client, stream in asked] == [b"met"] * number


def test_streams_of_one_connection_run_side_by_side(engine: str, running: Run) -> None:
    barrier = threading.Barrier(4)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        barrier.wait(30)
        return respond(start_response, environ["PATH_INFO"].encode())

    with running(app, engine, threads=4) as server:
        client = server.client(engine)
        assert isinstance(client, Http2Client)
        streams = [client.begin("GET", f"/{number}", [], end=True) for number in range(4)]
        assert [client.finish(stream).body for stream in streams] == [b"/0", b"/1", b"/2", b"/3"]


def test_no_more_at_a_time_than_threads_and_the_rest_in_turn(codec: str, running: Run) -> None:
    gate = Gate()
    with running(gate, codec, threads=2) as server, gate:
        held = hold(server, codec, gate, 2)
        waiting = line_up(server, codec, "/1", "/2", "/3", "/4")
        assert gate.paths == ["/wait", "/wait"]
        gate.open()
        for client, stream in [*held, *waiting]:
            assert client.finish(stream).status == 200
        wait_for(lambda: queued(server) == 0)
        assert gate.peak == 2
        assert sorted(gate.paths[2:]) == ["/1", "/2", "/3", "/4"]


def test_one_thread_serves_in_the_order_of_arrival(codec: str, running: Run) -> None:
    gate = Gate()
    paths = [f"/{number}" for number in range(5)]
    with running(gate, codec, threads=1) as server, gate:
        held = hold(server, codec, gate, 1)
        waiting = line_up(server, codec, *paths)
        gate.open()
        for client, stream in [*held, *waiting]:
            assert client.finish(stream).status == 200
        assert gate.paths == ["/wait", *paths]
        assert gate.peak == 1


@pytest.mark.parametrize("size", [0, 1, 3])
def test_one_more_than_the_queue_holds_is_a_503(codec: str, running: Run, size: int) -> None:
    gate = Gate()
    with running(gate, codec, threads=1, backend={"queue": {"size": size}}) as server, gate:
        held = hold(server, codec, gate, 1)
        waiting = line_up(server, codec, *["/x"] * size)
        assert_refused(fetch(server, codec, "GET", "/refused"))
        wait_for(lambda: server.observer.records)
        record = server.observer.records[0]
        assert (record.fault, record.reason) == (Fault.PROXY, "queue_full")
        gate.open()
        for client, stream in [*held, *waiting]:
            assert client.finish(stream).status == 200
        assert "/refused" not in gate.paths
        assert fetch(server, codec, "GET", "/x").status == 200


def test_a_wait_that_is_too_long_is_a_503(codec: str, running: Run) -> None:
    gate = Gate()
    with running(gate, codec, threads=1, backend={"queue": {"timeout": "100ms"}}) as server, gate:
        held = hold(server, codec, gate, 1)
        assert_refused(fetch(server, codec, "GET", "/late"))
        wait_for(lambda: server.observer.records)
        record = server.observer.records[0]
        assert (record.fault, record.reason) == (Fault.PROXY, "queue_timeout")
        gate.open()
        assert [client.finish(stream).status for client, stream in held] == [200]
        assert "/late" not in gate.paths


def test_who_leaves_the_queue_never_reaches_the_application(codec: str, running: Run) -> None:
    gate = Gate()
    with running(gate, codec, threads=1) as server, gate:
        held = hold(server, codec, gate, 1)
        (leaving, _), staying = line_up(server, codec, "/leaves", "/stays")
        leaving.close()
        wait_for(lambda: queued(server) == 1)
        gate.open()
        for client, stream in [*held, staying]:
            assert client.finish(stream).status == 200
        assert gate.paths == ["/wait", "/stays"]


def test_a_client_that_sends_slowly_takes_no_thread(codec: str, running: Run) -> None:
    """A small body that was announced is read first, as a pool's front does."""
    gate = Gate()
    with running(gate, codec, threads=1) as server, gate:
        slow = server.client(codec)
        stream = slow.begin("POST", "/slow", [(b"content-length", b"2")], end=False)
        slow.body(stream, b"a", end=False)
        assert fetch(server, codec, "GET", "/fast").body == b"/fast"
        assert gate.paths == ["/fast"]
        slow.body(stream, b"b", end=True)
        assert slow.finish(stream).body == b"/slow"


def test_an_upload_waits_for_a_thread_that_still_closes(codec: str, running: Run) -> None:
    """The client has its whole response, and the thread is not free yet; what was uploaded cannot be sent twice."""
    go = threading.Event()

    class SlowClose(Closing):
        def close(self) -> None:
            assert go.wait(60)
            super().close()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/upload":
            return echo(environ, start_response)
        start_response("200 OK", [])
        return SlowClose([b"whole"])

    with running(app, codec, threads=1) as server:
        try:
            assert fetch(server, codec, "GET", "/").body == b"whole"
            client = server.client(codec)
            stream = client.begin("POST", "/upload", [], end=False)
            client.body(stream, b"y" * 150_000, end=True)
            with pytest.raises(TimeoutError):
                read_briefly((client, stream))
        finally:
            go.set()
        response = client.finish(stream)
        assert (response.status, response.body) == (200, b"y" * 150_000)


def test_threads_are_few_and_kept(codec: str, running: Run) -> None:
    threads = set()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        threads.add(threading.get_ident())
        return respond(start_response)

    with running(app, codec, threads=2) as server:
        for _ in range(20):
            assert fetch(server, codec, "GET", "/").status == 200
    assert 1 <= len(threads) <= 2
    assert threading.get_ident() not in threads


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("wsgi_variable", default="fresh")


def test_context_variables_are_fresh_for_each_request(codec: str, running: Run) -> None:
    seen: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        seen.append(VARIABLE.get())
        VARIABLE.set(environ["PATH_INFO"])
        start_response("200 OK", [])
        yield b"x"
        seen.append(VARIABLE.get())  # the generator runs in the context of its request

    with running(app, codec, threads=1) as server:
        for path in ("/1", "/2", "/3"):
            assert fetch(server, codec, "GET", path).body == b"x"
        wait_for(lambda: len(seen) == 6)
    assert seen == ["fresh", "/1", "fresh", "/2", "fresh", "/3"]


# ``timeouts.request``: a thread cannot be stopped, only be left alone.


def test_a_thread_that_hangs_is_a_504_for_its_client_only(codec: str, running: Run) -> None:
    gate = Gate()
    with running(gate, codec, threads=2, routes=SHORT) as server, gate:
        client = server.client(codec)
        stream = client.begin("GET", "/wait", [], end=True)
        wait_for(lambda: thread_states(server) == (1, 0))
        response = client.finish(stream)
        assert (response.status, response.reset) == (504, False)
        wait_for(lambda: thread_states(server) == (0, 1))
        assert fetch(server, codec, "GET", "/other").status == 200
        client.close()  # does not free the thread
        for _ in range(3):
            assert fetch(server, codec, "GET", "/other").status == 200
        assert (gate.inside, thread_states(server)) == (1, (0, 1))
        assert not server.told("exhausted")
        gate.open()
        wait_for(lambda: thread_states(server) == (0, 0))


@pytest.mark.parametrize("leaves", ["closes", "half-closes"])
def test_a_place_is_taken_until_its_thread_is_free(codec: str, running: Run, leaves: str) -> None:
    """However its client leaves, and how often the server learns of it."""
    gate = Gate()
    with running(gate, codec, threads=1) as server, gate:
        ((client, _),) = hold(server, codec, gate, 1)
        if leaves == "half-closes":
            client.sock.shutdown(socket.SHUT_WR)
            wait_for(lambda: all(record.fault for record in server.observer.open))
        client.close()
        wait_for(lambda: all(record.fault for record in server.observer.open))
        waiting = begin(server, codec, "/1", "/2")
        with pytest.raises(TimeoutError):
            read_briefly(waiting[0])
        assert (gate.inside, gate.peak, gate.paths) == (1, 1, ["/wait"])
        assert thread_states(server) == (1, 0)
        gate.open()
        for other, stream in waiting:
            assert other.finish(stream).status == 200
        assert gate.peak == 1


def read_briefly(asked: tuple[Client, int]) -> None:
    """Read the head of a response that does not come."""
    client, stream = asked
    client.sock.settimeout(0.3)
    try:
        client.until(stream, lambda response: response.status)
    finally:
        client.sock.settimeout(TIMEOUT)


def test_when_all_threads_are_stuck_it_is_told(codec: str, running: Run) -> None:
    gate = Gate()
    settings = {"threads": 2, "routes": SHORT, "backend": {"queue": {"timeout": "100ms"}}}
    with running(gate, codec, **settings) as server, gate:
        hanging = hold(server, codec, gate, 2)
        assert [client.finish(stream).status for client, stream in hanging] == [504, 504]
        wait_for(lambda: thread_states(server) == (0, 2))
        wait_for(lambda: server.told("exhausted"))
        assert server.told("exhausted") == [{"type": "exhausted", "backend": "app"}]
        assert fetch(server, codec, "GET", "/x").status in (503, 504)
        gate.open()
        wait_for(lambda: fetch(server, codec, "GET", "/x").status == 200)
        assert len(server.told("exhausted")) == 1
        wait_for(lambda: thread_states(server) == (0, 0))


def test_a_response_that_never_ends_is_broken_off_in_time(codec: str, running: Run) -> None:
    closed = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                threading.Event().wait(0.01)
                yield b"more"
        finally:
            closed.set()

    with running(app, codec, threads=1, routes=SHORT) as server:
        response = fetch(server, codec, "GET", "/")
        assert (response.status, response.reset) == (200, True)
        assert closed.wait(10)


def test_a_request_whose_time_ends_in_the_queue(codec: str, running: Run) -> None:
    gate = Gate()
    with running(gate, codec, threads=1, routes=SHORT) as server, gate:
        held = hold(server, codec, gate, 1)
        assert fetch(server, codec, "GET", "/queued").status == 504
        gate.open()
        held[0][0].close()
        wait_for(lambda: gate.inside == 0)
        assert fetch(server, codec, "GET", "/x").status == 200
        assert "/queued" not in gate.paths


def test_a_thread_that_outlives_its_server(codec: str, running: Run) -> None:
    """It is left alone: the process may end, and what the thread still does harms nobody."""
    gate = Gate()
    with gate:
        with running(gate, codec, threads=1) as server:
            hold(server, codec, gate, 1)
        assert gate.inside == 1
    wait_for(lambda: gate.inside == 0)
