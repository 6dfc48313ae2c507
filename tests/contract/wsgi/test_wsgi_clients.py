"""The WSGI contract: clients that leave, and clients that are slow."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import psutil
import pytest

from sidegate.errors import Fault
from tests.support.clients import Client, Http2Client
from tests.support.running import Run, RunningServer, fetch, only_record, record_of, wait_for
from tests.support.wsgi import TEXT, Closing, Environ, StartResponse, hello, respond

MIB = 1 << 20


class Endless:
    """An application that streams blocks until it is stopped. ``outcome`` is how; ``made`` counts bytes."""

    def __init__(self, block: int = 1000, pause: float = 0.005, most: int = 1 << 50) -> None:
        self.block, self.pause, self.most = block, pause, most
        self.made = 0
        self.outcome: list[str] = []

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/alive":
            return hello(environ, start_response)
        start_response("200 OK", [TEXT])
        return self.stream()

    def stream(self) -> Iterator[bytes]:
        try:
            while self.made < self.most:
                self.made += self.block
                yield b"x" * self.block
                threading.Event().wait(self.pause)
        except GeneratorExit:
            self.outcome.append("closed")
            raise
        finally:
            self.outcome.append("ended")


def wait_for_farewell(server: RunningServer) -> None:
    """Wait until the server knows that every client has left that it has a request of."""
    wait_for(lambda: all(record.fault for record in server.observer.open))


def test_a_generator_is_closed_when_its_client_leaves(codec: str, running: Run) -> None:
    app = Endless()
    with running(app, codec, threads=1) as server:
        client = server.client(codec)
        stream = client.begin("GET", "/", [], end=True)
        client.until(stream, lambda response: response.body)
        client.close()
        wait_for(lambda: app.outcome)
        assert app.outcome == ["closed", "ended"]
        record = only_record(server)
        assert (record.fault, record.reason, record.status) == (Fault.CLIENT, "client_disconnected", 200)
        assert fetch(server, codec, "GET", "/alive").body == b"/alive"


def test_a_generator_of_empty_blocks_is_closed_too(codec: str, running: Run) -> None:
    """PEP 3333 has middleware yield them while it waits: there is nothing to write, and somebody who left."""
    body: list[Closing] = []
    started = threading.Event()

    def blocks() -> Iterator[bytes]:
        while True:
            started.set()
            threading.Event().wait(0.005)
            yield b""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        body.append(Closing(blocks()))
        return body[0]

    with running(app, codec) as server:
        client = server.client(codec)
        client.begin("GET", "/", [], end=True)
        assert started.wait(10)
        client.close()
        wait_for(lambda: body[0].closed)
        assert only_record(server).reason == "client_disconnected"


@pytest.mark.parametrize("block", [1000, 100_000])
def test_write_raises_when_the_client_is_gone(codec: str, running: Run, block: int) -> None:
    raised: list[BaseException] = []
    begun = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [TEXT])
        try:
            while True:
                begun.set()
                write(b"x" * block)
                threading.Event().wait(0.005)
        except OSError as error:
            raised.append(error)
            raise

    with running(app, codec) as server:
        client = server.client(codec, False)
        client.begin("GET", "/", [], end=True)
        assert begun.wait(10)
        client.close()
        wait_for(lambda: raised)
        assert only_record(server).reason == "client_disconnected"


def test_reading_raises_when_the_client_is_gone(codec: str, running: Run) -> None:
    """A body that breaks off is no body that ended: half an upload must not be taken for a whole one."""
    raised: list[BaseException] = []
    read: list[bytes] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            read.append(environ["wsgi.input"].readline())
            read.append(environ["wsgi.input"].read())
        except OSError as error:
            raised.append(error)
            raise
        return respond(start_response)

    with running(app, codec, backend={"bodyBuffering": "off"}) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/", [], end=False)
        client.body(stream, b"one line\nand a half", end=False)
        wait_for(lambda: read)
        client.close()
        wait_for(lambda: raised)
        assert read == [b"one line\n"]
        assert only_record(server).reason == "client_disconnected"


def test_the_departure_of_another_client_is_no_excuse(codec: str, running: Run) -> None:
    inputs: list[Any] = []
    left = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/leaves":
            inputs.append(environ["wsgi.input"])
            try:
                inputs[0].read()
            finally:
                left.set()
        inputs[0].read()
        return respond(start_response)

    with running(app, codec, backend={"bodyBuffering": "off"}) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/leaves", [], end=False)
        client.body(stream, b"half", end=False)
        wait_for(lambda: inputs)
        client.close()
        assert left.wait(10)
        assert fetch(server, codec, "GET", "/").status == 500
        record = record_of(server, "/")
        assert (record.fault, record.reason) == (Fault.APPLICATION, "exception")


def test_an_application_that_is_busy_ends_in_its_own_time(codec: str, running: Run) -> None:
    go, inside = threading.Event(), threading.Event()
    body = Closing([b"for nobody"])

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/alive":
            return hello(environ, start_response)
        inside.set()
        assert go.wait(60)
        start_response("200 OK", [])
        return body

    with running(app, codec, threads=1) as server:
        client = server.client(codec)
        client.begin("GET", "/", [], end=True)
        assert inside.wait(10)
        client.close()
        wait_for_farewell(server)
        go.set()
        wait_for(lambda: body.closed)
        assert fetch(server, codec, "GET", "/alive").body == b"/alive"
        assert body.closed == 1
        record = next(record for record in server.observer.records if record.target == b"/")
        assert (record.fault, record.reason) == (Fault.CLIENT, "client_disconnected")


def test_an_error_after_the_client_left_is_logged(codec: str, running: Run, caplog: pytest.LogCaptureFixture) -> None:
    go, inside = threading.Event(), threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/alive":
            return hello(environ, start_response)
        inside.set()
        assert go.wait(60)
        raise ValueError("nobody is there to see it")

    with running(app, codec, threads=1) as server:
        client = server.client(codec)
        client.begin("GET", "/", [], end=True)
        assert inside.wait(10)
        client.close()
        wait_for_farewell(server)
        go.set()
        assert fetch(server, codec, "GET", "/alive").body == b"/alive"
        wait_for(lambda: "nobody is there to see it" in caplog.text)


def test_a_reset_of_one_stream_closes_that_generator_only(engine: str, running: Run) -> None:
    app = Endless()
    with running(app, engine, threads=2) as server:
        client = server.client(engine)
        assert isinstance(client, Http2Client)
        stream = client.begin("GET", "/", [], end=True)
        client.until(stream, lambda response: response.body)
        client.reset(stream)
        wait_for(lambda: app.outcome)
        assert app.outcome == ["closed", "ended"]
        assert client.finish(client.begin("GET", "/alive", [], end=True)).body == b"/alive"
        client.close()


def until_still(app: Endless) -> None:
    """Wait until nothing was made for half a second."""
    last = -1
    while last != app.made:
        last = app.made
        threading.Event().wait(0.5)


def test_a_client_that_does_not_read_stops_the_generator(codec: str, running: Run) -> None:
    """A2wsgi 46: a queue without bound took what the client did not, until the memory was gone."""
    app = Endless(block=10_000, pause=0, most=256 * MIB)
    with running(app, codec, threads=2, backend={"responseBuffering": "off"}) as server:
        client = server.client(codec, False)
        stream = client.begin("GET", "/", [], end=True)
        client.until(stream, lambda response: response.body)
        until_still(app)
        assert app.made < 32 * MIB  # most of it in the kernel's buffers
        assert not app.outcome
        assert fetch(server, codec, "GET", "/alive").body == b"/alive"
        client.close()
        wait_for(lambda: app.outcome)
        assert app.outcome == ["closed", "ended"]


def test_a_client_that_reads_on_gets_all_of_it(codec: str, running: Run) -> None:
    app = Endless(block=10_000, pause=0, most=20_000_000)
    with running(app, codec, threads=1) as server:
        client = server.client(codec)
        stream = client.begin("GET", "/", [], end=True)
        until_still(app)
        assert len(client.finish(stream).body) == 20_000_000
        client.close()
        assert app.outcome == ["ended"]
        assert only_record(server).bytes_out == 20_000_000


def wide_open(client: Client) -> Client:
    """It gives all the credit that HTTP/2 knows at once, so that nothing has to be read for more."""
    if isinstance(client, Http2Client):
        most = 2**31 - 1
        client.state.update_settings({4: most})
        client.state.increment_flow_control_window(most - 65_535)
        client.flush()
    return client


def test_a_client_that_leaves_during_a_gibibyte(codec: str, running: Run) -> None:
    """The generator is closed, and neither it nor its client needs memory for what passed."""
    app = Endless(block=MIB, pause=0, most=1024 * MIB)
    memory = psutil.Process().memory_info
    with running(app, codec, threads=1) as server:
        client = wide_open(server.client(codec))
        client.begin("GET", "/", [], end=True)
        before, received, most = memory().rss, 0, 0
        while received < 128 * MIB:
            received += len(client.sock.recv(MIB))
            most = max(most, memory().rss)
        client.close()
        wait_for(lambda: app.outcome)
        assert app.outcome == ["closed", "ended"]
        assert app.made < 256 * MIB
        assert most - before < 48 * MIB
        assert only_record(server).reason == "client_disconnected"
