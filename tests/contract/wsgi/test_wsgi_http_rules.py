"""Rules of HTTP (``test_http_rules.py``) where they meet a WSGI application, whose body comes through a thread."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from sidegate.errors import Fault
from tests.support.clients import request
from tests.support.raw_client import CHUNKED, NEXT, POST, check_refusal, exchange
from tests.support.running import Run, wait_for
from tests.support.wsgi import Environ, StartResponse, echo, respond


def test_a_204_has_no_length(codec: str, running: Run) -> None:
    """Flask and Django send one."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return respond(start_response, b"", "204 No Content", [("Content-Length", "0")])

    with running(app, codec) as server:
        client = server.client(codec)
        for _ in range(2):
            response = request(client, "DELETE", "/")
            assert (response.status, response.get(b"content-length"), response.reset) == (204, None, False)


@pytest.mark.parametrize("buffering", ["on", "off"])
@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [(b"zz\r\n", 400, "bad_chunk"), (b"0\r\nx: \x01\r\n\r\n", 400, "bad_field_value")],
)
def test_a_request_that_breaks_in_its_body_is_refused_like_any_other(
    running: Run, buffering: str, data: bytes, status: int, reason: str
) -> None:
    with running(echo, backend={"bodyBuffering": buffering}) as server:
        check_refusal(exchange(server, CHUNKED + b"3\r\nabc\r\n" + data + NEXT), status)
        wait_for(lambda: server.observer.records)
        record = server.observer.records[0]
        assert (record.status, record.fault, record.reason) == (status, Fault.CLIENT, reason)
        assert exchange(server, NEXT).startswith(b"HTTP/1.1 200 ")  # the thread is free


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_a_body_that_stops_is_answered_and_the_end_announced(running: Run, buffering: str) -> None:
    with running(echo, timeouts={"bodyIdle": "100ms"}, backend={"bodyBuffering": buffering}) as server:
        check_refusal(exchange(server, POST + b"content-length: 10\r\n\r\nabc"), 408)


def test_the_authority_of_the_target_replaces_the_host(running: Run) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return respond(start_response, f"{environ['HTTP_HOST']} {environ['REQUEST_URI']}".encode())

    with running(app) as server:
        head = b"GET http://b.example:80/x HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n"
        assert exchange(server, head).endswith(b"\r\n\r\nb.example:80 /x")
