"""The WSGI contract: ``wsgi.input`` (PEP 3333, "Input and Error Streams"); most tests let the body stream in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from sidegate.errors import Fault
from tests.support.clients import Client, contains, request
from tests.support.running import Run, fetch, only_record, wait_equal, wait_for
from tests.support.wsgi import Environ, StartResponse, echo, hello, respond

STREAMED = {"bodyBuffering": "off"}

SIZES = [0, 1, 65_535, 65_536, 1_000_000]


@pytest.mark.parametrize("size", SIZES)
def test_a_body_arrives_whole_as_wsgi_input(codec: str, running: Run, size: int) -> None:
    body = (bytes(range(256)) * (size // 256 + 1))[:size]
    with running(echo, codec) as server:
        response = fetch(server, codec, "POST", "/", body)
        assert (response.status, response.body) == (200, body)
        record = only_record(server)
        assert (record.bytes_in, record.bytes_out) == (size, size)


@pytest.mark.parametrize("size", SIZES)
def test_a_body_of_unknown_length_ends_all_the_same(codec: str, running: Run, size: int) -> None:
    """``wsgi.input_terminated``: whoever reads to the end needs no CONTENT_LENGTH."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        assert environ["wsgi.input_terminated"] is True
        return echo(environ, start_response)

    with running(app, codec) as server:
        client = server.client(codec)
        for _ in range(2):  # the connection is none the worse for it
            stream = client.begin("POST", "/", [], end=False)
            client.body(stream, b"y" * size, end=False)
            client.body(stream, b"", end=True)
            assert client.finish(stream).body == b"y" * size
        client.close()


TEXT = b"one\ntwo\n\nthree, which is long\nlast"


def reads_in_sizes(body: Any) -> list[bytes]:
    return [body.read(0), body.read(2), body.read(5), body.read(1000), body.read(1), body.read()]


READERS: dict[str, tuple[Callable[[Any], list[bytes]], list[bytes]]] = {
    "read": (lambda body: [body.read(), body.read()], [TEXT, b""]),
    "read(-1)": (lambda body: [body.read(-1), body.read(-1)], [TEXT, b""]),
    "read(size)": (reads_in_sizes, [b"", TEXT[:2], TEXT[2:7], TEXT[7:], b"", b""]),
    "readline": (
        lambda body: [body.readline() for _ in range(6)],
        [b"one\n", b"two\n", b"\n", b"three, which is long\n", b"last", b""],
    ),
    "readline(size)": (
        lambda body: [body.readline(2), body.readline(2), body.readline(9), body.readline(-1)],
        [b"on", b"e\n", b"two\n", b"\n"],
    ),
    "readlines": (lambda body: body.readlines(), TEXT.splitlines(keepends=True)),
    "readlines(hint)": (lambda body: [*body.readlines(5), body.read()], [b"one\n", b"two\n", TEXT[8:]]),
    "iteration": (list, TEXT.splitlines(keepends=True)),
    "all of them": (
        lambda body: [body.read(1), body.readline(), next(iter(body)), body.read(3), *body.readlines()],
        [b"o", b"ne\n", b"two\n", b"\nth", b"ree, which is long\n", b"last"],
    ),
}


@pytest.mark.parametrize("pace", ["whole", "bytewise"])
def test_every_way_to_read(codec: str, running: Run, pace: str) -> None:
    found: dict[str, list[bytes]] = {}

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        name = environ["HTTP_X_READER"]
        read, _ = READERS[name]
        found[name] = read(environ["wsgi.input"])
        return respond(start_response)

    with running(app, codec, backend=STREAMED) as server:
        client = server.client(codec)
        for reader in READERS:
            fields = [(b"x-reader", reader.encode())]
            if pace == "whole":
                assert request(client, "POST", "/", TEXT, fields).status == 200
                continue
            stream = client.begin("POST", "/", fields, end=False)
            for place in range(len(TEXT)):
                client.body(stream, TEXT[place : place + 1], end=False)
            client.body(stream, b"", end=True)
            assert client.finish(stream).status == 200
        client.close()
    assert found == {reader: expected for reader, (_, expected) in READERS.items()}


def test_a_request_without_a_body_is_at_its_end(codec: str, running: Run) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"]
        assert [body.read(), body.read(5), body.readline(), *body.readlines(), *body] == [b"", b"", b""]
        return respond(start_response)

    with running(app, codec) as server:
        assert fetch(server, codec, "GET", "/").status == 200


def test_reading_blocks_until_bytes_come_and_not_until_the_end(codec: str, running: Run) -> None:
    """Hypercorn 176: the whole request was collected before the application began. Asgiref the same."""
    lines: list[bytes] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        lines.extend(environ["wsgi.input"])
        return respond(start_response)

    with running(app, codec, backend=STREAMED) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/", [], end=False)
        for number in range(3):
            client.body(stream, b"line %d\n" % number, end=False)
            wait_equal(lambda: len(lines), number + 1)  # the client has not ended
        client.body(stream, b"", end=True)
        assert client.finish(stream).status == 200
        client.close()
    assert lines == [b"line 0\n", b"line 1\n", b"line 2\n"]


def test_an_application_may_answer_while_it_reads(codec: str, running: Run) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return (line.upper() for line in environ["wsgi.input"])

    with running(app, codec, backend=STREAMED) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/", [], end=False)
        for word in (b"one\n", b"two\n"):
            client.body(stream, word, end=False)
            client.until(stream, contains(word.upper()))
        client.body(stream, b"", end=True)
        assert client.finish(stream).body == b"ONE\nTWO\n"
        client.close()


@pytest.mark.parametrize("size", [100, 70_000])
def test_a_body_that_nobody_reads(codec: str, running: Run, size: int) -> None:
    with running(hello, codec) as server:
        client = server.client(codec)
        for _ in range(2):
            assert request(client, "POST", "/x", b"y" * size).body == b"/x"
        client.close()
        assert fetch(server, codec, "GET", "/y").body == b"/y"


def test_an_upload_is_no_further_ahead_of_its_reader_than_a_window(codec: str, running: Run) -> None:
    """The client's side of backpressure: what is not read is not taken from the client."""
    go, sent = threading.Event(), threading.Event()
    size = 32 << 20

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        assert go.wait(60)
        count = 0
        while block := environ["wsgi.input"].read(1 << 20):
            count += len(block)
        return respond(start_response, b"%d" % count)

    def upload(client: Client, stream: int) -> None:
        for _ in range(size >> 20):
            client.body(stream, b"z" * (1 << 20), end=False)
        client.body(stream, b"", end=True)
        sent.set()

    with running(app, codec, backend=STREAMED, limits={"requestBody": 0}) as server:
        client = server.client(codec)
        client.sock.settimeout(60)
        stream = client.begin("POST", "/", [], end=False)
        uploading = threading.Thread(target=upload, args=(client, stream))
        uploading.start()
        try:
            assert not sent.wait(0.5)
            assert sum(record.bytes_in for record in server.observer.open) < 16 << 20
        finally:
            go.set()
            uploading.join()
        assert client.finish(stream).body == b"%d" % size
        client.close()


def test_a_large_upload_is_read_in_pieces(codec: str, running: Run) -> None:
    size = 8 << 20
    sizes = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        while block := environ["wsgi.input"].read(100_000):
            sizes.append(len(block))
        return respond(start_response)

    with running(app, codec, backend=STREAMED) as server:
        assert fetch(server, codec, "POST", "/", bytes(size)).status == 200
    assert set(sizes[:-1]) == {100_000}  # as a file does, never less but at the end
    assert sum(sizes) == size


def test_continue_is_sent_only_when_the_application_reads_its_input(codec: str, running: Run) -> None:
    """PEP 3333, "HTTP 1.1 Expect/Continue", the second way."""
    go = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/refuses":
            return respond(start_response, b"no need", "401 Unauthorized")
        assert go.wait(60)
        return echo(environ, start_response)

    expect = [(b"expect", b"100-continue"), (b"content-length", b"4")]
    with running(app, codec, backend=STREAMED) as server:
        client = server.client(codec)
        response = client.finish(client.begin("POST", "/refuses", expect, end=False))
        assert (response.status, response.informational) == (401, [])
        client.close()
        client = server.client(codec)
        stream = client.begin("POST", "/reads", expect, end=False)
        go.set()
        client.until(stream, lambda response: response.informational)
        client.body(stream, b"body", end=True)
        response = client.finish(stream)
        assert response.body == b"body"
        assert [status for status, _ in response.informational] == [100]
        client.close()


def test_a_body_over_the_limit_is_a_413_for_wsgi_too(codec: str, running: Run) -> None:
    errors = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return echo(environ, start_response)
        except OSError as error:
            errors.append(error)
            raise

    with running(app, codec, backend=STREAMED, limits={"requestBody": "100Ki"}) as server:
        assert fetch(server, codec, "POST", "/", b"x" * 102_400).status == 200
        assert fetch(server, codec, "POST", "/", b"x" * 102_401).status == 413
        client = server.client(codec)
        stream = client.begin("POST", "/", [], end=False)
        client.body(stream, b"x", end=False)
        client.body(stream, b"x" * 102_400, end=False)
        assert client.finish(stream).status == 413
        client.close()
        record = only_record(server, 3)
        assert (record.fault, record.reason) == (Fault.CLIENT, "body_too_large")
        wait_for(lambda: errors)
        assert fetch(server, codec, "POST", "/", b"x").body == b"x"
